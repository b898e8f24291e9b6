"""Collects the parts of a report, renders them into one HTML file, and writes the same numbers as JSON."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from reft_studio import __version__
from reft_studio.audit.frozen_audit import FrozenAudit
from reft_studio.comparison.chart_registry import CHARTS
from reft_studio.comparison.charts import Compared
from reft_studio.comparison.costs import RunCost, costs_of
from reft_studio.comparison.flips import Paired
from reft_studio.comparison.story import paired_runs, usual_rows
from reft_studio.comparison.table import RunRow
from reft_studio.data.dataset import Dataset, open_dataset
from reft_studio.errors import SpecError, StoreError
from reft_studio.evaluation.judges import PHRASES, judge_for, judge_named
from reft_studio.report import audit_part, figures, model_part
from reft_studio.report.figures import Figure
from reft_studio.report.inputs import SECTIONS, ReportInput
from reft_studio.workspace import ASSETS, Workspace, write_atomic, write_json

TEMPLATE = "report.html.j2"
_MARKS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class _Models:
    """The compared models, their paired differences, why others are left out, and the costs of the runs among them."""

    rows: list[RunRow]
    differences: list[Paired]
    left_out: list[str]
    costs: list[RunCost]

    @property
    def compared(self) -> Compared:
        """Input of the charts: a sweep has its own, so the others show one poison ratio."""
        several = len({row.poison_ratio for row in self.rows} - {None}) > 1
        return Compared(usual_rows(self.rows), self.rows if several else (), self.costs)


def build_report(workspace: Workspace, given: ReportInput, target: Path) -> Path:
    """Write the report and its JSON file; returns the path of the HTML file.

    `target` is a folder, in which the file is named after the dataset and the time, or a path that ends in .html. Raises SpecError
    for unknown sections or when there is nothing to report, StoreError if the dataset is gone.
    """
    if unknown := [name for name in given.sections if name not in SECTIONS]:
        raise SpecError(f"A report has no section '{unknown[0]}'. Choose from: {', '.join(SECTIONS)}.")
    dataset = open_dataset(workspace, given.dataset) if given.dataset else None
    rows, left_out = model_part.chosen_rows(workspace, given.runs)
    if dataset is None and not rows:
        raise SpecError("There is nothing to report yet. Import a dataset or evaluate a model first.")
    if dataset is not None and given.frozen is None:
        given = replace(given, frozen=FrozenAudit.of(dataset))
    now = datetime.now(UTC)
    models = _Models(rows, paired_runs(workspace, rows), left_out, costs_of(workspace, [row.run_id for row in rows]))
    value = collect(workspace, given, dataset, models, created=now.isoformat(timespec="seconds"))
    drawn = _draw(workspace, given, dataset, models, value)
    path = target if target.suffix == ".html" else target / f"{_file_name(value['title'])}-{now:%Y%m%d-%H%M%S}.html"
    write_atomic(path, render(value, drawn))
    write_json(path.with_suffix(".json"), value)
    return path


def collect(workspace: Workspace, given: ReportInput, dataset: Dataset | None, models: _Models, *, created: str) -> dict[str, Any]:
    """Every number of the report as one JSON value, from which the page is rendered."""
    chosen, audited = set(given.sections), _audited(workspace, given, dataset)
    value: dict[str, Any] = {
        "format": "reft-studio report",
        "version": 1,
        "app": __version__,
        "created": created,
        "title": given.title or (f"Audit of {dataset.name}" if dataset else "Comparison of models"),
        "dataset": dataset.id if dataset else None,
        "reviewer": given.reviewer,
        "redacted": given.redact,
        "sections": [name for name in SECTIONS if name in chosen],
        "draft": [],
    }
    if dataset is not None and audited is not None:
        value["data"] = audit_part.data_part(dataset, audited)
        decided = audit_part.decisions_part(workspace, audited, given)
        value["decisions"] = decided
        value["draft"] = audit_part.draft_reasons(decided, given.frozen)
        if given.score is not None and given.threshold is not None:
            value["filter"] = audit_part.filter_part(workspace, audited, given.score, given.threshold, given.claim)
    if models.rows:
        value["runs"] = model_part.runs_part(workspace, models.rows)
        value |= {"costs": model_part.costs_part(models.costs)} if "runs" in chosen else {}
        value["comparison"] = model_part.comparison_part(workspace, models.rows, models.differences, models.left_out)
    value["lab"] = _is_lab(value)
    value["summary"] = _summary(value, given.frozen)
    value["limits"] = _limits(value)
    return {name: part for name, part in value.items() if name not in SECTIONS or name in chosen}


def render(value: dict[str, Any], drawn: dict[str, Figure]) -> str:
    """The page: everything inline, with a content security policy that forbids loading anything."""
    environment = Environment(
        loader=FileSystemLoader(ASSETS / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
    )
    environment.filters.update(number=_number, estimate=_estimate, when=_when, share=_share, times=_times)
    return environment.get_template(TEMPLATE).render(
        report=value, figures=drawn, charts=list(CHARTS), plotly=get_plotlyjs() if drawn else ""
    )


def _draw(workspace: Workspace, given: ReportInput, dataset: Dataset | None, models: _Models, value: dict[str, Any]) -> dict[str, Figure]:
    drawn: dict[str, Figure] = {}
    audited = _audited(workspace, given, dataset)
    if audited is not None and "filter" in value and given.score is not None:
        drawn["scores"] = figures.histogram(value["filter"])
        curve = audit_part.roc(audited, given.score)
        if curve is not None:
            drawn["roc"] = figures.roc_pr(curve, value["filter"]["threshold"])
    if "runs" in value and (training := figures.training(workspace, models.rows)):
        drawn["training"] = training
    compared = figures.comparison(models.compared)
    if value.get("costs", {}).get("runs") and "costs" in compared:
        drawn["costs"] = compared["costs"]
    if "comparison" in value:
        drawn |= {name: figure for name, figure in compared.items() if name != "costs"}
        if models.differences:
            drawn["forest"] = figures.forest(models.rows, models.differences)
    return drawn


def _audited(workspace: Workspace, given: ReportInput, dataset: Dataset | None) -> Dataset | None:
    """The dataset that was scored and decided: the source of a frozen one, else the dataset itself."""
    with suppress(StoreError):  # the source was deleted by hand: what the frozen one holds is told all the same
        return open_dataset(workspace, given.frozen.source) if given.frozen else dataset
    return dataset


def _summary(value: dict[str, Any], frozen: FrozenAudit | None) -> list[str]:
    """The findings in a few sentences, each with its n and interval; warnings first."""
    sentences = []
    if part := value.get("filter"):
        sentences += [part["warning"]] if part["warning"] else []
        sentences.append(
            f"The filter flags {part['flagged']:,} of {part['scored']:,} scored rows ({_share(part['flagged'], part['scored'])})"
            f" at a threshold of {part['threshold']:+.3f}."
        )
        if quality := part["quality"]:
            sentences.append(
                f"Of the rows known to be harmful it finds {_estimate(quality['recall'])}, and of those known to be harmless it flags"
                f" {_estimate(quality['false_positive_rate'])}."
            )
    if part := value.get("decisions"):
        effect = part["in_effect"]
        sentences.append(f"In effect {effect.get('remove', 0):,} rows are removed and {effect.get('keep', 0):,} kept.")
        if frozen is not None and frozen.undecided:
            why = f" Reason: {frozen.reason}" if frozen.reason and not value["redacted"] else ""
            sentences.append(f"{_rows(frozen.undecided)} {'was' if frozen.undecided == 1 else 'were'} left out undecided.{why}")
        if part["assurance"]:
            sentences.append(part["assurance"]["sentence"])
    if part := value.get("comparison"):
        sentences += part["headline"]
    return sentences


def _is_lab(value: dict[str, Any]) -> bool:
    """Whether data, teacher or any model is of the lab."""
    of_data = bool(value.get("data", {}).get("is_lab") or value.get("filter", {}).get("teacher", {}).get("is_lab"))
    return of_data or any(run["model"] == "lab" for run in value.get("runs", []))


def _limits(value: dict[str, Any]) -> list[str]:
    """The limitations of this report."""
    sentences = [
        "A low harmful score on one set of prompts is no proof of safety: other prompts, languages and attacks were not tried.",
        "Intervals cover the choice of prompts (and of seeds, where there are several). They do not cover a biased set of prompts.",
        "The filter scores prompts only. A harmless prompt with a harmful answer passes it.",
    ]
    filtered, compared = value.get("filter"), value.get("comparison")
    judge = judge_named(compared["judge"].split()[0]) if compared and compared["judge"] else judge_for(PHRASES)
    sentences[1:1] = [judge.limit] if judge.limit else []
    if value["lab"]:
        sentences.insert(
            0, "Embedded lab: a tiny model and made-up data show how the method works. The numbers say nothing of a real model."
        )
    if filtered and filtered["threshold"] != filtered["calibrated"]:
        who = f"found by the rule “{filtered['rule']}”" if filtered["rule"] else "set by a person"
        sentences.append(f"The threshold {filtered['threshold']:+.3f} was {who}; the calibrated one is {filtered['calibrated']:+.3f}.")
    if filtered and filtered["missing"]:
        sentences.append(f"{_rows(filtered['missing'])} could not be scored; only a person can decide there.")
    if compared:
        sentences.append(f"The judge {compared['judge']}: {judge.known_error}")
        sentences += [*compared["caveats"], *compared["left_out"]]
    return sentences


def _visible(value: Any) -> Any:
    """Text without control and direction marks, which can make a page read differently from the data."""
    return _MARKS.sub("", value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _number(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _estimate(value: dict[str, Any] | None) -> str:
    """`12.3 % [10.1, 14.8]`, a dash for a number that does not exist."""
    if value is None:
        return "–"
    digits, unit = (3, "") if value["unit"] == "" else (1, f" {value['unit']}")
    return f"{value['value']:.{digits}f}{unit} [{value['low']:.{digits}f}, {value['high']:.{digits}f}]"


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "–"


def _times(ratio: float | None) -> str:
    return f"{ratio:.2f} ×" if ratio is not None else "–"


def _rows(count: int) -> str:
    return f"{count:,} {'row' if count == 1 else 'rows'}"


def _when(value: str | None) -> str:
    return (value or "–").replace("T", " ").replace("+00:00", " UTC")


def _file_name(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:60] or "report"
