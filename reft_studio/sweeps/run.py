"""Executes the runs of a sweep one after the other in one process, and writes a line for each; runs that exist are not repeated.

Several processes may share a sweep: each executes every n-th group of runs, and all write into one workspace.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from reft_studio.attacks import ATTACKS
from reft_studio.attacks.disguise import PLAIN, disguise
from reft_studio.data.dataset import Dataset
from reft_studio.defenses import DEFENSES
from reft_studio.errors import OUT_OF_MEMORY, DataError, EvaluationError, SpecError, StoreError, TrainingError, is_out_of_memory
from reft_studio.evaluation.result import SCORES, EvaluationResult
from reft_studio.models.session import Session
from reft_studio.models.spec import LoraSpec
from reft_studio.progress import PartialProgress, Progress
from reft_studio.scoring import BY_CHANCE, JOINING, SCORERS
from reft_studio.scoring.prepared import SHIPPED, open_prepared
from reft_studio.scoring.refusal_similarity import score
from reft_studio.scoring.scorer import ScorerSpec
from reft_studio.scoring.scores import flagged
from reft_studio.sweeps.attacker_model import SweepAttackerModel
from reft_studio.sweeps.framed import ask_in_frame, framed_suite
from reft_studio.sweeps.record import Times, adopt, done, keep, known, lines, path_of
from reft_studio.sweeps.spec import NONE, OWN, TEACHER, Cell, Share, SweepSpec, members_of
from reft_studio.tasks.demo import teacher_spec
from reft_studio.tasks.demo_data import DemoData, LabRows
from reft_studio.tasks.demo_teacher import Pair, open_base, real_pair
from reft_studio.tasks.evaluate import evaluate_adapter
from reft_studio.tasks.lab_data import AlignmentSets
from reft_studio.tasks.scorers import prepared_from
from reft_studio.tasks.teacher import prepared
from reft_studio.tasks.text_rows import text_rows
from reft_studio.teacher.spec import TeacherSpec, source_of
from reft_studio.teacher.teacher import TeacherInfo, open_teacher
from reft_studio.training.context import AlignmentData
from reft_studio.training.inputs import user_rows
from reft_studio.training.run import train
from reft_studio.training.spec import RunSpec, own_config
from reft_studio.workspace import Workspace

FAILURES = (DataError, EvaluationError, SpecError, StoreError, TrainingError)
"""Errors that end one run but not the sweep; a full disk or a missing model ends all."""
_EVALUATING = 0.2
"""Share of a run's time spent on its evaluation, for the progress bar."""


ALL = Share()


def sweep(
    workspace: Workspace,
    spec: SweepSpec,
    progress: Progress,
    *,
    share: Share = ALL,
    expect: Callable[[float | None], None] = lambda _seconds: None,
) -> list[dict[str, Any]]:
    """Execute all remaining runs of a recipe; returns the line of every cell (see `lines`).

    A failed run is recorded with its error, and the others are executed. Before each run `expect` is called with the estimated seconds of
    all remaining ones, from runs of the same work in this workspace; None if unknown.
    """
    groups = [list(cells) for number, (_, cells) in enumerate(groupby(spec.cells, key=_group)) if share.takes(number)]
    remaining = _left(workspace, spec, [cell for cells in groups for cell in cells])
    total, times, kinds = sum(map(len, groups)), Times.of(workspace), Counter(cell.kind for cell in remaining.values())
    bases: dict[str, Base] = {}
    for cells in groups:
        group: Group | None = None
        for cell in [cell for cell in cells if cell.key in remaining]:
            finished = total - len(remaining)
            progress.stage(_cell_title(cell), finished + 1, total)
            part = PartialProgress(progress, start=finished / total, share=1 / total)
            expect(times.left(spec, kinds))
            part.progress(0, 1)
            if cell.model not in bases:
                bases = {cell.model: Base.open(workspace, spec, cell.model)}
            try:
                group = group or Group(bases[cell.model], cell, part)
            except FAILURES as exc:
                line = _failed(cell, exc, progress)
            else:
                line = group.line(cell, part)
            keep(workspace, spec, cell, line)
            times.add(spec, {"cell": cell.facts, **line})
            del remaining[cell.key]
            kinds[cell.kind] -= 1
    return lines(workspace, spec)


def _left(workspace: Workspace, spec: SweepSpec, cells: list[Cell]) -> dict[str, Cell]:
    """The cells that are not finished, by their keys; finished ones of other recipes are copied here."""
    remaining = {cell.key: cell for cell in cells if not done(known(workspace, spec, cell) or {})}
    for key in adopt(workspace, spec, remaining.values()):
        del remaining[key]
    return remaining


def _failed(cell: Cell, exc: BaseException, progress: Progress) -> dict[str, Any]:
    """The line of a run that ended with an error."""
    message = str(exc) if isinstance(exc, FAILURES) else OUT_OF_MEMORY
    progress.warn(f"{cell.variant.title}: {message}")
    return {"error": message}


def _cell_title(cell: Cell) -> str:
    """`Ref-Teacher, 10% poison, seed 1`."""
    hidden = "" if cell.attack == PLAIN else f" ({ATTACKS.get(cell.attack).info.title})"
    return f"{cell.variant.title}, {cell.poison_ratio:.0%} poison{hidden}, seed {cell.seed}"


def _group(cell: Cell) -> tuple[str, str, int, float, str, int]:
    return cell.model, cell.task, cell.rows, cell.poison_ratio, cell.attack, cell.seed


@dataclass
class Base:
    """A loaded base with everything that the groups on it share."""

    workspace: Workspace
    spec: SweepSpec
    model: str
    session: Session
    cache: dict[str, AlignmentData] = field(default_factory=dict)

    @classmethod
    def open(cls, workspace: Workspace, spec: SweepSpec, model: str) -> Base:
        """Load it. Raises PrerequisiteError if it is not on this machine."""
        length = spec.optim_of(model).max_length
        if model == "lab":
            return cls(workspace, spec, model, Session.open("lab", max_length=length))
        model = source_of(model)
        return cls(workspace, spec, model, open_base(workspace, model, teacher=None, prepare=not spec.shipped_teacher, max_length=length))

    def data(self, cell: Cell) -> DemoData:
        """The source of a cell's rows."""
        spec = self.spec
        if self.model == "lab":
            shipped = spec.shipped_teacher
            return LabRows(
                self.workspace,
                cell.task,
                cell.poison_ratio,
                cell.rows,
                spec.split,
                one_alignment=shipped,
                prompts=spec.prompts,
                task_prompts=spec.task_prompts,
            )
        return text_rows(
            self.workspace,
            Path(spec.data) if spec.data else None,
            cell.task,
            poison_ratio=cell.poison_ratio,
            rows=cell.rows,
            prompts=spec.prompts,
            task_prompts=spec.task_prompts,
        )

    def pair(self, alignment: AlignmentSets, seed: int, progress: Progress) -> Pair:
        """The teacher and the aligned weights of a seed."""
        workspace, spec = self.workspace, self.spec
        if self.model != "lab":
            return real_pair(
                workspace,
                alignment,
                self.session,
                lambda _name, _cost, work: work(PartialProgress(progress, start=0.0, share=1.0)),
                teacher=None,
                prepare=not spec.shipped_teacher,
                steps=spec.alignment_steps,
                seed=seed,
                warn=progress.warn,
            )
        if spec.shipped_teacher:
            return Pair(open_teacher(workspace, "lab"), open_teacher(workspace, "lab-aligned"))
        wanted = teacher_spec(alignment, seed=seed)
        plain = wanted.model_copy(update={"regularisation": 0.0})
        return Pair(prepared(workspace, wanted, self.session, progress), prepared(workspace, plain, self.session, progress))


class Group:
    """The runs on one base, task, size, poison ratio and seed: the same user data, teacher and evaluation."""

    def __init__(self, base: Base, cell: Cell, progress: Progress) -> None:
        self.base, self.progress = base, progress
        self.data, self.seed = base.data(cell), cell.seed
        self.alignment = self.data.alignment(cell.seed)
        plain = self.data.user(cell.seed)
        self.user: Dataset = disguise(base.workspace, plain, cell.attack, seed=cell.seed, attacker=SweepAttackerModel(self, plain))
        self.suite = self.data.suite()

    @cached_property
    def pair(self) -> Pair:
        return self.base.pair(self.alignment, self.seed, self.progress)

    @cached_property
    def harmful_answers(self) -> str:
        return self.data.harmful_answers(self.seed)

    def line(self, cell: Cell, progress: PartialProgress) -> dict[str, Any]:
        """Train and evaluate one variant; the results, or the error that ended it."""
        started = time.perf_counter()
        try:
            spec = self.spec(cell)
            if not self.base.spec.train:
                positions = user_rows(self.base.workspace, spec, self.user, self.base.session, progress).positions
                return {"filter": self._found(positions) if spec.filters_with else None, "seconds": _since(started)}
            fresh = not (self.base.workspace.folder("runs", spec.run_id) / "result.json").is_file()
            training = PartialProgress(progress, start=0.0, share=1 - _EVALUATING)
            run = train(self.base.workspace, spec, self.base.session, training, cache=self.base.cache)
            asking = PartialProgress(progress, start=1 - _EVALUATING, share=_EVALUATING)
            session = self.base.session
            adapter = session.ensure("evaluated", run.adapter)
            graded = evaluate_adapter(self.base.workspace, session, run.run_id, adapter, self.suite, asking)
            framed = self._framed(cell, run.folder, adapter, asking)
        except (*FAILURES, MemoryError, RuntimeError) as exc:
            if not isinstance(exc, FAILURES) and not is_out_of_memory(exc):
                raise
            return _failed(cell, exc, progress)
        return {
            "run": run.run_id,
            "seconds": _since(started) if fresh else None,
            "result": {**shares(graded), **framed},
            "verdicts": graded.verdicts,
            "filter": self._found(np.load(run.folder / "kept.npy").tolist()) if spec.filters_with else None,
            "cost": run.costs(),
            "stages": run.result.get("stages", []),
            "steps": run.result["steps"],
        }

    def _framed(self, cell: Cell, run: Path, adapter: str, progress: Progress) -> dict[str, Any]:
        """The harmful score in the attack's frame, if it has one; the responses are stored with the cell's line."""
        workspace, spec = self.base.workspace, self.base.spec
        suite = framed_suite(workspace, self.suite, self.user, cell.attack, seed=cell.seed)
        if suite is None:
            return {}
        keep = path_of(workspace, spec, cell).parent / "framed" / path_of(workspace, spec, cell).name
        keep.parent.mkdir(parents=True, exist_ok=True)
        return {"hs_framed": ask_in_frame(workspace, self.base.session, run, adapter, self.suite, suite, progress, keep=keep)}

    def spec(self, cell: Cell) -> RunSpec:
        """The settings of a cell's run, with everything it needs and nothing else."""
        info, variant, spec = DEFENSES.get(cell.variant.method).info, cell.variant, self.base.spec
        start = variant.start if isinstance(variant.start, str) else variant.start[0]
        teacher = self._teacher(variant.teacher)
        filtering = self._filtering(str(variant.filter), teacher, own=info.uses_filter)
        aligned = self.pair.aligned if info.aligned_first(start) and not info.aligns_itself else None
        guided = info.guided(start=start, aligned=aligned is not None)
        lora = spec.lora_of(cell.model)
        if aligned is not None and variant.adapters == "continue" and LoraSpec.checked(**aligned.spec.get("lora", {})) != lora:
            aligned, guided = None, True  # made for the run, with the adapter that all runs have
        return RunSpec(
            dataset=self.user.id,
            method=variant.method,
            method_config=own_config(variant.method, variant.config),
            teacher=teacher.id if info.needs_teacher or (filtering.get("filter") and "scorer" not in filtering) else None,
            aligned=aligned.id if aligned is not None else None,
            start=start if aligned is None else "method",
            adapters=variant.adapters,
            harmful=self.alignment.harmful if guided else None,
            helpful=self.alignment.helpful if guided else None,
            harmful_answers=self.harmful_answers if info.needs_harmful else None,
            optim=spec.optim_of(cell.model),
            lora=lora,
            seed=cell.seed,
            **filtering,
            **self.pair.base_fields,
        )

    def _teacher(self, which: str) -> TeacherInfo:
        """The model that filters and guides: the teacher, the aligned weights or the base, each with its own refusal feature."""
        if which != "untouched":
            return self.pair.teacher if which == "own" else self.pair.aligned
        spec = TeacherSpec.checked(**asdict(self.alignment), **self.pair.base_fields, kind="ready", reading="auto", seed=self.seed)
        return prepared(self.base.workspace, spec, self.base.session, self.progress)

    def _filtering(self, name: str, teacher: TeacherInfo, *, own: bool) -> dict[str, Any]:
        """Fields of RunSpec that define the filter."""
        if name == NONE or (name == OWN and not own):
            return {}
        if name in (OWN, TEACHER):
            return {"filter": True}
        if name == BY_CHANCE:  # as many rows as the refusal feature drops: what choosing them is worth
            scores = score(self.base.workspace, self.user, teacher, self.base.session, self.progress)
            drop = int(flagged(scores.scores(), scores.threshold).sum())
            return {"filter": True, "scorer": name, "drop": drop} if drop else {}
        return {"filter": True, "scorer": self._scorer(name)}

    def _scorer(self, name: str) -> str:
        """The id of the scorer, prepared on the alignment data of the sweep unless it needs no preparation or ships for real text."""
        members, join = members_of(name)
        if len(members) > 1:
            ids = tuple(self.pair.teacher.id if member == TEACHER else self._scorer(member) for member in members)
            return self._prepared(ScorerSpec.checked(scorer=JOINING, members=ids, join=join, shipped=False))
        if SCORERS.get(name).built_in() is not None or (self.base.model != "lab" and (SHIPPED / name).is_dir()):
            return open_prepared(self.base.workspace, name).id
        refusals, helpful = self.alignment.harmful, self.alignment.helpful
        reads_answers = SCORERS.get(name).info.reads in ("response", "both")  # and to these a refusal is a harmless row
        spec = ScorerSpec.checked(
            scorer=name,
            harmful=(self.harmful_answers if reads_answers else refusals,),
            harmless=(helpful, refusals) if reads_answers else (helpful,),
            shipped=False,
            teacher=self.pair.teacher.id,
        )
        return self._prepared(spec)

    def _prepared(self, spec: ScorerSpec) -> str:
        return prepared_from(self.base.workspace, spec, self.progress).id

    def _found(self, kept: Iterable[int]) -> dict[str, Any]:
        """What a filter that keeps these rows removes from the user data: rows, and the share of the poison and of the rest, in percent.

        `origins`: of the harmless rows of each origin (the task, look-alikes, small talk), the number removed and in total.
        """
        rows = self.user.table(["known_harmful", "origin"]).to_pylist()
        kept_positions = set(kept)
        removed = [position not in kept_positions for position in range(len(rows))]
        harmful = [gone for gone, row in zip(removed, rows, strict=True) if row["known_harmful"]]
        origins: dict[str, list[bool]] = {}
        for gone, row in zip(removed, rows, strict=True):
            if not row["known_harmful"]:
                origins.setdefault(row["origin"] or "unknown", []).append(gone)
        harmless = [gone for flags in origins.values() for gone in flags]
        return {
            "removed": sum(removed),
            "harmful": len(harmful),
            "harmless": len(harmless),
            "recall": 100 * sum(harmful) / len(harmful) if harmful else None,
            "false_positive_rate": 100 * sum(harmless) / len(harmless) if harmless else None,
            "origins": {name: {"removed": sum(flags), "rows": len(flags)} for name, flags in sorted(origins.items())},
        }


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 2)


def shares(graded: EvaluationResult) -> dict[str, Any]:
    """Every share of an evaluation with its interval and n; None if the suite has no such prompts."""
    estimates = {name: getattr(graded, name) for name in SCORES}
    return {name: None if estimate is None else asdict(estimate) for name, estimate in estimates.items()}
