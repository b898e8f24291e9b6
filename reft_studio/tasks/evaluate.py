"""Evaluates a loaded model: generates all responses first, then loads the judge into the memory that the model had."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

from reft_studio.evaluation import evaluate as evaluation
from reft_studio.evaluation.evaluate import Answered, Generate
from reft_studio.evaluation.judges import Judge, ready_judge, usual_judge
from reft_studio.evaluation.judges.spec import JudgeSpec
from reft_studio.evaluation.regrade import regrade
from reft_studio.evaluation.result import EvaluationResult, Graded, evaluated, load_result
from reft_studio.evaluation.subject import find
from reft_studio.evaluation.suite import Suite, suite_from
from reft_studio.jobs.job import JobContext
from reft_studio.models.generation import Sampling, complete, free_memory
from reft_studio.models.session import Session
from reft_studio.progress import Progress
from reft_studio.training.cost import Costs
from reft_studio.workspace import Workspace

GREEDY = Sampling()
BATCHES = "left-padded, by length"


def evaluate_subject(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Evaluate one model of the workspace. params: subject (base, a run id or a teacher id), model, suite, judge, temperature, seed."""
    suite = suite_from(params["suite"])
    judge = judge_of(params, suite)
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


def regrade_answers(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Let another judge grade stored responses; nothing is generated. params: subjects, judge (JudgeSpec)."""
    spec = JudgeSpec.checked(**params["judge"])
    grader, subjects = ready_judge(spec), list(params["subjects"])
    for number, subject in enumerate(subjects):
        context.stage(f"grade {subject}", number + 1, len(subjects))
        regrade(context.workspace, subject, grader, spec=spec, progress=context.progress)
    return {"subjects": subjects, "judge": grader.name, "version": grader.version}


def judge_of(params: dict[str, Any], suite: Suite | None) -> JudgeSpec:
    """The judge of a job's parameters, else the default of its suite."""
    if params.get("judge") or suite is None:
        return JudgeSpec.checked(**(params.get("judge") or {}))
    return usual_judge(suite)


def answer_adapter(
    workspace: Workspace,
    session: Session,
    subject: str,
    adapter: str | None,
    suite: Suite,
    progress: Progress,
    *,
    sampling: Sampling = GREEDY,
    costs: Costs | None = None,
) -> Answered | None:
    """Generate one adapter's (None: the base's) responses to a suite; None if a stored evaluation has them already.

    An interrupted attempt resumes: responses are stored under everything they depend on. `costs` has what was spent on this evaluation
    before, such as loading the model.
    """
    decoding = decoding_of(session, sampling)
    if _answers_stored(workspace, subject, suite, decoding):
        return None

    generate = _answering(session, adapter, sampling, progress)
    key = {"base": session.model.fingerprint, "adapter": adapter and _fingerprint(session, adapter)}
    spent = costs or Costs()
    return evaluation.ask(workspace, subject, suite, generate, decoding=decoding, key=key, spent=spent, progress=progress.progress)


def grade_answers(
    workspace: Workspace, subject: str, answered: Answered | None, judge: Judge, progress: Progress, *, spec: JudgeSpec
) -> EvaluationResult:
    """Grade new responses, or the stored ones (None) if their judge was another; the same judge's work is not repeated."""
    if answered is not None:
        return evaluation.grade(workspace, answered, judge, spec=spec, progress=progress.progress)
    result = load_result(workspace, subject)
    if (result.judge, result.judge_version) == (judge.name, judge.version):
        return result
    return regrade(workspace, subject, judge, spec=spec, spent=Costs(), progress=progress.progress)


def evaluate_adapter(
    workspace: Workspace,
    session: Session,
    subject: str,
    adapter: str | None,
    suite: Suite,
    progress: Progress,
    *,
    judge: JudgeSpec | None = None,
    sampling: Sampling = GREEDY,
) -> EvaluationResult:
    """Generate and grade in one go: for judges that are no model, or fit into memory with it. Default judge: that of the suite."""
    spec = judge or usual_judge(suite)
    grader = ready_judge(spec)
    answered = answer_adapter(workspace, session, subject, adapter, suite, progress, sampling=sampling)
    return grade_answers(workspace, subject, answered, grader, progress, spec=spec)


def measure_adapter(
    workspace: Workspace, session: Session, subject: str, adapter: str | None, suite: Suite, progress: Progress, *, judge: JudgeSpec
) -> tuple[EvaluationResult, list[Graded]]:
    """Generate and grade without storing an evaluation: for prompts on which no page compares models."""
    generate = _answering(session, adapter, GREEDY, progress)
    decoding = decoding_of(session, GREEDY)
    answered = evaluation.ask(workspace, subject, suite, generate, decoding=decoding, progress=progress.progress)
    return evaluation.judged(answered, ready_judge(judge), spec=judge, progress=progress.progress)


def _answering(session: Session, adapter: str | None, sampling: Sampling, progress: Progress) -> Generate:
    """The generate function of an adapter (None: the base)."""

    def generate(prompts: Sequence[str], max_new_tokens: int) -> Iterator[tuple[int, str, str]]:
        ids = [session.encoder.prompt_ids([{"role": "user", "content": prompt}]) for prompt in prompts]
        for answer in complete(session.adapted, adapter, ids, max_new_tokens=max_new_tokens, sampling=sampling):
            progress.check()
            yield answer.index, answer.text, answer.stop

    return generate


def decoding_of(session: Session, sampling: Sampling) -> dict[str, Any]:
    """Everything a response depends on besides weights and prompts; results with different decoding are not compared.

    `batches` is a reminder: in half precision a response can depend, by rounding, on the batch it is generated in.
    """
    drawn = {"greedy": True} if sampling.temperature == 0 else {"greedy": False, "temperature": sampling.temperature, "seed": sampling.seed}
    return {
        **drawn,
        "template": session.model.template.hash[:16],
        "max_length": session.encoder.max_length,
        "dtype": str(session.model.base.dtype).removeprefix("torch."),
        "quantization": session.model.loading.quantization,
        "batches": BATCHES,
    }


def _answers_stored(workspace: Workspace, subject: str, suite: Suite, decoding: dict[str, Any]) -> bool:
    """Whether a finished evaluation has responses to these prompts with this decoding."""
    if not evaluated(workspace, subject):
        return False
    stored = load_result(workspace, subject)
    return stored.suite_fingerprint == suite.fingerprint and stored.decoding == decoding


def _fingerprint(session: Session, adapter: str) -> str:
    """SHA-256 of an adapter's weights."""
    digest = hashlib.sha256()
    for value in session.adapted.parameters(adapter):
        digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
