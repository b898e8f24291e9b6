"""Review: decide rows one by one or many at once, then freeze the result."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gradio as gr

from reft_studio.errors import StoreError
from ui.components import freeze_panel as ends
from ui.components import review_panel as panel
from ui.components.cards import card_server
from ui.components.filter_panel import NO_DATASET
from ui.downloads import offer
from ui.events import FAST, SLOW, on, on_load, said
from ui.text import counted
from ui.widgets import widget
from ui.widgets.review_card import review_card

if TYPE_CHECKING:
    from reft_studio.studio import Studio

Values = Callable[..., tuple[Any, ...]]
SAVE: dict[str, Any] = {"show_progress": "hidden", "queue": False, "trigger_mode": "multiple", "api_visibility": "private"}
"""Every decision is sent: none may be dropped because a newer one came."""


def build(studio: Studio) -> None:
    """Draw the page and wire it; every value comes when it loads."""
    empty = widget("empty_state", None, elem_id="review-empty")
    card = review_card(card_server(studio), panel.find_server(studio))
    bulk, freeze, frozen = ends.draw_bulk(), ends.draw_freeze(), ends.draw_frozen()
    turn = gr.State(0)
    parts = [empty, card, bulk.sheet, bulk.origin, freeze.sheet, freeze.facts, freeze.sentence, freeze.reason, freeze.freeze]
    outputs = [*parts, frozen.sheet, frozen.facts, turn]

    def values(times: int, start: int | None = None) -> tuple[Any, ...]:
        state = studio.state()
        return (
            NO_DATASET if state.dataset is None else None,
            panel.batch_value(studio, start=start, turn=times + 1),
            *ends.bulk_values(studio, state),
            *ends.freeze_values(studio, state),
            *ends.frozen_values(studio, state),
            times + 1,
        )

    def load(request: gr.Request) -> tuple[Any, ...]:
        asked = str(request.query_params.get("row", ""))
        return values(0, int(asked) if asked.isdecimal() else None)

    on_load(load, outputs=outputs)
    on(card.batch, values, inputs=[turn], outputs=outputs, **SLOW)
    _wire_decisions(studio, card, freeze)
    _wire_bulk(studio, bulk, values, turn, outputs)
    _wire_freeze(studio, freeze, values, turn, outputs, frozen.line)
    _wire_frozen(studio, frozen, values, turn, outputs)


def _wire_decisions(studio: Studio, card: gr.HTML, freeze: ends.Freeze) -> None:
    def decide(event: gr.EventData) -> gr.HTML:
        return gr.HTML(receipt=panel.receipt(studio, event._data, panel.decide))

    def undo(event: gr.EventData) -> gr.HTML:
        return gr.HTML(receipt=panel.receipt(studio, event._data, panel.undo))

    def redo(event: gr.EventData) -> gr.HTML:
        return gr.HTML(receipt=panel.receipt(studio, event._data, panel.redo))

    def plan() -> tuple[Any, ...]:
        return ends.freeze_values(studio, studio.state())

    for listener, handler in ((card.decide, decide), (card.undo, undo), (card.redo, redo)):
        listener(handler, None, card, **SAVE)
    on(card.settled, plan, outputs=[freeze.sheet, freeze.facts, freeze.sentence, freeze.reason, freeze.freeze], refresh=True, **SLOW)


def _wire_bulk(studio: Studio, bulk: ends.Bulk, values: Values, turn: gr.State, outputs: list[Any]) -> None:
    def count_rows(side: str, origin: str, search: str, overrule: bool, action: str) -> tuple[Any, ...]:
        chosen = ends.selection(studio, _dataset(studio), side, origin, search, overrule)
        n = len(chosen.row_ids)
        button = gr.Button(f"Decide {counted(n, 'row')}" if n else "Decide", interactive=n > 0)
        return button, said(ends.preview_sentence(chosen, action, overrule), "note")

    def apply(side: str, origin: str, search: str, overrule: bool, action: str, reason: str, times: int) -> tuple[Any, ...]:
        dataset = _dataset(studio)
        chosen = ends.selection(studio, dataset, side, origin, search, overrule)
        n = studio.audit.decide_many(dataset, chosen.row_ids, action, reason=reason.strip() or "decided in bulk")  # type: ignore[arg-type]
        said_so = said(f"{counted(n, 'row')} {ends.PAST[action]}. One undo takes all of it back.")
        return (*values(times), gr.Button("Decide", interactive=False), said_so)

    def undo(times: int) -> tuple[Any, ...]:
        taken = studio.audit.undo(_dataset(studio))
        text = said("There is nothing to undo.", "note") if taken is None else said("The last step is undone.")
        return (*values(times), gr.Button("Decide", interactive=False), text)

    chosen = [*bulk.filter(), bulk.action]
    everything = [*outputs, bulk.apply]
    on(bulk.preview.click, count_rows, inputs=chosen, outputs=[bulk.apply], line=bulk.line, **SLOW)
    on(bulk.apply.click, apply, inputs=[*chosen, bulk.reason, turn], outputs=everything, line=bulk.line, refresh=True, **SLOW)
    on(bulk.undo.click, undo, inputs=[turn], outputs=everything, line=bulk.line, refresh=True, **SLOW)
    for part in chosen:  # what was counted no longer holds
        on(part.input, lambda: gr.Button("Decide", interactive=False), outputs=[bulk.apply], **FAST)


def _wire_freeze(studio: Studio, freeze: ends.Freeze, values: Values, turn: gr.State, outputs: list[Any], done: gr.HTML) -> None:
    def run(reason: str, times: int) -> tuple[Any, ...]:
        text = ends.freeze_now(studio, reason)
        return (*values(times), said(text), said("", "quiet"))

    def export() -> gr.DownloadButton:
        return offer(studio.audit.export(_dataset(studio)), "Save the cleaned file")

    on(freeze.freeze.click, run, inputs=[freeze.reason, turn], outputs=[*outputs, done], line=freeze.line, refresh=True, **SLOW)
    on(freeze.export.click, export, outputs=[freeze.file], line=freeze.line, **SLOW)


def _wire_frozen(studio: Studio, frozen: ends.Frozen, values: Values, turn: gr.State, outputs: list[Any]) -> None:
    def back(times: int) -> tuple[Any, ...]:
        dataset = studio.state().dataset
        studio.choose(dataset=dataset.frozen_from if dataset else None)
        return values(times)

    def export() -> gr.DownloadButton:
        return offer(studio.audit.export(_dataset(studio)), "Save the cleaned file")

    def bundle() -> gr.DownloadButton:
        return offer(studio.audit.bundle(_dataset(studio)), "Save the audit bundle")

    on(frozen.back.click, back, inputs=[turn], outputs=outputs, line=frozen.line, refresh=True, **SLOW)
    on(frozen.export.click, export, outputs=[frozen.file], line=frozen.line, **SLOW)
    on(frozen.bundle.click, bundle, outputs=[frozen.archive], line=frozen.line, **SLOW)


def _dataset(studio: Studio) -> str:
    """The dataset in work, which another tab may have changed."""
    dataset = studio.state().dataset
    if dataset is None:
        raise StoreError("There is no dataset in work. Choose one on the Data page.")
    return dataset.id
