"""Looking at a file before it is imported, in a process that may spend little: a file made to do harm ends that process alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import weakref
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from pydantic import TypeAdapter

from reft_studio.admission import Admission
from reft_studio.data.origin.look_child import MEMORY, MOST_ANSWER, SECONDS
from reft_studio.data.origin.sources import DataSource, SourceTable
from reft_studio.data.reading import budget
from reft_studio.data.reading.readers import Preview
from reft_studio.data.rows.mapping import Mapping
from reft_studio.errors import DataError, PrerequisiteError, SpecError, StoreError, StudioError

WAIT_S = 30.0
"""Seconds by the clock, of which most may be spent waiting for a busy machine or a slow disk."""
HUB_S = 180.0
"""The same where something may have to be downloaded first."""
CHILD = ["-m", "reft_studio.data.origin.look_child"]
_PACKAGE_ROOT = Path(__file__).resolve().parents[3]
_KINDS: dict[str, type[StudioError]] = {kind.code: kind for kind in (DataError, SpecError, PrerequisiteError, StoreError)}
_PREVIEW, _SOURCE = TypeAdapter(Preview), TypeAdapter(DataSource)


class Looker:
    """Processes that look at files; one stays warm, since starting it takes most of a second."""

    def __init__(self) -> None:
        self._turns = Admission("files being looked at", at_once=2, waiting=4, wait_s=10.0)
        self._idle: list[_Child] = []
        self._lock = threading.Lock()
        self._end = weakref.finalize(self, _end_all, self._idle)

    def warm(self) -> None:
        """Start a process if none waits, so that the first look is quick; returns at once."""
        with self._lock:
            self._drop_ended()
            if not self._idle:
                self._idle.append(_Child())

    def close(self) -> None:
        """End the processes that wait."""
        with self._lock:
            _end_all(self._idle)

    def preview(self, path: Path, mapping: Mapping | None = None) -> Preview:
        """`readers.preview` of a file. Raises as it does, and DataError if the file would take more memory or time than a look may."""
        request = {"op": "preview", "name": path.name, "path": str(path), "mapping": mapping.model_dump() if mapping else None}
        return _PREVIEW.validate_python(self._ask(request, WAIT_S))

    def look(self, text: str) -> DataSource:
        """What stands at a path, or behind the id of a dataset of the hub. Raises as `sources.local` and `hub.look` do."""
        wait_s = WAIT_S if text.startswith(("/", ".", "~")) else HUB_S
        return _SOURCE.validate_python(self._ask({"op": "look", "name": text[:100], "text": text}, wait_s))

    def preview_part(self, source: DataSource, part: SourceTable, target: Path, mapping: Mapping | None = None) -> Preview:
        """The first rows of a part, gathered in `target` where it has several files."""
        request = {
            "op": "part",
            "name": part.name,
            "source": asdict(source),
            "part": asdict(part),
            "target": str(target),
            "mapping": mapping.model_dump() if mapping else None,
        }
        return _PREVIEW.validate_python(self._ask(request, HUB_S if source.place == "hub" else WAIT_S))

    def _ask(self, request: dict[str, Any], wait_s: float) -> Any:
        with self._turns.turn():
            child = self._taken()
            answer = child.ask(request, wait_s)
            if answer is None and not child.used:  # it was idle for so long that it had ended
                child.end()
                child = _Child()
                answer = child.ask(request, wait_s)
            if answer is None:
                raise _ended(request["name"], child.exit_code(), wait_s)
            self._keep(child, tired=answer["tired"])
        if "error" in answer:
            raise _told(request["name"], answer["error"], answer["told"])
        return answer["found"]

    def _taken(self) -> _Child:
        with self._lock:
            self._drop_ended()
            return self._idle.pop() if self._idle else _Child()

    def _drop_ended(self) -> None:
        """Forget processes that waited for so long that they ended themselves."""
        for child in [child for child in self._idle if child.ended]:
            self._idle.remove(child)
            child.end()

    def _keep(self, child: _Child, *, tired: bool) -> None:
        with self._lock:
            if not tired and not self._idle:
                self._idle.append(child)
                return
        child.end()


class _Child:
    """One process."""

    def __init__(self) -> None:
        path = os.pathsep.join(part for part in (str(_PACKAGE_ROOT), os.environ.get("PYTHONPATH", "")) if part)
        self.used = False
        """Whether it took up the latest request: one that ended before was idle for too long."""
        self._process = subprocess.Popen(
            [sys.executable, "-P", *CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **budget.LEAN, "PYTHONPATH": path},
        )

    def ask(self, request: dict[str, Any], wait_s: float) -> dict[str, Any] | None:
        """The answer; None if the process ended, or had to be ended, instead."""
        stdin, stdout = self._pipes()
        self.used = False
        timer = threading.Timer(wait_s, self._process.kill)
        timer.start()
        try:
            if self._process.poll() is not None:
                return None
            stdin.write(json.dumps(request).encode("ascii") + b"\n")
            stdin.flush()
            self.used = True
            line = stdout.readline(MOST_ANSWER + 2)
        except BrokenPipeError:
            return None
        finally:
            timer.cancel()
        return json.loads(line) if line.endswith(b"\n") else None

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def exit_code(self) -> int:
        """How it ended; ends it if it has not."""
        try:
            code = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            code = 0
        self.end()
        return code

    def end(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.wait()
        for pipe in self._pipes():
            with suppress(BrokenPipeError):  # what was not sent yet
                pipe.close()

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        assert self._process.stdin is not None and self._process.stdout is not None
        return self._process.stdin, self._process.stdout


def _end_all(children: list[_Child]) -> None:
    while children:
        children.pop().end()


def _ended(name: str, code: int, wait_s: float) -> DataError:
    """What to say when the process ended over a file."""
    if code == budget.MEMORY_EXIT:
        return _told_memory(name)
    if code == budget.TIME_EXIT:
        return DataError(
            f"{name} was not read to the end: looking at it took more than {SECONDS:.0f} s of processor time, which is the limit. "
            "Save the rows as JSON Lines, one short object on each line."
        )
    if code == -9:
        return DataError(
            f"{name} was not read within {wait_s:.0f} s, which is the limit: the machine is busy, its disk slow, or the file made to take "
            "long. Try again later, or save the rows as JSON Lines, one short object on each line."
        )
    return DataError(f"{name} cannot be read: its bytes end the program that reads them (code {code}). Copy or write it again.")


def _told(name: str, kind: str, told: str) -> StudioError:
    if kind == "memory":
        return _told_memory(name)
    if kind in _KINDS:
        return _KINDS[kind](told)
    return DataError(f"{name} cannot be read: the reader failed over it ({told}). The app's log says more; save the rows as JSON Lines.")


def _told_memory(name: str) -> DataError:
    return DataError(
        f"{name} needs more memory to be looked at than the limit of {MEMORY >> 20} MB: it may be made to exhaust the memory. "
        "Save the rows as JSON Lines if they are meant."
    )
