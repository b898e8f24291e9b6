"""The headless demonstration: the whole job on the lab or a real model, once or for several poison ratios, as files and a table."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from reft_studio.cli.console import Console, kept_beside, save, show, table
from reft_studio.cli.own_prompts import Prompts, suite_of
from reft_studio.stats import mean_over_seeds
from reft_studio.studio.evaluations import SCORES
from reft_studio.studio.studio import Studio

if TYPE_CHECKING:
    from reft_studio.studio.example import DemoResult


def run_demo(studio: Studio, wanted: dict[str, Any], own: Prompts | None = None) -> None:
    """Run it, build the report, and show a table; where a JSON file is wanted the report lies beside it. `own` are the user's prompts."""
    started = time.perf_counter()
    spec = studio.example.demo_spec(wanted)
    if own is not None and own.is_own:
        spec = spec.model_copy(update={"own": suite_of(studio, own).sets})
    console = Console()
    result = studio.example.demo(spec, console)
    console.stage("build the report", len(result.stages) + 1, len(result.stages) + 1)
    report = studio.reports.build(dataset_id=result.datasets[0])
    console.done()
    beside = kept_beside(".html")
    if beside is not None:
        save(beside, report.read_bytes())
    facts = result.as_json()
    seconds = round(time.perf_counter() - started, 1)
    value = {"seconds": seconds, **{k: v for k, v in facts.items() if k != "seconds"}, "report": str(beside or report)}
    show(value, text=lambda: f"{_text(result)}\n{seconds:.0f} s in all. Report: {beside or 'add --json-file FILE to keep it'}")


def _text(result: DemoResult) -> str:
    columns = [name for name in SCORES if name != "not_refused" and any(line[name] for line in result.results)]
    rows = []
    for method in result.spec.methods:
        lines = [line for line in result.results if line["method"] == method]
        cells = []
        for metric in columns:
            values = [line[metric]["value"] for line in lines if line[metric]]
            if not values:
                cells.append("-")
            elif len(values) == 1:
                one = lines[0][metric]
                cells.append(f"{one['value']:.1f} [{one['low']:.1f}, {one['high']:.1f}]")
            else:
                mean = mean_over_seeds(values, within=(0, 100))
                cells.append(f"{mean.value:.1f} [{mean.low:.1f}, {mean.high:.1f}]")
        conflict = [line["gradient_cosine"] for line in lines if line["gradient_cosine"] is not None]
        rows.append([lines[0]["title"], *cells, f"{sum(conflict) / len(conflict):+.2f}" if conflict else "-"])
    filters = result.as_json()["filter"]
    note = ", ".join(f"{name} {value:.3g}" for name, value in filters.items())
    return table(rows, ["method", *(SCORES[name] for name in columns), "gradient cosine"]) + f"\nfilter: {note}"
