"""What the verb `evaluate` does: choose prompts and judge, answer and grade, print what came out and how judges agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reft_studio.cli.console import Console, score_line, show
from reft_studio.cli.own_prompts import Prompts, suite_of
from reft_studio.errors import SpecError
from reft_studio.evaluation.agreement import JudgeAgreement
from reft_studio.evaluation.judges import JUDGES, PHRASES, usual_judge
from reft_studio.evaluation.judges.spec import JudgeSpec
from reft_studio.studio.evaluations import PREFERENCE, SCORES, EvaluationResult, base_id
from reft_studio.studio.models import source_of
from reft_studio.studio.studio import Studio


def base(model: str, subject: str | None) -> tuple[str, str]:
    """The base as a worker finds it, and the subject: the one that was named, else the base itself.

    The base's id of before its full path was known is understood too.
    """
    found = source_of(model)
    return found, base_id(found) if subject in (None, base_id(model)) else subject


def judge_of(studio: Studio, chosen: dict[str, Any], *, subject: str, labels: Path | None) -> JudgeSpec:
    """The judge that was chosen; a person's labels are taken into the workspace first."""
    spec = JudgeSpec.checked(**chosen)
    if not JUDGES.get(spec.name).by_people:
        if labels is not None:
            raise SpecError("--labels is a person's judgement. Use it with --judge human.")
        return spec
    if labels is not None:
        studio.evaluations.import_labels(labels, subject=subject)
    return spec.model_copy(update={"labels": str(studio.evaluations.labels)})


def evaluate(
    studio: Studio,
    subject: str,
    prompts: Prompts,
    chosen: dict[str, Any],
    answering: dict[str, Any],
    *,
    labels: Path | None,
) -> None:
    """Answer and grade; with a judge alone, grade what is stored."""
    stored = studio.evaluations.has(subject)
    judge = judge_of(studio, chosen, subject=subject, labels=labels)
    console = Console()
    if chosen.get("name") and stored and not prompts.is_own:
        studio.foreground.do("regrade", {"subjects": [subject], "judge": judge.model_dump(mode="json")}, console)
        found = subject
    else:
        suite = suite_of(studio, prompts)
        if any(part.benchmark == PREFERENCE for part in suite.sets) and not judge.preference_model:
            raise SpecError("alpaca_eval compares answers with a local instruct model. Name it with --preference-model (folder or Hub id).")
        if "name" not in chosen:
            judge = usual_judge(suite).model_copy(update=judge.model_dump(exclude_unset=True))
        params = {"subject": subject, "suite": suite.model_dump(mode="json"), "judge": judge.model_dump(mode="json"), **answering}
        found = studio.foreground.do("evaluate", params, console)["subject"]
    console.done()
    result = studio.evaluations.result(found)
    others = studio.evaluations.agreements(found) if judge != PHRASES else []
    show(_as_json(result, others), text=lambda: _text(found, result, others))


def _as_json(result: EvaluationResult, others: list[JudgeAgreement]) -> dict[str, Any]:
    numbers = {name: value and vars(value) for name in SCORES for value in (getattr(result, name),)}
    facts = {"suite": result.suite, "judge": result.judge, "judge_version": result.judge_version, "decoding": result.decoding}
    return {**numbers, **facts, "agreement": [{**vars(one), "n": one.n} for one in others]}


def _text(subject: str, result: EvaluationResult, others: list[JudgeAgreement]) -> str:
    lines = [f"{subject}: {score_line(result)}"]
    lines.append(f"Judge: {result.judge} {result.judge_version}. Prompts: {result.suite}.")
    if result.hs is None and result.verdicts.get("harmful"):
        lines.append(f"The judge has no verdict on any of the {sum(result.verdicts['harmful'].values())} harmful answers.")
    elif result.hs is not None and result.hs.missing:
        lines.append(f"{result.hs.missing} harmful answers have no verdict and count in no share.")
    for one in others:
        kappa = "not defined" if one.kappa is None else f"{one.kappa:.2f}"
        lines.append(
            f"Against {one.second} on {one.n} answers: both flag {one.both}, only {one.first} {one.only_first}, only {one.second} "
            f"{one.only_second}, neither {one.neither}; kappa {kappa}."
        )
    return "\n".join(lines)
