"""Generates a model's responses to a suite, has them graded, and stores everything: prompts, responses, grades, numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from reft_studio.data.dataset import Row
from reft_studio.errors import EvaluationError
from reft_studio.evaluation import run_card
from reft_studio.evaluation.benchmarks import LenientBenchmark, benchmark_named
from reft_studio.evaluation.costs import ANSWER, GRADE, Clock, Stages
from reft_studio.evaluation.grade import Grade, SetName, Verdict
from reft_studio.evaluation.journal import Answer, AnswerJournal
from reft_studio.evaluation.judges import PHRASES, Judge, judge_for, usual_judge
from reft_studio.evaluation.judges.spec import REFUSALS, JudgeSpec
from reft_studio.evaluation.preference import Preference
from reft_studio.evaluation.result import EvaluationFacts, EvaluationResult, Graded, save, summarise
from reft_studio.evaluation.suite import PREFERENCE, PromptSet, Suite
from reft_studio.workspace import Workspace

Generate = Callable[[Sequence[str], int], Iterable[Answer]]
"""Generates responses to prompts with at most so many new tokens each, in any order."""
Progress = Callable[[int, int], None]
RESPONSE_MARKER = "### Response:"
"""A model of the Alpaca template that does not stop writes it again; the official evaluations truncate there."""
CHUNK = 256
"""Responses graded between two writes of grades to disk."""


@dataclass(frozen=True)
class Answered:
    """All responses of one model to one suite, not yet graded; `journal` keeps them until the evaluation is stored.

    `spent` records the costs; `answered_before` responses are from an earlier attempt and not included.
    """

    subject: str
    suite: Suite
    rows: dict[SetName, list[Row]]
    decoding: dict[str, Any]
    journal: AnswerJournal
    spent: Stages = field(default_factory=Clock, compare=False)
    answered_before: int = 0

    @property
    def total(self) -> int:
        return sum(map(len, self.rows.values()))


def ask(
    workspace: Workspace,
    subject: str,
    suite: Suite,
    generate: Generate,
    *,
    decoding: dict[str, Any] | None = None,
    key: dict[str, Any] | None = None,
    spent: Stages | None = None,
    progress: Progress = lambda done, total: None,
) -> Answered:
    """Generate a model's responses to a suite. Responses of an earlier attempt with the same `key` are reused.

    `subject` is a run id, or "base--<model>", "teacher--<id>", "aligned--<id>". `key` is everything a response depends on besides suite
    and decoding; None stores nothing. `spent` records costs, and may hold earlier ones. Raises EvaluationError if the model responds to
    prompts that were not asked, or to none at all.
    """
    journal_key = {**key, "subject": subject, "suite": suite.fingerprint, "decoding": decoding or {}} if key is not None else None
    journal = AnswerJournal(workspace, journal_key)
    answered_before = sum(len(journal.answers(part.name)) for part in suite.sets)
    answered = Answered(subject, suite, suite.rows(workspace), decoding or {}, journal, spent or Clock(), answered_before)
    with answered.spent.stage(ANSWER):
        _ask(answered, generate, progress)
    if not any(answer[2] != "error" for part in suite.sets for answer in journal.answers(part.name).values()):
        raise EvaluationError(
            f"'{subject}' answered none of {answered.total} prompts, so there is nothing to grade. See the job's log for the reason."
        )
    return answered


def _ask(answered: Answered, generate: Generate, progress: Progress) -> None:
    """Generate the responses missing from the journal."""
    suite, before = answered.suite, 0
    for part in suite.sets:
        rows, answers = answered.rows[part.name], answered.journal.answers(part.name)
        progress(before + len(answers), answered.total)
        missing = [position for position in range(len(rows)) if position not in answers]
        for index, text, stop in generate([rows[position]["prompt"] for position in missing], part.max_new_tokens) if missing else ():
            if not 0 <= index < len(missing) or missing[index] in answers:
                raise _not_asked(part, index, len(rows))
            answered.journal.add_answer(part.name, (missing[index], text, stop))
            progress(before + len(answers), answered.total)
        before += len(rows)


def grade(
    workspace: Workspace, answered: Answered, judge: Judge, *, spec: JudgeSpec = PHRASES, progress: Progress = lambda done, total: None
) -> EvaluationResult:
    """Grade a model's responses and write `evaluations/<subject>/`, replacing an earlier evaluation; updates the card of a run."""
    with answered.spent.stage(GRADE):
        result, graded = judged(answered, judge, spec=spec, progress=progress)
    costs = {"version": 1, **answered.spent.spent(), "prompts": answered.total, "answered_before": answered.answered_before}
    save(workspace, result, graded, costs)
    run_card.refresh(workspace, answered.subject)
    answered.journal.remove()
    return result


def judged(
    answered: Answered, judge: Judge, *, spec: JudgeSpec = PHRASES, progress: Progress = lambda done, total: None
) -> tuple[EvaluationResult, list[Graded]]:
    """The metrics and graded rows of a model's responses; only its journal is written."""
    suite, graded = answered.suite, list[Graded]()
    judges = {REFUSALS: judge_for(PHRASES), suite.compliance: judge_for(PHRASES.model_copy(update={"name": suite.compliance}))}
    judges[judge.name] = judge
    judges_of_set: dict[SetName, tuple[str, ...]] = {
        "harmful": (judge.name, suite.compliance, REFUSALS),
        "harmless": (judge.name, REFUSALS) if judge.reads_refusals else (REFUSALS,),
        "task": (REFUSALS,),
    }
    for part in suite.sets:
        used = [judges[name] for name in dict.fromkeys(judges_of_set[part.name])]
        if part.benchmark == PREFERENCE:
            used = [Preference(spec, {row["prompt"]: row["response"] for row in answered.rows[part.name]})]
        graded += _graded_set(answered, part, used, progress)
    return summarise(_facts(answered, judge, spec, {name: used_judge.version for name, used_judge in judges.items()}), graded), graded


def evaluate(
    workspace: Workspace,
    subject: str,
    suite: Suite,
    generate: Generate,
    *,
    judge: JudgeSpec | str | None = None,
    decoding: dict[str, Any] | None = None,
    key: dict[str, Any] | None = None,
    progress: Progress = lambda done, total: None,
) -> EvaluationResult:
    """Ask and grade in one go, for judges that fit into memory together with the model. The default judge is the suite's."""
    spec = usual_judge(suite) if judge is None else judge if isinstance(judge, JudgeSpec) else JudgeSpec.checked(name=judge)
    grader = judge_for(spec)
    answered = ask(workspace, subject, suite, generate, decoding=decoding, key=key, progress=progress)
    return grade(workspace, answered, grader, spec=spec)


def cut(text: str) -> str:
    """A response as it is graded: truncated where a model that does not stop begins a second response."""
    return text.split(RESPONSE_MARKER)[0].strip()


def task_grade(row: Row, output: str, refusals: Grade | None, benchmark: str, labels: Sequence[str]) -> Grade | None:
    """The grade of a task response: refused, correct or wrong; a correct response is never a refusal ("No." may be the label).

    `labels`: the distinct correct answers of the task, for a lenient rule.
    """
    if refusals is None or benchmark == PREFERENCE:
        return refusals
    rule = benchmark_named(benchmark)
    correct = rule.grade(row, output)
    lenient = (correct or rule.grade_lenient(row, output, labels)) if isinstance(rule, LenientBenchmark) else None
    verdict: Verdict = "comply" if correct else "refuse" if refusals.verdict == "refuse" else "other"
    return replace(refusals, correct=correct, lenient=lenient, verdict=verdict, flagged=correct)


def grades_of(
    judge: Judge, journal: AnswerJournal, name: SetName, answers: dict[int, tuple[str, str]], progress: Progress = lambda done, total: None
) -> dict[int, Grade | None]:
    """A judge's grades of (prompt, response) by position, from the journal or computed; every chunk is on disk before the next."""
    identity = f"{judge.name} {judge.version}"
    known = journal.grades(identity, name)
    missing = [position for position in answers if position not in known]
    for start in range(0, len(missing), CHUNK):
        chunk, done = missing[start : start + CHUNK], len(answers) - len(missing) + start

        def report(fresh: int, _: int, done: int = done) -> None:
            progress(done + fresh, len(answers))

        grades = judge.grade_all([answers[position][0] for position in chunk], [answers[position][1] for position in chunk], report)
        journal.add_grades(identity, name, chunk, grades)
    return known


def _graded_set(answered: Answered, part: PromptSet, judges: Sequence[Judge], progress: Progress) -> list[Graded]:
    rows, answers = answered.rows[part.name], answered.journal.answers(part.name)
    to_grade = {
        position: (rows[position]["prompt"], cut(answers[position][1])) for position in sorted(answers) if answers[position][2] != "error"
    }
    grades: dict[int, dict[str, Grade]] = {position: {} for position in range(len(rows))}
    labels = sorted({row["response"].strip() for row in rows}) if part.benchmark else []
    for judge in judges:
        of_judge = grades_of(judge, answered.journal, part.name, to_grade, progress)
        for position, (_, output) in to_grade.items():
            grade = task_grade(rows[position], output, of_judge[position], part.benchmark, labels) if part.benchmark else of_judge[position]
            if grade is not None:
                grades[position][judge.name] = grade
    return [_row(part, position, row, answers.get(position), grades[position]) for position, row in enumerate(rows)]


def _row(part: PromptSet, position: int, row: Row, answer: Answer | None, grades: dict[str, Grade]) -> Graded:
    _, text, stop = answer or (position, "", "error")
    return Graded(part.name, row.get("row_id", position), row["prompt"], text, stop, row.get("category"), grades)


def _facts(answered: Answered, judge: Judge, spec: JudgeSpec, judges: dict[str, str]) -> EvaluationFacts:
    return EvaluationFacts(
        subject=answered.subject,
        suite=answered.suite.name,
        suite_fingerprint=answered.suite.fingerprint,
        suite_settings=answered.suite.model_dump(mode="json"),
        judge=judge.name,
        judge_version=judge.version,
        decoding=answered.decoding,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        judge_settings=spec.model_dump(mode="json", exclude_defaults=True),
        judges=judges,
    )


def _not_asked(part: PromptSet, index: int, asked: int) -> EvaluationError:
    return EvaluationError(
        f"An answer came for prompt {index} of the {part.name} set, which has {asked} prompts, each to be answered once."
    )
