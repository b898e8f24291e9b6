"""What reading a file of a stranger may cost a process: memory and processor time, watched from inside of it."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MEMORY_EXIT, TIME_EXIT = 70, 71
"""Exit codes of a process that ended itself because a budget was spent."""
LEAN = {"ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
"""Environment of such a process: without it a gigabyte is reserved that nobody uses, and a limit could not tell."""
_LOOK_S = 0.02
_STATM = Path("/proc/self/statm")


def limit_memory(limit: int) -> None:
    """Let this process have at most `limit` bytes of memory of its own; more is refused as MemoryError. Nothing on Windows."""
    try:
        import resource
    except ImportError:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


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
