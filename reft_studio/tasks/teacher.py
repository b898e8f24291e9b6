"""The preparation of a teacher as a job does it: with checkpoints, so that one that was interrupted goes on."""

from __future__ import annotations

from typing import Any

from reft_studio.models.session import Session
from reft_studio.progress import Progress
from reft_studio.teacher.spec import TeacherSpec
from reft_studio.teacher.teacher import TeacherInfo
from reft_studio.teacher.training import prepare_teacher
from reft_studio.training.checkpoint import Unfinished
from reft_studio.workspace import Workspace


def prepared(
    workspace: Workspace,
    spec: TeacherSpec,
    session: Session,
    progress: Progress,
    *,
    pooled: dict[str, Any] | None = None,
    anew: bool = False,
) -> TeacherInfo:
    """`prepare_teacher`, whose checkpoints go when the teacher is finished; `anew`: those of an earlier attempt are forgotten."""
    kept = Unfinished(workspace, f"teacher-{spec.id}", progress)
    if anew:
        kept.clear()
    with kept.work() as unfinished:
        return prepare_teacher(workspace, spec, session, progress, pooled=pooled, keepers=unfinished.keeper)
