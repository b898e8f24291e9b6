"""Who holds a device, for how much longer, and how chat and jobs give it to each other."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

from reft_studio.chat.host import IDLE_S, WANTED_S, ModelHost
from reft_studio.errors import SpecError, StoreError
from reft_studio.jobs import devices, lease
from reft_studio.jobs.queue import JobQueue
from reft_studio.jobs.view import JobView
from reft_studio.workspace import Workspace

Way = Literal["beside", "wait", "pause"]
"""While a job holds the device, chat answers beside it, waits for its end, or has it pause and go on afterwards."""
WAYS: tuple[Way, ...] = ("beside", "wait", "pause")
WHOLE = ("demo",)
"""Kinds whose remaining time is that of all their stages."""
_SAID_S = 300.0
"""How long the page says that the device was given back."""
_WORDS = {"run": "Training", "evaluate": "Evaluating", "teacher": "Teacher:", "score": "Scoring:"}


@dataclass(frozen=True)
class Holding:
    """Who holds a device. `job` is None while chat does; `left_s` is None where it is not known yet.

    `left_s` is the time left of `stage`, or of the whole job where that is empty.
    """

    device: str
    title: str
    job: JobView | None
    since: float
    left_s: float | None
    stage: str

    @property
    def is_processor(self) -> bool:
        """Whether it is the machine's own processor, no accelerator."""
        return self.device == devices.CPU

    @property
    def sentence(self) -> str:
        """Like: Training “SST-2, Ref-Teacher” holds the GPU, about 6 min left."""
        if self.job is None:
            return f"Chat holds {self.title} since {time.strftime('%H:%M', time.localtime(self.since))}."
        word = _WORDS.get(self.job.kind, "")
        left = "" if self.left_s is None else f", about {_time(self.left_s)} left{self.stage}"
        return f"{word} “{self.job.title}” holds {self.title}{left}.".strip()


class Device:
    """The devices of one workspace's jobs and chat."""

    def __init__(self, workspace: Workspace, jobs: JobQueue, host: ModelHost) -> None:
        self.workspace, self.jobs, self.host = workspace, jobs, host
        self._given_back = ("", 0.0)

    def holders(self) -> list[Holding]:
        """Who holds what now; devices that nobody holds are left out."""
        found = ((name, lease.holder(self.workspace, name)) for name in dict.fromkeys((*devices.devices(), devices.CPU)))
        return [self._holding(name, holder) for name, holder in found if holder is not None]

    def of_chat(self) -> Holding | None:
        """Who holds the device that chat uses, or would use; None if it is free."""
        names = [self.host.device] if self.host.alive else list(devices.devices())
        held = {one.device: one for one in self.holders()}
        return held[names[0]] if all(name in held for name in names) else None

    def waiting(self) -> list[JobView]:
        """Jobs that wait for the device that chat has."""
        return [job for job in self.jobs.list(0) if job.waits == "device" and job.device == self.host.device]

    @property
    def given_back(self) -> str:
        """That chat gave its device back a short while ago, and why; empty if it did not."""
        told, at = self._given_back
        return told if time.time() - at < _SAID_S else ""

    def give_back(self) -> None:
        """Let chat give its device back now. Raises SpecError while it answers."""
        if self.host.busy:
            raise SpecError("Chat is answering now. Stop the answer first, or wait for its end.")
        if self.host.alive:
            self.host.release()
            self._say("as you asked")

    def tend(self) -> None:
        """Let chat give its device back if it is idle: after a minute where a job wants it, else after ten. Called at each tick."""
        if not self.host.alive:
            return
        wanted = any(job.state == "running" and job.device == self.host.device for job in self.jobs.list(0))
        if self.host.release_if_idle(wanted=wanted):
            minutes = round((WANTED_S if wanted else IDLE_S) / 60)
            self._say(f"after {minutes} minute{'s' * (minutes != 1)} without a prompt" + (", because a job waits for it" if wanted else ""))

    def _say(self, why: str) -> None:
        self._given_back = (f"Chat gave {devices.title(self.host.device)} back at {time.strftime('%H:%M')}, {why}.", time.time())

    def _holding(self, name: str, holder: lease.Holder) -> Holding:
        job = None
        if holder.job is not None:
            try:
                job = self.jobs.get(holder.job)
            except StoreError:
                job = None  # of a workspace that was put in place of another
        last = job is None or job.kind in WHOLE or job.stage_index >= job.stage_count
        stage = "" if job is None or last else f" of stage {job.stage_index} of {job.stage_count}"
        return Holding(name, devices.title(name), job, holder.since, job.eta_s if job else None, stage)


def _time(seconds: float) -> str:
    """`40 s`, `6 min`, `2.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
