"""A job as code: a function of a context and its parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol

from reft_studio.progress import Progress
from reft_studio.workspace import Workspace

JobState = Literal["queued", "running", "paused", "done", "failed", "cancelled", "interrupted"]
LIVE = ("queued", "running", "paused")
"""States of a job that has not ended."""


class JobCancelled(BaseException):
    """The job must stop now: a person cancelled it, or see JobPaused.

    Not an Exception, so that no `except Exception` on the way swallows it; clean-up in `finally` and `with` runs.
    """


class JobPaused(JobCancelled):
    """The job must stop now and resumes later: a person paused it, chat needs its device, or the system stops the process."""


class JobContext(Progress, Protocol):
    """Services for a job. `progress` and `check` raise JobCancelled; call one of them at least every few seconds.

    They raise StopEarly, once, if a person asked to end a training and keep its result. `anew`: checkpoints and the like of an earlier
    attempt are to be deleted. `expect` sets the remaining time of the whole job, for one that knows better than the rate of a stage (None:
    unknown); from then on the rate is not used.
    """

    @property
    def workspace(self) -> Workspace: ...
    @property
    def job_id(self) -> str: ...
    @property
    def anew(self) -> bool: ...
    def expect(self, seconds: float | None) -> None: ...


JobFunction = Callable[[JobContext, dict[str, Any]], dict[str, Any]]
"""Takes JSON parameters, returns a JSON result."""
