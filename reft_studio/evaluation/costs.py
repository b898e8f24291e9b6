"""Costs of an evaluation, stored with its result, and the ledger of a run including its evaluation. Imports no torch."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from reft_studio.errors import StoreError
from reft_studio.training.ledger import Ledger, StageSeconds, stages_of
from reft_studio.training.run_folder import RunInfo, open_run
from reft_studio.workspace import Workspace, read_json

FILE = "cost.json"
ANSWER, GRADE = "answer", "grade"


class Stages(Protocol):
    """Records time, and memory where it can be measured, by stage; `training.cost.Costs` implements it."""

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Record the block under `name`."""
        ...

    def spent(self) -> dict[str, Any]:
        """The device, and `stages`: name, seconds, memory_mb."""
        ...


class Clock:
    """Records time only, for responses that no model of this process generates."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] = self._seconds.get(name, 0.0) + time.perf_counter() - began

    def spent(self) -> dict[str, Any]:
        """Seconds by stage."""
        return {
            "device": "",
            "stages": [{"stage": name, "seconds": round(seconds, 3), "memory_mb": None} for name, seconds in self._seconds.items()],
        }


def evaluation_costs(workspace: Workspace, subject: str) -> dict[str, Any] | None:
    """Costs of a subject's stored evaluation; None for one of a version that did not record them."""
    path = workspace.folder("evaluations", subject) / FILE
    return dict(read_json(path)) if path.is_file() else None


def graded_again(costs: Mapping[str, Any] | None, spent: Mapping[str, Any]) -> dict[str, Any] | None:
    """Costs of an evaluation after another judge graded its responses: that judge's time replaces the earlier one's."""
    if costs is None:
        return None
    kept = [stage for stage in costs["stages"] if stage["stage"] != GRADE]
    return {**costs, "stages": [*kept, *(stage for stage in spent["stages"] if stage["stage"] == GRADE)]}


def ledger_of(workspace: Workspace, run: RunInfo) -> Ledger | None:
    """The ledger of a run including the stages of its evaluation, if any; None for runs without a ledger."""
    of_run, after = run.ledger(), evaluation_costs(workspace, run.run_id)
    if of_run is None:
        return None
    return of_run.also(() if after is None else _renamed(stages_of(after)), before=_before(workspace, run))


def ledger(workspace: Workspace, run_id: str) -> Ledger | None:
    """The same by id; None for a model that is no run, and for a run that is gone or damaged."""
    try:
        return ledger_of(workspace, open_run(workspace, run_id))
    except StoreError:
        return None


def not_timed(workspace: Workspace, subject: str) -> int:
    """Number of responses from an interrupted attempt, whose time is not in the costs."""
    return int((evaluation_costs(workspace, subject) or {}).get("answered_before", 0))


def _before(workspace: Workspace, run: RunInfo) -> list[StageSeconds]:
    """Trainings before the user's data: an adapter each, possibly shared with other runs."""
    stages = []
    for stored in run.result.get("stages", ()):
        path = workspace.folder("stages", stored["id"]) / FILE
        memory = max((stage.memory_mb or 0 for stage in stages_of(read_json(path))), default=0) if path.is_file() else 0
        stages.append(StageSeconds(f"{stored['name']} weights", float(stored["seconds"]), memory or None))
    return stages


def _renamed(stages: tuple[StageSeconds, ...]) -> tuple[StageSeconds, ...]:
    """A model loaded only for the evaluation counts as loaded again."""
    return tuple(StageSeconds("load again" if stage.name == "load" else stage.name, stage.seconds, stage.memory_mb) for stage in stages)
