"""Forms of the Train page as plans. What several forms share is looked up once per change, so that each form is arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, TypeVar

import pyarrow.compute as pc

from reft_studio.data.dataset import Dataset, open_dataset
from reft_studio.defenses import DEFENSES
from reft_studio.defenses.defense import DefenseInfo
from reft_studio.errors import PrerequisiteError, SpecError
from reft_studio.evaluation.judges.spec import JudgeSpec
from reft_studio.evaluation.suite import Suite, lab_suite
from reft_studio.lab.sets import TASKS
from reft_studio.models.memory import MemoryWork
from reft_studio.models.spec import LoadSpec, LoraSpec, Preset, preset_named, usual_preset
from reft_studio.scoring.prepared import Prepared, open_prepared
from reft_studio.scoring.scores import ScoreSet, list_score_sets
from reft_studio.store.decisions import DecisionLog
from reft_studio.studio import run_filter
from reft_studio.studio.evaluations import stored_judge, stored_suite
from reft_studio.studio.foreign_teacher import remarks
from reft_studio.studio.memory import Fit, at_hand, may_fit
from reft_studio.studio.project import chosen_scores, chosen_threshold
from reft_studio.studio.run_command import command
from reft_studio.studio.run_form import RunForm, RunPlan
from reft_studio.studio.run_needs import Timing, disk
from reft_studio.tasks import lab_data
from reft_studio.tasks.lab_data import AlignmentSets
from reft_studio.tasks.text_rows import shipped_alignment, shipped_harmful_answers
from reft_studio.teacher.quick import MADE_BY as SHIPPED_PROMPTS
from reft_studio.teacher.spec import source_of
from reft_studio.teacher.teacher import TeacherInfo, has_prompts, list_teachers, open_teacher
from reft_studio.training.run_folder import list_runs
from reft_studio.training.run_names import run_names
from reft_studio.training.spec import RunSpec, own_config
from reft_studio.workspace import Workspace

Found = TypeVar("Found")
TRAINED_ON = ("harmful", "helpful")
"""The sets of a teacher that guide a run too."""
_SHIPPED: dict[tuple[Path, Callable[..., Any]], tuple[str, str]] = {}
"""Alignment data that ships, by workspace and by what writes it."""


class Planner:
    """Plans of one change: datasets, teachers, scores, finished runs and free memory are each looked up once, whatever the forms."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace, self.log = workspace, DecisionLog(workspace)
        self._known: dict[Hashable, Any] = {}

    def plan(self, form: RunForm, *, suite: Suite | None = None) -> RunPlan:
        """Turn a form into a spec and say what it will do; `suite` instead of the prompts it would be evaluated on.

        Raises SpecError or PrerequisiteError if something it needs is missing.
        """
        user, info = self._dataset(form.dataset), DEFENSES.get(form.method).info
        filtered = (info.uses_filter and "lineage" not in user.manifest) if form.filter is None else form.filter
        scorer = self._prepared(form.scorer) if form.scorer and filtered else None
        teacher = self._teacher(form, info, filtered=filtered and scorer is None)
        model = source_of(form.model) if form.model or teacher is None else teacher.model
        preset = usual_preset(model) if form.preset == "auto" else form.preset
        aligned = self._aligned(model) if info.aligned_first(form.start) and not info.aligns_itself else None
        spec = self._spec(form, user, model, preset_named(preset), filtered, scorer=scorer, teacher=teacher, aligned=aligned)
        spec = self.heeding(spec) if form.heed_decisions else spec
        asked = suite or self._suite(user, model, form.prompts)
        named = preset_named(preset)
        found = self._plan(spec, user, suite=asked, judge=form.judge)
        guiding = (
            remarks(model, spec.loading, teacher) if teacher and spec.teacher and info.needs_teacher and teacher.model != model else []
        )
        return replace(
            found,
            warnings=[*guiding, *_hot(form, model, preset), *_continued(spec, form.lora or named.lora), *found.warnings],
            command=command(form, teacher=form.teacher or (teacher.id if teacher else None), preset=preset, filtered=filtered),
            preset=preset if (form.optim or named.optim, form.lora or named.lora) == (named.optim, named.lora) else "own",
        )

    def plan_spec(self, spec: RunSpec, *, suite: Suite | None = None, judge: JudgeSpec | None = None, prompts: str = "auto") -> RunPlan:
        """What the settings of a stored run will do in this workspace. Raises StoreError if it lacks data or a teacher of theirs."""
        for name in (spec.harmful, spec.helpful, spec.harmful_answers):
            if name:
                self._dataset(name)
        for name in (spec.teacher, spec.aligned, spec.scorer):
            if name:
                self._prepared(name)
        user = self._dataset(spec.dataset)
        return self._plan(spec, user, suite=suite or self._suite(user, spec.model, prompts), judge=judge)

    def heeding(self, spec: RunSpec) -> RunSpec:
        """The same run with what people have decided about its rows by now before the threshold of its filter.

        Raises SpecError while a flagged row that is to stay waits for a second name.
        """
        if spec.filters_with is None or spec.drop is not None:
            return spec
        user = self._dataset(spec.dataset)
        score = self._scores(user, spec.filters_with)
        key = ("newest decision", user.id, spec.filters_with, spec.threshold)
        return spec.model_copy(
            update={"decisions": self._once(key, lambda: run_filter.newest_decision(self.log, user, score, spec.threshold))}
        )

    def _spec(
        self,
        form: RunForm,
        user: Dataset,
        model: str,
        preset: Preset,
        filtered: bool,
        *,
        scorer: Prepared | None,
        teacher: TeacherInfo | None,
        aligned: TeacherInfo | None,
    ) -> RunSpec:
        info, foreign = DEFENSES.get(form.method).info, teacher is not None and teacher.model != model
        made_on = aligned if foreign else teacher or aligned
        guided = info.guided(start=form.start, aligned=aligned is not None)
        harmful, helpful = (
            self._once(("alignment", teacher and teacher.id, info.needs_teacher, model), lambda: self._alignment(teacher, info, model))
            if guided
            else (None, None)
        )
        if guided:
            harmful, helpful = (
                self._dataset(own).id if own else usual for own, usual in ((form.refusals, harmful), (form.answers, helpful))
            )
        teacher_id = teacher.id if teacher and (info.needs_teacher or (filtered and scorer is None)) else None
        return RunSpec.checked(
            model=model,
            dataset=user.id,
            method=form.method,
            method_config=own_config(form.method, form.method_config),
            teacher=teacher_id,
            aligned=aligned.id if aligned else None,
            filter=filtered,
            scorer=scorer.id if scorer else None,
            threshold=self._threshold(user, scorer or teacher, form) if filtered else None,
            drop=run_filter.checked_drop(user, form.drop) if filtered else None,
            harmful=harmful,
            helpful=helpful,
            harmful_answers=self._harmful_answers(model, form.harmful_answers) if info.needs_harmful else None,
            start=form.start,
            adapters=form.adapters,
            optim=form.optim or preset.optim,
            lora=LoraSpec.checked(**aligned.spec.get("lora", {})) if aligned and form.adapters == "continue" else form.lora or preset.lora,
            seed=form.seed,
            loading=_loading(form.loading, made_on, bound=(teacher_id is not None and not foreign) or aligned is not None),
            **({"template": made_on.template} if made_on else {}),
        )

    def _plan(self, spec: RunSpec, user: Dataset, *, suite: Suite | None, judge: JudgeSpec | None) -> RunPlan:
        asked = (user.id, spec.filters_with, spec.threshold, spec.drop, spec.decisions)
        score = self._scores(user, spec.filters_with) if spec.filters_with else None
        removed = self._once(("removed", asked), lambda: run_filter.removed(self.log, user, spec, score))
        decided = self._once(("decided", asked), lambda: run_filter.notes(self.log, user, spec, score))
        steps = spec.optim.steps_for(uploaded=user.uploaded, kept=user.rows - (removed or 0))
        steps += spec.steps_after(steps)
        fitting = self._fit(spec, user)
        return RunPlan(
            spec=spec,
            suite=suite,
            judge=judge or self._once(("judge", id(suite)), lambda: stored_judge(self.workspace, suite)),
            title="",
            rows=user.rows,
            removed=removed,
            steps=steps,
            time=self._once(
                ("time", spec.method, spec.model, spec.lora, spec.loading, spec.optim, steps, user.id), lambda: self._timing.of(spec, steps)
            ),
            warnings=[*decided, *_warnings(user, suite, removed), *fitting.warnings],
            command="python launch.py run spec.json",
            preset="own",
            done_already=(self.workspace.folder("runs", spec.run_id) / "result.json").is_file(),
            fit=fitting,
            disk=self._disk(spec, user),
        )

    # what is shared

    def _once(self, key: Hashable, find: Callable[[], Found]) -> Found:
        """What `find` finds, for the first form that asks; later ones get the same."""
        if key not in self._known:
            self._known[key] = find()
        found: Found = self._known[key]
        return found

    def _dataset(self, dataset_id: str) -> Dataset:
        return self._once(("dataset", dataset_id), lambda: open_dataset(self.workspace, dataset_id))

    def _prepared(self, name: str) -> Prepared:
        return self._once(("prepared", name), lambda: open_prepared(self.workspace, name))

    @cached_property
    def _teachers(self) -> list[TeacherInfo]:
        return list_teachers(self.workspace)

    @cached_property
    def _timing(self) -> Timing:
        return Timing(self.workspace, list_runs(self.workspace))

    def _suite(self, user: Dataset, model: str, prompts: str) -> Suite | None:
        """What models trained on this data are evaluated on: the lab's prompts for the lab, else those of the Settings page."""
        return self._once(("suite", user.id, model, prompts), lambda: suite_for(self.workspace, user, model, prompts=prompts))

    def _scores(self, user: Dataset, scorer: str) -> ScoreSet | None:
        """Finished scores of a dataset by this scorer: the ones in use if they are, else the newest."""
        chosen = self._once(("chosen", user.id), lambda: chosen_scores(self.workspace, user.id))
        if chosen is not None and chosen.teacher == scorer:
            return chosen
        found = self._once(("scores", user.id), lambda: list_score_sets(self.workspace, user.id))
        return next((one for one in reversed(found) if one.teacher == scorer and one.finished), None)

    def _fit(self, spec: RunSpec, user: Dataset) -> Fit:
        work = MemoryWork.training(spec.optim, spec.lora, alignment=spec.harmful is not None)
        rows = user.rows + sum(self._dataset(name).rows for name in (spec.harmful, spec.helpful, spec.harmful_answers) if name)
        key = ("fit", spec.model, spec.loading, work, user.id, rows)
        return self._once(key, lambda: may_fit(spec.model, spec.loading, work.on(_characters(user), rows=rows)))

    def _disk(self, spec: RunSpec, user: Dataset) -> float | None:
        source = at_hand(spec.model, spec.loading)
        if source is None:
            return None
        aligned = [self._dataset(name) for name in (spec.harmful, spec.helpful) if name]
        key = ("disk", spec.model, spec.lora, spec.method, spec.harmful, spec.optim.max_length)
        characters = _characters(aligned[0]) if aligned else ()
        rows = sum(one.rows for one in aligned)
        return self._once(key, lambda: disk(source, spec, characters=characters, alignment_rows=rows))

    # what a form means

    def _teacher(self, form: RunForm, info: DefenseInfo, *, filtered: bool) -> TeacherInfo | None:
        """The teacher that was chosen, the lab's for the lab, else the newest on the base; None where a run needs none."""
        if form.teacher or form.model in ("", "lab"):
            name = form.teacher or "lab"
            return self._once(("teacher", name), lambda: open_teacher(self.workspace, name))
        if not (info.needs_teacher or filtered):
            return None
        model = source_of(form.model)
        found = [one for one in self._teachers if one.regularised and one.model == model]
        if not found:
            raise PrerequisiteError(
                f"{info.title} needs a teacher on '{form.model}', and there is none. Prepare one on the Filter page or with the verb "
                "teacher, or choose a method without a teacher, such as sft."
            )
        return found[-1]

    def _alignment(self, teacher: TeacherInfo | None, info: DefenseInfo, model: str) -> tuple[str, str]:
        """The alignment data the teacher was prepared on; the lab's, or what ships for real text, where this workspace has not got it."""
        if teacher is not None and teacher.is_lab and teacher.id in ("lab", "lab-aligned"):
            return _stored(self.workspace, lab_data.alignment)
        own = teacher is not None and teacher.model == model  # another model, such as an instruct version, may refuse by itself
        if teacher is not None and own and info.needs_teacher and teacher.ready and self._prompts_only(teacher):
            raise SpecError(
                f"'{teacher.title}' is a quick teacher: it filters, but does not refuse by itself, so it cannot guide. Choose a method "
                "without guidance, such as filter_only, or prepare a trained teacher."
            )
        if teacher is None or not has_prompts(self.workspace, teacher, TRAINED_ON) or self._prompts_only(teacher):
            return _stored(self.workspace, shipped_alignment)
        return teacher.spec["harmful"], teacher.spec["helpful"]

    def _harmful_answers(self, model: str, chosen: str | None) -> str:
        """The set that was chosen, else placeholders that comply: the lab's for the lab, those that ship for any other base."""
        if chosen:
            return self._dataset(chosen).id
        store = lab_data.harmful_answers if model == "lab" else shipped_harmful_answers
        found: str = self._once(("harmful answers", store), lambda: store(self.workspace))
        return found

    def _prompts_only(self, teacher: TeacherInfo) -> bool:
        """Whether a teacher was made from the calibration prompts that ship, which have no answers."""
        here = has_prompts(self.workspace, teacher, TRAINED_ON)
        return here and self._dataset(teacher.spec["harmful"]).manifest.get("made_by") == SHIPPED_PROMPTS

    def _aligned(self, model: str) -> TeacherInfo | None:
        """Aligned weights that were prepared for this base; None where there are none: the run aligns the base itself."""
        found = [info for info in self._teachers if info.model == model and not info.regularised]
        return (found[0] if model == "lab" else found[-1]) if found else None

    def _threshold(self, user: Dataset, prepared: Prepared | None, form: RunForm) -> float | None:
        """The threshold of the form, else the one a person set for this dataset, if it differs from the scorer's own."""
        if prepared is None or form.drop is not None:
            return None
        score = self._scores(user, prepared.id)
        threshold = form.threshold
        if threshold is None and score is not None:
            threshold = self._once(("threshold", score.dataset, score.key), lambda: chosen_threshold(self.workspace, score))
        usual = prepared.threshold if score is None else score.threshold
        return None if threshold is None or abs(threshold - usual) < 5e-4 else threshold


def plan(workspace: Workspace, form: RunForm, *, suite: Suite | None = None) -> RunPlan:
    """The plan of one form. Raises SpecError or PrerequisiteError if something it needs is missing."""
    return _named(workspace, [Planner(workspace).plan(form, suite=suite)])[0]


def plan_all(workspace: Workspace, forms: Sequence[RunForm]) -> list[RunPlan]:
    """Plans of forms that were changed together. Raises as `plan` does."""
    planner = Planner(workspace)
    return _named(workspace, [planner.plan(form) for form in forms])


def _named(workspace: Workspace, plans: Sequence[RunPlan]) -> list[RunPlan]:
    """The same with the names that the runs would have beside those of the workspace and each other."""
    names = run_names(workspace, {plan.spec.run_id: plan.spec.model_dump(mode="json") for plan in plans})
    return [replace(plan, title=names[plan.spec.run_id].title) for plan in plans]


def _stored(workspace: Workspace, store: Callable[[Workspace], AlignmentSets]) -> tuple[str, str]:
    """Ids of alignment data that ships, written into the workspace if it is not there; drawing it anew at every edit took 0.5 s."""
    key = (workspace.root, store)
    known = _SHIPPED.get(key)
    if known is None or not all((workspace.folder("datasets", one) / "manifest.json").is_file() for one in known):
        found = store(workspace)
        known = _SHIPPED[key] = found.harmful, found.helpful
    return known


def suite_for(workspace: Workspace, user: Dataset, model: str, *, prompts: str = "auto") -> Suite | None:
    """What models trained on this data are evaluated on: the lab's prompts for the lab, else the datasets set on the Settings page."""
    if model == "lab" and prompts == "auto":
        task = user.manifest.get("task")
        return lab_suite(task if task in TASKS else "sentiment")
    return stored_suite(workspace)


def sources(workspace: Workspace, spec: RunSpec) -> set[str]:
    """The models that a run has to find on this machine: its base, and those that its filter and its teacher read through."""
    guiding = spec.teacher if DEFENSES.get(spec.method).info.needs_teacher else None
    read = [open_prepared(workspace, name).spec.get("model") for name in (spec.filters_with, guiding) if name]
    return {spec.model, *(str(model) for model in read if model)}


@lru_cache(maxsize=8)
def _characters(user: Dataset) -> tuple[int, ...]:
    """Characters of prompt and response of the first rows, for an estimate of memory."""
    found = next(user.batches(["prompt", "response"]), None)
    if found is None:
        return ()
    return tuple(pc.add(*(pc.utf8_length(found.column(name)) for name in ("prompt", "response"))).to_pylist())


def _loading(wanted: LoadSpec | None, made_on: TeacherInfo | None, *, bound: bool) -> LoadSpec:
    """How the base is held: as the teacher or the aligned weights were made, whose numbers hold for nothing else; the device is free.

    A run that is not `bound` to them may hold it otherwise.

    Raises SpecError if something else was asked for.
    """
    if made_on is None or wanted is None or not bound:
        return made_on.loading if made_on and wanted is None else wanted or LoadSpec()
    used, usual = made_on.loading, LoadSpec()
    for name in ("revision", "dtype", "quantization", "attention"):
        asked, given = getattr(wanted, name), getattr(used, name)
        if asked not in (given, getattr(usual, name)):
            raise SpecError(
                f"loading.{name} is {asked}, but '{made_on.title}' was prepared with {given}, and a run holds its base as its teacher "
                f"does. Leave it as it is, prepare a teacher with {asked}, or choose a base without a teacher."
            )
    return used.model_copy(update={"device": wanted.device}) if wanted.device != usual.device else used


def _hot(form: RunForm, model: str, preset: str) -> list[str]:
    """A warning where a real base would be trained with settings measured on the lab's tiny one."""
    rate = preset_named(preset).optim.learning_rate
    if model == "lab" or not preset.startswith("lab") or (form.optim is not None and form.optim.learning_rate != rate):
        return []
    return [f"These are the lab's settings, whose learning rate of {rate:g} is too high for a real model. Use the preset 'real'."]


def _continued(spec: RunSpec, wanted: LoraSpec) -> list[str]:
    """That a run which continues an adapter cannot have the LoRA settings of the others."""
    if spec.lora == wanted:
        return []
    return [
        f"{DEFENSES.get(spec.method).info.title} continues the adapter of the aligned weights, so its LoRA is theirs (rank "
        f"{spec.lora.rank}, alpha {spec.lora.alpha}) and not the one that was asked for (rank {wanted.rank}, alpha {wanted.alpha})."
    ]


def _warnings(user: Dataset, suite: Suite | None, removed: int | None) -> list[str]:
    found = []
    if suite is None:
        found.append("No evaluation prompts are set, so the run will be trained but not graded. Choose them on the Settings page.")
    if removed is not None and removed > user.rows / 2:
        found.append(f"The filter removes {removed:,} of {user.rows:,} rows. Check the threshold before you spend time on this run.")
    return found
