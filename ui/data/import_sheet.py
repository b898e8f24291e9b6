"""The sheet that shows rows before they are imported: what was understood, which column is what, and the chats as they will be trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Mapping as MappingOf
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import gradio as gr

from reft_studio.data.formats import by_ending
from reft_studio.data.rows.mapping import CONVERSATIONS, ROW_FORMATS, SURE, Mapping
from reft_studio.errors import SpecError, StudioError
from ui.data.row_chats import chats
from ui.events import CHOICE, SLOW, message_for, on, said
from ui.shared import dataset_views as views
from ui.tables import Column, table
from ui.text import counted, show
from ui.widgets import fixed, widget

if TYPE_CHECKING:
    from reft_studio.studio.imports import Preview
    from reft_studio.studio.studio import Studio

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
    "wanted": "Wanted answer (KTO: a row that says no is set aside)",
}
ROLE_NAMES = {"user": "The user", "assistant": "The assistant", "system": "System", "tool": "A tool"}
_WHO = """<h3>Who speaks</h3><p class="rs-lead">The file has speakers that nobody knows, and a row with one of them is set aside.
Say once who they are.</p>"""
AUTOMATIC, NONE = "auto", "-1"
_PROBLEMS = (
    Column("line", "Line", "num"),
    Column("severity", "What happens", "badge"),
    Column("reason", "What is wrong"),
    Column("hint", "What to do"),
)
SHOW = (
    "() => { requestAnimationFrame(() => document.querySelector('#import-sheet')?.scrollIntoView({block: 'start', behavior: 'smooth'})); }"
)

At = MappingOf[str, str]
"""What is being looked at: `{"file": path}`, `{"source": text, "part": name}` or `{"again": dataset id}`."""
BY_HAND = "by_hand"
"""In `At` once a person chose columns. What was only recognised is not sent back as a choice: a choice holds for every row, and rows of
another layout in the same file would be set aside instead of being read by their own names."""


@dataclass(frozen=True)
class Sheet:
    """The parts of the sheet."""

    card: gr.Column
    title: gr.HTML
    facts: gr.HTML
    doubt: gr.HTML
    mapper: gr.Accordion
    form: gr.Dropdown
    columns: dict[str, gr.Dropdown]
    harmful: gr.Dropdown
    who: gr.Column
    roles: dict[str, gr.Dropdown]
    problems: gr.HTML
    rows: gr.HTML
    name: gr.Textbox
    replace: gr.Checkbox
    start: gr.Button
    drop: gr.Button
    names: gr.State
    at: gr.State

    @property
    def choices(self) -> list[Any]:
        """Inputs that say a mapping: columns found, format, values that mean harmful, speakers per role, one column per target."""
        return [self.names, self.form, self.harmful, *self.roles.values(), *self.columns.values()]

    @property
    def outputs(self) -> list[Any]:
        """What `looked` and `closed` give values for."""
        shown = [self.card, self.at, self.title, self.facts, self.doubt, self.mapper, self.who, self.problems, self.rows]
        return [*shown, self.name, self.replace, self.start, *self.choices]


def draw_sheet() -> Sheet:
    """Draw the sheet, hidden until there is something to look at."""
    with gr.Column(elem_classes=["rs-card"], visible=False, elem_id="import-sheet") as card:
        title = widget("title", {"title": "", "note": ""}, elem_id="import-title")
        facts = widget("facts", {}, elem_id="import-facts")
        doubt = widget("notice", None, elem_id="import-doubt")
        with gr.Row(equal_height=False, elem_classes=["rs-tops"]):
            with gr.Column(scale=2, min_width=400):
                with gr.Accordion("Which column is what", open=False, elem_id="import-mapper") as mapper:
                    form, columns, harmful = _draw_mapper()
                who, roles = _draw_speakers()
                fixed("<h3>Problems in the rows looked at</h3>")
                problems = table(_PROBLEMS, elem_id="import-problems", empty="No problem in the rows looked at.", waits=False)
            with gr.Column(scale=3, min_width=400):
                fixed("<h3>First rows, as they will be trained</h3>")
                rows = widget("turns", {"rows": []}, elem_id="import-rows", empty="No row could be read with these columns.", legend=True)
        with gr.Row(equal_height=False, elem_classes=["rs-ends"]):
            name = gr.Textbox(label="Name", max_length=80, max_lines=1, elem_id="import-name", scale=3)
            start = gr.Button("Import", variant="primary", size="md", elem_id="import-start", scale=1, min_width=120)
            drop = gr.Button("Do not import", size="md", elem_id="import-drop", scale=1, min_width=120)
        replace = gr.Checkbox(
            False,
            label="Replace the dataset that was read before",
            info="Its scores and decisions go with it. Otherwise both stand beside each other.",
            visible=False,
            elem_id="import-replace",
        )
    parts = (card, title, facts, doubt, mapper, form, columns, harmful, who, roles, problems, rows, name, replace, start, drop)
    return Sheet(*parts, names=gr.State([]), at=gr.State(None))


def _draw_mapper() -> tuple[gr.Dropdown, dict[str, gr.Dropdown], gr.Dropdown]:
    formats = [("Recognise it", AUTOMATIC), *((views.FORMAT_NAMES[name], name) for name in ROW_FORMATS)]
    form = gr.Dropdown(formats, value=AUTOMATIC, label="Format", elem_id="map-format")
    columns: dict[str, gr.Dropdown] = {}
    with gr.Row():
        for target, label in TARGETS.items():
            columns[target] = gr.Dropdown(
                [("none", NONE)], value=NONE, label=label, elem_id=f"map-{target.replace('_', '-')}", min_width=150
            )
    harmful = gr.Dropdown(
        [],
        value=[],
        multiselect=True,
        visible=False,
        label="Which value means harmful",
        info="The other values count as harmless. Rows without a value, or with one not listed, count as not labelled.",
        elem_id="map-harmful-values",
    )
    return form, columns, harmful


def _draw_speakers() -> tuple[gr.Column, dict[str, gr.Dropdown]]:
    """Fields for speakers that nobody knows; hidden where there are none."""
    with gr.Column(visible=False, elem_id="import-speakers") as who:
        fixed(_WHO)
        with gr.Row():
            roles = {
                role: gr.Dropdown(
                    [],
                    value=[],
                    multiselect=True,
                    allow_custom_value=True,
                    label=title,
                    elem_id=f"speaker-{role}",
                    min_width=150,
                )
                for role, title in ROLE_NAMES.items()
            }
    return who, roles


def wire_sheet(studio: Studio, sheet: Sheet, line: gr.HTML, *, empties: Sequence[tuple[Any, Any]]) -> None:
    """React to the mapper and to both buttons; `empties` are inputs with the value they get when the sheet closes."""
    closes, emptied = [part for part, _ in empties], [value for _, value in empties]

    def remap(at: At | None, names: Sequence[str], chosen: str, harmful: Sequence[str] | None, *picked: Any) -> list[Any]:
        return assign(at and {**at, BY_HAND: "yes"}, names, chosen, harmful, *picked)

    def assign(at: At | None, names: Sequence[str], chosen: str, harmful: Sequence[str] | None, *picked: Any) -> list[Any]:
        if at is None:
            return closed(sheet)
        return looked(studio, at, preview_of(studio, at, mapping_of(at, names, chosen, harmful, picked)), named=False)

    def start(
        at: At | None, name: str, replace: bool, names: Sequence[str], chosen: str, harmful: Sequence[str] | None, *picked: Any
    ) -> tuple[Any, ...]:
        if at is None:
            raise SpecError("The file is not there any more. Choose it again.")
        mapping = mapping_of(at, names, chosen, harmful, picked)
        submit(studio, at, mapping, name=name.strip() or None, replace=replace)
        return (*emptied, *closed(sheet), said("The import is queued.", "note"))

    def drop() -> list[Any]:
        return [*emptied, *closed(sheet)]

    ends = [*closes, *sheet.outputs]
    for choice in (sheet.form, sheet.harmful, *sheet.columns.values()):
        on(choice.input, remap, inputs=[sheet.at, *sheet.choices], outputs=sheet.outputs, line=line, **CHOICE)
    for speakers in sheet.roles.values():
        on(speakers.input, assign, inputs=[sheet.at, *sheet.choices], outputs=sheet.outputs, line=line, **CHOICE)
    on(
        sheet.start.click,
        start,
        inputs=[sheet.at, sheet.name, sheet.replace, *sheet.choices],
        outputs=ends,
        line=line,
        refresh=True,
        **SLOW,
    )
    on(sheet.drop.click, drop, outputs=ends, line=line, **SLOW)


def preview_of(studio: Studio, at: At, mapping: Mapping | None = None) -> Preview:
    """Look at the first rows of whatever is at `at`."""
    if "source" in at:
        return studio.imports.preview(at["source"], at["part"], mapping)
    path = studio.imports.original(at["again"]) if "again" in at else Path(at["file"])
    return studio.imports.preview_file(path, mapping)


def submit(studio: Studio, at: At, mapping: Mapping | None, *, name: str | None, replace: bool = False) -> str:
    """Queue the import of whatever is at `at`; returns the job."""
    if "source" in at:
        return studio.imports.bring(at["source"], at["part"], name=name, mapping=mapping)
    if "again" in at:
        return studio.imports.read_again(at["again"], mapping, name=name, replace=replace)
    return studio.imports.upload(Path(at["file"]), name=name, mapping=mapping)


def looked(studio: Studio, at: At, preview: Preview, *, named: bool = True) -> list[Any]:
    """Values of `Sheet.outputs` for rows that were looked at; `named` gives the name field a first value."""
    columns = list(preview.columns)
    options = [("none", NONE), *((show(column, 60), str(position)) for position, column in enumerate(columns))]
    chosen = {target: str(columns.index(column)) for target, column in preview.mapping.columns.items() if column in columns}
    hide_all = studio.settings.get("mask_rule", "known") == "all"
    again = at.get("again")
    guess = preview.confidence < SURE and bool(preview.mapping.columns)  # whoever imports what was only guessed has agreed to it
    name = studio.datasets.name_of(again) if again else _called(at["part"]) if "source" in at else preview.path.stem
    return [
        gr.update(visible=True),
        {**at, BY_HAND: "yes"} if guess else dict(at),
        {
            "title": "Read again with other columns" if again else "What was understood",
            "note": show(at.get("part") or preview.path.name, 120),
        },
        views.detected(preview),
        views.doubt(preview),
        gr.update(open=True) if preview.confidence < SURE or again else gr.skip(),
        gr.update(visible=bool(preview.speakers) or (bool(again) and preview.mapping.format in CONVERSATIONS)),
        views.problems(preview.problems),
        chats(preview.rows[: views.SHOWN_ROWS], hide_all=hide_all),
        gr.update(value=show(name, 80)) if named else gr.skip(),
        gr.update(visible=bool(again), value=False) if named else gr.skip(),
        gr.update(interactive=preview.ready or (guess and bool(preview.rows))),
        columns,
        gr.update(value=preview.mapping.format or AUTOMATIC),
        _harmful_values(preview),
        *_speakers(preview),
        *(gr.update(choices=options, value=chosen.get(target, NONE)) for target in TARGETS),
    ]


def _harmful_values(preview: Preview) -> Any:
    """The question which values of a column of labels mean harmful; hidden where nobody needs to ask."""
    found = preview.labels
    if found is None or not found.is_label:
        return gr.update(visible=False, choices=[], value=[])
    about = "" if found.whole else " of the first"
    options = [(f"{show(value, 40)} ({counted(found.counts[value], 'row')}{about})", value) for value in found.values]
    return gr.update(visible=True, choices=options, value=[value for value, harmful in preview.mapping.labels.items() if harmful])


def _speakers(preview: Preview) -> list[Any]:
    """Values of the fields for speakers: those of the file to choose from, and who was declared."""
    declared = preview.mapping.roles
    names = {name.casefold(): show(name, 40) for name in (*declared, *preview.speakers)}
    choices = [(shown, name) for name, shown in names.items()]
    return [gr.update(choices=choices, value=[name for name, said in declared.items() if said == role]) for role in ROLE_NAMES]


def shut_on_error(sheet: Sheet, look: Callable[[], list[Any]]) -> list[Any]:
    """What `look` gives; if it fails, the sheet is closed beside the message: the rows of an earlier look belong to another file."""
    try:
        return look()
    except StudioError as exc:
        return [*closed(sheet), said(message_for(exc), "error")]


def _called(part: str) -> str:
    """A name for the dataset that a part becomes: a file's without its ending."""
    path = PurePosixPath(part)
    return path.stem if by_ending(path.name) else path.name


def closed(sheet: Sheet) -> list[Any]:
    """Values of `Sheet.outputs` without anything to look at."""
    return [gr.update(visible=False), None, *(gr.skip() for _ in sheet.outputs[2:])]


def mapping_of(at: At, names: Sequence[str], chosen: str, harmful: Sequence[str] | None, picked: Sequence[Any]) -> Mapping | None:
    """What the mapper says, its columns only once a person chose one; None lets the app decide.

    `picked` has the speakers of each role, then the column of each target. Raises SpecError if a speaker has two roles.
    """
    roles: dict[str, str] = {}
    for role, speakers in zip(ROLE_NAMES, picked, strict=False):
        for speaker in speakers or ():
            if roles.setdefault(str(speaker), role) != role:
                raise SpecError(f"The speaker '{show(str(speaker), 40)}' is declared twice. Give it one role.")
    places = [int(place) for place in picked[len(ROLE_NAMES) :]] if BY_HAND in at else []
    columns = {target: names[place] for target, place in zip(TARGETS, places, strict=False) if 0 <= place < len(names)}
    if not columns:
        return Mapping(roles=roles) if roles else None
    form = None if chosen == AUTOMATIC else chosen
    return Mapping(format=form, columns=columns, labels=dict.fromkeys(harmful or (), True), roles=roles)
