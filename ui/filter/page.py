"""Filter: score the dataset, see the scores, choose the threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from reft_studio.studio.models import JOB
from ui.events import FAST, SLOW, on, on_change, on_load, said, status
from ui.filter.live_panel import wire_live
from ui.filter.panels import PACE, Panels, Pickers, draw_panels, draw_pickers, moving_values, page_values
from ui.filter.rows_panel import wire_rows
from ui.filter.scorer_panel import draw_scorer, panel_choices, wire_scorer
from ui.filter.teacher_card import card_value, teacher_card
from ui.filter.teacher_panel import base_choices, draw_teacher, set_choices, wire_teacher
from ui.shared.jobs import job_panel
from ui.shared.model_shelf import missing_notice, wire_missing
from ui.shared.shown import Shown
from ui.text import counted, number

if TYPE_CHECKING:
    from reft_studio.studio.studio import Studio

_JOBS = ("score", "scorer", "teacher", "teacher_map", "quick_teacher", JOB)


def build(studio: Studio) -> None:
    """Draw the page and wire it; every value comes when it loads."""
    with gr.Column(elem_classes=["rs-card"]):
        pickers = draw_pickers()
        missing = missing_notice("filter-missing")
        line = status("filter-status")
        jobs = job_panel(studio, _JOBS, of_chosen=True, elem_id="filter-jobs")
    panels = draw_panels(studio)
    outputs = [*pickers.outputs(), *panels.outputs()]
    _wire_pickers(studio, pickers, panels, line)
    _wire_elsewhere(studio, pickers, panels, line)
    wire_live(studio, panels.live, moving=[panels.threshold, panels.rows], values=lambda: moved(studio), line=line)
    on(panels.live.replaced, lambda: page_values(studio), outputs=outputs, line=line, refresh=True, **FAST)
    wire_rows(studio, panels.rows, line)
    card = teacher_card()
    teacher = draw_teacher()
    wire_teacher(studio, teacher)
    scorer = draw_scorer()
    wire_scorer(studio, scorer)
    on(pickers.scorer.change, lambda chosen: card_value(studio, chosen), inputs=[pickers.scorer], outputs=[card], **FAST)

    def positions(event: gr.EventData) -> Any:
        studio.teachers.draw_map(str(event.teacher))
        return said("The map is queued. The panel above shows how far it is.", "note")

    on(card.positions, positions, line=line, refresh=True, **FAST)

    def done(chosen: str | None) -> tuple[Any, ...]:
        return (*page_values(studio, scorer=chosen), card_value(studio, chosen))

    on(jobs.done, done, inputs=[pickers.scorer], outputs=[*outputs, card], line=line, refresh=True, **SLOW)
    wire_missing(studio, pickers.scorer, missing, jobs, line)
    on_load(lambda: page_values(studio), outputs=outputs, line=line)
    on_load(lambda: tuple(set_choices(studio)), outputs=teacher.sets)
    on_load(lambda: tuple(panel_choices(studio)), outputs=[*scorer.sets, scorer.teacher, scorer.members])
    on_load(lambda: tuple(base_choices(studio)), outputs=[teacher.model, teacher.fields.inputs["model"]])


def _wire_elsewhere(studio: Studio, pickers: Pickers, panels: Panels, line: gr.HTML) -> None:
    """Follow what another tab or the command line puts in use; a line that a person has moved here stays where it is."""
    outputs = [*pickers.outputs(), *panels.outputs()]

    def follow(shown: Shown) -> tuple[Any, ...]:
        told = shown.change(studio.state())
        if not told:
            return tuple(gr.skip() for _ in [*outputs, line])
        return (*page_values(studio), said(told, "note"))

    on_change(follow, inputs=[pickers.shown], outputs=[*outputs, line])


def moved(studio: Studio) -> tuple[Any, ...]:
    """Threshold panel and table for the scores that are there now."""
    state = studio.state()
    if state.dataset is None or state.score is None:
        return gr.skip(), gr.skip()
    return moving_values(studio, studio.scores.view(state.dataset.id, state.score.key))


def _wire_pickers(studio: Studio, pickers: Pickers, panels: Panels, line: gr.HTML) -> None:
    outputs = [*pickers.outputs(), *panels.outputs()]

    def choose_dataset(dataset: str) -> tuple[Any, ...]:
        studio.choose(dataset=dataset)
        return page_values(studio)

    def choose_scores(key: str, shown: Shown) -> tuple[Any, ...]:
        shown.take(studio)
        studio.choose(score_key=key)
        return page_values(studio)

    def score(dataset: str, scorer: str | None) -> tuple[Any, ...]:
        studio.scoring.start(dataset, scorer)
        return None, said("Scoring is queued. The panel below shows how far it is.", "note")

    def learn(dataset: str) -> Any:
        found = studio.scorers.learn_words(dataset)
        counts = f"{counted(found.kept, 'row')} that people kept and {counted(found.removed, 'row')} that they removed"
        told = f"A word scorer is made from {counted(found.kept + found.removed, 'decision')} ({counts}) and our own texts."
        return said(f"{told} When it is ready, choose it as the scorer above.", "note")

    def use(event: gr.EventData) -> tuple[Any, ...]:
        studio.choose(dataset=str(event.dataset))  # what the page shows, whatever another tab chose meanwhile
        studio.choose(score_key=str(event.key))
        studio.choose(threshold=float(event.t), rule=str(event.rule)[:120] if event.rule else None)
        return (*page_values(studio), said(f"Threshold {number(float(event.t))} is now in use. Next: review the rows around it."))

    on(pickers.dataset.input, choose_dataset, inputs=[pickers.dataset], outputs=outputs, line=line, refresh=True, **FAST)
    on(pickers.scores.input, choose_scores, inputs=[pickers.scores, pickers.shown], outputs=outputs, line=line, refresh=True, **FAST)
    on(pickers.score.click, score, inputs=[pickers.dataset, pickers.scorer], outputs=[panels.empty], line=line, refresh=True, **FAST)
    on(pickers.learn.click, learn, inputs=[pickers.dataset], outputs=[], line=line, refresh=True, **FAST)
    on(panels.empty.act, score, inputs=[pickers.dataset, pickers.scorer], outputs=[panels.empty], line=line, refresh=True, **FAST)

    def pace(event: gr.EventData) -> None:
        studio.settings.set(PACE, min(3600.0, max(1.0, float(event.seconds))))

    on(panels.estimate.pace, pace, **FAST)
    on(panels.threshold.use, use, outputs=outputs, line=line, refresh=True, **FAST)
