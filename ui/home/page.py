"""Home: three ways to begin, what is running, what is already here."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gradio as gr

from reft_studio.models.catalogue import DEFAULT
from reft_studio.studio.models import JOB
from ui.events import FAST, SLOW, on, on_change, on_load, said, status
from ui.home import views
from ui.shared.jobs import job_panel
from ui.shared.model_shelf import first_notice, first_value
from ui.tables import Column, table
from ui.widgets import fixed, widget

if TYPE_CHECKING:
    from reft_studio.studio.studio import Studio

_TRY = """<p class="rs-eyebrow">No data, no GPU needed</p><h2>Try it now</h2>
<p class="rs-lead">Makes a poisoned sample, scores it, trains a plain model and one under the safety teacher, and compares the two.
It runs live on this machine, in under three minutes on two cores.</p>"""
_AUDIT = """<p class="rs-eyebrow">Your file</p><h2>Audit a dataset</h2>
<p class="rs-lead">Bring a finetuning file. See which rows the filter flags and why, move the threshold, decide,
and take away a cleaned file.</p>"""
_EXAMPLE = """<p class="rs-eyebrow">{when}</p><h2>Open the finished example</h2>
<p class="rs-lead">A complete project with scores, decisions, runs and charts,
so that every page has something true to show.</p>"""
_NOTE = """<div class="rs-note" data-kind="warn"><strong>Before you begin.</strong> Finetuning files may hold requests for harm.
Text that is known to be harmful, or that the filter flags, is masked on every page until you reveal it.
The switch at the top turns masking off and on.</div>"""
_GO_ON = """<div class="rs-row"><a class="rs-button" data-kind="primary" href="/compare">Compare the models</a>
<a class="rs-button" href="/filter">Move the threshold</a><a class="rs-button" href="/review">Review rows</a>
<a class="rs-button" href="/chat">Chat with the models</a></div>"""
_DATASETS = (
    Column("name", "Dataset"),
    Column("rows", "Rows", "num"),
    Column("state", "State", "badge"),
    Column("created", "Added", "short"),
)
_RUNS = (
    Column("title", "Run", "short"),
    Column("data", "Trained on", "line"),
    Column("hs", "Harmful score", "num"),
    Column("fa", "Accuracy", "num"),
    Column("over", "Over-refusal", "num"),
    Column("created", "When", "short"),
)


def build(studio: Studio) -> None:
    """Draw the page and wire it."""
    note = _draw_note()
    quick, example = _draw_cards(studio)
    line = status("home-status")
    first = first_notice("first-model")
    panel = job_panel(studio, ["demo", JOB], elem_id="jobs-demo")
    with gr.Column(visible=False, elem_id="go-on") as go_on:
        fixed(_GO_ON)
    with gr.Row(equal_height=False):
        with gr.Column(elem_classes=["rs-card"], scale=5, min_width=400):
            fixed('<div class="rs-spread"><h2>Datasets</h2><a href="/data">All datasets</a></div>')
            datasets = table(_DATASETS, elem_id="home-datasets", empty="No dataset yet. Press “Try it now”, or bring a file.", pick=True)
        with gr.Column(elem_classes=["rs-card"], scale=9, min_width=760):
            fixed('<div class="rs-spread"><h2>Latest runs</h2><a href="/train">All runs</a></div>')
            runs = table(
                _RUNS, elem_id="home-runs", empty="No run yet. Finished runs are listed here with what they did to safety and accuracy."
            )
    machine = widget("machine", {}, elem_id="home-machine")
    outputs = [datasets, runs, machine, go_on, first]

    def show_all() -> list[Any]:
        return [*views.home(studio), first_value(studio.models.first())]

    def note_once() -> Any:
        return gr.update(visible=not studio.settings.get("note_seen", False))

    on_load(show_all, outputs=outputs)
    on_load(note_once, outputs=[note[0]])

    def ended(event: gr.EventData) -> list[Any]:
        return [*show_all(), views.outcome(studio.jobs.get(str(event.id)))]

    on_change(show_all, outputs=outputs)
    on(panel.done, ended, outputs=outputs, line=line, refresh=True, **SLOW)
    _wire_cards(studio, quick, example, line, outputs, show_all)
    _wire_first(studio, first, line)
    _wire_note(studio, note)
    _wire_pick(studio, datasets, line)


def _draw_note() -> tuple[gr.Column, gr.Button]:
    with gr.Column(visible=False, elem_id="content-note") as card:
        fixed(_NOTE)
        button = gr.Button("I understand", size="sm", elem_id="note-seen", elem_classes=["fit"], min_width=120)
    return card, button


def _draw_cards(studio: Studio) -> tuple[gr.Button, gr.Button]:
    with gr.Row(equal_height=True, elem_classes=["rs-starts"]):
        with gr.Column(elem_classes=["rs-card", "rs-start", "rs-start-first"], min_width=220):
            fixed(_TRY)
            quick = gr.Button("Try it now", variant="primary", elem_id="quick-start", elem_classes=["fit"])
        with gr.Column(elem_classes=["rs-card", "rs-start"], min_width=220):
            fixed(_AUDIT)
            gr.Button("Bring a file", link="/data", elem_id="audit", elem_classes=["fit"])
        with gr.Column(elem_classes=["rs-card", "rs-start"], min_width=220):
            made = studio.example.made_on
            fixed(_EXAMPLE.format(when=f"Made with the lab on {html.escape(made)}" if made else "Not part of this installation"))
            example = gr.Button("Open the example", elem_id="open-example", elem_classes=["fit"], interactive=made is not None)
    return quick, example


def _wire_first(studio: Studio, first: gr.HTML, line: gr.HTML) -> None:
    def bring() -> tuple[Any, ...]:
        studio.models.add(DEFAULT)
        return None, said("The model is being fetched. You can leave this page: the work goes on.", "note")

    on(first.act, bring, outputs=[first], line=line, refresh=True, **SLOW)


def _wire_cards(
    studio: Studio, quick: gr.Button, example: gr.Button, line: gr.HTML, outputs: list[Any], show_all: Callable[[], list[Any]]
) -> None:
    def start() -> dict[str, str]:
        studio.example.quick_start()
        return said("The quick start is queued. You can leave this page: the work goes on.", "note")

    def load() -> tuple[Any, ...]:
        studio.example.load()
        return (*show_all(), said("The example is in the workspace. Go on with Filter, Compare or Chat.", "done"))

    on(quick.click, start, line=line, refresh=True, **SLOW)
    on(example.click, load, outputs=outputs, line=line, refresh=True, **SLOW)


def _wire_note(studio: Studio, note: tuple[gr.Column, gr.Button]) -> None:
    card, button = note

    def seen() -> Any:
        studio.settings.set("note_seen", True)
        return gr.update(visible=False)

    on(button.click, seen, outputs=[card], **FAST)


def _wire_pick(studio: Studio, datasets: gr.HTML, line: gr.HTML) -> None:
    def pick(event: gr.EventData) -> None:
        studio.choose(dataset=str(event.id))

    chosen = on(datasets.pick, pick, line=line, **FAST)
    chosen.then(None, None, None, js="() => { location.href = '/data'; }")
