"""What an evaluation took, kept beside its result, and the whole ledger of a run: training and evaluation together. Imports no torch."""

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
    """Books time, and memory where it can be measured, by stage; `training.cost.Costs` is one."""

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Book what is inside under `name`."""
        ...

    def spent(self) -> dict[str, Any]:
        """The device, and `stages`: name, seconds, memory_mb."""
        ...


class Clock:
    """Books time alone, for answers that no model of this process makes."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what is inside."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] = self._seconds.get(name, 0.0) + time.perf_counter() - began

    def spent(self) -> dict[str, Any]:
        """Seconds by stage."""
        return {
            "device": "",
            "stages": [{"stage": name, "seconds": round(one, 3), "memory_mb": None} for name, one in self._seconds.items()],
        }


def evaluation_costs(workspace: Workspace, subject: str) -> dict[str, Any] | None:
    """What the stored evaluation of a subject took; None for one of a version that did not measure it."""
    path = workspace.folder("evaluations", subject) / FILE
    return dict(read_json(path)) if path.is_file() else None


def graded_again(costs: Mapping[str, Any] | None, spent: Mapping[str, Any]) -> dict[str, Any] | None:
    """The costs of an evaluation whose answers another judge has graded: the time of that judge in the place of the one before."""
    if costs is None:
        return None
    kept = [one for one in costs["stages"] if one["stage"] != GRADE]
    return {**costs, "stages": [*kept, *(one for one in spent["stages"] if one["stage"] == GRADE)]}


def ledger_of(workspace: Workspace, run: RunInfo) -> Ledger | None:
    """The ledger of a run with the stages of its evaluation, if it has been evaluated; None where the run kept none."""
    found, after = run.ledger(), evaluation_costs(workspace, run.run_id)
    if found is None:
        return None
    return found.also(() if after is None else _renamed(stages_of(after)), before=_before(workspace, run))


def ledger(workspace: Workspace, run_id: str) -> Ledger | None:
    """The same by id; None for a model that is no run, and for a run that is gone or damaged."""
    try:
        return ledger_of(workspace, open_run(workspace, run_id))
    except StoreError:
        return None


def not_timed(workspace: Workspace, subject: str) -> int:
    """Answers of an evaluation that an attempt before the one that ended it had made: their time is not in its costs."""
    return int((evaluation_costs(workspace, subject) or {}).get("answered_before", 0))


def _before(workspace: Workspace, run: RunInfo) -> list[StageSeconds]:
    """Trainings that came before the user's data: an adapter each, which other runs may share."""
    found = []
    for one in run.result.get("stages", ()):
        path = workspace.folder("stages", one["id"]) / FILE
        memory = max((stage.memory_mb or 0 for stage in stages_of(read_json(path))), default=0) if path.is_file() else 0
        found.append(StageSeconds(f"{one['name']} weights", float(one["seconds"]), memory or None))
    return found


def _renamed(stages: tuple[StageSeconds, ...]) -> tuple[StageSeconds, ...]:
    """A model that was loaded for the evaluation alone was loaded again."""
    return tuple(StageSeconds("load again" if one.name == "load" else one.name, one.seconds, one.memory_mb) for one in stages)
