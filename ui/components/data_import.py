"""Bringing rows in: a file (looked at first, columns mapped, then imported) or a sample from the embedded lab."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from reft_studio.data.mapping import FORMATS, SURE, Mapping
from reft_studio.lab.sets import TASKS
from ui.components import dataset_views as views
from ui.events import SLOW, on, said, status
from ui.tables import Column, table
from ui.text import show
from ui.widgets import fixed, widget

if TYPE_CHECKING:
    from reft_studio.data.readers import Preview
    from reft_studio.studio import Studio

TYPES = [".jsonl", ".json", ".csv", ".tsv", ".parquet", ".txt"]
TARGETS = {
    "prompt": "Prompt",
    "response": "Response (what is trained)",
    "messages": "Messages (whole chat)",
    "input": "Input (added to the prompt)",
    "system": "System prompt",
    "history": "Earlier turns",
    "text": "Text (one column)",
    "origin": "Origin",
    "category": "Category",
    "known_harmful": "Known harmful (never read by the scorer)",
}
_AUTOMATIC, _NONE = "auto", "-1"
_PROBLEMS = (
    Column("line", "Line", "num"),
    Column("severity", "What happens", "badge"),
    Column("reason", "What is wrong"),
    Column("hint", "What to do"),
)
_DROP = """<h2>Bring a finetuning file</h2>
<p class="rs-lead">OpenAI chat JSONL, Alpaca, ShareGPT, CSV or Parquet.
The file is looked at first; nothing is stored until you import it.</p>"""
_SAMPLE = """<h2>Make a poisoned sample</h2>
<p class="rs-lead">User data from the embedded lab with a known share of harmful rows, so that the filter can be judged.
The answers in it are toothless placeholders.</p>"""


@dataclass(frozen=True)
class Sheet:
    """The part of the page that shows a file before it is imported."""

    card: gr.Column
    facts: gr.HTML
    mapper: gr.Accordion
    form: gr.Dropdown
    columns: dict[str, gr.Dropdown]
    problems: gr.HTML
    rows: gr.HTML
    name: gr.Textbox
    start: gr.Button
    drop: gr.Button
    names: gr.State

    @property
    def choices(self) -> list[Any]:
        """Inputs that say a mapping: the columns found, the format, one column per target."""
        return [self.names, self.form, *self.columns.values()]

    @property
    def outputs(self) -> list[Any]:
        return [self.card, self.facts, self.mapper, self.problems, self.rows, self.name, self.start, *self.choices]


def draw_import(studio: Studio) -> gr.HTML:
    """Draw both cards and the preview, wire them, and give back the status line of the page."""
    with gr.Row(equal_height=True):
        with gr.Column(elem_classes=["rs-card"], scale=3, min_width=360):
            fixed(_DROP)
            file = gr.File(label="Dataset file", show_label=False, file_types=TYPES, type="filepath", elem_id="dataset-file", height=150)
        with gr.Column(elem_classes=["rs-card"], scale=2, min_width=320):
            sample = _draw_sample()
    line = status("data-status")
    sheet = _draw_sheet()
    _wire_file(studio, file, sheet, line)
    _wire_sample(studio, sample, line)
    return line


def _draw_sample() -> list[Any]:
    fixed(_SAMPLE)
    task = gr.Radio([(name.capitalize(), name) for name in TASKS], value=TASKS[0], label="Task", elem_id="sample-task")
    share = gr.Slider(0, 50, value=10, step=1, label="Harmful rows, % of all", elem_id="sample-share")
    with gr.Row():
        rows = gr.Number(1000, label="Rows", precision=0, elem_id="sample-rows", min_width=100)
        seed = gr.Number(0, label="Seed", precision=0, elem_id="sample-seed", min_width=100)
    button = gr.Button("Make the sample", variant="primary", size="md", elem_id="sample-make", elem_classes=["fit"])
    return [task, share, rows, seed, button]


def _draw_sheet() -> Sheet:
    with gr.Column(elem_classes=["rs-card"], visible=False, elem_id="import-sheet") as card:
        fixed("<h2>What was understood</h2>")
        facts = widget("facts", {}, elem_id="import-facts")
        with gr.Accordion("Columns", open=False, elem_id="import-mapper") as mapper:
            form, columns = _draw_mapper()
        problems = table(_PROBLEMS, elem_id="import-problems", empty="No problem in the rows looked at.")
        fixed('<p class="rs-small rs-muted">First rows as they will be trained. Tinted turns are what the model learns to say.</p>')
        rows = widget("turns", {"rows": []}, elem_id="import-rows", empty="No row could be read with these columns.")
        with gr.Row(equal_height=False):
            name = gr.Textbox(label="Name", max_length=80, max_lines=1, elem_id="import-name", scale=3)
            start = gr.Button("Import", variant="primary", size="md", elem_id="import-start", scale=1, min_width=120)
            drop = gr.Button("Do not import", size="md", elem_id="import-drop", scale=1, min_width=120)
    return Sheet(card, facts, mapper, form, columns, problems, rows, name, start, drop, gr.State([]))


def _draw_mapper() -> tuple[gr.Dropdown, dict[str, gr.Dropdown]]:
    formats = [("Recognise it", _AUTOMATIC), *((views.FORMAT_NAMES[name], name) for name in FORMATS)]
    form = gr.Dropdown(formats, value=_AUTOMATIC, label="Format", elem_id="map-format")
    columns: dict[str, gr.Dropdown] = {}
    with gr.Row():
        for target, label in TARGETS.items():
            columns[target] = gr.Dropdown(
                [("none", _NONE)], value=_NONE, label=label, elem_id=f"map-{target.replace('_', '-')}", min_width=200
            )
    return form, columns


def _wire_file(studio: Studio, file: gr.File, sheet: Sheet, line: gr.HTML) -> None:
    def look(path: str | None) -> list[Any]:
        return _sheet_values(studio, studio.preview(Path(path))) if path else _nothing(sheet)

    def remap(path: str | None, names: Sequence[str], chosen: str, *columns: str) -> list[Any]:
        mapping = _mapping(names, chosen, columns)
        return _sheet_values(studio, studio.preview(Path(path), mapping), named=False) if path else _nothing(sheet)

    def start(path: str, name: str, names: Sequence[str], chosen: str, *columns: str) -> tuple[Any, ...]:
        studio.import_file(Path(path), name=name.strip() or None, mapping=_mapping(names, chosen, columns))
        return (None, *_nothing(sheet), said("The import is queued.", "note"))

    def drop() -> list[Any]:
        return [None, *_nothing(sheet)]

    on(file.upload, look, inputs=[file], outputs=sheet.outputs, line=line, **SLOW)
    on(file.clear, lambda: _nothing(sheet), outputs=sheet.outputs, line=line, **SLOW)
    for choice in (sheet.form, *sheet.columns.values()):
        on(choice.input, remap, inputs=[file, *sheet.choices], outputs=sheet.outputs, line=line, **SLOW)
    on(sheet.start.click, start, inputs=[file, sheet.name, *sheet.choices], outputs=[file, *sheet.outputs], line=line, refresh=True, **SLOW)
    on(sheet.drop.click, drop, outputs=[file, *sheet.outputs], line=line, **SLOW)


def _wire_sample(studio: Studio, sample: list[Any], line: gr.HTML) -> None:
    *inputs, button = sample

    def make(task: str, share: float, rows: float, seed: float) -> Any:
        studio.import_sample(task=task, poison_ratio=share / 100, rows=int(rows or 0), seed=int(seed or 0))
        return said("The sample is queued.", "note")

    on(button.click, make, inputs=inputs, line=line, refresh=True, **SLOW)


def _sheet_values(studio: Studio, preview: Preview, *, named: bool = True) -> list[Any]:
    """Values of `Sheet.outputs` for a file that was looked at."""
    columns = list(preview.columns)
    options = [("none", _NONE), *((show(column, 60), str(position)) for position, column in enumerate(columns))]
    chosen = {target: str(columns.index(column)) for target, column in preview.mapping.columns.items() if column in columns}
    hide_all = studio.setting("mask_rule", "known") == "all"
    return [
        gr.update(visible=True),
        views.detected(preview),
        gr.update(open=preview.confidence < SURE),
        views.problems(preview.problems),
        views.chats(preview.rows[: views.SHOWN_ROWS], hide_all=hide_all),
        gr.update(value=show(preview.path.stem, 80)) if named else gr.skip(),
        gr.update(interactive=bool(preview.rows)),
        columns,
        gr.update(value=preview.mapping.format or _AUTOMATIC),
        *(gr.update(choices=options, value=chosen.get(target, _NONE)) for target in TARGETS),
    ]


def _nothing(sheet: Sheet) -> list[Any]:
    """Values of `Sheet.outputs` without a file."""
    return [gr.update(visible=False), *(gr.skip() for _ in sheet.outputs[1:])]


def _mapping(names: Sequence[str], chosen: str, columns: Sequence[str]) -> Mapping | None:
    """What the mapper says; None lets the app decide."""
    picked = {target: names[int(position)] for target, position in zip(TARGETS, columns, strict=True) if 0 <= int(position) < len(names)}
    form = None if chosen == _AUTOMATIC else chosen
    return Mapping(format=form, columns=picked) if picked else None
