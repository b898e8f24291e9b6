"""The second half of the report: the runs, and what their comparison supports."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from reft_studio.comparison.costs import RunCost, cost_reasons
from reft_studio.comparison.flips import Paired
from reft_studio.comparison.story import headline_of, seed_differences
from reft_studio.comparison.table import RunRow, Summary, caveats, comparable, groups, load_rows, method_title, summaries
from reft_studio.evaluation.result import SCORES, load_result
from reft_studio.stats import Estimate
from reft_studio.training.ledger import OF_TRAINING, Ledger
from reft_studio.workspace import Workspace, read_json


def chosen_rows(workspace: Workspace, runs: Sequence[str] | None) -> tuple[list[RunRow], list[str]]:
    """The largest set of comparable models (the newest of equals), and why others are left out."""
    rows = [row for row in load_rows(workspace) if runs is None or row.run_id in runs]
    if not rows:
        return [], []
    comparable_groups = sorted(groups(rows), key=lambda group: (len(group), max(row.created for row in group)), reverse=True)
    left_out = len(rows) - len(comparable_groups[0])
    reasons = (
        [f"{left_out} evaluated {'model is' if left_out == 1 else 'models are'} left out. {' '.join(comparable(rows))}"] if left_out else []
    )
    return comparable_groups[0], reasons


def runs_part(workspace: Workspace, rows: Sequence[RunRow]) -> list[dict[str, Any]]:
    """One entry per finetuned model: how it was made."""
    return [_run(workspace, row) for row in rows if not row.is_reference]


def costs_part(costs: Sequence[RunCost]) -> dict[str, Any]:
    """Costs of each run, by stage and relative to plain finetuning; and what is unknown about them, in words."""
    return {"runs": [_spent(cost, cost.ledger) for cost in costs if cost.ledger], "reasons": cost_reasons(costs)}


def training_log(workspace: Workspace, run_id: str) -> list[dict[str, Any]]:
    """The lines of a run's log; an incomplete last line of a killed run is dropped."""
    path = workspace.folder("runs", run_id) / "log.jsonl"
    lines = []
    for line in path.read_text("utf-8").splitlines() if path.is_file() else []:
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines


def comparison_part(workspace: Workspace, rows: Sequence[RunRow], differences: Sequence[Paired], left_out: Sequence[str]) -> dict[str, Any]:
    """Means over seeds, paired differences against one method, conclusions, and caveats."""
    means, seeds = summaries(rows), seed_differences(workspace, rows)
    titles = {row.run_id: row.title for row in rows}
    return {
        "suite": rows[0].suite if rows else None,
        "suite_fingerprint": rows[0].suite_fingerprint if rows else None,
        "judge": rows[0].judge if rows else None,
        "decoding": rows[0].decoding if rows else {},
        "summaries": [_mean(summary) for summary in means],
        "models": [_model(row) for row in rows],
        "differences": [
            {**asdict(difference), "better": difference.better, "sentence": difference.sentence(titles)} for difference in differences
        ],
        "over_seeds": [{**asdict(difference), "better": difference.better, "sentence": difference.sentence} for difference in seeds],
        "headline": headline_of(rows, differences, seeds) if rows else [],
        "caveats": caveats(rows),
        "left_out": list(left_out),
        "outputs": {row.run_id: load_result(workspace, row.run_id).outputs for row in rows},
    }


def _run(workspace: Workspace, row: RunRow) -> dict[str, Any]:
    path = workspace.folder("runs", row.run_id) / "result.json"
    result = read_json(path) if path.is_file() else {}
    optim = row.spec.get("optim") or {}
    kept = {key: result.get(key) for key in ("rows", "kept", "removed", "steps", "seconds")}
    log = training_log(workspace, row.run_id)
    last = {key: log[-1].get(key) for key in ("task", "alignment")} if log else {}
    return {
        "run_id": row.run_id,
        "title": row.title,
        "method": method_title(row.method),
        "seed": row.seed,
        "poison_ratio": row.poison_ratio,
        "dataset": row.dataset,
        "model": row.spec.get("model"),
        "teacher": row.spec.get("teacher"),
        "learning_rate": optim.get("learning_rate"),
        **kept,
        "last_losses": last,
    }


def _spent(cost: RunCost, ledger: Ledger) -> dict[str, Any]:
    return {
        "run_id": cost.run,
        "title": cost.title,
        **{key: getattr(ledger, key) for key in ("device", "seconds", "memory_mb", "operations", "counted_steps", "steps", "user_tokens")},
        "passes": dict(ledger.passes),
        "tokens": dict(ledger.tokens),
        "stages": [{**asdict(stage), "title": stage.title} for stage in ledger.stages],
        "before": [asdict(stage) for stage in ledger.before],
        "own_work": ledger.time_of(*OF_TRAINING),
        "evaluation": cost.seconds("Evaluate"),
        "extra": asdict(cost.extra),
        "timed": asdict(cost.timed) | {"ratio": cost.timed.ratio} if cost.timed else None,
        "withheld": cost.withheld,
    }


def _mean(summary: Summary) -> dict[str, Any]:
    return {**asdict(summary), "not_refused": _plain(summary.not_refused), "seeds": summary.seeds}


def _model(row: RunRow) -> dict[str, Any]:
    keys = ("run_id", "title", "method", "seed", "poison_ratio", "created", "verdicts")
    numbers = {name: _plain(getattr(row, name)) for name in SCORES}
    return {**{key: getattr(row, key) for key in keys}, **numbers, "by_category": {k: asdict(v) for k, v in row.by_category.items()}}


def _plain(estimate: Estimate | None) -> dict[str, Any] | None:
    return asdict(estimate) if estimate else None
