"""The teacher of the whole job on a real model, and the aligned weights: given, shipped, or prepared here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from reft_studio.models.session import Session
from reft_studio.scoring.refusal_similarity import check_match
from reft_studio.tasks.lab_data import AlignmentSets
from reft_studio.tasks.teacher import prepared
from reft_studio.teacher.spec import REAL, TeacherSpec
from reft_studio.teacher.teacher import SHIPPED, TeacherInfo, adopt, open_teacher
from reft_studio.workspace import Workspace

Stage = Callable[[str, float, Any], Any]
"""Runs one stage: its name, its cost in plain training steps, and the work, which is given its progress."""
_COST = 2.0
"""A step of preparation, in units of a plain training step: refusals and answers instead of labels."""

_RATE, _MARGIN = 3e-4, 0.5
"""Learning rate of the few steps, and the cosine from which the regulariser leaves a prompt alone."""


@dataclass(frozen=True)
class Pair:
    """The teacher that filters and guides, the weights that aligned methods start from, and how their base is held."""

    teacher: TeacherInfo
    aligned: TeacherInfo
    held: dict[str, Any] = field(default_factory=dict)
    """Fields of RunSpec: model, loading, template; none for the lab."""


def real_pair(
    workspace: Workspace,
    data: AlignmentSets,
    session: Session,
    stage: Stage,
    *,
    teacher: str | None,
    prepare: bool,
    steps: int,
    seed: int,
    sets: Sequence[str] = (),
    warn: Callable[[str], None] = lambda message: None,
) -> Pair:
    """Teacher and aligned weights for the base in `session`; `warn` is told which of `sets` the teacher was prepared from.

    Raises SpecError if the teacher named is of another base.
    """
    held = {
        "model": session.model.source,
        "loading": {name: getattr(session.model.loading, name) for name in ("revision", "dtype", "quantization")},
        "template": session.model.template.name,
    }
    optim = REAL.model_copy(update={"steps": steps, "learning_rate": _RATE, "max_length": session.encoder.max_length})
    plain = TeacherSpec.checked(**asdict(data), **held, regularisation=0.0, optim=optim, seed=seed)
    found = None if prepare else _given(workspace, teacher) if teacher else _shipped(workspace, session)
    if found is None:
        wanted = plain.model_copy(update={"regularisation": 1.0, "reading": "auto", "margin": _MARGIN})
        found = stage("prepare the teacher", _COST * steps, lambda part: prepared(workspace, wanted, session, part))
    check_match(session, found)
    if told := seen_before(found.title, found.pooled, sets):
        warn(told)
    aligned = stage("prepare aligned weights", _COST * steps, lambda part: prepared(workspace, plain, session, part))
    return Pair(found, aligned, held)


def open_base(workspace: Workspace, model: str, *, teacher: str | None, prepare: bool, max_length: int) -> Session:
    """The base, held and asked as the teacher that will be used was made: what it scores depends on both."""
    known = None if prepare else _given(workspace, teacher) if teacher else _by_name(workspace, model)
    if known is None:
        return Session.open(model, max_length=max_length)
    return Session.open(model, max_length=max_length, template=known.template, loading=known.loading)


def seen_before(title: str, pooled: Mapping[str, Any] | None, sets: Sequence[str]) -> str:
    """A sentence if a teacher was prepared from sets of this job, by the names of its files; empty if it was not."""
    given = (pooled or {}).get("files", {})
    names = {Path(str(file["name"])).stem for kind in given.values() for file in kind}
    known = [name for name in sets if name in names]
    if not known:
        return ""
    return (
        f"The teacher '{title}' was prepared from {', '.join(known)} too: what the filter finds among these prompts it may know by heart. "
        "With --prepare a teacher is prepared that has not seen them."
    )


def _given(workspace: Workspace, name: str) -> TeacherInfo:
    folder = Path(name).expanduser()
    return open_teacher(workspace, adopt(workspace, folder) if name not in SHIPPED and folder.is_dir() else name)


def _by_name(workspace: Workspace, model: str) -> TeacherInfo | None:
    """The teacher that ships for a base of this name, if there is one."""
    ready = [open_teacher(workspace, name) for name, folder in SHIPPED.items() if (folder / "teacher.json").is_file()]
    return next((one for one in ready if one.regularised and one.model == model), None)


def _shipped(workspace: Workspace, session: Session) -> TeacherInfo | None:
    """The teacher that ships for just these weights, if there is one."""
    for name, folder in SHIPPED.items():
        if (folder / "teacher.json").is_file():
            found = open_teacher(workspace, name)
            if found.regularised and found.base_fingerprint == session.model.fingerprint:
                return found
    return None
