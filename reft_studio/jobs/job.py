"""What a job is to the code that does it: a function of a context and its parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol

from reft_studio.progress import Progress
from reft_studio.workspace import Workspace

JobState = Literal["queued", "running", "done", "failed", "cancelled", "interrupted"]
LIVE = ("queued", "running")


class JobCancelled(BaseException):
    """The person cancelled the job, or the system asked the process to stop.

    Not an Exception, so that no `except Exception` on the way swallows it; clean-up in `finally` and `with` runs.
    """


class JobContext(Progress, Protocol):
    """What a job may use. `progress` and `check` raise JobCancelled; call one of them at least every few seconds."""

    @property
    def workspace(self) -> Workspace: ...
    @property
    def job_id(self) -> str: ...


JobFunction = Callable[[JobContext, dict[str, Any]], dict[str, Any]]
"""Takes JSON parameters, gives a JSON result."""
