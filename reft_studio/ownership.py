"""Which of several apps may write into a workspace: the first. A lock of the system says so, and ends with the process that holds it."""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from contextlib import suppress
from pathlib import Path

from reft_studio.errors import StoreError

FILE = "app.lock"


class Ownership:
    """The claim of one app on the workspace at `root`. An app that comes second takes over as soon as the first one has ended."""

    def __init__(self, root: Path) -> None:
        self._path = root / FILE
        self._file: int | None = None
        self._refused = ""
        """Why the disk lets nobody take the workspace; empty where that is not so."""
        self._lock = threading.Lock()

    def mine(self) -> bool:
        """Whether this app may write; takes the workspace if nobody has it."""
        with self._lock:
            if self._file is None:
                self._file = self._taken()
            return self._file is not None

    def require(self) -> None:
        """Raise StoreError, which says who writes, unless this app does."""
        if not self.mine():
            raise StoreError(f"Nothing was changed: {self.other()}")

    def other(self) -> str:
        """Who has the workspace, in a sentence for people."""
        if self._refused:
            return f"this workspace cannot be written to ({self._refused}), so this app only reads. Mend that, or choose another workspace."
        pid = since = None
        with suppress(OSError, ValueError, KeyError, TypeError):  # written in this instant: it is there all the same
            found = json.loads(self._path.read_bytes())
            pid, since = int(found["pid"]), time.strftime("%H:%M", time.localtime(found["since"]))
        whose = f"process {pid}, since {since}" if pid else "another process"
        return f"this workspace is open in another app ({whose}), so this one only reads. Use that one, or end it: this one goes on then."

    def release(self) -> None:
        """Let another app have the workspace."""
        with self._lock:
            if self._file is not None:
                os.close(self._file)  # also unlocks
                self._file = None

    def _taken(self) -> int | None:
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)  # not inherited by workers, which outlive the app
        except OSError as exc:  # a disk that is read only: nobody can write, and this app reads
            self._refused = exc.strerror or str(exc)
            return None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            os.close(file)
            self._refused = "" if isinstance(exc, BlockingIOError) else exc.strerror or str(exc)
            return None
        with suppress(OSError):  # on a full disk nobody can read who has it, but it is taken
            os.truncate(file, 0)
            os.pwrite(file, json.dumps({"pid": os.getpid(), "since": time.time()}).encode("ascii"), 0)
        return file
