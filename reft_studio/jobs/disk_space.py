"""Full disks: how much space a paused job waits for, and whether there is enough again."""

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
"""Bytes that must be free before a job resumes: enough for a checkpoint of a small adapter, the database and the logs."""
TIMES = 2
"""Multiple of the space that was free when it stopped: the size of the failed write is unknown, only that it was larger."""
NOTHING_FITS = 10**6
"""With fewer bytes free, a worker that died without a report had no space for one."""
_SAYS = ("no space left on device", "disk is full", "file too large", "quota exceeded", "os error 28", "os error 27", "os error 122")


@dataclass(frozen=True)
class Shortage:
    """The job resumes once `need` bytes are free on the disk of `disk`."""

    disk: Path
    need: int
    message: str

    @classmethod
    def of(cls, error: DiskFull) -> Shortage:
        """The shortage behind this error, with a message for the person."""
        need = max(LEAST, TIMES * error.free)
        message = (
            f"Paused: the disk at {error.disk} is full ({error.free / 1e6:,.0f} MB free for this). What was done is kept. "
            f"It goes on by itself once {need / 1e6:,.0f} MB are free there."
        )
        return cls(error.disk, need, message)

    @classmethod
    def found(cls, error: BaseException, folder: Path) -> Shortage | None:
        """The shortage behind any error of a full disk, however a library words it; None if it is none. `folder`: where the job writes."""
        for cause in _chain(error):
            if isinstance(cause, DiskFull):
                return cls.of(cause)
            if isinstance(cause, OSError) and cause.errno in NO_ROOM:
                path = Path(os.fsdecode(cause.filename)) if isinstance(cause.filename, str | bytes) else folder / "file"
                as_disk_error = disk_error(path, cause)
            elif any(words in str(cause).lower() for words in _SAYS):
                as_disk_error = disk_error(folder / "file", OSError(NO_ROOM[0], os.strerror(NO_ROOM[0])))
            else:
                continue
            return cls.of(as_disk_error) if isinstance(as_disk_error, DiskFull) else None
        return None


def lacking(folder: Path) -> Shortage | None:
    """The shortage if the disk of a folder is completely full; else None."""
    free = shutil.disk_usage(folder).free
    return None if free >= NOTHING_FITS else Shortage.found(OSError(NO_ROOM[0], os.strerror(NO_ROOM[0])), folder)


def enough(disk: Path, need: int) -> bool:
    """Whether `need` bytes are free and can be allocated by this user: free space does not show a quota."""
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
    """An error and its causes."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
