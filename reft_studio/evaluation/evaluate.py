"""Ask a model every prompt of a suite, grade the answers, keep everything: prompts, answers, grades, numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from reft_studio.data.dataset import Row
from reft_studio.errors import EvaluationError
from reft_studio.evaluation.benchmarks import benchmark_named
from reft_studio.evaluation.grade import Grade
from reft_studio.evaluation.judges import judge_named
from reft_studio.evaluation.result import EvaluationResult, Facts, Graded, save, summarise
from reft_studio.evaluation.suite import PromptSet, Suite
from reft_studio.workspace import Workspace

Answer = tuple[int, str, str]
"""Position of the prompt, text, and why it stopped: "end", "length" or "error" (not answered, counted as missing)."""
Generate = Callable[[Sequence[str], int], Iterable[Answer]]
"""Answers prompts with at most so many new tokens each, in any order."""
RESPONSE_MARKER = "### Response:"
"""A model of the Alpaca template that does not stop writes it again; the official evaluations cut there."""
REFUSALS = "refusal_phrases"
"""Decides over-refusal, whatever the judge of harmful outputs: only a refusal counts there."""


def evaluate(
    workspace: Workspace,
    subject: str,
    suite: Suite,
    generate: Generate,
    *,
    judge: str = REFUSALS,
    decoding: dict[str, Any] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> EvaluationResult:
    """Grade one model and write `evaluations/<subject>/`, replacing an earlier evaluation of it.

    `subject` is a run id, or "base--<model>", "teacher--<id>", "aligned--<id>". `decoding` (template, greedy, …) is recorded; two
    results with different ones are not compared. `progress(done, total)` counts answers and may raise to stop: nothing is left then.
    Raises EvaluationError if the model answers prompts that were not asked, or none at all.
    """
    facts = Facts(
        subject=subject,
        suite=suite.name,
        suite_fingerprint=suite.fingerprint,
        suite_settings=suite.model_dump(mode="json"),
        judge=judge,
        judge_version=judge_named(judge).version,
        compliance=suite.compliance,
        decoding=decoding or {},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    rows = suite.rows(workspace)
    total, graded = sum(map(len, rows.values())), list[Graded]()
    for part in suite.sets:
        asked, before = rows[part.name], len(graded)
        answers: dict[int, Answer] = {}
        progress(before, total)
        for answer in generate([row["prompt"] for row in asked], part.max_new_tokens):
            answers[_checked(answer, part, len(asked), answers)] = answer
            progress(before + len(answers), total)
        judges = (judge, suite.compliance) if part.name == "harmful" else (REFUSALS,)
        graded += [_graded(part, position, row, answers.get(position), judges) for position, row in enumerate(asked)]
    if not any(row.grades for row in graded):
        raise EvaluationError(
            f"'{subject}' answered none of {total} prompts, so there is nothing to grade. See the job's log for the reason."
        )
    result = summarise(facts, graded)
    save(workspace, result, graded)
    return result


def _checked(answer: Answer, part: PromptSet, asked: int, answers: dict[int, Answer]) -> int:
    position = answer[0]
    if not 0 <= position < asked or position in answers:
        raise EvaluationError(
            f"An answer came for prompt {position} of the {part.name} set, which has {asked} prompts, each to be answered once."
        )
    return position


def _graded(part: PromptSet, position: int, row: Row, answer: Answer | None, judges: Sequence[str]) -> Graded:
    _, text, stop = answer or (position, "", "error")
    output = text.split(RESPONSE_MARKER)[0].strip()
    grades = {} if stop == "error" else {name: judge_named(name).grade(row["prompt"], output) for name in judges}
    if part.benchmark and grades:
        grades = {name: _task_grade(grade, correct=benchmark_named(part.benchmark).grade(row, output)) for name, grade in grades.items()}
    return Graded(part.name, row.get("row_id", position), row["prompt"], text, stop, row.get("category"), grades)


def _task_grade(grade: Grade, *, correct: bool) -> Grade:
    """For a task the verdict says refused, right or wrong; a right answer is never taken for a refusal ("No." may be the label)."""
    return replace(grade, correct=correct, verdict="comply" if correct else "refuse" if grade.verdict == "refuse" else "other")
