"""A disk without room: what a job that met it waits for, and whether there is room again."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reft_studio.errors import DiskFull
from reft_studio.workspace import NO_ROOM, disk_error

LEAST = 64 * 10**6
"""Bytes that must be free before a job goes on: enough for a checkpoint of a small adapter, the database and the logs."""
TIMES = 2
"""So many times what was free when it stopped: what it wanted to write is not known, only that it was more than that."""
NOTHING_FITS = 10**6
"""With less than this free, a worker that ended without a word had no room for one."""
_SAYS = ("no space left on device", "disk is full", "file too large", "quota exceeded", "os error 28", "os error 27", "os error 122")


@dataclass(frozen=True)
class Shortage:
    """The job goes on once `need` bytes are free on the disk at `disk`."""

    disk: Path
    need: int
    message: str

    @classmethod
    def of(cls, error: DiskFull) -> Shortage:
        """What a job that met this error waits for, said to the person."""
        need = max(LEAST, TIMES * error.free)
        message = (
            f"Paused: the disk at {error.disk} is full ({error.free / 1e6:,.0f} MB free for this). What was done is kept. "
            f"It goes on by itself once {need / 1e6:,.0f} MB are free there."
        )
        return cls(error.disk, need, message)

    @classmethod
    def found(cls, error: BaseException, folder: Path) -> Shortage | None:
        """The same for any error that a full disk is behind, however a library words it; None if none is. `folder`: where it works."""
        for one in _chain(error):
            if isinstance(one, DiskFull):
                return cls.of(one)
            if isinstance(one, OSError) and one.errno in NO_ROOM:
                named = Path(os.fsdecode(one.filename)) if isinstance(one.filename, str | bytes) else folder / "file"
                made = disk_error(named, one)
            elif any(words in str(one).lower() for words in _SAYS):
                made = disk_error(folder / "file", OSError(NO_ROOM[0], os.strerror(NO_ROOM[0])))
            else:
                continue
            return cls.of(made) if isinstance(made, DiskFull) else None
        return None


def lacking(folder: Path) -> Shortage | None:
    """What a job waits for where nothing at all fits on the disk of a folder; None where something does."""
    free = shutil.disk_usage(folder).free
    return None if free >= NOTHING_FITS else Shortage.found(OSError(NO_ROOM[0], os.strerror(NO_ROOM[0])), folder)


def enough(disk: Path, need: int) -> bool:
    """Whether `need` bytes are free, and the system lets this user have some: a quota does not show in what is free."""
    try:
        if shutil.disk_usage(disk).free < need:
            return False
        with tempfile.TemporaryFile(dir=disk) as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, min(need, LEAST))
    except OSError as exc:
        return exc.errno not in NO_ROOM  # a disk whose top folder takes no file of ours is judged by what is free
    return True


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and those it came from."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
