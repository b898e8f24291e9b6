"""Models of this machine for pages and command line: what is here, what could be, adding and removing; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from reft_studio import offline
from reft_studio.errors import PrerequisiteError
from reft_studio.jobs.job import LIVE
from reft_studio.jobs.queue import JobQueue
from reft_studio.models import memory, shelf, speed
from reft_studio.models.adding import ModelRequest, resolve_request
from reft_studio.models.catalogue import CATALOGUE, DEFAULT, Entry, Wheel, entry_of
from reft_studio.models.shelf import ShelfModel as ShelfModel
from reft_studio.models.source import MissingModel as MissingModel
from reft_studio.models.source import locate
from reft_studio.models.spec import DEFAULT as ANY
from reft_studio.models.spec import LoadSpec
from reft_studio.studio.foreign_teacher import guides_of
from reft_studio.studio.memory import be_there, fit
from reft_studio.teacher.spec import source_of as source_of
from reft_studio.teacher.teacher import TeacherInfo

JOB = "add_model"
PROMPTS = 1000
"""The time of a model is told for so many prompts."""
NOT_WANTED = "It was left out with --no-model."
REMOVED = "It was removed."
OFFLINE = "HF_HUB_OFFLINE is set to 1, so nothing was fetched."


@dataclass(frozen=True)
class Offer:
    """A model of the list: on this machine (`here`), or one that could be."""

    name: str
    title: str
    here: bool
    source: str
    size: int
    """Bytes of its weights on disk."""
    download: int
    """Bytes to fetch; 0 if it is here."""
    parameters: int
    licence: str
    languages: str
    kind: str
    gated: bool
    fits: bool | None
    """Whether its weights fit into the memory that is free now; None if that is not known."""
    seconds: float | None
    """For PROMPTS usual prompts on this machine; None if not known."""
    measured: bool
    """Whether `seconds` was measured with this model, or estimated from another one's."""
    broken: bool = False
    """Whether it is on the list of this machine, but its files are gone."""


@dataclass(frozen=True)
class FirstModel:
    """How the model that set-up brings stands: here, being fetched, or not, with the reason."""

    name: str
    state: Literal["here", "fetching", "absent"]
    reason: str
    download: int


class Models:
    """The shelf, with the queue that fills it."""

    def __init__(self, jobs: JobQueue) -> None:
        self._jobs = jobs

    def offers(self) -> list[Offer]:
        """What is on this machine, then what else the catalogue has."""
        here = shelf.models()
        space = memory.room()
        known = [(model.parameters, model.speed) for model in here if model.speed]
        names = {model.name for model in here}
        listed = [_of_model(model, space, known) for model in here]
        return listed + [_of_entry(entry, space, known) for entry in CATALOGUE.values() if entry.name not in names]

    def names(self) -> list[str]:
        """Bases that can be chosen by name: the lab, and the models of this machine."""
        return ["lab", *shelf.names()]

    def guides(self, teachers: Sequence[TeacherInfo]) -> list[tuple[str, TeacherInfo]]:
        """Bases of the shelf and of `teachers`, each with those of these teachers that are another model with its tokens."""
        bases = dict.fromkeys([*shelf.names(), *(one.model for one in teachers)])
        return [(base, one) for base in bases for one in guides_of(base, teachers)]

    def show(self, name: str) -> ShelfModel | Entry:
        """One model of this machine or of the catalogue. Raises SpecError if there is none."""
        model = shelf.find(name)
        return model if model is not None else CATALOGUE.get(name) or shelf.unknown(name)

    def look(self, source: str, name: str | None = None) -> ModelRequest:
        """Check what somebody wants to add, as far as headers tell. Raises StudioErrors with what to do."""
        return resolve_request(source, name)

    def add(self, source: str, *, name: str | None = None, dtype: str = "auto", by_itself: bool = False) -> str:
        """Queue the addition; returns the job, the one at work if there is one for this model. Raises StudioErrors with what to do."""
        request = resolve_request(source, name)
        working = self.working(request.name)
        if working is not None:
            return working
        if not by_itself:
            shelf.forget_decline(request.name)
        params: dict[str, Any] = {"source": request.source, "name": request.name, "dtype": dtype, "by_itself": request.name == DEFAULT}
        if request.asks_hub:
            params[offline.ASKED] = True
        return self._jobs.submit(JOB, params, title=f"Add {request.title}")

    def working(self, name: str) -> str | None:
        """The live job that adds this model; None if there is none."""
        live = (job for job in self._jobs.list(0) if job.kind == JOB and job.state in LIVE)
        return next((job.id for job in live if job.params.get("name") == name), None)

    def working_on(self, source: str) -> str | None:
        """The live job that adds what a name or Hub id means; None if there is none."""
        entry = entry_of(source)
        return self.working(entry.name if entry else shelf.name_from(source))

    def remove(self, name: str) -> ShelfModel:
        """Take a model off the shelf; it is not fetched again by itself. Raises SpecError if it is unknown."""
        model = shelf.remove(name)
        if name == DEFAULT:
            shelf.decline(name, REMOVED)
        return model

    def first(self) -> FirstModel:
        """How the model that set-up brings stands."""
        size = CATALOGUE[DEFAULT].download
        if shelf.find(DEFAULT) is not None:
            return FirstModel(DEFAULT, "here", "", size)
        if self.working(DEFAULT) is not None:
            return FirstModel(DEFAULT, "fetching", "", size)
        return FirstModel(DEFAULT, "absent", shelf.declined(DEFAULT) or (OFFLINE if offline.by_choice() else ""), size)

    def bring_first(self) -> str | None:
        """Queue the fetch of that model unless it is here, at work, or was declined, removed or failed before; returns the job."""
        first = self.first()
        if first.state == "fetching":
            return self.working(DEFAULT)
        return None if first.state == "here" or first.reason else self.add(DEFAULT, by_itself=True)

    def leave_out_first(self) -> None:
        """A person said that it is not to be fetched."""
        if shelf.find(DEFAULT) is None:
            shelf.decline(DEFAULT, NOT_WANTED)

    def require(self, model: str) -> None:
        """Raises MissingModel, which says what to add, before a job is queued that could only fail for want of its base."""
        missing = self.missing(model)
        if missing is not None and (offline.is_on() or missing.model in CATALOGUE):
            raise missing

    def fits(self, model: str, loading: LoadSpec = ANY) -> str:
        """Memory a model takes, in words, empty if that is not known. Raises PrerequisiteError if it is missing or surely does not fit."""
        be_there(source_of(model), loading)
        return fit(source_of(model), loading).memory

    def missing(self, model: str) -> MissingModel | None:
        """What to add where a base is not on this machine, and how; None if it is there, or cannot be had by adding it."""
        try:
            locate(model, network=False)
        except MissingModel as exc:
            return exc
        except PrerequisiteError:
            return None
        return None


def fetched() -> list[ShelfModel]:
    """Models of this machine that came over the network, which the pages say wherever they say what leaves this machine."""
    return [model for model in shelf.models() if not Path(model.source).is_absolute()]


def _of_model(model: ShelfModel, space: memory.Room | None, known: list[tuple[int, Any]]) -> Offer:
    rate = float(model.speed.get("tokens_per_s") or 0) or speed.estimate(model.parameters, known)
    return Offer(
        name=model.name,
        title=model.title,
        here=True,
        source=model.source,
        size=model.size,
        download=0,
        parameters=model.parameters,
        licence=model.licence,
        languages=model.languages,
        kind=model.kind,
        gated=False,
        fits=_fits(model.parameters, space),
        seconds=speed.seconds_for(PROMPTS, rate) if rate else None,
        measured=bool(model.speed),
        broken=not model.there,
    )


def _of_entry(entry: Entry, space: memory.Room | None, known: list[tuple[int, Any]]) -> Offer:
    rate = speed.estimate(entry.parameters, known)
    return Offer(
        name=entry.name,
        title=entry.title,
        here=False,
        source=f"package {entry.origin.package}" if isinstance(entry.origin, Wheel) else entry.origin,
        size=entry.size,
        download=entry.download,
        parameters=entry.parameters,
        licence=entry.licence,
        languages=entry.languages,
        kind=entry.kind,
        gated=entry.gated,
        fits=_fits(entry.parameters, space),
        seconds=speed.seconds_for(PROMPTS, rate) if rate else None,
        measured=False,
    )


def _fits(parameters: int, space: memory.Room | None) -> bool | None:
    return None if space is None or not parameters else parameters / 1e9 <= memory.largest(space)
