"""Whether a model fits into this machine's memory, told before a job is queued; from headers, without loading anything."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from reft_studio.errors import PrerequisiteError
from reft_studio.models import memory
from reft_studio.models.catalogue import CATALOGUE
from reft_studio.models.memory import HostBytes, MemoryWork, Room
from reft_studio.models.source import ModelSource, locate, offline
from reft_studio.models.spec import LoadSpec
from reft_studio.teacher.spec import TeacherSpec

_KEPT_S = 10.0
"""A form is planned anew at every change; what was looked up lately holds for all of them."""


@dataclass(frozen=True)
class HostMemory:
    """What work on a GPU takes of the machine's own memory, which other programs use too."""

    needed: HostBytes
    space: Room

    @property
    def warning(self) -> str:
        """A sentence if there is less free than that; empty if there is enough."""
        wanted, free = (f"{size / memory.GB:.1f} GB" for size in (self.needed.total, self.space.free))
        if self.needed.total <= self.space.free:
            return ""
        of_rows = self.needed.rows > self.needed.total / 2
        remedy = "Train on fewer rows, or close other programs" if of_rows else "Close other programs"
        return f"Beside the GPU it takes about {wanted} of the machine's own memory, of which {free} are free. {remedy}."


@dataclass(frozen=True)
class Fit:
    """`memory` like "about 15.0 GB of 141.0 GB on cuda:0", empty if it is not known; `warning` if full-length rows may not fit.

    `most` (bytes, with full-length rows) and `space` say the same in numbers.
    """

    memory: str = ""
    warning: str = ""
    most: float = 0.0
    space: Room | None = None
    refused: str = ""
    """Why it surely does not fit; empty if it may."""
    host: HostMemory | None = None
    """The machine's own memory, of work on a GPU."""

    @property
    def warnings(self) -> list[str]:
        """What speaks against it, if anything does."""
        return [text for text in (self.refused, self.warning, self.host.warning if self.host else "") if text]


UNKNOWN = Fit()


def fit(model: str, loading: LoadSpec, work: MemoryWork | None = None) -> Fit:
    """Compare a model and its work with free memory. Raises PrerequisiteError, with what would fit, if they surely do not.

    A model that is not on this disk is not known here: the job that opens it says what is missing, or measures it before it downloads it.
    """
    now = int(time.monotonic() / _KEPT_S)
    found, space = _found(model, loading.revision, now), _room(loading.device, now)
    if found is None or space is None:
        return UNKNOWN
    needed = memory.check(found, loading, space, work=work)
    warning = memory.warning(found, loading, space, work=work) if work else ""
    return Fit(memory.summary(found, loading, space, work=work), warning, needed.most, space, host=_host(found, space, work, now))


def may_fit(model: str, loading: LoadSpec, work: MemoryWork) -> Fit:
    """`fit` for a form that can still be changed: what surely does not fit is said in `refused`."""
    try:
        return fit(model, loading, work)
    except PrerequisiteError as exc:
        now = int(time.monotonic() / _KEPT_S)
        found, space = _found(model, loading.revision, now), _room(loading.device, now)
        if found is None or space is None:
            return Fit(refused=str(exc))
        most = memory.need(found, loading, cuda=space.device.startswith("cuda"), work=work).most
        return Fit("", "", most, space, refused=str(exc), host=_host(found, space, work, now))


def at_hand(model: str, loading: LoadSpec) -> ModelSource | None:
    """The headers of a model that is on this machine."""
    return _found(model, loading.revision, int(time.monotonic() / _KEPT_S))


def be_there(model: str, loading: LoadSpec) -> None:
    """Raises PrerequisiteError if a model is missing or damaged and no download could help."""
    try:
        locate(model, revision=loading.revision, network=False)
    except PrerequisiteError:
        if model in CATALOGUE or offline() or _is_path(model):
            raise


def fit_teacher(spec: TeacherSpec) -> Fit:
    """`fit` for the preparation of a teacher; a ready one is only read, not trained. Raises PrerequisiteError as `be_there` too."""
    be_there(spec.model, spec.loading)
    return fit(spec.model, spec.loading, MemoryWork.training(spec.optim, spec.lora) if spec.kind == "trained" else None)


@lru_cache(maxsize=16)
def _found(model: str, revision: str | None, now: int) -> ModelSource | None:
    try:
        return locate(model, revision=revision, network=False)
    except PrerequisiteError:
        return None


def _host(found: ModelSource, space: Room, work: MemoryWork | None, now: int) -> HostMemory | None:
    """The machine's own memory beside a GPU; elsewhere it is the model's own, and told there."""
    own = _room("cpu", now) if work is not None and space.device.startswith("cuda") else None
    return HostMemory(memory.host_memory(found, work=work), own) if own and work else None


def _is_path(model: str) -> bool:
    return model.startswith(("/", ".", "~")) or "\\" in model or Path(model).exists()


@lru_cache(maxsize=8)
def _room(device: str, now: int) -> Room | None:
    return memory.room(device)
