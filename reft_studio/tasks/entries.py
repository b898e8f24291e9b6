"""What each kind of job does, in a worker process: read parameters, call the engine, give a JSON result."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reft_studio.jobs.job import JobContext

if TYPE_CHECKING:
    from reft_studio.evaluation.judges.spec import JudgeSpec
    from reft_studio.evaluation.suite import Suite
    from reft_studio.teacher.pool import Pool
    from reft_studio.training.run_folder import RunInfo
    from reft_studio.training.spec import RunSpec
    from reft_studio.training.watch import WatchSpec


def import_file(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Read an upload. params: path, name, mapping, role."""
    from dataclasses import asdict

    from reft_studio.data.dataset import open_dataset
    from reft_studio.data.reading.budget import importing
    from reft_studio.data.reading.mapping import Mapping
    from reft_studio.data.reading.readers import import_file as read
    from reft_studio.tasks.index import prepare

    context.stage("read the file", 1, 1)
    mapping = Mapping(**params["mapping"]) if params.get("mapping") else None
    with importing(str(params.get("name") or Path(params["path"]).name)):
        report = read(
            context.workspace,
            Path(params["path"]),
            name=params.get("name"),
            mapping=mapping,
            role=params.get("role", "user"),
            progress=lambda done, total: context.progress(done, total or 0),
            check=context.check,
        )
    if params.get("discard"):  # a copy that the page made for us
        kept = Path(params["path"])
        kept.unlink(missing_ok=True)
        with suppress(OSError):  # not empty: not the folder that was made for it
            kept.parent.rmdir()
    prepare(context, open_dataset(context.workspace, report.dataset_id))
    return asdict(report)


def lab_sample(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Make user data of the lab. params: task, poison_ratio, rows, seed."""
    from reft_studio.tasks import lab_data
    from reft_studio.tasks.index import prepare

    context.stage("make the sample", 1, 1)
    dataset = lab_data.sample(context.workspace, **params)
    prepare(context, dataset)
    return {"dataset_id": dataset.id, "rows": dataset.rows, "name": dataset.name}


def mix(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Mix harmful rows into a dataset. params: dataset, harmful, poison_ratio, and if wanted rows, seed, name."""
    from reft_studio.data.dataset import open_dataset
    from reft_studio.data.mixed import mix_in
    from reft_studio.tasks.index import prepare

    context.stage("mix harmful rows in", 1, 1)
    params = dict(params)
    user, harmful = (open_dataset(context.workspace, params.pop(name)) for name in ("dataset", "harmful"))
    made = mix_in(context.workspace, user, harmful, **params)
    prepare(context, open_dataset(context.workspace, made.dataset_id))
    return vars(made)


def prepare_teacher(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Prepare a teacher. params: the fields of TeacherSpec; its sets may come from `pool`: ids of harmful and harmless sets."""
    from reft_studio.models.memory import MemoryWork
    from reft_studio.models.session import Session
    from reft_studio.scoring.level import level_of
    from reft_studio.tasks.teacher import prepared
    from reft_studio.teacher.spec import TeacherSpec

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
    """Draw the whole separation map of a teacher, every block at the last token positions. params: teacher."""
    from reft_studio.models.session import Session
    from reft_studio.scoring.refusal_similarity import check_match
    from reft_studio.teacher.material import Material
    from reft_studio.teacher.spec import TeacherSpec
    from reft_studio.teacher.teacher import open_teacher
    from reft_studio.teacher.training import complete

    teacher = open_teacher(context.workspace, params["teacher"])
    spec = TeacherSpec.checked(**teacher.spec)
    context.stage("load the model", 1, 2)
    session = Session.open(spec.model, max_length=spec.optim.max_length, template=teacher.template, loading=teacher.loading)
    check_match(session, teacher)
    context.stage("draw the map", 2, 2)
    complete(teacher, Material(context.workspace, spec, session, context))
    return {"teacher": teacher.id}


def quick_teacher(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """A ready teacher from the prompts that ship with the app. params: model, and other fields of TeacherSpec but the sets."""
    from reft_studio.teacher.quick import quick_spec

    spec = quick_spec(context.workspace, **params)
    return prepare_teacher(context, spec.model_dump(mode="json"))


def _pooled(context: JobContext, wanted: dict[str, Any], *, seed: int) -> Pool:
    """Training, selection and calibration sets from the sets named in `wanted`, whose other values are those of PoolSpec."""
    from reft_studio.data.dataset import open_dataset
    from reft_studio.evaluation.judges.refusal_phrases import is_refusal
    from reft_studio.teacher.pool import PoolSpec, counted, pool

    sets = [[open_dataset(context.workspace, name) for name in wanted[kind]] for kind in ("harmful", "harmless")]
    settings = PoolSpec.checked(**{name: value for name, value in wanted.items() if name in PoolSpec.model_fields})
    found = pool(context.workspace, *sets, spec=settings, seed=seed, is_refusal=is_refusal)
    context.warn(counted(found.facts))
    return found


def score(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Score a dataset. params: dataset; scorer, a name or the id of a prepared one; teacher, whose refusal feature it is by default."""
    from reft_studio.audit.threshold import prepare
    from reft_studio.data.dataset import open_dataset
    from reft_studio.scoring import SCORERS
    from reft_studio.scoring.prepared import chosen

    dataset = open_dataset(context.workspace, params["dataset"])
    prepared = chosen(context.workspace, dataset, params.get("scorer"), params.get("teacher"))
    scorer = SCORERS.get(prepared.scorer)()
    scores = scorer.stored(context.workspace, dataset, prepared)
    if scores is None:
        context.stage("score the rows", 1, 1)
        scores = scorer.score(context.workspace, dataset, prepared, context)
    prepare(prepared, dataset)
    return {"dataset": dataset.id, "key": scores.key, "rows": scores.rows, "missing": scores.missing, "info": scores.info}


def train(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Do one run and, where a suite is given, evaluate it.

    params: spec (RunSpec), suite (Suite) or none, judge (JudgeSpec) or none, watch (WatchSpec) or none: how it is looked at on the way.
    """
    from reft_studio.evaluation.judges import ready_judge
    from reft_studio.evaluation.subject import base_id
    from reft_studio.evaluation.suite import suite_from
    from reft_studio.jobs.run_jobs import became
    from reft_studio.models.generation import free_memory
    from reft_studio.models.memory import MemoryWork
    from reft_studio.models.session import Session
    from reft_studio.tasks.evaluate import answer_adapter, grade_answers
    from reft_studio.tasks.watch import observing
    from reft_studio.training.cost import Costs
    from reft_studio.training.run import train as run
    from reft_studio.training.run_folder import removed_words
    from reft_studio.training.run_names import run_title
    from reft_studio.training.spec import RunSpec

    spec = RunSpec.checked(**params["spec"])
    watch = _watch(params)
    suite = suite_from(params["suite"]) if params.get("suite") else None
    judge = _judge(params, suite)
    grader = ready_judge(judge) if suite is not None else None
    stages = 2 if suite is None else 5
    context.stage("load the model", 1, stages)
    work, costs = MemoryWork.training(spec.optim, spec.lora, alignment=spec.harmful is not None), Costs()
    with costs.stage("load"):
        session = Session.open(spec.model, max_length=spec.optim.max_length, template=spec.template, loading=spec.loading, work=work)
    session.remark(context)
    context.stage(f"train: {run_title(context.workspace, spec)}", 2, stages)
    info = _ended_early(context, spec)
    if info is None:
        with observing(context, session, spec, suite, judge, watch) as observer:
            info = run(context.workspace, spec, session, context, observer=observer, anew=context.anew, costs=costs)
    if info.run_id != spec.run_id:
        became(context.workspace, context.job_id, asked=spec.run_id, run=info.run_id)
    if suite is not None and grader is not None:
        _warn_of_overlap(context, spec, suite)
        context.stage("let the finetuned model answer", 3, stages)
        adapter = session.ensure("evaluated", info.adapter)
        answers = {info.run_id: answer_adapter(context.workspace, session, info.run_id, adapter, suite, context)}
        context.stage("let the base answer", 4, stages)
        base = base_id(spec.model)
        answers[base] = answer_adapter(context.workspace, session, base, None, suite, context)
        del session  # a judge that is a model gets its memory
        free_memory()
        context.stage("grade the answers", 5, stages)
        for subject, answered in answers.items():
            grade_answers(context.workspace, subject, answered, grader, context, spec=judge)
    told = {name: info.result[name] for name in ("kept", "removed", "steps", "seconds")}
    return {"run": info.run_id, **told, "removed_truth": removed_words(info.result)}


def _watch(params: dict[str, Any]) -> WatchSpec:
    """How the run is looked at while it trains, if at all. Raises PrerequisiteError if it is to be told a program that is not there."""
    from reft_studio.training.reporting import check
    from reft_studio.training.watch import WatchSpec

    spec = WatchSpec.checked(**({"prompts": 0} if params.get("watch") is None else params["watch"]))
    check(spec.report_to)
    return spec


def _ended_early(context: JobContext, spec: RunSpec) -> RunInfo | None:
    """The run that an earlier attempt of this job trained until a person ended it: what is left is its evaluation."""
    from reft_studio.jobs.run_jobs import ended_early
    from reft_studio.training.run_folder import open_run

    known = None if context.anew else ended_early(context.workspace, context.job_id)
    if known is None:
        return None
    finished = known["asked"] == spec.run_id and (context.workspace.folder("runs", known["run"]) / "result.json").is_file()
    return open_run(context.workspace, known["run"]) if finished else None


def _judge(params: dict[str, Any], suite: Suite | None) -> JudgeSpec:
    """The judge that the job names, else the usual one of its suite."""
    from reft_studio.evaluation.judges import usual_judge
    from reft_studio.evaluation.judges.spec import JudgeSpec

    if params.get("judge") or suite is None:
        return JudgeSpec.checked(**(params.get("judge") or {}))
    return usual_judge(suite)


def _warn_of_overlap(context: JobContext, spec: RunSpec, suite: Suite) -> None:
    """Tell how many evaluation prompts were trained on (in any case and spacing): their grades say nothing of new prompts."""
    from reft_studio.data.dataset import open_dataset

    sets = [open_dataset(context.workspace, name) for name in (spec.dataset, spec.harmful, spec.helpful) if name]
    trained = {_plain(row["prompt"]) for dataset in sets for row in dataset.read(["prompt"])}
    for name, rows in suite.rows(context.workspace).items():
        if shared := sum(_plain(row["prompt"]) in trained for row in rows):
            context.warn(
                f"{shared} of the {len(rows)} {name} prompts of the evaluation are in the training data too; grades there mean little."
            )


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def evaluate(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Evaluate one model of the workspace. params: subject (base, a run id or a teacher id), model, suite, judge, temperature, seed."""
    from reft_studio.evaluation.judges import ready_judge
    from reft_studio.evaluation.subject import find
    from reft_studio.evaluation.suite import suite_from
    from reft_studio.models.generation import Sampling, free_memory
    from reft_studio.models.session import Session
    from reft_studio.tasks.evaluate import answer_adapter, grade_answers
    from reft_studio.training.cost import Costs

    suite = suite_from(params["suite"])
    judge = _judge(params, suite)
    grader = ready_judge(judge)
    subject = find(context.workspace, params["subject"], model=params.get("model", "lab"))
    context.stage("load the model", 1, 3)
    costs = Costs()
    with costs.stage("load"):
        session = Session.open(subject.model, template=subject.template, loading=subject.loading)
    subject.check_base(session.model.fingerprint)
    session.remark(context)
    context.stage(f"let it answer: {subject.title}", 2, 3)
    adapter = session.ensure("evaluated", subject.adapter) if subject.adapter else None
    sampling = Sampling(float(params.get("temperature") or 0), int(params.get("seed") or 0))
    answered = answer_adapter(context.workspace, session, subject.id, adapter, suite, context, sampling=sampling, costs=costs)
    del session  # a judge that is a model gets its memory
    free_memory()
    context.stage("grade the answers", 3, 3)
    result = grade_answers(context.workspace, subject.id, answered, grader, context, spec=judge)
    return {"subject": subject.id, "suite": result.suite_fingerprint}


def regrade(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Let another judge grade stored answers; no model answers again. params: subjects, judge (JudgeSpec)."""
    from reft_studio.evaluation.judges import ready_judge
    from reft_studio.evaluation.judges.spec import JudgeSpec
    from reft_studio.evaluation.regrade import regrade as again

    spec = JudgeSpec.checked(**params["judge"])
    grader, subjects = ready_judge(spec), list(params["subjects"])
    for place, subject in enumerate(subjects):
        context.stage(f"grade {subject}", place + 1, len(subjects))
        again(context.workspace, subject, grader, spec=spec, progress=context.progress)
    return {"subjects": subjects, "judge": grader.name, "version": grader.version}


def demo(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Do the whole job on the lab. params: the fields of DemoSpec."""
    from reft_studio.tasks.demo import DemoSpec
    from reft_studio.tasks.demo import demo as whole

    result = whole(context.workspace, DemoSpec.checked(**params), context)
    return {**result.as_json(), "runs": result.runs, "datasets": result.datasets}
