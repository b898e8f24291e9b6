"""What can go wrong, one class per *reaction* of the person in front of the screen.

Anything that is not one of these is our own bug and keeps its traceback.
"""

from __future__ import annotations

from pathlib import Path

OUT_OF_MEMORY = "The memory of this machine was not enough. Use a smaller batch, fewer rows or a smaller model."


def is_out_of_memory(exc: BaseException) -> bool:
    """Whether memory ran out, of the machine or of an accelerator (torch says so with a RuntimeError)."""
    told = str(exc).lower()
    return isinstance(exc, MemoryError) or (isinstance(exc, RuntimeError) and ("out of memory" in told or "can't allocate memory" in told))


class StudioError(Exception):
    """A problem a person can act on: what is wrong, the value seen, what is allowed, what to do.

    The message is shown as it is, so it never holds text from a dataset.
    """

    code = "RS-000"


class PrerequisiteError(StudioError):
    """Something outside the app is missing: a package, memory, disk, a model folder, a free port."""

    code = "RS-PRE"


class DiskFull(PrerequisiteError):
    """Nothing more fits on a disk, or none of it is left to this user. A job that meets it pauses until there is room.

    `disk` is the top folder of the disk, `free` the bytes that were free on it: 0 where a quota or a limit of file sizes refused.
    """

    def __init__(self, message: str, *, disk: Path, free: int) -> None:
        super().__init__(message)
        self.disk, self.free = disk, free


class DataError(StudioError):
    """A file or a row cannot be read as what it claims to be."""

    code = "RS-DATA"


class SpecError(StudioError):
    """A setting is out of range, or two settings contradict each other."""

    code = "RS-SPEC"


class TrainingError(StudioError):
    """Training cannot go on: non-finite loss, nothing left to train on, teacher and base do not match."""

    code = "RS-TRAIN"


class EvaluationError(StudioError):
    """Outputs cannot be graded or compared."""

    code = "RS-EVAL"


class StoreError(StudioError):
    """A stored file is missing, damaged or of another version."""

    code = "RS-STORE"
