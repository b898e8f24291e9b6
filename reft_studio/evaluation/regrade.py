"""Grades stored responses with another judge: nothing is generated again, and earlier grades are kept with the new ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from reft_studio.evaluation import run_card
from reft_studio.evaluation.agreement import JudgeAgreement, agreement
from reft_studio.evaluation.costs import GRADE, Clock, Stages, evaluation_costs, graded_again
from reft_studio.evaluation.evaluate import Progress, cut, grades_of
from reft_studio.evaluation.grade import Grade, SetName
from reft_studio.evaluation.journal import AnswerJournal
from reft_studio.evaluation.judges import Judge
from reft_studio.evaluation.judges.human import key_of
from reft_studio.evaluation.judges.spec import JudgeSpec
from reft_studio.evaluation.result import EvaluationFacts, EvaluationResult, Graded, load_result, read_graded, save, summarise
from reft_studio.workspace import Workspace


def regrade(
    workspace: Workspace,
    subject: str,
    judge: Judge,
    *,
    spec: JudgeSpec,
    spent: Stages | None = None,
    progress: Progress = lambda done, total: None,
) -> EvaluationResult:
    """Let a judge decide the verdicts on stored responses; its own earlier grades are reused if its version is the same.

    `spent` records the costs; the card of a run is rewritten. Raises StoreError if the subject was not evaluated.
    """
    result, graded = load_result(workspace, subject), read_graded(workspace, subject)
    before, clock = evaluation_costs(workspace, subject), spent or Clock()
    journal = AnswerJournal(workspace, {"regrade": subject, "created": result.created, "suite": result.suite_fingerprint})
    new, same = list(graded), result.judges.get(judge.name) == judge.version
    for name in _graded_sets(judge):
        of_set = {position: row for position, row in enumerate(graded) if row.set == name and row.stop != "error"}
        known = same and any(judge.name in row.grades for row in of_set.values())
        answers = {position: (row.prompt, cut(row.completion)) for position, row in of_set.items()}
        if known:
            grades: Mapping[int, Grade | None] = {position: row.grades.get(judge.name) for position, row in of_set.items()}
        else:
            with clock.stage(GRADE):
                grades = grades_of(judge, journal, name, answers, progress)
        for position, row in of_set.items():
            new[position] = replace(row, grades=_with(row, judge.name, grades[position]))
    regraded = summarise(_facts(result, judge, spec), new)
    save(workspace, regraded, new, graded_again(before, clock.spent()))
    run_card.refresh(workspace, subject)
    journal.remove()
    return regraded


def agreements(workspace: Workspace, subject: str) -> list[JudgeAgreement]:
    """Agreement of the current judge with every other judge whose grades are stored."""
    result, graded = load_result(workspace, subject), read_graded(workspace, subject, set_name="harmful")
    others = dict.fromkeys(name for row in graded for name in row.grades if name != result.judge)
    return [agreement(graded, result.judge, other) for other in others]


def answer_keys(workspace: Workspace, subject: str) -> dict[tuple[str, int], str]:
    """The key of every stored response, as used by labels, by set and row id."""
    return {(row.set, row.row_id): key_of(row.prompt, cut(row.completion)) for row in read_graded(workspace, subject)}


def _graded_sets(judge: Judge) -> tuple[SetName, ...]:
    return ("harmful", "harmless") if judge.reads_refusals else ("harmful",)


def _with(row: Graded, judge: str, grade: Grade | None) -> dict[str, Grade]:
    others = {name: other for name, other in row.grades.items() if name != judge}
    return others if grade is None else {judge: grade, **others}


def _facts(result: EvaluationResult, judge: Judge, spec: JudgeSpec) -> EvaluationFacts:
    return EvaluationFacts(
        subject=result.subject,
        suite=result.suite,
        suite_fingerprint=result.suite_fingerprint,
        suite_settings=result.suite_settings,
        judge=judge.name,
        judge_version=judge.version,
        decoding=result.decoding,
        created=result.created,
        judge_settings=spec.model_dump(mode="json", exclude_defaults=True),
        judges={**result.judges, judge.name: judge.version},
    )
