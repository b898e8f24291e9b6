"""The teacher's final hidden states on alignment rows: computed when a row is first drawn, kept for every later draw and run.

States after the final norm are exact for any temperature and strength, at d_model numbers per token instead of a vocabulary
(docs/methods.md). They hold for one base in one number format, one adapter, one template and the very tokens of the rows;
all of these are in the key.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch import Tensor

from reft_studio import fingerprint
from reft_studio.models.batching import Example
from reft_studio.models.loading import LoadedModel
from reft_studio.workspace import Workspace, write_atomic

SPARE = 2 << 30
"""Bytes of disk that a cache leaves free."""
KEPT = 4
"""Caches of one workspace that are kept; those used longest ago go first."""
_ADAPTER = ("adapter_config.json", "adapter_model.safetensors")
_STATES, _FILLED = "states.bin", "filled.npy"  # states of all rows one after the other; which rows are there


@dataclass(frozen=True)
class Place:
    """Where a cache lies, or nowhere: then it lives as long as its process, in a quarter of the free memory."""

    folder: Path | None

    @classmethod
    def of(cls, workspace: Workspace, model: LoadedModel, adapter: Path | None, rows: Sequence[Example]) -> Place:
        """The place of this teacher's states on these rows, on the base that it shares with the student."""
        facts = {
            "base": model.fingerprint,
            "loading": [str(model.base.dtype), model.loading.dtype, model.loading.quantization, model.loading.attention],
            "template": model.template.hash,
        }
        return cls.at(workspace, facts, adapter, rows)

    @classmethod
    def at(cls, workspace: Workspace, facts: Mapping[str, Any], adapter: Path | None, rows: Sequence[Example]) -> Place:
        """The place by `facts` of a model, its adapter and the rows; makes room by removing caches that were used longest ago."""
        key = fingerprint.of_value(
            {
                **facts,
                "adapter": [fingerprint.of_file(adapter / name) for name in _ADAPTER] if adapter is not None else None,
                "rows": fingerprint.of_rows([row.ids, row.prompt] for row in rows),
            }
        )
        folder = workspace.folder("cache", "teacher-states", key[: fingerprint.SHORT])
        folder.mkdir(parents=True, exist_ok=True)
        folder.touch()
        others = sorted((path for path in folder.parent.iterdir() if path != folder), key=_used)
        for old in others[: max(0, len(others) + 1 - KEPT)]:
            shutil.rmtree(old, ignore_errors=True)  # another process may be removing it too
        return cls(folder)

    def budget(self) -> int:
        """Bytes a cache may take here."""
        if self.folder is None:
            return int(psutil.virtual_memory().available // 4)
        return max(0, shutil.disk_usage(self.folder).free - SPARE)

    def held(self) -> int:
        """Bytes that a cache takes here already."""
        path = self.folder / _STATES if self.folder is not None else None
        return path.stat().st_size if path is not None and path.is_file() else 0


class TeacherStates:
    """States of rows, (tokens of the row, d_model) each, in one file that the system keeps in memory as far as it fits.

    Rows beyond the budget are not kept: their states are computed at every draw, as without a cache.
    """

    def __init__(self, tokens: Sequence[int], *, d_model: int, dtype: torch.dtype, place: Place) -> None:
        ends = list(accumulate(tokens, initial=0))
        self._spans = [slice(start, end) for start, end in pairwise(ends)]
        self._place = place
        self._file: np.memmap | None = None
        self._id: tuple[int, int] | None = None
        self._filled = np.zeros(len(tokens), dtype=bool)
        row = d_model * dtype.itemsize
        held = place.held()
        kept = min(ends[-1], (place.budget() + held) // row)
        self._kept = sum(span.stop <= kept for span in self._spans)
        raw = torch.empty(kept * row, dtype=torch.uint8) if place.folder is None or not kept else self._open(place.folder, kept * row, row)
        self._states = raw.view(dtype).view(-1, d_model)
        self.computed = 0
        """Rows the teacher ran on."""

    def _open(self, folder: Path, size: int, row: int) -> Tensor:
        """Map the file. Its room on disk is taken now: a disk that fills up later would kill a process that writes to a map."""
        folder.mkdir(parents=True, exist_ok=True)  # another process may have made room in between
        path, filled = folder / _STATES, folder / _FILLED
        with path.open("ab") as file:
            there, self._id = file.tell() // row, _identity(os.fstat(file.fileno()))
            if file.tell() < size and hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            elif file.tell() < size:
                file.truncate(size)
        self._file = np.memmap(path, dtype=np.uint8, mode="r+", shape=(size,))
        noted = np.load(filled, allow_pickle=False) if filled.is_file() else self._filled
        if len(noted) == len(self._filled):
            stored = sum(span.stop <= min(there, size // row) for span in self._spans)  # notes may have outlived the states
            self._filled[:stored] = noted[:stored]
        return torch.from_numpy(self._file)

    @property
    def room(self) -> bool:
        """Whether there is room for the states of all rows."""
        return self._kept == len(self._spans)

    def missing(self, rows: Sequence[int]) -> list[int]:
        """Those of `rows` that the teacher has not answered yet."""
        return [row for row in dict.fromkeys(rows) if not self._filled[row]]

    def read(self, row: int) -> Tensor | None:
        """States of a row, or None if they are not there."""
        return self._states[self._spans[row]] if self._filled[row] else None

    def keep(self, row: int, states: Tensor) -> Tensor:
        """Store states that were just computed, if they are within the budget; gives them as they would be read."""
        self.computed += 1
        states = states.to(self._states.dtype)
        if row < self._kept:
            self._states[self._spans[row]] = states.cpu()
            self._filled[row] = True
        return states

    def state(self) -> dict[str, Any]:
        """Which rows are there, made safe on disk first, for a snapshot.

        States depend, in their last digits, on the rows that were computed with them; so a training that goes on must find these rows and
        no others here.
        """
        self.flush()
        return {"filled": torch.from_numpy(self._filled.astype(np.uint8)), "kept": self._kept}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Forget the rows that were added after the snapshot; those that are not there any more are computed anew when they are drawn."""
        self._filled &= state["filled"].numpy().astype(bool)
        self._kept = min(self._kept, int(state["kept"]))

    def flush(self) -> None:
        """Make what is stored safe on disk; only then is it noted as stored, so that a crash leaves no row half-written.

        Nothing is noted where the file was removed meanwhile, to make room for another teacher's: notes without states would lie.
        """
        if self._file is not None and self._place.folder is not None:
            self._file.flush()
            try:
                if _identity((self._place.folder / _STATES).stat()) != self._id:
                    return
            except FileNotFoundError:
                return
            buffer = io.BytesIO()
            np.save(buffer, self._filled)
            write_atomic(self._place.folder / _FILLED, buffer.getvalue())


def _used(folder: Path) -> float:
    """When a cache was last taken into use; long ago if another process has just removed it."""
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
