"""What a job is to the code that does it: a function of a context and its parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol

from reft_studio.progress import Progress
from reft_studio.workspace import Workspace

JobState = Literal["queued", "running", "paused", "done", "failed", "cancelled", "interrupted"]
LIVE = ("queued", "running", "paused")
"""States of a job that has not ended."""


class JobCancelled(BaseException):
    """The job is to stop now: a person cancelled it, or see JobPaused.

    Not an Exception, so that no `except Exception` on the way swallows it; clean-up in `finally` and `with` runs.
    """


class JobPaused(JobCancelled):
    """The job is to stop now and goes on later: a person paused it, chat needs its device, or the system stops the process."""


class JobContext(Progress, Protocol):
    """What a job may use. `progress` and `check` raise JobCancelled; call one of them at least every few seconds.

    They raise StopEarly, once, where a person asked a training to end and keep what was learnt. `anew`: what an earlier attempt kept,
    like a checkpoint, is to be forgotten. `expect` says how long the whole job still takes, for one that knows better than the pace of a
    stage tells (None: not known); from then on the pace is not asked.
    """

    @property
    def workspace(self) -> Workspace: ...
    @property
    def job_id(self) -> str: ...
    @property
    def anew(self) -> bool: ...
    def expect(self, seconds: float | None) -> None: ...


JobFunction = Callable[[JobContext, dict[str, Any]], dict[str, Any]]
"""Takes JSON parameters, gives a JSON result."""
