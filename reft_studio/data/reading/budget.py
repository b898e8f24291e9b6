"""What reading a file of a stranger may cost a process: memory and processor time, watched from inside of it."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from reft_studio.errors import DataError

MEMORY_EXIT, TIME_EXIT = 70, 71
"""Exit codes of a process that ended itself because a budget was spent."""
LEAN = {"ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
"""Environment of such a process: without it a gigabyte is reserved that nobody uses, and a limit could not tell."""
IMPORT_MEMORY = 4 << 30
"""Bytes that an import may have, each process of it; ten million rows take a tenth."""
_LOOK_S = 0.02
_STATM = Path("/proc/self/statm")


def limit_memory(limit: int) -> Callable[[], None]:
    """Let this process have at most `limit` bytes of memory of its own; more is refused as MemoryError. Nothing on Windows.

    Returns what takes the limit back.
    """
    try:
        import resource
    except ImportError:
        return lambda: None
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))  # it would hold what was read
    return lambda: resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


@contextmanager
def importing(name: str) -> Iterator[None]:
    """Give this process, and those it starts, the memory of an import. Raises DataError where that is not enough."""
    unlimited = limit_memory(IMPORT_MEMORY)
    try:
        yield
    except MemoryError as exc:
        raise DataError(
            f"{name} needs more memory to be imported than the limit of {IMPORT_MEMORY >> 30} GB: it may be made to exhaust the memory. "
            "Save the rows as JSON Lines, or import it in parts."
        ) from exc
    finally:
        unlimited()


def resident_memory() -> int:
    """Bytes of memory that this process takes now; 0 where the system does not tell."""
    try:
        return int(_STATM.read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # not Linux
        return _peak_memory()


def _peak_memory() -> int:
    """The most it has had. Not asked on Linux, where a process starts with the peak of the one that started it."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10


@contextmanager
def watched(*, memory: int, seconds: float) -> Iterator[None]:
    """End this process at once when it takes more than `memory` bytes or has used `seconds` of processor time inside the block.

    For what no limit of the system stops: a regular expression, a loop in C, a system that has no limit for memory.
    """
    done = threading.Event()
    begin = time.process_time()

    def watch() -> None:
        while not done.wait(_LOOK_S):
            if resident_memory() > memory:
                os._exit(MEMORY_EXIT)
            if time.process_time() - begin > seconds:
                os._exit(TIME_EXIT)

    watcher = threading.Thread(target=watch, name="budget", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
