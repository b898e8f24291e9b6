"""Jobs that prepare a teacher, with checkpoints so that an interrupted one resumes, or compute its separation map."""

from __future__ import annotations

from typing import Any

from reft_studio.data.dataset import open_dataset
from reft_studio.evaluation.judges.refusal_phrases import is_refusal
from reft_studio.jobs.job import JobContext
from reft_studio.models.memory import MemoryWork
from reft_studio.models.session import Session
from reft_studio.progress import Progress
from reft_studio.scoring.level import level_of
from reft_studio.scoring.refusal_similarity import check_match
from reft_studio.teacher import training
from reft_studio.teacher.material import Material
from reft_studio.teacher.pool import Pool, PoolSpec, pool, pool_summary
from reft_studio.teacher.quick import quick_spec
from reft_studio.teacher.spec import TeacherSpec
from reft_studio.teacher.teacher import TeacherInfo, open_teacher
from reft_studio.teacher.training import complete
from reft_studio.training.checkpoint import Unfinished
from reft_studio.workspace import Workspace


def prepare_teacher(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Prepare a teacher. params: the fields of TeacherSpec; its sets may come from `pool`: ids of harmful and harmless sets."""
    params = dict(params)
    pooled = _pooled(context, params.pop("pool"), seed=params.get("seed", 0)) if params.get("pool") else None
    spec = TeacherSpec.checked(**params, **(pooled.sets if pooled else {}))
    context.stage("load the model", 1, 2)
    work = MemoryWork.training(spec.optim, spec.lora) if spec.kind == "trained" else None
    session = Session.open(spec.model, max_length=spec.optim.max_length, template=spec.template, loading=spec.loading, work=work)
    session.remark(context)
    context.stage("train the teacher" if spec.kind == "trained" else "measure the teacher", 2, 2)
    info = prepared(context.workspace, spec, session, context, pooled=pooled.facts if pooled else None, anew=context.anew)
    level = level_of(info.calibration)
    if level.word != "good":
        context.warn(level.sentence)
    return {"teacher": info.id, "level": level.word, "layer": info.layer, "threshold": info.threshold, "auroc": info.calibration["auroc"]}


def teacher_map(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Compute the full separation map of a teacher, every block at the last token positions. params: teacher."""
    teacher = open_teacher(context.workspace, params["teacher"])
    spec = TeacherSpec.checked(**teacher.spec)
    context.stage("load the model", 1, 2)
    session = Session.open(spec.model, max_length=spec.optim.max_length, template=teacher.template, loading=teacher.loading)
    check_match(session, teacher)
    context.stage("draw the map", 2, 2)
    complete(teacher, Material(context.workspace, spec, session, context))
    return {"teacher": teacher.id}


def quick_teacher(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """A ready teacher from the shipped prompts. params: model, and other fields of TeacherSpec except the sets."""
    spec = quick_spec(context.workspace, **params)
    return prepare_teacher(context, spec.model_dump(mode="json"))


def _pooled(context: JobContext, wanted: dict[str, Any], *, seed: int) -> Pool:
    """Training, selection and calibration sets from the sets named in `wanted`, whose other values are those of PoolSpec."""
    sets = [[open_dataset(context.workspace, name) for name in wanted[kind]] for kind in ("harmful", "harmless")]
    settings = PoolSpec.checked(**{name: value for name, value in wanted.items() if name in PoolSpec.model_fields})
    pooled = pool(context.workspace, *sets, spec=settings, seed=seed, is_refusal=is_refusal)
    context.warn(pool_summary(pooled.facts))
    return pooled


def prepared(
    workspace: Workspace,
    spec: TeacherSpec,
    session: Session,
    progress: Progress,
    *,
    pooled: dict[str, Any] | None = None,
    anew: bool = False,
) -> TeacherInfo:
    """`training.prepare_teacher` with checkpoints, deleted when it is finished; `anew`: delete those of an earlier attempt first."""
    checkpoints = Unfinished(workspace, f"teacher-{spec.id}", progress)
    if anew:
        checkpoints.clear()
    with checkpoints.work() as unfinished:
        return training.prepare_teacher(workspace, spec, session, progress, pooled=pooled, keepers=unfinished.keeper)
