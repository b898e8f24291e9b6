"""What can go wrong, one class per *reaction* of the person in front of the screen.

Anything that is not one of these is our own bug and keeps its traceback.
"""

from __future__ import annotations

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
