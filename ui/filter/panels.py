"""What the Filter page shows, built from the studio's answers: pickers, banners, panels. No wiring here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from reft_studio.data.grid import grid
from reft_studio.scoring import SCORERS
from reft_studio.scoring.level import level_of
from reft_studio.studio.rows import ACTIONS, TITLES
from ui.filter.live_panel import draw_live, live_value
from ui.filter.numbers import changes_server, rule_server, shift_server, slices_server
from ui.filter.outcome import draw_outcome
from ui.filter.rows_panel import draw_rows, rows_value
from ui.filter.scorer_words import READS
from ui.filter.threshold import (
    changes_panel,
    drift_panel,
    estimate_panel,
    rule_panel,
    slice_panel,
    threshold_panel,
    threshold_value,
    tradeoff_panel,
)
from ui.shared.jobs import LIVE
from ui.shared.shown import NO_DATASET, Shown
from ui.shared.why_panel import draw_why, why_value
from ui.text import counted, number, show
from ui.widgets import widget

if TYPE_CHECKING:
    from reft_studio.studio.project import DatasetSummary, State
    from reft_studio.studio.rows import Decided
    from reft_studio.studio.scorers import Prepared
    from reft_studio.studio.scores import FilterView, ScoreSet
    from reft_studio.studio.studio import Studio

PACE, SECONDS = "review_seconds", 20
"""The setting of how long reading a row takes, and what it is before anybody said so."""
UNLABELLED = (
    "This file carries no labels, so recall and precision cannot be counted here. Estimate says what else is known, and on what it rests."
)


@dataclass(frozen=True)
class Pickers:
    """The controls at the top of the page."""

    dataset: gr.Dropdown
    scorer: gr.Dropdown
    scores: gr.Dropdown
    score: gr.Button
    learn: gr.Button
    shown: gr.State

    def outputs(self) -> list[Any]:
        return [self.dataset, self.scorer, self.scores, self.score, self.learn, self.shown]


@dataclass(frozen=True)
class Panels:
    """The widgets under them, in the order they are drawn."""

    empty: gr.HTML
    warning: gr.HTML
    live: gr.HTML
    threshold: gr.HTML
    rule: gr.HTML
    rows: gr.HTML
    why: gr.HTML
    tabs: gr.HTML
    estimate: gr.HTML
    slices: gr.HTML
    tradeoff: gr.HTML
    drift: gr.HTML
    changes: gr.HTML
    outcome: gr.HTML
    unscored: gr.HTML

    def outputs(self) -> list[Any]:
        return list(vars(self).values())


def draw_pickers() -> Pickers:
    """One row: which dataset, which scorer, which of its scores; all filled when the page loads."""
    with gr.Row(equal_height=False):
        dataset = gr.Dropdown([], label="Dataset", elem_id="filter-dataset", scale=3, min_width=220)
        scorer = gr.Dropdown([], label="Scorer", elem_id="filter-scorer", scale=2, min_width=180)
        scores = gr.Dropdown([], label="Scores", elem_id="filter-scores", scale=2, min_width=180, visible=False)
        score = gr.Button("Score again", visible=False, elem_id="filter-score", scale=0, min_width=150)
        learn = gr.Button("Learn words from decisions", visible=False, elem_id="filter-learn", scale=0, min_width=240)
    return Pickers(dataset, scorer, scores, score, learn, gr.State(Shown()))


def draw_panels(studio: Studio) -> Panels:
    """The panels, empty; `panel_values` fills them."""
    empty = widget("empty_state", None, elem_id="filter-empty")
    warning = widget("notice", None, elem_id="filter-warning")
    live = draw_live(studio)
    threshold = threshold_panel()
    rule = rule_panel(rule_server(studio))
    rows = draw_rows(studio)
    why = draw_why(studio)
    with gr.Column(elem_classes=["rs-card"], elem_id="analysis"):
        bar = widget("panels", scripts=("dom", "url"), elem_id="analysis-tabs")
        with gr.Column(elem_id="panel-estimate"):
            estimate = estimate_panel(shift_server(studio))
        with gr.Column(elem_id="panel-slices"):
            slices = slice_panel(slices_server(studio))
        with gr.Column(elem_id="panel-tradeoff"):
            tradeoff = tradeoff_panel()
        with gr.Column(elem_id="panel-drift"):
            drift = drift_panel()
        with gr.Column(elem_id="panel-changes"):
            changes = changes_panel(changes_server(studio))
        with gr.Column(elem_id="panel-outcome"):
            outcome = draw_outcome(studio).where
        with gr.Column(elem_id="panel-unscored"):
            unscored = widget("unscored", scripts=("dom", "url", "threshold_math"), elem_id="unscored")
    return Panels(empty, warning, live, threshold, rule, rows, why, bar, estimate, slices, tradeoff, drift, changes, outcome, unscored)


def page_values(studio: Studio, *, scorer: str | None = None) -> tuple[Any, ...]:
    """Values of every picker and panel for the state the workspace is in."""
    state = studio.state()
    return (*picker_values(studio, state, scorer=scorer), *panel_values(studio, state))


def picker_values(studio: Studio, state: State, *, scorer: str | None = None) -> tuple[Any, ...]:
    """The choices there are, with what is being worked on selected; `scorer` is one that a person has chosen and not used yet."""
    datasets, scorers = studio.datasets.every(), studio.scorers.every()
    sets = studio.scores.every(state.dataset.id) if state.dataset else []
    titles = {one.id: show(one.title, 60) for one in scorers}
    chosen = state.score.key if state.score else None
    wanted = (scorer, state.score.teacher if state.score else None)
    there = [one.id for one in scorers]
    used = next((one for one in wanted if one in there), there[0] if there else None)  # the scorer of old scores may be gone
    return (
        gr.Dropdown(choices=[(dataset_name(one), one.id) for one in datasets], value=state.dataset.id if state.dataset else None),
        gr.Dropdown(choices=[(scorer_name(one), one.id) for one in scorers], value=used),
        gr.Dropdown(choices=[(score_name(one, titles), one.key) for one in sets], value=chosen, visible=len(sets) > 1),
        gr.Button(visible=state.score is not None),  # without scores the empty state has the one button
        gr.Button(visible=state.dataset is not None and studio.scorers.may_learn_words(state.dataset.id)),
        Shown.of(state),
    )


def panel_values(studio: Studio, state: State) -> tuple[Any, ...]:
    """The panels for the dataset and scores in use; without scores, only the way to get them."""
    if state.dataset is None or state.score is None:
        return (None if scoring(studio) else empty_value(state), None, live_value(state), *[""] * 12)
    view = studio.scores.view(state.dataset.id, state.score.key)
    where = {"dataset": state.dataset.id, "key": state.score.key, "threshold": view.threshold, "calibrated": view.calibrated}
    reasons = studio.measures.unscored(state.dataset.id, state.score.key)
    panel, rows = moving_values(studio, view)
    facets = [[name, TITLES[name]] for name in studio.measures.facets(state.dataset.id)]
    whole = view.score.finished  # what is reached first is no sample of the rest
    return (
        None,
        {"text": show(view.warning, 600), "kind": "flag"} if view.warning else None,
        live_value(state),
        panel,
        rule_value(studio, where) if whole else "",
        rows,
        why_value(studio),
        json.dumps(tabs(view, reasons)),
        panel if whole else "",
        json.dumps({**where, "facets": facets}) if whole else "",
        panel if whole else "",
        panel if whole else "",
        json.dumps({**where, "sets": score_sets(studio, state.dataset.id)}) if whole else "",
        json.dumps(where) if whole else "",
        json.dumps([[show(reason, 120), count] for reason, count in reasons]),
    )


def rule_value(studio: Studio, where: Mapping[str, Any]) -> str:
    """The rule panel's value, with the other files whose clean rows may set a line."""
    clean = [[source, show(name, 80)] for source, name in studio.thresholds.clean_sources(where["dataset"], where["key"])]
    return json.dumps({**where, "clean": clean})


def moving_values(studio: Studio, view: FilterView) -> tuple[str, str]:
    """What changes while rows are being scored: threshold panel and table."""
    score = view.score
    return panel_value(studio, view), rows_value(score.dataset, score.key, view.threshold, score.unscored, score.rows - score.reached)


def tabs(view: FilterView, reasons: Sequence[tuple[str, int]]) -> list[list[str]]:
    """The tabs of the analysis, each with its block's name; none until all rows are scored: those reached first are no sample."""
    named = [
        ["estimate", "Estimate"],
        ["slices", "Slices"],
        ["tradeoff", "Recall and precision"],
        ["drift", "Drift"],
        ["changes", "Compare"],
        ["outcome", "Outcome"],
    ]
    if not view.score.finished:
        return []
    return [*named, ["unscored", f"No score ({view.score.unscored:,})"]] if reasons else named


def score_sets(studio: Studio, dataset: str) -> list[dict[str, Any]]:
    """The score sets of a dataset as the comparison names them."""
    titles = {one.id: show(one.title, 60) for one in studio.scorers.every()}
    return [{"key": one.key, "title": score_name(one, titles), "threshold": one.threshold} for one in studio.scores.every(dataset)]


def scoring(studio: Studio) -> bool:
    """True while scores are being made or wait for their turn: the job panel shows how far they are."""
    return any(job.kind == "score" and job.state in LIVE for job in studio.jobs.list(20))


def panel_value(studio: Studio, view: FilterView) -> str:
    """The threshold panel's value, with a tick where a person has decided rows."""
    held = studio.log.decided(view.score.dataset)
    pace = studio.settings.get(PACE, SECONDS)
    return threshold_value(view, reviewed=reviewed(held), note=note(view), unlabelled=UNLABELLED, seconds=pace)


def reviewed(held: Decided) -> list[tuple[int, str]]:
    """Bin and action of decided rows: each pair once, so that a million decisions draw no more ticks than the axis has places."""
    known = ~np.isnan(held.scores)
    pairs = np.unique(np.column_stack([grid(held.scores[known]), held.codes[known]]), axis=0)
    return [(place, ACTIONS[code - 1]) for place, code in pairs.tolist()]


def note(view: FilterView) -> str:
    """What the summary sentence must not leave out: rows without a score, rows near the line, the rule behind the line in use."""
    parts = [f"The line in use was found by a rule: {show(view.rule, 120)}."] if view.rule else []
    if waiting := view.score.rows - view.score.reached:
        parts.append(f"{counted(waiting, 'row is', 'rows are')} not reached yet.")
    if view.score.unscored:
        why = "; ".join(f"{count:,} × {name}" for name, count in view.score.info.get("missing_reasons", {}).items())
        told = f" ({show(why, 200)})" if why else ""
        parts.append(f"{counted(view.score.unscored, 'row has', 'rows have')} no score{told} and must be decided by a person.")
    if cut := view.score.cut_sentence:
        parts.append(cut)
    if view.near_threshold:
        parts.append(f"{counted(view.near_threshold, 'row lies', 'rows lie')} within 0.02 of the line in use ({number(view.threshold)}).")
    return " ".join(parts)


def empty_value(state: State) -> dict[str, str]:
    """What to do first."""
    if state.dataset is None:
        return NO_DATASET
    rows = counted(state.dataset.rows, "row")
    return {
        "title": f"{rows} waiting for a score",
        "text": "The scorer chosen above reads each row once and says how harmful it looks. Nothing is removed by scoring.",
        "action": f"Score {rows}",
    }


def dataset_name(one: DatasetSummary) -> str:
    """Name, size and whether it is a frozen one; names come from files, so they are cleaned."""
    frozen = ", frozen" if one.frozen_from else ""
    return f"{show(one.name, 60)} ({counted(one.rows, 'row')}{frozen})"


def scorer_name(one: Prepared) -> str:
    """Its title and what it reads; one that is poor on its own prompts is called so."""
    word = level_of(one.calibration).word
    poor = f", {word}" if word in ("weak", "unusable") else ""
    return f"{show(one.title, 60)} ({READS[SCORERS.get(one.scorer).info.reads]}{poor})"


def score_name(one: ScoreSet, titles: Mapping[str, str]) -> str:
    """Which scorer made these scores; one that is gone is named by its id."""
    return f"{titles.get(one.teacher, show(one.teacher, 40))}, {one.key[:8]}{'' if one.finished else ', unfinished'}"
