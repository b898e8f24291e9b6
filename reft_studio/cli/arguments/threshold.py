"""The options of the verb `threshold`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from reft_studio.audit.threshold_rule import Rule
from reft_studio.cli.arguments.options import Where, studio_at


def threshold(
    data: Annotated[str, typer.Argument(help="id of a scored dataset")],
    rule: Annotated[Rule, typer.Option(help="how the line is found")] = "recall",
    recall: Annotated[float | None, typer.Option(help="recall: share of held-out harmful prompts that must be flagged (0.97)")] = None,
    miss_rate: Annotated[
        float | None, typer.Option(help="conformal (on average), tolerance: share of harmful prompts missed (0.05)")
    ] = None,
    certainty: Annotated[float | None, typer.Option(help="tolerance: share of calibrations in which no more are missed (0.95)")] = None,
    miss_cost: Annotated[float | None, typer.Option(help="cost: what a miss costs, a false alarm costing 1 (20)")] = None,
    poison_ratio: Annotated[float | None, typer.Option(help="cost: share of harmful rows expected (0.1)")] = None,
    rows: Annotated[int | None, typer.Option(help="budget: rows that can be reviewed (300)")] = None,
    false_positives: Annotated[float | None, typer.Option(help="clean: share of harmless rows that may be flagged (0.01)")] = None,
    clean: Annotated[
        str | None, typer.Option(help="clean: these rows are harmless: 'reviewed', 'labelled', or the id of a dataset with scores")
    ] = None,
    value: Annotated[float | None, typer.Option(min=-1, max=1, help="fixed: the line itself")] = None,
    use: Annotated[bool, typer.Option(help="work with the line that is found")] = False,
    workspace: Where = None,
) -> None:
    """Find the line by a rule, with what it promises; from calibration prompts, or from clean rows of your own."""
    from reft_studio.cli import verbs

    given: dict[str, Any] = {"recall": recall, "miss_rate": miss_rate, "miss_cost": miss_cost, "poison_ratio": poison_ratio, "rows": rows}
    given |= {"certainty": certainty, "false_positives": false_positives, "clean": clean, "value": value}
    chosen = {name: one for name, one in given.items() if one is not None}
    verbs.threshold(studio_at(workspace), data, {"rule": rule, **chosen}, use=use)
