"""Models that can be evaluated and chatted with: a bare base, a prepared teacher or aligned weights, a finished run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from reft_studio import fingerprint
from reft_studio.errors import SpecError, StoreError
from reft_studio.models import shelf
from reft_studio.models.spec import DEFAULT, LoadSpec
from reft_studio.teacher.teacher import TeacherInfo, list_teachers, open_teacher
from reft_studio.training.run_folder import RunInfo, list_runs, open_run
from reft_studio.training.run_names import run_names, run_title
from reft_studio.workspace import Workspace

Kind = Literal["base", "aligned", "teacher", "run"]


@dataclass(frozen=True)
class Subject:
    """One model: `adapter` None is the bare base; `method` is the method of a run."""

    id: str
    title: str
    kind: Kind
    model: str
    template: str
    adapter: Path | None
    method: str | None = None
    loading: LoadSpec = DEFAULT
    base_fingerprint: str | None = None
    """Of the base weights it was made on; None if unknown."""

    def check_base(self, fingerprint: str) -> None:
        """Raises SpecError if the loaded base has other weights than the one this model was made on."""
        if self.base_fingerprint not in (None, fingerprint):
            raise SpecError(
                f"'{self.title}' was made on other weights than those that are now at '{self.model}', or on the same held in another way. "
                "Put the model back, or make it again on this one."
            )


def base_id(model: str) -> str:
    """The id of a bare base; a path or Hub id is made a safe name."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", model).strip("-")[-40:]
    return f"base--{safe}" if safe == model else f"base--{safe}-{fingerprint.of_value(model)[:8]}"


def find(workspace: Workspace, subject_id: str, *, model: str = "lab") -> Subject:
    """The model with this id; `model` names the base of a `base--…` id. Raises StoreError if there is none.

    The id of a base of this machine contains its name, which then need not be given.
    """
    kind, _, name = subject_id.partition("--")
    if kind == "base":
        model = next((known for known in shelf.names() if base_id(known) == subject_id), model)
        if subject_id != base_id(model):
            raise StoreError(f"'{subject_id}' is not the base '{model}'.")
        prepared, runs = _made(workspace)
        return _base(model, [*prepared, *runs])
    if kind in {"teacher", "aligned"}:
        return _of_teacher(open_teacher(workspace, name))
    run = open_run(workspace, subject_id)
    return _of_run(run, run_title(workspace, run.spec))


def list_subjects(workspace: Workspace) -> list[Subject]:
    """Every model of the workspace: bases and the models of this machine, then aligned weights and teachers, then runs, newest first."""
    prepared, runs = _made(workspace)
    models = dict.fromkeys([*(subject.model for subject in (*prepared, *reversed(runs))), *shelf.names()])
    return [*(_base(model, [*prepared, *runs]) for model in models), *prepared, *reversed(runs)]


def _made(workspace: Workspace) -> tuple[list[Subject], list[Subject]]:
    """Teachers and runs, oldest first."""
    names = run_names(workspace)
    return [_of_teacher(info) for info in list_teachers(workspace)], [_of_run(run, names[run.run_id].title) for run in list_runs(workspace)]


def _base(model: str, made: list[Subject]) -> Subject:
    """A bare base; since it is compared with models made on it, it has the template and loading of the newest of them."""
    newest = next((subject for subject in reversed(made) if subject.model == model), None)
    template, loading = (newest.template, newest.loading) if newest else ("auto", DEFAULT)
    return Subject(base_id(model), f"Base ({model})", "base", model, template, None, loading=loading)


def _of_teacher(info: TeacherInfo) -> Subject:
    kind: Kind = "teacher" if info.regularised else "aligned"
    return Subject(
        f"{kind}--{info.id}", info.title, kind, info.model, info.template, info.adapter, None, info.loading, info.base_fingerprint
    )


def _of_run(run: RunInfo, title: str) -> Subject:
    spec = run.spec
    made_on = run.result.get("base_fingerprint")
    return Subject(run.run_id, title, "run", spec.model, spec.template, run.adapter, spec.method, spec.loading, made_on)
