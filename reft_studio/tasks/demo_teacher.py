"""The demo's teacher and aligned weights for a real model: given, shipped, or prepared here."""

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
"""Runs one stage: its name, its cost in plain training steps, and the work, which gets its progress."""
_COST = 2.0
"""Cost of a preparation step in plain training steps: it trains on refusals and responses instead of labels."""

_RATE, _MARGIN = 3e-4, 0.5
"""Learning rate of the few steps, and the cosine from which the regulariser leaves a prompt alone."""


@dataclass(frozen=True)
class Pair:
    """The teacher that filters and guides, the weights that aligned methods start from, and how their base is loaded."""

    teacher: TeacherInfo
    aligned: TeacherInfo
    base_fields: dict[str, Any] = field(default_factory=dict)
    """Fields of RunSpec: model, loading, template; empty for the lab."""


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
    """Teacher and aligned weights for the base in `session`; `warn` is called if the teacher was prepared from any of `sets`.

    Raises SpecError if the named teacher is of another base.
    """
    base_fields = {
        "model": session.model.source,
        "loading": {name: getattr(session.model.loading, name) for name in ("revision", "dtype", "quantization")},
        "template": session.model.template.name,
    }
    optim = REAL.model_copy(update={"steps": steps, "learning_rate": _RATE, "max_length": session.encoder.max_length})
    plain = TeacherSpec.checked(**asdict(data), **base_fields, regularisation=0.0, optim=optim, seed=seed)
    teacher_info = None if prepare else _given(workspace, teacher) if teacher else _shipped(workspace, session)
    if teacher_info is None:
        spec = plain.model_copy(update={"regularisation": 1.0, "reading": "auto", "margin": _MARGIN})
        teacher_info = stage("prepare the teacher", _COST * steps, lambda part: prepared(workspace, spec, session, part))
    check_match(session, teacher_info)
    if warning := seen_before(teacher_info.title, teacher_info.pooled, sets):
        warn(warning)
    aligned = stage("prepare aligned weights", _COST * steps, lambda part: prepared(workspace, plain, session, part))
    return Pair(teacher_info, aligned, base_fields)


def open_base(workspace: Workspace, model: str, *, teacher: str | None, prepare: bool, max_length: int) -> Session:
    """The base, loaded as for the teacher that will be used: the teacher's scores depend on that."""
    known = None if prepare else _given(workspace, teacher) if teacher else _by_name(workspace, model)
    if known is None:
        return Session.open(model, max_length=max_length)
    return Session.open(model, max_length=max_length, template=known.template, loading=known.loading)


def seen_before(title: str, pooled: Mapping[str, Any] | None, sets: Sequence[str]) -> str:
    """A warning if a teacher was prepared from sets of this demo, by file name; empty if it was not."""
    files = (pooled or {}).get("files", {})
    names = {Path(str(file["name"])).stem for kind in files.values() for file in kind}
    overlap = [name for name in sets if name in names]
    if not overlap:
        return ""
    return (
        f"The teacher '{title}' was prepared from {', '.join(overlap)} too: what the filter finds among these prompts it may know by "
        "heart. With --prepare a teacher is prepared that has not seen them."
    )


def _given(workspace: Workspace, name: str) -> TeacherInfo:
    folder = Path(name).expanduser()
    return open_teacher(workspace, adopt(workspace, folder) if name not in SHIPPED and folder.is_dir() else name)


def _by_name(workspace: Workspace, model: str) -> TeacherInfo | None:
    """The teacher that ships for a base of this name, if there is one."""
    ready = [open_teacher(workspace, name) for name, folder in SHIPPED.items() if (folder / "teacher.json").is_file()]
    return next((info for info in ready if info.regularised and info.model == model), None)


def _shipped(workspace: Workspace, session: Session) -> TeacherInfo | None:
    """The teacher that ships for exactly these weights, if there is one."""
    for name, folder in SHIPPED.items():
        if (folder / "teacher.json").is_file():
            info = open_teacher(workspace, name)
            if info.regularised and info.base_fingerprint == session.model.fingerprint:
                return info
    return None
