"""From the line to what it does: the runs at several thresholds that exist, and the sweep that would make them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reft_studio.comparison.dose import CONTROL, METHODS, Dose, dose
from reft_studio.comparison.table import load_rows
from reft_studio.data.dataset import Dataset, open_dataset
from reft_studio.data.grid import BINS, NO_BIN, flagged_counts, grid
from reft_studio.errors import PrerequisiteError, SpecError
from reft_studio.fingerprint import SHORT
from reft_studio.jobs.job import LIVE
from reft_studio.jobs.queue import JobQueue
from reft_studio.scoring.partial import require_finished
from reft_studio.scoring.scores import ScoreSet, open_score_set
from reft_studio.store.decisions import DecisionLog
from reft_studio.studio.plans import plan_all
from reft_studio.studio.project import chosen_threshold
from reft_studio.studio.run_filter import ignores_decisions
from reft_studio.studio.run_form import RunForm, RunPlan
from reft_studio.teacher.teacher import list_teachers, open_teacher
from reft_studio.training.run_folder import RunInfo, list_runs
from reft_studio.training.spec import RunSpec
from reft_studio.workspace import Workspace

MOST = 0.9
"""Largest share of the rows that a line of the sweep may remove: a model has to learn from the rest."""
NOTHING_FLAGGED = (0.01, 0.05, 0.1)
"""Shares of the rows that the lines remove where the one in use removes none."""


@dataclass(frozen=True)
class ThresholdChoice:
    """A threshold, and how many rows it removes: those at or above it, and those without a score."""

    threshold: float
    removed: int


@dataclass(frozen=True)
class Sweep:
    """Runs at lines around the one in use, each beside a control that loses as many rows by chance, and runs without a filter.

    `forms`, `plans` and `done` belong together; `settings` says in words what all runs share. `seconds` is the training time of the runs
    that were not done yet, None until a run on this base has been timed.
    """

    lines: list[ThresholdChoice]
    forms: list[RunForm]
    plans: list[RunPlan]
    done: list[bool]
    settings: str

    @property
    def fresh(self) -> list[RunForm]:
        """The runs that were not done yet, and do not wait or run now."""
        return [form for form, done in zip(self.forms, self.done, strict=True) if not done]

    @property
    def seconds(self) -> float | None:
        known = [planned.estimate_s for planned, done in zip(self.plans, self.done, strict=True) if not done]
        return None if any(one is None for one in known) else sum(one for one in known if one is not None)


class Outcomes:
    """What the tab Outcome of the Filter page asks for."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    def found(self, dataset_id: str, key: str) -> Dose:
        """What runs at several lines of these scores did. Raises StoreError if the scores are gone."""
        score = open_score_set(self.workspace, dataset_id, key)
        return dose(load_rows(self.workspace), dataset=dataset_id, scorer=score.teacher, threshold=score.threshold)

    def sweep(self, dataset_id: str, key: str, *, seeds: Sequence[int] = ()) -> Sweep:
        """The sweep around the line in use, which queues nothing; without `seeds`, those of the newest runs on this data.

        Raises SpecError if rows are still to be scored or the scores cannot be cut in two, PrerequisiteError if a run lacks something.
        """
        user, score = open_dataset(self.workspace, dataset_id), open_score_set(self.workspace, dataset_id, key)
        require_finished(score, "a sweep over the line")
        lines = lines_around(score, float(chosen_threshold(self.workspace, score) or 0.0))
        if not lines:
            raise SpecError(f"All {score.rows:,} rows have the same score, so there is no line between them to train on either side of.")
        like, common = _common(self.workspace, user, score)
        forms = []
        for seed in seeds or _seeds(self.workspace, user, like):
            forms.append(RunForm.checked(method="sft", seed=seed, **common, filter=False))
            for line in lines:
                own = {"threshold": line.threshold, "scorer": None if _guides(common, score) else score.teacher}
                forms.append(RunForm.checked(method="filter_only", seed=seed, **common, filter=True, heed_decisions=False, **own))
                by_chance = {"scorer": CONTROL, "drop": line.removed}
                forms.append(RunForm.checked(method="filter_only", seed=seed, **common, filter=True, **by_chance))
        plans = plan_all(self.workspace, forms)
        if plans[0].suite is None:
            raise PrerequisiteError("No evaluation prompts are set, so the runs would have no HS, no FA. Choose them on the Settings page.")
        alone = any(ignores_decisions(DecisionLog(self.workspace), one.spec) for one in plans if one.spec.drop is None)
        words = _words(plans, like) + (", by the scores alone: what people decided about rows is left aside" if alone else "")
        return Sweep(lines, forms, plans, _done(self.workspace, plans, common), words)


def lines_around(score: ScoreSet, threshold: float) -> list[ThresholdChoice]:
    """The line in use, one that removes about half as many rows and one that removes about twice as many, from few rows to many.

    Where it removes none, or nearly all, others take its place: see NOTHING_FLAGGED and MOST. Lines that remove the same rows are one.
    """
    bins = score.bins()
    counts = np.bincount(bins[bins != NO_BIN], minlength=BINS)[:BINS]
    from_line = flagged_counts(counts)
    scored, flagged = int(counts.sum()), int(from_line[int(grid(threshold))])
    most = int(MOST * scored)
    if not 0 < flagged <= most:
        wanted = [share * scored for share in NOTHING_FLAGGED] if not flagged else [most / 4, most / 2, most]
        found = {}
    else:
        wanted = [flagged / 2, 2 * flagged if 2 * flagged <= most else flagged / 4]
        found = {flagged: round(threshold, 3)}
    possible = np.flatnonzero((from_line >= 1) & (from_line <= most))
    for rows in wanted if len(possible) else ():
        place = int(possible[np.abs(from_line[possible] - rows).argmin()])
        found.setdefault(int(from_line[place]), round(place / 1000 - 1, 3))
    return [ThresholdChoice(found[rows], rows + score.missing) for rows in sorted(found)]


def _common(workspace: Workspace, user: Dataset, score: ScoreSet) -> tuple[RunInfo | None, dict[str, Any]]:
    """Base and settings of all runs: those of the newest plain run on this data, else what the Train page begins with."""
    teachers = {one.id: one for one in list_teachers(workspace) if one.regularised}
    own = [run for run in list_runs(workspace) if run.spec.dataset == user.id and run.spec.method in METHODS and run.spec.aligned is None]
    like = max(own, key=lambda run: str(run.result.get("created", "")), default=None)
    if like is None:
        return None, {"dataset": user.id, "teacher": score.teacher if score.teacher in teachers else "lab"}
    guide = teachers.get(score.teacher)
    settings = {"dataset": user.id, "optim": like.spec.optim, "lora": like.spec.lora}
    if guide is not None and guide.model == like.spec.model:
        return like, {**settings, "teacher": guide.id}
    return like, {**settings, "model": like.spec.model}


def _guides(common: dict[str, Any], score: ScoreSet) -> bool:
    """Whether the scores are those of the teacher that the runs name, which then need no other scorer."""
    return common.get("teacher") == score.teacher


def _seeds(workspace: Workspace, user: Dataset, like: RunInfo | None) -> list[int]:
    """Seeds of the runs that are like the newest one, so that those without a filter need not be done again."""
    if like is None:
        return [0]
    same = like.spec.model_dump(exclude={"seed"})
    return sorted({run.spec.seed for run in list_runs(workspace) if run.spec.model_dump(exclude={"seed"}) == same})


def _done(workspace: Workspace, plans: Sequence[RunPlan], common: dict[str, Any]) -> list[bool]:
    """Which runs are there, or wait, or run.

    The id of a run from an earlier version may differ: it is the same if all but the template's name is.
    """
    template = open_teacher(workspace, common["teacher"]).template_hash[:SHORT] if "teacher" in common else None
    evaluated = [row for row in load_rows(workspace) if not row.is_reference and row.spec and row.decoding.get("template") == template]
    known = [RunSpec.checked(**row.spec).model_copy(update={"template": ""}) for row in evaluated]
    queued = [job.params["spec"] for job in JobQueue(workspace).list() if job.kind == "run" and job.state in LIVE]
    known += [RunSpec.checked(**spec).model_copy(update={"template": ""}) for spec in queued]
    return [one.done_already or one.spec.model_copy(update={"template": ""}) in known for one in plans]


def _words(plans: Sequence[RunPlan], like: RunInfo | None) -> str:
    """What all runs share, and where that comes from."""
    spec, seeds = plans[0].spec, sorted({one.spec.seed for one in plans})
    source = "as the newest plain run on this data" if like else "as the Train page begins with"
    steps = sorted({one.steps for one in plans})
    length = f"{steps[0]:,} steps" if len(steps) == 1 else f"{steps[0]:,} to {steps[-1]:,} steps"
    return f"base {spec.model}, {length}, {'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}, {source}"
