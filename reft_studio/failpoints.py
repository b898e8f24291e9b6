"""Places where a test or a benchmark can kill the process: `REFT_STUDIO_FAILPOINT=write.before:3` ends it at the third time there.

Outside of tests this costs one look at a variable. A failpoint kills as `kill -9` does: no clean-up runs.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

VARIABLE = "REFT_STUDIO_FAILPOINT"
NAMES = (
    "write.before",
    "write.after",
    "publish.before",
    "publish.between",
    "publish.after",
    "discard.between",
    "removal.between",
    "seal.before",
    "lines.torn",
    "journal.torn",
    "event.torn",
    "checkpoint.before",
    "checkpoint.pruned",
    "training.step",
    "training.finished",
)
_passed: dict[str, int] = {}


def failpoint(name: str) -> None:
    """End the process here if the variable says so. It counts from when the variable got its value."""
    if not _next_is(name):
        return
    _note(os.environ[VARIABLE])
    os.kill(os.getpid(), signal.SIGKILL)


def torn_at(name: str, file: int, data: bytes) -> None:
    """`failpoint` that first writes half of `data` to the open file, as a process does that dies while it writes."""
    if _next_is(name):
        os.write(file, data[: len(data) // 2])
        _note(os.environ[VARIABLE])
        os.kill(os.getpid(), signal.SIGKILL)


def _next_is(name: str) -> bool:
    """Count one more time at `name`; whether it is the one to die at."""
    wanted = os.environ.get(VARIABLE)
    if wanted is None or wanted.partition(":")[0] != name:
        return False
    _passed[wanted] = _passed.get(wanted, 0) + 1
    return _passed[wanted] == int(wanted.partition(":")[2] or 1)


def _note(wanted: str) -> None:
    """Leave word that the point was reached, where the variable with `_LOG` says, for whoever counts."""
    if log := os.environ.get(f"{VARIABLE}_LOG"):
        with Path(log).open("a") as file:
            file.write(f"{wanted}\n")
