"""Puts the product's own network guard over every Python process of the tests, and notes attempts in a file.

Python imports a module of this name by itself if its folder is on PYTHONPATH: so workers are guarded before any other code runs.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

LOG_VARIABLE = "REFT_STUDIO_NETWORK_LOG"
"""Environment variable with the file that attempts are appended to, one a line."""


def note(attempt: str) -> None:
    """Append an attempt, with the program that made it, to the log of the test run."""
    with open(os.environ[LOG_VARIABLE], "a", encoding="utf-8") as file:
        file.write(f"{attempt} by {' '.join(sys.argv[:3])[:200]}\n")


# By path: a child process may run in a folder from which the package cannot be imported.
_path = Path(__file__).resolve().parents[2] / "reft_studio" / "offline.py"
_spec = importlib.util.spec_from_file_location("reft_studio_offline_guard", _path)
assert _spec is not None and _spec.loader is not None
guard = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(guard)
guard.enforce(note)
