"""Review: decide rows one by one or many at once, then freeze the result."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gradio as gr

from ui.events import FAST, SLOW, on, on_change, said, status
from ui.review import bulk_panel as many
from ui.review import freeze_panel as ends
from ui.review import panel
from ui.review.ask import ADDRESS_JS, AddressFilter
from ui.review.review_card import review_card
from ui.shared.cards import card_server
from ui.shared.shown import NO_DATASET, Shown
from ui.shared.why_panel import draw_why, why_value
from ui.text import counted, show
from ui.widgets import widget

if TYPE_CHECKING:
    from reft_studio.studio.project import State
    from reft_studio.studio.studio import Studio

Values = Callable[..., tuple[Any, ...]]
Held = tuple[gr.State, gr.State, gr.State]
"""What the page keeps: what it shows, what was asked for, how often it was filled."""
SAVE: dict[str, Any] = {"show_progress": "hidden", "queue": False, "trigger_mode": "multiple", "api_visibility": "private"}
"""Every decision is sent: none may be dropped because a newer one came."""


def build(studio: Studio) -> None:
    """Draw the page and wire it; every value comes when it loads."""
    empty = widget("empty_state", None, elem_id="review-empty")
    warning, elsewhere = widget("notice", None, elem_id="review-warning"), status("review-elsewhere")
    card = review_card(card_server(studio), panel.find_server(studio), panel.pulse_server(studio))
    why = draw_why(studio, folded=True)
    bulk, freeze, frozen = many.draw_bulk(), ends.draw_freeze(), ends.draw_frozen()
    told, shown, asked, turn = gr.Textbox(visible=False), gr.State(Shown()), gr.State(AddressFilter()), gr.State(0)
    parts = [empty, warning, card, why, bulk.sheet, bulk.side, bulk.origin, *freeze.plan(), *freeze.files()]
    outputs = [*parts, *frozen.parts(), shown, asked, turn]

    def values(times: int, ask: AddressFilter, *, placed: bool = True) -> tuple[Any, ...]:
        state = studio.state()
        return (
            NO_DATASET if state.dataset is None else None,
            warning_value(studio, state),
            panel.batch_value(studio, ask, turn=times + 1, placed=placed),
            why_value(studio),
            *many.bulk_values(studio, state, ask),
            *ends.freeze_values(studio, state),
            *ends.frozen_values(studio, state),
            Shown.of(state),
            ask,
            times + 1,
        )

    def load(browser: str) -> tuple[Any, ...]:
        return values(0, AddressFilter.of_browser(browser))

    def more(times: int, event: gr.EventData) -> tuple[Any, ...]:
        return values(times, AddressFilter.of_message(event._data), placed=False)

    page = gr.context.Context.root_block
    if page is None:
        raise RuntimeError("the page is built inside of the app")
    on(page.load, load, inputs=[told], outputs=outputs, js=ADDRESS_JS, **{**SLOW, "show_progress": "hidden"})
    on(card.batch, more, inputs=[turn], outputs=outputs, **{**SLOW, "show_progress": "hidden"})
    _wire_decisions(studio, card, freeze)
    _wire_desk(studio, card, asked)
    held = (shown, asked, turn)
    _wire_bulk(studio, bulk, values, held, outputs)
    _wire_freeze(studio, freeze, frozen, values, held, outputs)
    _wire_frozen(studio, frozen, values, held, outputs)
    _wire_jobs(studio, (freeze, frozen, bulk), values, held, (outputs, elsewhere))


def _wire_decisions(studio: Studio, card: gr.HTML, freeze: ends.Freeze) -> None:
    def decide(event: gr.EventData) -> gr.HTML:
        return gr.HTML(receipt=panel.receipt(studio, event._data, panel.decide))

    def undo(event: gr.EventData) -> gr.HTML:
        return gr.HTML(receipt=panel.receipt(studio, event._data, panel.undo))

    def redo(event: gr.EventData) -> gr.HTML:
        return gr.HTML(receipt=panel.receipt(studio, event._data, panel.redo))

    def plan() -> tuple[Any, ...]:
        return ends.plan_values(studio, studio.state())

    for listener, handler in ((card.decide, decide), (card.undo, undo), (card.redo, redo)):
        listener(handler, None, card, **SAVE)
    on(card.settled, plan, outputs=freeze.plan(), refresh=True, **{**SLOW, "show_progress": "hidden"})


def _wire_desk(studio: Studio, card: gr.HTML, asked: gr.State) -> None:
    """What is remembered of the person: the row in hand, opened texts, habits, the name that bulk decisions carry."""

    def place(ask: AddressFilter, event: gr.EventData) -> AddressFilter:
        by = studio.reviewers.reviewer(event.by)
        studio.reviewers.leave_at(str(event.dataset), by, int(event.row))
        return AddressFilter(by=str(event.by), order=ask.order, query=ask.query)

    def opened(event: gr.EventData) -> None:
        studio.reviewers.open_more(studio.reviewers.reviewer(event.by), int(event.texts))

    def habits(event: gr.EventData) -> None:
        panel.keep_habits(studio, event._data)

    on(card.place, place, inputs=[asked], outputs=[asked], **SAVE)
    on(card.opened, opened, **SAVE)
    on(card.habits, habits, refresh=True, **SAVE)


def _wire_bulk(studio: Studio, bulk: many.Bulk, values: Values, held: Held, outputs: list[Any]) -> None:
    def count_rows(side: str, origin: str, search: str, overrule: bool, action: str, shown: Shown, ask: AddressFilter) -> tuple[Any, ...]:
        wanted = many.chosen_filter(side, origin, search, ask)
        chosen = studio.audit.select_rows(shown.take(studio, line=True), wanted, overrule=overrule)
        n = len(chosen.row_ids)
        button = gr.Button(f"Decide {counted(n, 'row')}" if n else "Decide", interactive=n > 0)
        return button, said(many.preview_sentence(chosen, action, overrule), "note")

    def apply(
        side: str, origin: str, search: str, overrule: bool, action: str, reason: str, shown: Shown, ask: AddressFilter, times: int
    ) -> tuple[Any, ...]:
        wanted, by = many.chosen_filter(side, origin, search, ask), studio.reviewers.reviewer(ask.by)
        dataset = shown.take(studio, line=True)
        n = studio.audit.decide_selected(dataset, wanted, action, reason, overrule=overrule, by=by)  # type: ignore[arg-type]
        said_so = said(f"{counted(n, 'row')} {many.PAST[action]}. One undo takes all of it back.")
        return (*values(times, ask), gr.Button("Decide", interactive=False), said_so)

    def undo(shown: Shown, ask: AddressFilter, times: int) -> tuple[Any, ...]:
        taken = studio.audit.undo(shown.take(studio), by=studio.reviewers.reviewer(ask.by))
        text = said("There is nothing to undo.", "note") if taken is None else said("Your last step is undone.")
        return (*values(times, ask), gr.Button("Decide", interactive=False), text)

    shown, asked, _ = held
    fields = [*bulk.filter(), bulk.action]
    everything = [*outputs, bulk.apply]
    on(bulk.preview.click, count_rows, inputs=[*fields, shown, asked], outputs=[bulk.apply], line=bulk.line, **SLOW)
    on(bulk.apply.click, apply, inputs=[*fields, bulk.reason, *held], outputs=everything, line=bulk.line, refresh=True, **SLOW)
    on(bulk.undo.click, undo, inputs=[*held], outputs=everything, line=bulk.line, refresh=True, **SLOW)
    for part in fields:  # what was counted no longer holds
        on(part.input, lambda: gr.Button("Decide", interactive=False), outputs=[bulk.apply], **FAST)


def _wire_freeze(studio: Studio, freeze: ends.Freeze, frozen: ends.Frozen, values: Values, held: Held, outputs: list[Any]) -> None:
    def run(reason: str, shown: Shown, ask: AddressFilter, times: int) -> tuple[Any, ...]:
        shown.take(studio, line=True)
        text = ends.freeze_now(studio, reason, studio.reviewers.reviewer(ask.by))
        begun = studio.state().dataset
        large = begun is not None and begun.frozen_from is None
        return (*values(times, ask), said(text), said(text if large else "", "done" if large else "quiet"))

    def export(shown: Shown) -> tuple[Any, ...]:
        return ends.make_cleaned(studio, shown.take(studio, line=True))

    on(
        freeze.freeze.click,
        run,
        inputs=[freeze.reason, *held],
        outputs=[*outputs, frozen.line],
        line=freeze.line,
        refresh=True,
        **SLOW,
    )
    on(freeze.export.click, export, inputs=[held[0]], outputs=freeze.files(), line=freeze.line, refresh=True, **SLOW)


def _wire_frozen(studio: Studio, frozen: ends.Frozen, values: Values, held: Held, outputs: list[Any]) -> None:
    def back(shown: Shown, ask: AddressFilter, times: int) -> tuple[Any, ...]:
        audit = studio.audit.frozen(shown.take(studio))
        studio.choose(dataset=audit.source if audit else None)
        return values(times, ask)

    def export(shown: Shown) -> tuple[Any, ...]:
        return ends.make_cleaned(studio, shown.take(studio))

    def bundle(shown: Shown, ask: AddressFilter) -> tuple[Any, ...]:
        return ends.make_bundle(studio, shown.take(studio), studio.reviewers.reviewer(ask.by))

    shown, asked, _ = held
    on(frozen.back.click, back, inputs=[*held], outputs=outputs, line=frozen.line, refresh=True, **SLOW)
    on(frozen.export.click, export, inputs=[shown], outputs=frozen.files(), line=frozen.line, refresh=True, **SLOW)
    on(frozen.bundle.click, bundle, inputs=[shown, asked], outputs=[frozen.archive], line=frozen.line, refresh=True, **SLOW)


def _wire_jobs(
    studio: Studio,
    sheets: tuple[ends.Freeze, ends.Frozen, many.Bulk],
    values: Values,
    held: Held,
    written: tuple[list[Any], gr.HTML],
) -> None:
    (freeze, frozen, bulk), (outputs, elsewhere) = sheets, written

    def ended(shown: Shown, ask: AddressFilter, times: int) -> Any:
        """Something went on elsewhere: begin anew only if other data or another line is in use; else offer what jobs have made."""
        state = studio.state()
        if told := shown.change(state):
            silent = dict.fromkeys((freeze.line, frozen.line), said("", "quiet"))
            uncounted = {bulk.apply: gr.Button("Decide", interactive=False)}
            return dict(zip(outputs, values(times, ask), strict=True)) | silent | uncounted | {elsewhere: said(told, "note")}
        plan = zip(freeze.plan(), ends.plan_values(studio, state), strict=True)
        return dict(plan) | ends.made_by_jobs(studio, state, freeze, frozen)

    on_change(ended, inputs=list(held), outputs=[*outputs, freeze.line, frozen.line, bulk.apply, elsewhere])


def warning_value(studio: Studio, state: State) -> dict[str, str] | None:
    """Why the scores of the rows under review should not be trusted; a frozen dataset says it among the rest of its audit."""
    told = None if state.dataset is None or state.score is None else studio.scores.warning(state.dataset.id, state.score)
    return {"text": show(told, 600), "kind": "flag"} if told else None
