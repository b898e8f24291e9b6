"""How many may do slow work at once in the app: whoever comes too late is told so at once, instead of holding a thread that pages need."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from reft_studio.errors import PrerequisiteError


class Admission:
    """Lets `at_once` callers in, and lets `waiting` more wait up to `wait_s` seconds for their turn; anybody else is refused at once."""

    def __init__(self, what: str, *, at_once: int, waiting: int, wait_s: float) -> None:
        self._what, self._at_once, self._wait_s = what, at_once, wait_s
        self._running = threading.BoundedSemaphore(at_once)
        self._admitted = threading.BoundedSemaphore(at_once + waiting)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Do the work inside of this. Raises PrerequisiteError, which says to try again, when there are too many already."""
        if not self._admitted.acquire(blocking=False):
            raise self._refused()
        try:
            if not self._running.acquire(timeout=self._wait_s):
                raise self._refused()
            try:
                yield
            finally:
                self._running.release()
        finally:
            self._admitted.release()

    def _refused(self) -> PrerequisiteError:
        return PrerequisiteError(f"The app is busy: {self._at_once} {self._what} at once are the most. Try again in a few seconds.")
