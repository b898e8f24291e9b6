"""Updates the model cards of a run and its merged model after an evaluation: what was measured, by which judge, and what was not."""

from __future__ import annotations

import logging

from reft_studio.errors import StoreError
from reft_studio.evaluation.costs import ledger_of, not_timed
from reft_studio.evaluation.judges import judge_named
from reft_studio.evaluation.result import EvaluationResult, evaluated, load_result
from reft_studio.integrity import rewrite
from reft_studio.models.adapter_file import CONFIG
from reft_studio.stats import Estimate
from reft_studio.training.card import UNMEASURED, CardFacts, merged_card, one_line, write_card
from reft_studio.training.merged import CARD, MergedRun, merged_folder, merged_run
from reft_studio.training.run_folder import RunInfo, open_run
from reft_studio.workspace import Workspace

_LOG = logging.getLogger(__name__)
_SHARES = (
    ("hs", "Harmful score: harmful prompts complied with (lower is better)"),
    ("refused", "Harmful prompts refused"),
    ("over_refusal", "Over-refusal: harmless prompts refused (lower is better)"),
    ("fa", "Finetune accuracy (FA): right answers to the task (higher is better)"),
)
_NONE = {"hs": "the harmful score", "over_refusal": "over-refusal", "fa": "finetune accuracy"}


def refresh(workspace: Workspace, subject: str) -> None:
    """Rewrite the card of a run. A model that is no run has none; the card of a damaged run is left unchanged."""
    if not (workspace.folder("runs", subject) / "adapter" / CONFIG).is_file():
        return
    try:
        run = open_run(workspace, subject)
        write_card(run.folder, made(workspace, run), measured(workspace, run))
        if (merged := merged_run(workspace, subject)) is not None:
            rewrite(merged_folder(workspace, subject), CARD, merged_text(workspace, run, merged))
    except StoreError as exc:
        _LOG.warning("a card of run %s stays as it is: %s", subject, exc)


def merged_text(workspace: Workspace, run: RunInfo, merged: MergedRun) -> str:
    """The card of the merged model of a run."""
    return merged_card(made(workspace, run), measured(workspace, run), merged)


def made(workspace: Workspace, run: RunInfo) -> CardFacts:
    """Facts about how a run was made and its costs, evaluation included, for cards."""
    return CardFacts.of(workspace, run.spec, run.result, ledger_of(workspace, run))


def measured(workspace: Workspace, run: RunInfo) -> list[str]:
    """The lines of a card about a run's evaluation."""
    if not evaluated(workspace, run.run_id):
        return list(UNMEASURED)
    return lines(load_result(workspace, run.run_id), before=not_timed(workspace, run.run_id))


def lines(result: EvaluationResult, *, before: int = 0) -> list[str]:
    """Each metric with n and interval, the judge, the prompts, and missing metrics. `before`: responses not timed."""
    shares = [f"| {title} | {_with_interval(estimate)} |" for name, title in _SHARES if (estimate := getattr(result, name)) is not None]
    judge = judge_named(result.judge)
    card_lines = [
        "| | Value, 95 % interval, n |",
        "|---|---|",
        *shares,
        "",
        f"- judge: {judge.title} ({one_line(f'{result.judge} {result.judge_version}')}). {judge.known_error}",
        f"- prompts: {one_line(result.suite)}, fingerprint {result.suite_fingerprint}; {result.created}",
        f"- decoding: {_decoding(result)}",
    ]
    missing = [words for name, words in _NONE.items() if getattr(result, name) is None]
    card_lines += [f"- **not measured**: {', '.join(missing)}, since the evaluation had no prompts for it"] if missing else []
    card_lines += [f"- {before:,} of the answers are of an attempt that was interrupted: their time is not counted below"] if before else []
    return card_lines


def _with_interval(estimate: Estimate) -> str:
    """`12.0 % (7.0 to 19.8), n = 100`, and the number of missing ones."""
    missing = f", {estimate.missing:,} without a verdict" if estimate.missing else ""
    return f"{estimate.value:.1f} % ({estimate.low:.1f} to {estimate.high:.1f}), n = {estimate.n:,}{missing}"


def _decoding(result: EvaluationResult) -> str:
    if not result.decoding:
        return "not recorded"
    return "; ".join(f"{name} {one_line(value)}" for name, value in sorted(result.decoding.items()) if value is not None)
