"""What the Compare page says about the chosen runs: what may be compared, charts, paired differences, flips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import gradio as gr

from reft_studio.comparison.chart_registry import CHARTS
from reft_studio.errors import SpecError
from reft_studio.evaluation.judges import judge_named
from reft_studio.studio.comparison import summaries
from ui.events import answer
from ui.shared.chart_box import chart_value
from ui.shared.cost_view import side_by_side
from ui.shared.marks import mark_of
from ui.shared.run_history import MOST_COMPARED, settings_value
from ui.shared.run_rows import compared_run
from ui.text import count, counted, number, show
from ui.widgets import widget

if TYPE_CHECKING:
    from reft_studio.comparison.charts import Chart, Compared
    from reft_studio.evaluation.grade import SetName
    from reft_studio.studio.comparison import Flips, Paired, RunRow
    from reft_studio.studio.evaluations import Graded
    from reft_studio.studio.studio import Studio

METRICS = [
    {"key": "hs", "title": "Harmful score (complied)", "note": "lower is better"},
    {"key": "over_refusal", "title": "Over-refusal", "note": "lower is better"},
    {"key": "fa", "title": "Finetune accuracy", "note": "higher is better"},
]
SETS = (("Harmful prompts", "harmful"), ("Harmless look-alikes", "harmless"), ("Task", "task"))
COUNTED = {"harmful": ("complied with", "not complied with"), "harmless": ("refused", "answered"), "task": ("wrong", "right")}
"""What each set counts, and its opposite."""
VERDICTS = {"refuse": "Refused", "comply": "Complied", "other": "Neither"}
TASK_VERDICTS = {"refuse": "Refused", "comply": "Right", "other": "Wrong"}
FLIPS_SENT = 300
EMPTY = {
    "title": "Nothing to compare yet",
    "text": "Train two runs, or open the finished example on Home. Every run that is evaluated appears here.",
    "action": "Train a model",
    "href": "/train",
}


@dataclass(frozen=True)
class View:
    """What a choice of runs gives: the ids that may be compared, the story, banners, the values of the charts, and what it cost."""

    chosen: list[str]
    titles: dict[str, str]
    methods: dict[str, str]
    story: dict[str, Any]
    facts: list[list[str]]
    notes: list[dict[str, str]]
    charts: list[Any]
    costs: list[Any]

    def choices(self) -> list[Any]:
        """New contents of the three dropdowns: the baseline, the first and the second run of the flips."""
        options = [(self.titles[run], run) for run in self.chosen]
        baseline, other = self.usual
        return [gr.update(choices=options, value=value) for value in (baseline, baseline, other)]

    @property
    def usual(self) -> tuple[str | None, str | None]:
        """Plain finetuning against Ref-Teacher if both are there, else the first run against the last."""
        by_method = {self.methods[run]: run for run in reversed(self.chosen)}
        first = by_method.get("sft") or (self.chosen[0] if self.chosen else None)
        rest = [run for run in self.chosen if run != first]
        return first, by_method.get("ref_teacher") if by_method.get("ref_teacher") in rest else (rest[-1] if rest else None)


def table_value(studio: Studio, asked: Sequence[str]) -> dict[str, Any]:
    """The run table with the asked runs chosen, else those that Compare opens on; only runs of their group can stand beside them."""
    groups = studio.comparison.every().groups
    wanted = list(asked) if _known(groups, asked) else studio.comparison.first().runs
    main = max(groups, key=lambda group: sum(row.run_id in wanted for row in group), default=[])
    rows = [compared_run(row) for row in newest_first(main)]
    for group in groups:
        if group is not main:
            rows += [compared_run(row, off=why_apart(row, main[0])) for row in newest_first(group)]
    return {"rows": rows, "chosen": chosen_of(main, wanted), "caption": caption(main[0]) if main else "", "empty": EMPTY}


def _known(groups: Sequence[Sequence[RunRow]], runs: Sequence[str]) -> bool:
    return any(row.run_id in runs for group in groups for row in group)


def caption(row: RunRow) -> str:
    """What all runs that can be chosen have in common: prompts, their numbers, judge."""
    return f"Prompts: {show(row.suite, 80)}, n = {sizes(row)}. Judge: {show(row.judge, 80)}."


def sizes(row: RunRow) -> str:
    """How many prompts of each kind were asked."""
    kinds = [(row.hs, "harmful"), (row.over_refusal, "harmless"), (row.fa, "task")]
    return ", ".join(f"{count(estimate.n)} {kind}" for estimate, kind in kinds if estimate)


def newest_first(rows: Sequence[RunRow]) -> list[RunRow]:
    """Models without user data first, then runs from the newest."""
    return sorted(sorted(rows, key=lambda row: row.created, reverse=True), key=lambda row: not row.is_reference)


def chosen_of(rows: Sequence[RunRow], wanted: Sequence[str]) -> list[str]:
    """The wanted runs of a group, in the order of the table; beside a single finetuned run the models that saw no user data."""
    found = [row for row in newest_first(rows) if row.run_id in wanted]
    if len(found) == 1 and not found[0].is_reference:
        found = [row for row in newest_first(rows) if row.method in ("base", "aligned")] + found
    return [row.run_id for row in found]


def comparison(studio: Studio, asked: Sequence[str], *, dark: bool) -> View:
    """The story, banners and charts of the asked runs. Every chart has all of them."""
    from reft_studio.comparison import charts
    from reft_studio.studio.comparison import caveats, comparable, cost_reasons

    everything = studio.comparison.every().rows
    rows = [row for row in everything if row.run_id in asked]
    against = comparable(rows) if rows else []
    kept = [] if against else rows
    costs = studio.comparison.costs([row.run_id for row in kept])
    compared = charts.Compared(kept, swept(everything, kept), costs)
    values = [drawn for chart in CHARTS.all().values() for drawn in _chart(chart, compared, dark=dark)]
    return View(
        [row.run_id for row in kept],
        titles(kept),
        {row.run_id: row.method for row in kept},
        story_value(studio, everything, kept) if kept else {},
        [[name, show(text, 500)] for name, text in facts(kept)] if kept else [],
        notes(rows, caveats(kept) if kept else [], against, any_run=bool(everything)),
        values,
        [side_by_side(costs), [{"text": show(one, 500), "kind": "quiet"} for one in cost_reasons(costs)]],
    )


def _chart(chart: Chart, compared: Compared, *, dark: bool) -> list[Any]:
    """The values of a chart's box; hidden where the comparison has nothing that it draws."""
    chosen = chart.chosen(compared)
    return chart_value(chart.draw(chosen, dark=dark), chart.numbers(chosen), name=chart.files) if chosen else chart_value(None, [], name="")


def story_value(studio: Studio, everything: Sequence[RunRow], kept: Sequence[RunRow]) -> dict[str, Any]:
    """The headline, as the report has it, and which runs are shown and why these."""
    first = studio.comparison.first(everything)
    others = sum(not why_apart(row, kept[0]) for row in everything)
    own = {row.run_id for row in kept} != set(first.usual.runs)
    said = f"Your choice: {counted(len(kept), 'model')} of {count(others)} that can be compared." if own else first.usual.said
    return {
        "headline": [show(line, 600) for line in studio.comparison.headline(kept)],
        "said": show(said, 300),
        "own": own and bool(first.usual.runs),
    }


def facts(rows: Sequence[RunRow]) -> list[tuple[str, str]]:
    """What the numbers rest on, named and in words."""
    runs = [row for row in rows if not row.is_reference]
    seeds = [f"{mean.title}: {counted(mean.seeds, 'seed')}" for mean in summaries(runs)]
    alike = len({text.rpartition(": ")[2] for text in seeds}) == 1
    works = [row.work for row in runs if row.work]
    judge = judge_named(rows[0].judge.split()[0])
    said = [("Judge", f"{judge.title} ({rows[0].judge}). {judge.known_error}")]
    said += [("Prompts", f"{rows[0].suite}: {sizes(rows[0])}")]
    if seeds:
        said += [("Seeds", f"{seeds[0].rpartition(': ')[2]} each" if alike else "; ".join(seeds))]
    if works:
        steps, batch = sorted({work.steps for work in works}), sorted({work.batch for work in works})
        rows_of = _range(sorted({work.rows for work in works}))
        said += [("Work", f"{_range(steps)} steps of {_range(batch)} user rows each, trained on {rows_of} rows")]
    return said


def _range(values: Sequence[int]) -> str:
    return count(values[0]) if len(values) == 1 else f"{count(values[0])} to {count(values[-1])}"


def swept(everything: Sequence[RunRow], kept: Sequence[RunRow]) -> list[RunRow]:
    """Runs of the chosen methods at every share of poison, as far as they can be compared; nothing if there is one share only."""
    if not kept:
        return []
    methods, first = {row.method for row in kept}, kept[0]
    alike = [row for row in everything if row.method in methods and not row.is_reference and not why_apart(row, first)]
    return alike if len({row.poison_ratio for row in alike} - {None}) > 1 else []


def titles(rows: Sequence[RunRow]) -> dict[str, str]:
    """A name for each run; the poison ratio or the id is added where two would read the same."""
    names = {row.run_id: show(row.title, 60) for row in rows}
    for wanted in ("ratio", "id"):
        for row in rows:
            if sum(name == names[row.run_id] for name in names.values()) > 1:
                more = row.run_id if wanted == "id" else "" if row.poison_ratio is None else f"{100 * row.poison_ratio:g} % poison"
                names[row.run_id] = f"{names[row.run_id]}, {more}" if more else names[row.run_id]
    return names


def why_apart(row: RunRow, other: RunRow) -> str:
    """Why a run cannot stand beside the chosen ones; empty if it can."""
    if row.suite_fingerprint != other.suite_fingerprint:
        return f"Not comparable: asked other prompts (suite {row.suite}, the others {other.suite}). Evaluate it on the same suite."
    if row.judge != other.judge:
        return f"Not comparable: judged by {row.judge}, the others by {other.judge}. Evaluate it with the same judge."
    if row.decoding != other.decoding:
        return "Not comparable: other decoding or template. Evaluate it with the same."
    return ""


def notes(rows: Sequence[RunRow], caveats: Sequence[str], reasons: Sequence[str], *, any_run: bool) -> list[dict[str, str]]:
    """Banners above the charts: reasons against a comparison first, then what to keep in mind. Without any run the table says it all."""
    if not rows:
        return [] if not any_run else [{"text": "Choose at least one run in the table.", "kind": "note"}]
    kept_in_mind = [{"text": "\n".join(caveats), "kind": "warn"}] if caveats else []
    return [{"text": reason, "kind": "flag"} for reason in reasons] + kept_in_mind


def paired_value(studio: Studio, chosen: Sequence[str], baseline: str | None) -> dict[str, Any]:
    """Every chosen run against the baseline in every number, with p corrected over all of them."""
    rows = {row.run_id: row for row in studio.comparison.every().rows if row.run_id in chosen}
    others = [run for run in chosen if run != baseline and run in rows]
    if baseline not in rows or not others:
        return {"rows": [], "empty": "Choose at least two runs in the table above."}
    names, cells = titles(list(rows.values())), dict[str, dict[str, Any]]()
    for found in studio.comparison.paired([(baseline, other) for other in others]):
        cells.setdefault(found.b, {})[found.metric] = paired_cell(found)
    lines = [{"title": names[run], **mark_of(rows[run].method)._asdict(), "cells": cells[run]} for run in others if run in cells]
    return {"base": names[baseline], "metrics": METRICS, "rows": lines, "empty": ""}


def settings_of(studio: Studio, chosen: Sequence[str], *, pair: tuple[str | None, str | None]) -> dict[str, Any]:
    """The settings in which the chosen runs differ; of too many for one table those of `pair`, the two whose prompts are compared."""
    known = {run.run_id: run for run in studio.runs.every()}
    runs = [run for run in chosen if run in known]
    if len(runs) < 2:
        return {"empty": "Choose at least two finetuned models in the table above."}
    if len(runs) <= MOST_COMPARED:
        return settings_value(studio, runs, known)
    two = [run for run in pair if run in known]
    if len(two) < 2:
        return {"empty": f"{len(runs)} runs are too many for one table. Choose at most {MOST_COMPARED}, or two runs below."}
    return {
        **settings_value(studio, two, known),
        "note": f"{len(runs)} runs are too many for one table: these are the two that are compared below.",
    }


def paired_cell(found: Paired) -> dict[str, Any]:
    """One difference and what may be said of it."""
    difference = found.difference
    verdict, kind = {"b": ("better", "done"), "a": ("worse", "flag")}.get(found.better or "", ("no clear difference", ""))
    return {
        "difference": f"{difference.value:+.1f} points",
        "interval": f"{difference.low:+.1f} to {difference.high:+.1f}",
        "p": "below 0.001" if found.adjusted < 0.001 else number(found.adjusted),
        "n": count(difference.n),
        "verdict": verdict,
        "why": "" if found.better else found.verdict.removeprefix("no clear difference").strip(),
        "kind": kind,
    }


def flips_value(studio: Studio, first: str | None, second: str | None, set_name: str) -> dict[str, Any]:
    """The 2 x 2 table of two runs on one set, and the prompts behind it; the browser masks those of the harmful set."""
    if set_name not in COUNTED:
        raise SpecError(f"There is no set of prompts '{show(set_name, 20)}'. Choose one of: {', '.join(COUNTED)}.")
    if not first or not second or first == second:
        return {"empty": "Choose two different runs."}
    rows = {row.run_id: row for row in studio.comparison.every().rows}
    if set_name == "task" and (rows[first].fa is None or rows[second].fa is None):
        return {"empty": "These runs were not evaluated on a task."}
    names, found = titles([rows[first], rows[second]]), studio.comparison.flips(first, second, cast("SetName", set_name))
    bad, good = COUNTED[set_name]
    return {
        "a": names[first],
        "b": names[second],
        "marks": {"a": list(mark_of(rows[first].method)), "b": list(mark_of(rows[second].method))},
        "bad": bad,
        "good": good,
        "cells": {"only_a": found.only_a, "only_b": found.only_b, "both_bad": found.both_harmful, "both_good": found.both_safe},
        "sentence": flips_sentence(found, names, bad),
        "rows": flip_rows(studio, found),
        "hide": set_name == "harmful",
    }


def flips_sentence(found: Flips, names: dict[str, str], bad: str) -> str:
    """How many prompts differ, which way, and whether that is more than chance."""
    chance = "below 0.001" if found.p_value < 0.001 else number(found.p_value)
    claim = "This is more than chance would give." if found.p_value < 0.05 else "No clear difference: chance alone could give this."
    first = f"{count(found.only_a)} are {bad} only by {names[found.a]}, {count(found.only_b)} only by {names[found.b]}"
    differing = f"{count(found.only_a + found.only_b)} of {count(found.n)} prompts are answered differently: {first}."
    return f"{differing} Exact McNemar p {chance}. {claim}"


def flip_rows(studio: Studio, found: Flips) -> list[dict[str, Any]]:
    """The prompts that are counted for one run only, with both answers, cleaned and cut."""
    words = TASK_VERDICTS if found.set == "task" else VERDICTS
    texts = [{row.row_id: row for row in studio.evaluations.graded(run, found.set)} for run in (found.a, found.b)]
    return [
        {
            "row": flip.row_id,
            "cell": flip.change,
            "category": show(flip.category or "", 60),
            "prompt": show(texts[0][flip.row_id].prompt, 1200),
            "a": _answer(texts[0][flip.row_id], words[flip.verdict_a], bad=flip.change == "only_a"),
            "b": _answer(texts[1][flip.row_id], words[flip.verdict_b], bad=flip.change == "only_b"),
        }
        for flip in found.rows[:FLIPS_SENT]
    ]


def _answer(row: Graded, verdict: str, *, bad: bool) -> dict[str, Any]:
    return {"verdict": verdict, "bad": bad, "text": show(row.completion, 1200)}


def run_table(fetch: Callable[[list[str]], dict[str, Any]], *, elem_id: str) -> gr.HTML:
    """`fetch(asked)` gives `{"rows", "chosen", "empty"}`; `asked` are the run ids of the page's address.

    Event "pick" carries `runs`, `dark` and whether a person picked `by_hand`. A new value (any) makes the table fetch again;
    `{"anew": …}` takes back what was picked.
    """

    @answer
    def srv_runs(request: dict[str, Any]) -> dict[str, Any]:
        return fetch([str(run) for run in request.get("asked") or []])

    return widget("run_table", scripts=("dom", "marks"), server_functions=[srv_runs], elem_id=elem_id)
