"""Checkpoints of unfinished trainings: written atomically, verified before use; training resumes from the newest valid one.

A checkpoint is a folder `checkpoint-STEP` of `state.safetensors` (weights, optimizer, random numbers), `state.json` (everything else) and
the SHA-256 of both. It gets its name only when everything is on disk, so a kill at any instant leaves the previous one intact. No defense
is known here: the state of a method arrives as a part of the snapshot.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save

from reft_studio import integrity
from reft_studio.errors import StoreError
from reft_studio.failpoints import failpoint
from reft_studio.integrity import SUMS, sealed_folder
from reft_studio.models.fit import StepLog
from reft_studio.models.snapshot import Snapshot
from reft_studio.progress import Progress
from reft_studio.training.run_folder import CHECKPOINT, UNFINISHED
from reft_studio.workspace import Workspace, read_json, write_atomic, write_json

SHARE = 0.01
"""Largest share of the time spent on writing checkpoints."""
LEAST_S = 5.0
"""Minimum seconds between two checkpoints; `REFT_STUDIO_CHECKPOINT_S` sets another value, for tests: 0 writes one after each step."""
KEPT = 2
FORMAT = 2
"""Version of the files; checkpoints of other versions are not resumed."""
TENSORS, VALUES = "state.safetensors", "state.json"
PACKAGES = ("torch", "transformers", "peft")


class Unfinished:
    """The checkpoints of one run or teacher, which may consist of several trainings; deleted when it is finished."""

    def __init__(self, workspace: Workspace, name: str, progress: Progress, *, every_s: float = LEAST_S) -> None:
        self.folder = workspace.folder(UNFINISHED, name)
        self._progress, self._every_s = progress, every_s

    def keeper(self, name: str, facts: Mapping[str, Any]) -> Checkpoints:
        """The checkpoints of training `name`. `facts` (JSON) must equal those stored in a checkpoint for it to be resumed."""
        return Checkpoints(self.folder / name, facts, self._progress, every_s=self._every_s)

    @contextmanager
    def work(self) -> Iterator[Unfinished]:
        """Context of the work: the checkpoints are deleted when it succeeds and kept for the next attempt when it fails."""
        yield self
        self.clear()

    def clear(self) -> None:
        """Delete all checkpoints, after the work is finished or to start over."""
        shutil.rmtree(self.folder, ignore_errors=True)


class Checkpoints:
    """Implements `Keeper` in a folder."""

    def __init__(self, folder: Path, facts: Mapping[str, Any], progress: Progress, *, every_s: float = LEAST_S) -> None:
        self.folder, self._progress, self._every_s = folder, progress, every_s
        self._facts = json.loads(json.dumps({"format": FORMAT, **facts}))
        self._versions = {name: metadata.version(name) for name in PACKAGES}
        self._cost_s, self._saved_at = 0.0, time.monotonic()

    def newest(self) -> Snapshot | None:
        """The newest checkpoint that verifies. Warns if newer ones are damaged, or belong to another training and are not used."""
        folders = self._folders()
        for folder in reversed(folders):
            try:
                snapshot, values = _read(folder)
            except StoreError as exc:
                instead = "The checkpoint before it is used." if folder != folders[0] else "There is no other, so training begins anew."
                self._progress.warn(f"{exc} {instead}")
                shutil.rmtree(folder, ignore_errors=True)
                continue
            if values["facts"] != self._facts:
                self._progress.warn("What was learnt before is of other data, another base or another version, so training begins anew.")
                shutil.rmtree(self.folder, ignore_errors=True)
                return None
            self._tell(snapshot.step, values["versions"])
            return snapshot
        return None

    def due(self) -> bool:
        return time.monotonic() - self._saved_at >= self._pause_s()

    def _pause_s(self) -> float:
        """Seconds between checkpoints, so that writing one takes at most SHARE of the time."""
        if (asked := os.environ.get("REFT_STUDIO_CHECKPOINT_S")) is not None:
            return float(asked)
        return max(self._every_s, self._cost_s / SHARE)

    def save(self, snapshot: Snapshot) -> None:
        """Write a checkpoint, then delete all but the newest KEPT. Raises PrerequisiteError if the disk is full."""
        started = time.monotonic()
        final = self.folder / f"checkpoint-{snapshot.step:09}"
        if not final.exists():
            failpoint("checkpoint.before")
            with sealed_folder(final) as building:  # each file is on the disk once it is written
                write_atomic(building / TENSORS, save({name: value.contiguous() for name, value in snapshot.tensors.items()}))
                facts = {"facts": self._facts, "versions": self._versions}
                write_json(building / VALUES, {"step": snapshot.step, **facts, "values": snapshot.values})
            for old in self._folders()[:-KEPT]:
                shutil.rmtree(old, ignore_errors=True)
                failpoint("checkpoint.pruned")
        self._saved_at = time.monotonic()
        self._cost_s = self._saved_at - started

    def _folders(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(path for path in self.folder.iterdir() if CHECKPOINT.fullmatch(path.name))

    def _tell(self, step: int, versions: dict[str, str]) -> None:
        self._progress.warn(f"Training goes on after step {step}, from its checkpoint.")
        if other := [f"{name} {versions.get(name)}" for name, now in self._versions.items() if versions.get(name) != now]:
            self._progress.warn(f"It began with {', '.join(other)}; another version is installed now, so the last digits may differ.")


class LogLines:
    """The lines of a training's log, as a part of its checkpoints."""

    def __init__(self) -> None:
        self.lines: list[StepLog] = []

    def state(self) -> dict[str, Any]:
        return {"lines": self.lines}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.lines[:] = state["lines"]


def _read(folder: Path) -> tuple[Snapshot, dict[str, Any]]:
    """A checkpoint and the metadata stored with it. Raises StoreError, with the reason, unless every byte verifies."""
    listed = folder / SUMS
    if not listed.is_file() or set(integrity.names(listed)) != {TENSORS, VALUES}:
        raise StoreError(f"{folder.name} is damaged: its list of hashes is missing or cannot be read.")
    integrity.forget()  # a file may have changed without a newer date
    integrity.check(folder, remedy="", wait=True)
    try:
        values = read_json(folder / VALUES)
        return Snapshot(int(values["step"]), load((folder / TENSORS).read_bytes()), values["values"]), values
    except (SafetensorError, KeyError, ValueError, json.JSONDecodeError, OSError) as exc:
        raise StoreError(f"{folder.name} is damaged: {type(exc).__name__} while it was read.") from exc
