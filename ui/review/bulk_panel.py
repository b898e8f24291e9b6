"""Many rows at once: a filter, what to do with its rows, and a count before it is done."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import gradio as gr

from reft_studio.studio.row_filter import RowFilter
from ui.events import status
from ui.review.ask import AddressFilter, filter_words
from ui.text import counted, show

if TYPE_CHECKING:
    from reft_studio.studio.bulk import Selection
    from reft_studio.studio.project import State
    from reft_studio.studio.studio import Studio

ANY = "(any)"
LINKED = "linked"
"""The choice that stands for the filter of the address."""
SIDES = [("Flagged rows", "flagged"), ("Kept rows", "kept"), ("Rows without a score", "unscored"), ("All rows", "all")]
ACTIONS = [("Keep", "keep"), ("Remove", "remove"), ("Back to the threshold", "clear")]
PAST = {"keep": "marked Keep", "remove": "marked Remove", "clear": "given back to the threshold"}


@dataclass(frozen=True)
class Bulk:
    """The parts of the sheet."""

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


def draw_bulk() -> Bulk:
    """Closed until it is asked for, by click or with the key B."""
    with gr.Accordion("Decide many rows at once (B)", open=False, elem_id="bulk", elem_classes=["rs-card"]) as sheet:
        with gr.Row():
            side = gr.Dropdown(SIDES, value="flagged", label="Which rows", elem_id="bulk-side", min_width=150)
            origin = gr.Dropdown([ANY], value=ANY, label="From", elem_id="bulk-origin", min_width=150)
            search = gr.Textbox(label="That hold the words", placeholder="optional", max_lines=1, elem_id="bulk-search", min_width=180)
        overrule = gr.Checkbox(False, label="Also rows that a person has decided already", elem_id="bulk-overrule")
        with gr.Row():
            action = gr.Radio(ACTIONS, value="keep", label="Decision", elem_id="bulk-action", min_width=280)
            reason = gr.Textbox(label="Reason", placeholder="kept with every one of these decisions", max_lines=1, elem_id="bulk-reason")
        line = status("bulk-status")
        with gr.Row():
            preview = gr.Button("Count the rows", elem_id="bulk-preview", scale=0, min_width=180)
            apply = gr.Button("Decide", variant="primary", interactive=False, elem_id="bulk-apply", scale=0, min_width=210)
            undo = gr.Button("Undo the last step", elem_id="bulk-undo", scale=0, min_width=200)
    return Bulk(sheet, side, origin, search, overrule, action, reason, preview, apply, undo, line)


def bulk_values(studio: Studio, state: State, ask: AddressFilter) -> tuple[Any, ...]:
    """(sheet, side, origin) for the dataset in work; a filter of the address is one of the choices, and the first one."""
    if state.dataset is None or state.dataset.frozen_from is not None:
        return gr.Accordion(visible=False), gr.Dropdown(choices=SIDES, value="all"), gr.Dropdown(choices=[ANY], value=ANY)
    origins = studio.rows.facet(state.dataset.id, "origin")
    labels = [(show(label, 60), label) for label in origins.labels] if origins else []
    linked = [(f"This filter: {', '.join(filter_words(ask.row_filter()))}", LINKED)] if ask.query else []
    side = LINKED if linked else "all" if state.score is None else "flagged"
    return (
        gr.Accordion(visible=True),
        gr.Dropdown(choices=[*linked, *SIDES], value=side),
        gr.Dropdown(choices=[(ANY, ANY), *labels], value=ANY),
    )


def chosen_filter(side: str, origin: str, search: str, ask: AddressFilter) -> RowFilter:
    """What the fields of the sheet select. Raises SpecError for a value that cannot be."""
    if side == LINKED:
        base = ask.row_filter() or RowFilter()
        facets = base.facets if origin == ANY else (*base.facets, ("origin", origin))
        return replace(base, facets=facets, search=search.strip() or base.search)
    facets = () if origin == ANY else (("origin", origin),)
    return RowFilter(side=side, facets=facets, search=search.strip())  # type: ignore[arg-type]


def preview_sentence(chosen: Selection, action: str, overrule: bool) -> str:
    """What a bulk decision would do, before it is done."""
    if not chosen.matched:
        return "No row matches this filter."
    left = "" if overrule or not chosen.decided else f" {counted(chosen.decided, 'row')} that a person decided would stay so."
    over = f" {counted(chosen.decided, 'earlier decision')} would be replaced." if overrule and chosen.decided else ""
    return f"{counted(len(chosen.row_ids), 'row')} of {counted(chosen.matched, 'matching row')} would be {PAST[action]}.{left}{over}"
