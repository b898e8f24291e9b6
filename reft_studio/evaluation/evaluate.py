"""Ask a model every prompt of a suite, grade the answers, keep everything: prompts, answers, grades, numbers."""

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
from reft_studio.evaluation.judges.spec import JudgeSpec
from reft_studio.evaluation.preference import Preference
from reft_studio.evaluation.result import REFUSALS, EvaluationFacts, EvaluationResult, Graded, save, summarise
from reft_studio.evaluation.suite import PREFERENCE, PromptSet, Suite
from reft_studio.workspace import Workspace

Generate = Callable[[Sequence[str], int], Iterable[Answer]]
"""Answers prompts with at most so many new tokens each, in any order."""
Progress = Callable[[int, int], None]
RESPONSE_MARKER = "### Response:"
"""A model of the Alpaca template that does not stop writes it again; the official evaluations cut there."""
CHUNK = 256
"""Answers that a judge grades before the grades are on disk."""


@dataclass(frozen=True)
class Answered:
    """All answers of one model to one suite, not graded yet; `journal` keeps them until the evaluation is whole.

    `spent` books what it takes; `answered_before` of the answers are of an earlier attempt, and not in it.
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
    """Have a model answer a suite. Answers that an earlier attempt under the same `key` left are not made again.

    `subject` is a run id, or "base--<model>", "teacher--<id>", "aligned--<id>". `key` says all that an answer depends on beside suite
    and decoding; None keeps nothing. `spent` books the time of the answers, and may hold what was spent before. Raises EvaluationError
    if the model answers prompts that were not asked, or none at all.
    """
    named = {**key, "subject": subject, "suite": suite.fingerprint, "decoding": decoding or {}} if key is not None else None
    journal = AnswerJournal(workspace, named)
    kept = sum(len(journal.answers(part.name)) for part in suite.sets)
    answered = Answered(subject, suite, suite.rows(workspace), decoding or {}, journal, spent or Clock(), kept)
    with answered.spent.stage(ANSWER):
        _ask(answered, generate, progress)
    if not any(answer[2] != "error" for part in suite.sets for answer in journal.answers(part.name).values()):
        raise EvaluationError(
            f"'{subject}' answered none of {answered.total} prompts, so there is nothing to grade. See the job's log for the reason."
        )
    return answered


def _ask(answered: Answered, generate: Generate, progress: Progress) -> None:
    """Have every prompt answered that the journal has no answer to."""
    suite, before = answered.suite, 0
    for part in suite.sets:
        asked, answers = answered.rows[part.name], answered.journal.answers(part.name)
        progress(before + len(answers), answered.total)
        left = [position for position in range(len(asked)) if position not in answers]
        for index, text, stop in generate([asked[position]["prompt"] for position in left], part.max_new_tokens) if left else ():
            if not 0 <= index < len(left) or left[index] in answers:
                raise _not_asked(part, index, len(asked))
            answered.journal.add_answer(part.name, (left[index], text, stop))
            progress(before + len(answers), answered.total)
        before += len(asked)


def grade(
    workspace: Workspace, answered: Answered, judge: Judge, *, spec: JudgeSpec = PHRASES, progress: Progress = lambda done, total: None
) -> EvaluationResult:
    """Grade what a model answered and write `evaluations/<subject>/`, replacing an earlier evaluation of it; the card of a run says so."""
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
    """The numbers and the graded rows of what a model answered; nothing is stored but in its journal."""
    suite, graded = answered.suite, list[Graded]()
    judges = {REFUSALS: judge_for(PHRASES), suite.compliance: judge_for(PHRASES.model_copy(update={"name": suite.compliance}))}
    judges[judge.name] = judge
    named: dict[SetName, tuple[str, ...]] = {
        "harmful": (judge.name, suite.compliance, REFUSALS),
        "harmless": (judge.name, REFUSALS) if judge.reads_refusals else (REFUSALS,),
        "task": (REFUSALS,),
    }
    for part in suite.sets:
        used = [judges[name] for name in dict.fromkeys(named[part.name])]
        if part.benchmark == PREFERENCE:
            used = [Preference(spec, {row["prompt"]: row["response"] for row in answered.rows[part.name]})]
        graded += _graded_set(answered, part, used, progress)
    return summarise(_facts(answered, judge, spec, {name: one.version for name, one in judges.items()}), graded), graded


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
    """Ask and grade in one go, for judges that fit into memory beside the model. Without a judge the suite's usual one grades."""
    spec = usual_judge(suite) if judge is None else judge if isinstance(judge, JudgeSpec) else JudgeSpec.checked(name=judge)
    grader = judge_for(spec)
    answered = ask(workspace, subject, suite, generate, decoding=decoding, key=key, progress=progress)
    return grade(workspace, answered, grader, spec=spec)


def cut(text: str) -> str:
    """An answer as it is graded: up to where a model that runs on opens a second response."""
    return text.split(RESPONSE_MARKER)[0].strip()


def task_grade(row: Row, output: str, refusals: Grade | None, benchmark: str, labels: Sequence[str]) -> Grade | None:
    """For a task the verdict says refused, right or wrong; a right answer is never taken for a refusal ("No." may be the label).

    `labels`: every right answer of the task once, which a lenient rule tells apart.
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
    """A judge's grades of (prompt, output) by position, from the journal or made now; every chunk is on disk before the next."""
    identity = f"{judge.name} {judge.version}"
    known = journal.grades(identity, name)
    left = [position for position in answers if position not in known]
    for start in range(0, len(left), CHUNK):
        chunk, done = left[start : start + CHUNK], len(answers) - len(left) + start

        def told(fresh: int, _: int, done: int = done) -> None:
            progress(done + fresh, len(answers))

        found = judge.grade_all([answers[place][0] for place in chunk], [answers[place][1] for place in chunk], told)
        journal.add_grades(identity, name, chunk, found)
    return known


def _graded_set(answered: Answered, part: PromptSet, judges: Sequence[Judge], progress: Progress) -> list[Graded]:
    rows, answers = answered.rows[part.name], answered.journal.answers(part.name)
    given = {place: (rows[place]["prompt"], cut(answers[place][1])) for place in sorted(answers) if answers[place][2] != "error"}
    grades: dict[int, dict[str, Grade]] = {position: {} for position in range(len(rows))}
    labels = sorted({row["response"].strip() for row in rows}) if part.benchmark else []
    for judge in judges:
        found = grades_of(judge, answered.journal, part.name, given, progress)
        for place, (_, output) in given.items():
            one = task_grade(rows[place], output, found[place], part.benchmark, labels) if part.benchmark else found[place]
            if one is not None:
                grades[place][judge.name] = one
    return [_row(part, place, row, answers.get(place), grades[place]) for place, row in enumerate(rows)]


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
