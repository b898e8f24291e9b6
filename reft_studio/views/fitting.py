"""Whether a model fits into this machine's memory, told before a job is queued; from headers, without loading anything."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache

from reft_studio.errors import PrerequisiteError
from reft_studio.models import memory
from reft_studio.models.memory import Room, Work
from reft_studio.models.source import Source, locate
from reft_studio.models.spec import LoadSpec
from reft_studio.teacher.spec import TeacherSpec

_KEPT_S = 10.0
"""A form is planned anew at every change; what was looked up lately holds for all of them."""


@dataclass(frozen=True)
class Fit:
    """`memory` like "about 15.0 GB of 141.0 GB on cuda:0", empty if it is not known; `warning` if full-length rows may not fit."""

    memory: str = ""
    warning: str = ""
    most: float = 0.0
    """Bytes with full-length rows."""


def fit(model: str, loading: LoadSpec, work: Work | None = None) -> Fit:
    """Compare a model and its work with free memory. Raises PrerequisiteError, with what would fit, if they surely do not.

    A model of the hub that is not on this disk yet is not known here: the job measures it before it downloads it.
    """
    now = int(time.monotonic() / _KEPT_S)
    found, space = _found(model, loading.revision, now), _room(loading.device, now)
    if found is None or space is None:
        return Fit()
    needed = memory.check(found, loading, space, work=work)
    warning = memory.warning(found, loading, space, work=work) if work else ""
    return Fit(memory.summary(found, loading, space, work=work), warning, needed.most)


def fit_teacher(spec: TeacherSpec) -> Fit:
    """`fit` for the preparation of a teacher; a ready one is only read, not trained."""
    return fit(spec.model, spec.loading, Work.training(spec.optim, spec.lora) if spec.kind == "trained" else None)


@lru_cache(maxsize=16)
def _found(model: str, revision: str | None, now: int) -> Source | None:
    try:
        return locate(model, revision=revision, network=False)
    except PrerequisiteError:  # missing or damaged: the job that opens it says which, with what to do
        return None


@lru_cache(maxsize=8)
def _room(device: str, now: int) -> Room | None:
    return memory.room(device)
