"""Bringing rows in: an upload, a path of this machine or the hub, a small file to try a format, or a sample from the embedded lab."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from reft_studio.data.formats import FORMATS, endings, label_of
from reft_studio.errors import StudioError
from reft_studio.lab.sets import TASKS
from reft_studio.studio.imports import EXAMPLES
from ui.data.import_sheet import SHOW, Sheet, closed, draw_sheet, looked, preview_of, shut_on_error, wire_sheet
from ui.events import SLOW, message_for, on, said, status
from ui.text import counted, show, size
from ui.widgets import fixed, widget

if TYPE_CHECKING:
    from reft_studio.studio.imports import DataSource
    from reft_studio.studio.studio import Studio

SMALL = 100_000_000
"""Bytes that are downloaded to look at, without being asked for."""
_DROP = """<h2>Bring finetuning data</h2>
<p class="rs-lead">OpenAI chat, Alpaca, ShareGPT, prompt and response, TRL; in {formats}; in any common encoding.
It is looked at first; nothing is stored until you import it.</p>"""
_SAMPLE = """<h2>Make a poisoned sample</h2>
<p class="rs-lead">User data from the embedded lab with a known share of harmful rows, so that the filter can be judged.
The answers in it are toothless placeholders.</p>"""


@dataclass(frozen=True)
class Bring:
    """What `draw_import` leaves to the page: the status line, and the sheet that another part of the page may open."""

    line: gr.HTML
    sheet: Sheet


@dataclass(frozen=True)
class _Place:
    """The field for a path or a name, and what was found there."""

    text: gr.Textbox
    look: gr.Button
    note: gr.HTML
    part: gr.Radio


def draw_import(studio: Studio) -> Bring:
    """Draw both cards and the sheet, and wire them."""
    with gr.Row(equal_height=True):
        with gr.Column(elem_classes=["rs-card"], scale=3, min_width=360):
            fixed(_DROP.format(formats=", ".join(map(label_of, FORMATS))))
            file = gr.File(
                label="Dataset file",
                show_label=False,
                file_types=list(endings(loose=True)),
                type="filepath",
                elem_id="dataset-file",
                height=132,
            )
            place = _draw_place()
            formats = [{"id": name, "text": title} for name, (title, _, _) in EXAMPLES.items()]
            tried = widget("choices", elem_id="try-format", label="Nothing at hand? Try a small file:", choices=formats)
        with gr.Column(elem_classes=["rs-card"], scale=2, min_width=320):
            sample = _draw_sample()
    line = status("data-status")
    sheet = draw_sheet()
    _wire_file(studio, file, sheet, line)
    _wire_place(studio, place, sheet, line)
    _wire_examples(studio, tried, sheet, line)
    nowhere = gr.update(visible=False, value=None)
    wire_sheet(studio, sheet, line, empties=[(file, None), (place.text, ""), (place.note, None), (place.part, nowhere)])
    _wire_sample(studio, sample, line)
    return Bring(line, sheet)


def _draw_place() -> _Place:
    with gr.Row(equal_height=False, elem_classes=["rs-ends"]):
        text = gr.Textbox(
            label="Or from this machine, or the Hugging Face hub",
            placeholder="/data/chats.jsonl, a folder, or org/name",
            max_length=1000,
            max_lines=1,
            scale=4,
            elem_id="source-text",
        )
        look = gr.Button("Look", size="md", scale=1, min_width=90, elem_id="source-look")
    note = widget("notice", None, elem_id="source-note")
    part = gr.Radio([], label="Which part", visible=False, elem_id="source-part")
    return _Place(text, look, note, part)


def _draw_sample() -> list[Any]:
    fixed(_SAMPLE)
    task = gr.Radio([(name.capitalize(), name) for name in TASKS], value=TASKS[0], label="Task", elem_id="sample-task")
    share = gr.Slider(0, 50, value=10, step=1, label="Harmful rows, % of all", elem_id="sample-share")
    with gr.Row():
        rows = gr.Number(1000, label="Rows", precision=0, elem_id="sample-rows", min_width=100)
        seed = gr.Number(0, label="Seed", precision=0, elem_id="sample-seed", min_width=100)
    button = gr.Button("Make the sample", variant="primary", size="md", elem_id="sample-make", elem_classes=["fit"])
    return [task, share, rows, seed, button]


def _wire_file(studio: Studio, file: gr.File, sheet: Sheet, line: gr.HTML) -> None:
    def look(path: str | None) -> list[Any]:
        if not path:
            return closed(sheet)
        at = {"file": path}
        return shut_on_error(sheet, lambda: looked(studio, at, preview_of(studio, at)))

    on(file.upload, look, inputs=[file], outputs=sheet.outputs, line=line, **SLOW)
    on(file.clear, lambda: closed(sheet), outputs=sheet.outputs, line=line, **SLOW)


def _wire_place(studio: Studio, place: _Place, sheet: Sheet, line: gr.HTML) -> None:
    def look(text: str) -> list[Any]:
        try:
            return found_at(text)
        except StudioError as exc:
            return [None, gr.update(visible=False, value=None), *closed(sheet), said(message_for(exc), "error")]

    def found_at(text: str) -> list[Any]:
        source = studio.imports.look(text)
        first = source.parts[0]
        wait = source.place == "hub" and first.size > SMALL
        names = [(_described(part.name, part.size, part.rows), part.name) for part in source.parts[:50]]
        several = gr.update(choices=names, value=None if wait else first.name, visible=len(names) > 1 or wait)
        return [_found(source), several, *(closed(sheet) if wait else choose(text, first.name))]

    def choose(text: str, part: str | None) -> list[Any]:
        if not part:
            return closed(sheet)
        at = {"source": text, "part": part}
        return looked(studio, at, preview_of(studio, at))

    def chosen(text: str, part: str | None) -> list[Any]:
        return shut_on_error(sheet, lambda: choose(text, part))

    ends = [place.note, place.part, *sheet.outputs]
    for listener in (place.look.click, place.text.submit):
        on(listener, look, inputs=[place.text], outputs=ends, line=line, **SLOW).then(None, None, None, js=SHOW)
    on(place.part.input, chosen, inputs=[place.text, place.part], outputs=sheet.outputs, line=line, **SLOW)


def _described(name: str, bytes_: int, rows: int | None) -> str:
    return f"{show(name, 80)} ({counted(rows, 'row')})" if rows is not None else f"{show(name, 80)} ({size(bytes_)})"


def _found(source: DataSource) -> dict[str, str]:
    """What stands at a place, in a sentence."""
    where = f"{show(source.title, 120)} at commit {source.revision[:12]}" if source.revision else show(source.title, 120)
    whole = size(sum(part.size for part in source.parts))
    return {"text": f"{where}: {counted(len(source.parts), 'table')}, {whole}.", "kind": "note"}


def _wire_examples(studio: Studio, tried: gr.HTML, sheet: Sheet, line: gr.HTML) -> None:
    def pick(event: gr.EventData) -> list[Any]:
        at = {"file": str(studio.imports.example(str(event.id)))}
        return looked(studio, at, preview_of(studio, at))

    on(tried.pick, pick, outputs=sheet.outputs, line=line, **SLOW).then(None, None, None, js=SHOW)


def _wire_sample(studio: Studio, sample: list[Any], line: gr.HTML) -> None:
    *inputs, button = sample

    def make(task: str, share: float, rows: float, seed: float) -> Any:
        studio.imports.sample(task=task, poison_ratio=share / 100, rows=int(rows or 0), seed=int(seed or 0))
        return said("The sample is queued.", "note")

    on(button.click, make, inputs=inputs, line=line, refresh=True, **SLOW)
