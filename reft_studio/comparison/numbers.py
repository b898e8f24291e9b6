"""The numbers behind each chart, one row per point, for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from reft_studio.comparison.costs import RunCost
from reft_studio.comparison.dose import Dose
from reft_studio.comparison.table import METRICS, RunRow, summaries
from reft_studio.data.writing.spreadsheet import safe_cell
from reft_studio.evaluation.result import SCORES
from reft_studio.stats import Estimate

Numbers = list[dict[str, Any]]
ENDS = ("value", "low", "high", "n", "missing")


def of_models(rows: Sequence[RunRow]) -> Numbers:
    """Every metric, as mean over seeds of each method and setting, then of each run; percent, with 95 % intervals."""
    means = [
        {
            "what": "mean over seeds",
            "title": summary.title,
            "runs": " ".join(summary.runs),
            "seeds": summary.seeds,
            "poison_ratio": summary.poison_ratio,
        }
        | _scores(summary)
        for summary in summaries(rows)
        if summary.seeds > 1
    ]
    runs = [{"what": "model", **_model(row), "seeds": "", "poison_ratio": row.poison_ratio} | _scores(row) for row in rows]
    return [*means, *runs]


def of_verdicts(rows: Sequence[RunRow]) -> Numbers:
    """Counts of refused, complied and other responses, by model and set."""
    return [{**_model(row), "set": name, **counts} for row in rows for name, counts in row.verdicts.items()]


def of_categories(rows: Sequence[RunRow]) -> Numbers:
    """The harmful score of each model in each category."""
    return [{**_model(row), "category": name, **_ends("hs", estimate)} for row in rows for name, estimate in row.by_category.items()]


def of_dose(dose: Dose) -> Numbers:
    """Each threshold of the filter and each size of the control, with HS, over-refusal and FA."""
    return [
        {
            "kind": point.kind,
            "threshold": point.threshold,
            "removed": point.removed,
            "rows": point.rows,
            "seeds": point.mean.seeds,
            "runs": " ".join(point.mean.runs),
            **{name: end for metric in METRICS for name, end in _ends(metric, point.mean.metric(metric)).items()},
        }
        for point in dose.points
    ]


def of_costs(costs: Sequence[RunCost]) -> Numbers:
    """Every stage of each run, then its sums; empty where nothing was measured or counted."""
    rows: Numbers = []
    for cost in costs:
        ledger = cost.ledger
        if ledger is None:
            continue
        identity = {"title": cost.title, "runs": cost.run, "device": ledger.device}
        stages = [*ledger.stages, *ledger.before]
        rows += [{**identity, "what": stage.name, "seconds": stage.seconds, "memory_mb": stage.memory_mb} for stage in stages]
        sums: dict[str, Any] = {"what": "all", "seconds": round(ledger.seconds, 3), "memory_mb": ledger.memory_mb, "steps": ledger.steps}
        sums |= {f"passes_{kind}": n for kind, n in ledger.passes.items()} | {f"tokens_{kind}": n for kind, n in ledger.tokens.items()}
        sums |= {"user_tokens": ledger.user_tokens, "flops": ledger.operations}
        sums |= {"times_plain_by_tokens": cost.extra.tokens, "times_plain_by_flops": cost.extra.flops}
        rows.append({**identity, **sums, "times_plain_by_clock": cost.timed.ratio if cost.timed else None})
    return rows


def as_csv(numbers: Sequence[Mapping[str, Any]]) -> str:
    """Comma-separated text; empty where a number does not exist. No cell is interpreted as a formula."""
    if not numbers:
        return ""
    columns = list(dict.fromkeys(name for row in numbers for name in row))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in numbers:
        writer.writerow(["" if (cell := row.get(name)) is None else safe_cell(cell) for name in columns])
    return text.getvalue()


def _model(row: RunRow) -> dict[str, Any]:
    return {"title": row.title, "runs": row.run_id}


def _scores(scored: Any) -> dict[str, Any]:
    return {name: end for score in SCORES for name, end in _ends(score, getattr(scored, score)).items()}


def _ends(name: str, estimate: Estimate | None) -> dict[str, Any]:
    """`hs`, `hs_low`, `hs_high`, `hs_n`, `hs_missing`."""
    ends = {end: getattr(estimate, end, None) for end in ENDS}
    return {name if end == "value" else f"{name}_{end}": value for end, value in ends.items()}
