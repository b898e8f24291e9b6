"""Time that a busy machine does not stretch: CPU time of this process on one thread, or the clock of a GPU."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def now() -> float:
    """Milliseconds; differences are what counts."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return 1000 * time.perf_counter()
    return 1000 * time.process_time()


@contextmanager
def one_thread() -> Iterator[None]:
    """On a CPU both sides of a race compute on one thread, whose time other programs cannot disturb much."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
