"""Many rows at once, and the end of a review: freeze, export, audit bundle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from reft_studio.errors import SpecError, StudioError
from ui.components.review_panel import lineage_view, plan_sentence, plan_view
from ui.events import said, status
from ui.text import counted, show
from ui.widgets import fixed, widget

if TYPE_CHECKING:
    from reft_studio.studio import Studio
    from reft_studio.views.bulk import Selection
    from reft_studio.views.project import State

ANY = "(any)"
SIDES = [("Flagged rows", "flagged"), ("Kept rows", "kept"), ("Rows without a score", "unscored"), ("All rows", "all")]
FREEZE_LEAD = (
    "<h2>Freeze</h2><p class='rs-lead'>Turns the decisions into a new dataset with its audit trail. The one you have stays as it is.</p>"
)
FROZEN_LEAD = (
    "<h2>This dataset is frozen</h2><p class='rs-lead'>It holds what an audit left, and every decision that led to it. "
    "Train on it, or hand it on.</p>"
)
BULK_ACTIONS = [("Keep", "keep"), ("Remove", "remove"), ("Back to the threshold", "clear")]
PAST = {"keep": "marked Keep", "remove": "marked Remove", "clear": "given back to the threshold"}


@dataclass(frozen=True)
class Bulk:
    """A filter, what to do with its rows, a count before it is done."""

    sheet: gr.Accordion
    side: gr.Dropdown
    origin: gr.Dropdown
    search: gr.Textbox
    overrule: gr.Checkbox
    action: gr.Radio
    reason: gr.Textbox
    preview: gr.Button
    apply: gr.Button
    undo: gr.Button
    line: gr.HTML

    def filter(self) -> list[Any]:
        return [self.side, self.origin, self.search, self.overrule]


@dataclass(frozen=True)
class Freeze:
    """What freezing would do, and the buttons that do it."""

    sheet: gr.Column
    facts: gr.HTML
    sentence: gr.HTML
    reason: gr.Textbox
    freeze: gr.Button
    export: gr.Button
    file: gr.DownloadButton
    line: gr.HTML


@dataclass(frozen=True)
class Frozen:
    """The page of a dataset that an audit made."""

    sheet: gr.Column
    facts: gr.HTML
    export: gr.Button
    bundle: gr.Button
    back: gr.Button
    file: gr.DownloadButton
    archive: gr.DownloadButton
    line: gr.HTML


def draw_bulk() -> Bulk:
    """Closed until it is asked for, by click or with the key B."""
    with gr.Accordion("Decide many rows at once (B)", open=False, elem_id="bulk", elem_classes=["rs-card"]) as sheet:
        with gr.Row():
            side = gr.Dropdown(SIDES, value="flagged", label="Which rows", elem_id="bulk-side", min_width=150)
            origin = gr.Dropdown([ANY], value=ANY, label="From", elem_id="bulk-origin", min_width=150)
            search = gr.Textbox(label="That hold the words", placeholder="optional", max_lines=1, elem_id="bulk-search", min_width=180)
        overrule = gr.Checkbox(False, label="Also rows that a person has decided already", elem_id="bulk-overrule")
        with gr.Row():
            action = gr.Radio(BULK_ACTIONS, value="keep", label="Decision", elem_id="bulk-action", min_width=280)
            reason = gr.Textbox(label="Reason", placeholder="kept with every one of these decisions", max_lines=1, elem_id="bulk-reason")
        line = status("bulk-status")
        with gr.Row():
            preview = gr.Button("Count the rows", elem_id="bulk-preview", scale=0, min_width=180)
            apply = gr.Button("Decide", variant="primary", interactive=False, elem_id="bulk-apply", scale=0, min_width=210)
            undo = gr.Button("Undo the last step", elem_id="bulk-undo", scale=0, min_width=200)
    return Bulk(sheet, side, origin, search, overrule, action, reason, preview, apply, undo, line)


def draw_freeze() -> Freeze:
    """The plan, the reason for leaving undecided rows out, and what can be written."""
    with gr.Column(elem_classes=["rs-card"], visible=False, elem_id="freeze") as sheet:
        fixed(FREEZE_LEAD)
        facts = widget("facts", {}, elem_id="freeze-facts")
        sentence = status("freeze-plan")
        reason = gr.Textbox(label="Why undecided rows may be left out", max_lines=2, visible=False, elem_id="freeze-reason")
        line = status("freeze-status")
        with gr.Row():
            freeze = gr.Button("Freeze the dataset", variant="primary", elem_id="freeze-button", scale=0, min_width=260)
            export = gr.Button("Make the cleaned file", elem_id="export-button", scale=0, min_width=210)
            file = gr.DownloadButton("Save", visible=False, elem_id="export-file", scale=0, min_width=320)
    return Freeze(sheet, facts, sentence, reason, freeze, export, file, line)


def draw_frozen() -> Frozen:
    """Shown instead of the review when the dataset in work is the result of one."""
    with gr.Column(elem_classes=["rs-card"], visible=False, elem_id="frozen") as sheet:
        fixed(FROZEN_LEAD)
        facts = widget("facts", {}, elem_id="frozen-facts")
        line = status("frozen-status")
        with gr.Row():
            gr.Button("Train on it", variant="primary", link="/train", elem_id="frozen-train", scale=0, min_width=150)
            export = gr.Button("Make the cleaned file", elem_id="frozen-export", scale=0, min_width=210)
            bundle = gr.Button("Make the audit bundle", elem_id="frozen-bundle", scale=0, min_width=230)
            back = gr.Button("Back to the source", elem_id="frozen-back", scale=0, min_width=190)
        with gr.Row():
            file = gr.DownloadButton("Save", visible=False, elem_id="frozen-file", scale=0, min_width=320)
            archive = gr.DownloadButton("Save", visible=False, elem_id="frozen-archive", scale=0, min_width=320)
    return Frozen(sheet, facts, export, bundle, back, file, archive, line)


def bulk_values(studio: Studio, state: State) -> tuple[Any, ...]:
    """(sheet, origin) for the dataset in work."""
    if state.dataset is None or state.dataset.frozen_from is not None:
        return gr.Accordion(visible=False), gr.Dropdown(choices=[ANY], value=ANY)
    origins = [(show(origin, 60), origin) for origin in studio.dataset(state.dataset.id).profile.origins]
    return gr.Accordion(visible=True), gr.Dropdown(choices=[(ANY, ANY), *origins], value=ANY)


def freeze_values(studio: Studio, state: State) -> tuple[Any, ...]:
    """(sheet, facts, sentence, reason, button) for the dataset in work."""
    if state.dataset is None or state.dataset.frozen_from is not None:
        return gr.Column(visible=False), {}, said("", "quiet"), gr.Textbox(visible=False), gr.Button()
    progress = studio.audit.review_progress(state.dataset.id)
    return (
        gr.Column(visible=True),
        plan_view(progress),
        said(plan_sentence(progress, state.threshold), "quiet"),
        gr.Textbox(visible=progress.undecided > 0),
        gr.Button("Leave them out and freeze" if progress.undecided else "Freeze the dataset"),
    )


def frozen_values(studio: Studio, state: State) -> tuple[Any, ...]:
    """(sheet, facts) for the dataset in work."""
    if state.dataset is None or state.dataset.frozen_from is None:
        return gr.Column(visible=False), {}
    return gr.Column(visible=True), lineage_view(studio.dataset(state.dataset.id).manifest["lineage"])


def selection(studio: Studio, dataset: str, side: str, origin: str, search: str, overrule: bool) -> Selection:
    """The rows that the filter of the bulk sheet selects."""
    return studio.audit.select_rows(dataset, side=side, search=search.strip(), origin=None if origin == ANY else origin, overrule=overrule)


def preview_sentence(chosen: Selection, action: str, overrule: bool) -> str:
    """What a bulk decision would do, before it is done."""
    if not chosen.matched:
        return "No row matches this filter."
    left = "" if overrule or not chosen.decided else f" {counted(chosen.decided, 'row')} that a person decided would stay so."
    over = f" {counted(chosen.decided, 'earlier decision')} would be replaced." if overrule and chosen.decided else ""
    return f"{counted(len(chosen.row_ids), 'row')} of {counted(chosen.matched, 'matching row')} would be {PAST[action]}.{left}{over}"


def freeze_now(studio: Studio, reason: str) -> str:
    """Freeze the dataset in work; undecided rows are first removed by a decision that carries the reason. Returns what happened."""
    state = studio.state()
    if state.dataset is None:
        raise SpecError("There is no dataset to freeze. Import one on the Data page.")
    waiting = studio.audit.undecided_rows(state.dataset.id)
    if waiting and not reason.strip():
        raise SpecError(f"{counted(len(waiting), 'row is', 'rows are')} undecided. Decide above, or say why to leave that out.")
    if waiting:
        studio.audit.decide_many(state.dataset.id, waiting, "remove", reason=f"undecided, left out when freezing: {reason.strip()}")
    try:
        frozen = studio.audit.freeze(state.dataset.id)
    except StudioError:
        if waiting:
            studio.audit.undo(state.dataset.id)  # nothing was frozen, so nothing was left out
        raise
    return f"Frozen: {counted(frozen.rows, 'row')} in '{show(frozen.name, 80)}'. It is now the dataset in use."
