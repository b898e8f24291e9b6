"""How a page listens: presets that keep events quick, and what a person sees when a call fails."""

from __future__ import annotations

import functools
import html
import itertools
import logging
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from reft_studio.errors import StudioError
from ui.text import show
from ui.widgets import widget

LOG = logging.getLogger("reft_studio.ui")
_TURNS = itertools.count(1)

FAST: dict[str, Any] = {"show_progress": "hidden", "queue": False, "trigger_mode": "always_last", "api_visibility": "private"}
"""Answers within one frame or two: no spinner (it alone costs 165 ms), no queue, the last input wins."""
SLOW: dict[str, Any] = {"show_progress": "minimal", "queue": False, "api_visibility": "private"}
"""May take a second: reading a file, starting a job.

Not through the queue either: its event stream closes when nothing is pending, and a click that falls into that instant waits for ever.
"""
CHOICE: dict[str, Any] = {**SLOW, "trigger_mode": "always_last"}
"""A field whose answer may take a second: what is chosen while the answer before is under way is answered too, and last."""
MODEL: dict[str, Any] = {"show_progress": "hidden", "concurrency_limit": 2, "concurrency_id": "model", "api_visibility": "private"}
"""Talks to a model; two at a time for the whole app."""

REFRESH = "() => { window.rs.emit('rs:refresh'); }"
"""`js=` of a `.then` that makes the shell (chips, dots, next step) fetch the state anew."""


FILLED = "() => { document.body.dataset.filled = ''; }"
"""`js=` of a `.then` that shows what a page keeps hidden (`.rs-until-filled`) while its fields hold no stored value yet."""


def status(elem_id: str) -> gr.HTML:
    """A line for the outcome of an action, read out by screen readers; empty until `said` or `failed` gives it a value."""
    return widget("status", {"text": "", "kind": "quiet"}, elem_id=elem_id)


def said(text: str, kind: str = "done") -> dict[str, str]:
    """The value of a status line: `kind` is done, note or error."""
    return {"text": text, "kind": kind}


def message_for(error: Exception) -> str:
    """What a person is told: our own errors word for word, anything else by its type only, with the traceback in the log."""
    if isinstance(error, StudioError):
        return show(error, 600)
    LOG.error("unexpected error in a page", exc_info=error)
    return f"Something went wrong in the app ({type(error).__name__}). Details are in the log."


def guarded(handler: Callable[..., Any], line: gr.HTML | None = None) -> Callable[..., Any]:
    """`handler` with its failures shown: on the status line if there is one (which must be the last output), else as a toast.

    With a line, a handler returns the values of the outputs before it (a tuple or list if several); the line is cleared,
    unless the last value is `said(…)`.
    """

    @functools.wraps(handler)
    def call(*inputs: Any) -> Any:
        try:
            result = handler(*inputs)
        except Exception as exc:  # the edge of the app: nothing may reach the page as a traceback
            if line is None:
                # A toast renders HTML, so even our own text is escaped: it may quote a file or column name.
                raise gr.Error(html.escape(message_for(exc)), print_exception=False) from exc
            return {line: _anew(said(message_for(exc), "error"))}
        return result if line is None else _with_line(result)

    return call


def on(
    listener: Callable[..., Any],
    handler: Callable[..., Any],
    *,
    inputs: Sequence[Any] = (),
    outputs: Sequence[Any] = (),
    line: gr.HTML | None = None,
    refresh: bool = False,
    **preset: Any,
) -> Any:
    """Wire `handler` to `listener` (`button.click`, `demo.load`, …), guarded; `refresh` also updates the shell afterwards."""
    ends = [*outputs, line] if line is not None else list(outputs)
    chosen = preset or SLOW
    if chosen.get("trigger_mode") == "always_last" and _reads_event(handler):
        chosen = {**chosen, "trigger_mode": "multiple"}  # gradio repeats the last call of a burst without its event data
    done = listener(guarded(handler, line), list(inputs), ends, **chosen)
    return done.then(None, None, None, js=REFRESH) if refresh else done


def on_load(handler: Callable[..., Any], *, inputs: Sequence[Any] = (), outputs: Sequence[Any] = (), line: gr.HTML | None = None) -> Any:
    """Run `handler` when the page that is being built has been opened in a browser."""
    page = gr.context.Context.root_block
    if page is None:
        raise RuntimeError("on_load() belongs inside a page")
    return on(page.load, handler, inputs=inputs, outputs=outputs, line=line, **{**SLOW, "show_progress": "hidden"})


def on_change(handler: Callable[..., Any], *, inputs: Sequence[Any] = (), outputs: Sequence[Any] = ()) -> Any:
    """Run `handler` when a job has gone on, or another dataset or threshold is in use, without anybody having pressed anything here."""
    return on(widget("signal").changed, handler, inputs=inputs, outputs=outputs, **{**SLOW, "show_progress": "hidden"})


def answer(function: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Any], dict[str, Any]]:
    """A server function (named `srv_…`) for a widget: `{"ok": true, …}` or `{"ok": false, "error": text}`; Gradio swallows exceptions."""

    @functools.wraps(function)
    def call(request: Any = None) -> dict[str, Any]:
        try:
            return {"ok": True, **function(request if isinstance(request, dict) else {})}
        except Exception as exc:  # the edge of the app, as above
            return {"ok": False, "error": message_for(exc)}

    return call


def _reads_event(handler: Callable[..., Any]) -> bool:
    hints = gr.utils.get_type_hints(handler).values()
    return any(isinstance(hint, type) and issubclass(hint, gr.EventData) for hint in hints)


def _anew(told: dict[str, str]) -> dict[str, Any]:
    """A sentence of a line as one that was not there before: the same error twice in a row is shown, and scrolled to, twice."""
    return {**told, "turn": next(_TURNS)} if told["text"] else told


def _with_line(result: Any) -> Any:
    values = list(result) if isinstance(result, (tuple, list)) else [] if result is None else [result]
    spoken = bool(values) and isinstance(values[-1], dict) and values[-1].keys() == {"text", "kind"}
    ends = [*values[:-1], _anew(values[-1])] if spoken else [*values, said("", "quiet")]
    return ends[0] if len(ends) == 1 else tuple(ends)  # gradio takes a tuple for one output as the value itself
