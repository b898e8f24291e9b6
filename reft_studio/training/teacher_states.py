"""The teacher's final hidden states on alignment rows: computed when a row is first drawn, cached for later draws and runs.

States after the final norm are exact for any temperature and weight, at d_model numbers per token instead of a vocabulary
(docs/methods.md). They are valid for one base in one number format, one adapter, one template and the exact tokens of the rows;
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
"""Caches kept per workspace; the least recently used are deleted first."""
_ADAPTER = ("adapter_config.json", "adapter_model.safetensors")
_STATES, _FILLED = "states.bin", "filled.npy"  # states of all rows one after the other; which rows are there


@dataclass(frozen=True)
class CacheLocation:
    """Where a cache is stored; without a folder, in a quarter of the free memory for the lifetime of the process."""

    folder: Path | None

    @classmethod
    def of(cls, workspace: Workspace, model: LoadedModel, adapter: Path | None, rows: Sequence[Example]) -> CacheLocation:
        """The location of this teacher's states of these rows, on the base that it shares with the student."""
        facts = {
            "base": model.fingerprint,
            "loading": [str(model.base.dtype), model.loading.dtype, model.loading.quantization, model.loading.attention],
            "template": model.template.hash,
        }
        return cls.at(workspace, facts, adapter, rows)

    @classmethod
    def at(cls, workspace: Workspace, facts: Mapping[str, Any], adapter: Path | None, rows: Sequence[Example]) -> CacheLocation:
        """The location for a model's `facts`, its adapter and the rows; deletes the least recently used caches beyond KEPT."""
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
        """Bytes a cache may still take here."""
        if self.folder is None:
            return int(psutil.virtual_memory().available // 4)
        return max(0, shutil.disk_usage(self.folder).free - SPARE)

    def stored_bytes(self) -> int:
        """Bytes that a cache takes here already."""
        path = self.folder / _STATES if self.folder is not None else None
        return path.stat().st_size if path is not None and path.is_file() else 0


class TeacherStates:
    """States of rows, (tokens of the row, d_model) each, in one memory-mapped file.

    Rows beyond the budget are not cached: their states are computed at every draw.
    """

    def __init__(self, tokens: Sequence[int], *, d_model: int, dtype: torch.dtype, location: CacheLocation) -> None:
        ends = list(accumulate(tokens, initial=0))
        self._spans = [slice(start, end) for start, end in pairwise(ends)]
        self._place = location
        self._file: np.memmap | None = None
        self._id: tuple[int, int] | None = None
        self._filled = np.zeros(len(tokens), dtype=bool)
        row = d_model * dtype.itemsize
        stored = location.stored_bytes()
        kept = min(ends[-1], (location.budget() + stored) // row)
        self._kept = sum(span.stop <= kept for span in self._spans)
        raw = (
            torch.empty(kept * row, dtype=torch.uint8)
            if location.folder is None or not kept
            else self._open(location.folder, kept * row, row)
        )
        self._states = raw.view(dtype).view(-1, d_model)
        self.computed = 0
        """Rows the teacher ran on."""

    def _open(self, folder: Path, size: int, row: int) -> Tensor:
        """Map the file. Its disk space is allocated now: a full disk would kill a process that writes to a map."""
        folder.mkdir(parents=True, exist_ok=True)  # another process may have made room in between
        path, filled = folder / _STATES, folder / _FILLED
        with path.open("ab") as file:
            rows_stored, self._id = file.tell() // row, _identity(os.fstat(file.fileno()))
            if file.tell() < size and hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            elif file.tell() < size:
                file.truncate(size)
        self._file = np.memmap(path, dtype=np.uint8, mode="r+", shape=(size,))
        recorded = np.load(filled, allow_pickle=False) if filled.is_file() else self._filled
        if len(recorded) == len(self._filled):
            stored = sum(span.stop <= min(rows_stored, size // row) for span in self._spans)  # notes may have outlived the states
            self._filled[:stored] = recorded[:stored]
        return torch.from_numpy(self._file)

    @property
    def room(self) -> bool:
        """Whether the states of all rows fit."""
        return self._kept == len(self._spans)

    def missing(self, rows: Sequence[int]) -> list[int]:
        """Those of `rows` that have no states yet."""
        return [row for row in dict.fromkeys(rows) if not self._filled[row]]

    def read(self, row: int) -> Tensor | None:
        """States of a row, or None if there are none."""
        return self._states[self._spans[row]] if self._filled[row] else None

    def keep(self, row: int, states: Tensor) -> Tensor:
        """Store new states, if they are within the budget; returns them as they would be read."""
        self.computed += 1
        states = states.to(self._states.dtype)
        if row < self._kept:
            self._states[self._spans[row]] = states.cpu()
            self._filled[row] = True
        return states

    def state(self) -> dict[str, Any]:
        """The rows that have states, flushed to disk first, for a snapshot.

        The last digits of states depend on the rows batched with them, so a resumed training must find these rows and no others.
        """
        self.flush()
        return {"filled": torch.from_numpy(self._filled.astype(np.uint8)), "kept": self._kept}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Forget rows added after the snapshot; rows that are gone since are recomputed when drawn."""
        self._filled &= state["filled"].numpy().astype(bool)
        self._kept = min(self._kept, int(state["kept"]))

    def flush(self) -> None:
        """Flush states to disk, then record which rows have states, so that a crash leaves no row half-written.

        Nothing is recorded if the file was deleted meanwhile, to make room for another teacher's.
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
    """When a cache was last used; long ago if another process has just deleted it."""
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
