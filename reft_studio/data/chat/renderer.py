"""Chat templates of models, rendered in a process of their own: whatever a template does, this one waits a bounded time for a bounded text.

One such process serves all templates of a program. It starts with the first conversation (about 0.1 s), takes some 20 MB, is stopped
and started again when a template hangs in it, and ends with the program.
"""

from __future__ import annotations

import atexit
import json
import select
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from reft_studio.data.chat.renderer_child import CLOCK, LARGE, REFUSED, SECONDS, SLOW, SYNTAX
from reft_studio.errors import PrerequisiteError

__all__ = ["CLOCK", "LARGE", "REFUSED", "SLOW", "SYNTAX", "Rendered", "render"]
LONGEST = 1_000_000
"""Characters that a chat template may have; those of real models have up to 20,000."""
MOST_SLOW = 3
"""Conversations that a template may hang on, or bring its process down with, before it is asked no more."""
_CHILD = Path(__file__).with_name("renderer_child.py")
_GRACE_S, _START_S = 1.0, 3.0
"""Seconds of processor time beyond its own limit before it is taken to hang beyond reach of its clock; and to start."""
_PATIENCE_S = 60.0
"""Seconds by the clock on the wall: a busy machine may give it little of its time."""
_AT_ONCE = 4_000_000
"""Characters of the conversations that are sent in one request."""


class Rendered(str):
    """The text of one conversation; or none, in `error` the kind of failure, and in `why` what the template's error says, if anything."""

    error: str = ""
    why: str = ""

    @classmethod
    def failed(cls, error: str, why: str = "") -> Rendered:
        found = cls("")
        found.error, found.why = error, why
        return found


def render(
    template: str, chats: Sequence[Sequence[Mapping[str, Any]]], *, names: Mapping[str, str], add_generation_prompt: bool = True
) -> list[Rendered]:
    """Each conversation in the template, in order. `names`: special tokens that it may use, by name.

    Raises PrerequisiteError for a template that has hung, or brought its process down, MOST_SLOW times.
    """
    if len(template) > LONGEST:
        return [Rendered.failed(LARGE) for _ in chats]
    fixed = {"template": template, "names": dict(names), "add_generation_prompt": add_generation_prompt}
    found: list[Rendered] = []
    for some in _parts(chats):
        found += _PROCESS.answers(fixed, some)
    return found


def _parts(chats: Sequence[Sequence[Mapping[str, Any]]]) -> Iterator[list[str]]:
    """The conversations as JSON, some at a time."""
    part, size = list[str](), 0
    for chat in chats:
        told = json.dumps(list(chat))
        if part and size + len(told) > _AT_ONCE:
            yield part
            part, size = [], 0
        part.append(told)
        size += len(told)
    if part:
        yield part


class _Process:
    """The other process, when there is one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: subprocess.Popen[bytes] | None = None
        self._unread = bytearray()
        self._failures = Counter[str]()

    def answers(self, fixed: Mapping[str, Any], chats: list[str]) -> list[Rendered]:
        """One answer for each conversation; where the process dies or hangs on one, it goes on with the next."""
        found: list[Rendered] = []
        with self._lock:
            while len(found) < len(chats):
                self._check(fixed["template"])
                found += self._some(fixed, chats[len(found) :])
        return found

    def _check(self, template: str) -> None:
        if self._failures[template] >= MOST_SLOW:
            raise PrerequisiteError(
                f"The chat template hangs: {MOST_SLOW} conversations took more than {SECONDS:.0f} s or brought its process "
                "down. Choose the template 'alpaca', write your own, or take another model."
            )

    def _some(self, fixed: Mapping[str, Any], chats: list[str]) -> list[Rendered]:
        """Answers as far as the process comes: all, or up to the conversation that it dies or hangs on."""
        found: list[Rendered] = []
        patience = SECONDS + _GRACE_S + (0 if self._running else _START_S)
        try:
            self._send(fixed, chats)
            for _ in chats:
                answer = json.loads(self._line(patience))
                found.append(Rendered(answer["text"]) if "text" in answer else Rendered.failed(answer["error"], answer.get("why", "")))
                patience = SECONDS + _GRACE_S
                if found[-1].error == SLOW:
                    self._failures[fixed["template"]] += 1
                    self._check(fixed["template"])
        except TimeoutError:
            self._failures[fixed["template"]] += 1
            found.append(Rendered.failed(SLOW))
            self.stop()
        except (OSError, EOFError, ValueError):  # it died, of memory or of a stack that is too deep
            self._failures[fixed["template"]] += 1
            found.append(Rendered.failed(LARGE))
            self.stop()
        except BaseException:  # answers that nobody waits for must not be taken for those of the next request
            self.stop()
            raise
        return found

    def _send(self, fixed: Mapping[str, Any], chats: list[str]) -> None:
        if self._running is None or self._running.poll() is not None:
            self.stop()
            # -P: the folder of the script is not searched for modules
            command = [sys.executable, "-P", str(_CHILD)]
            self._running = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0)
        assert self._running.stdin is not None
        told = json.dumps(fixed).encode()
        request = memoryview(told[:-1] + b', "chats": [' + ", ".join(chats).encode() + b"]}\n")
        while len(request):
            request = request[self._running.stdin.write(request) :]

    def _line(self, patience: float) -> bytes:
        assert self._running is not None and self._running.stdout is not None
        stream, until, used = self._running.stdout.fileno(), time.monotonic() + _PATIENCE_S, None
        while (end := self._unread.find(b"\n")) < 0:
            if not select.select([stream], [], [], 0.2)[0]:
                now = _processor_time(self._running.pid)
                used = now if used is None else used
                if time.monotonic() > until or now - used > patience:
                    raise TimeoutError
                continue
            if not (more := self._running.stdout.read(1 << 20)):
                raise EOFError
            self._unread += more
        line = bytes(self._unread[:end])
        del self._unread[: end + 1]
        return line

    def stop(self) -> None:
        """End the process and forget what it still said."""
        self._unread.clear()
        if self._running is not None:
            self._running.kill()
            self._running.wait()
            for stream in (self._running.stdin, self._running.stdout):
                if stream is not None:
                    stream.close()
        self._running = None


def _processor_time(pid: int) -> float:
    """Seconds that a process has computed; it is there, or its end is about to be read."""
    try:
        used = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return float(used.user + used.system)


_PROCESS = _Process()
atexit.register(_PROCESS.stop)
