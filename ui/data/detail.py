"""One dataset in full: its health, what it is made of, its rows, what was wrong with the file, its repeats, and where it came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from reft_studio.studio.row_query import RowFilter
from ui.data import row_chats
from ui.downloads import offer
from ui.events import FAST, SLOW, on, said
from ui.shared import dataset_views as views
from ui.tables import Action, Column, table
from ui.text import counted, show
from ui.widgets import fixed, widget

if TYPE_CHECKING:
    from reft_studio.studio.datasets import RowPage
    from reft_studio.studio.project import DatasetSummary
    from reft_studio.studio.studio import Studio

PAGE = 6
LISTED = 200
"""Rows set aside that are listed; all of them are in the file that can be saved."""
QUEUED = "The inspection is queued. You can go on working."
LOOK = "Look for repeats, languages and token lengths"
_REASONS = (
    Column("severity", "What happened", "badge"),
    Column("reason", "Why"),
    Column("rows", "Rows", "num"),
    Column("lines", "First lines", "mono"),
)
_ASIDE = (Column("line", "Line", "num"), Column("reason", "What is wrong"), Column("hint", "What to do"))
_GROUPS = (Column("row", "First row"), Column("rows", "Rows alike", "num"))
_REPEATS = """<p class="rs-lead">Rows that say the same, word for word or nearly (at least 80 % of their three-word sequences in common).
A model learns such rows as often as they stand in the file, and what holds for one of them holds for all.</p>"""

Narrowed = dict[str, Any]
"""What the row list shows: `dataset`, narrowed to `facets` ([name, label] pairs) and `group` (a position, or None)."""


@dataclass(frozen=True)
class Detail:
    """The parts of the page that show one dataset."""

    sheet: gr.Column
    title: gr.HTML
    facts: gr.HTML
    inspect: gr.Button
    tabs: gr.Tabs
    search: gr.Textbox
    chips: gr.HTML
    rows: gr.HTML
    place: gr.HTML
    offset: gr.State
    narrowed: gr.State
    reasons: gr.HTML
    aside: gr.HTML
    again: gr.Button
    save: gr.Button
    saved: gr.DownloadButton
    groups: gr.HTML
    passport: gr.HTML

    @property
    def outputs(self) -> list[Any]:
        """What `detail_values` gives values for."""
        listed = [self.reasons, self.aside, self.again, self.save, self.saved, self.groups, self.passport]
        return [self.sheet, self.title, self.facts, self.inspect, self.search, *self.list_outputs, *listed]

    @property
    def list_outputs(self) -> list[Any]:
        """What `row_values` gives values for."""
        return [self.rows, self.place, self.offset, self.narrowed, self.chips]


def draw_detail() -> Detail:
    """Draw it, hidden until there is a dataset."""
    with gr.Column(elem_classes=["rs-card"], visible=False, elem_id="dataset-detail") as sheet:
        title = widget("title", {"title": "", "note": ""}, elem_id="dataset-title")
        facts = widget("facts", {}, elem_id="dataset-facts")
        inspect = gr.Button(LOOK, size="sm", visible=False, elem_id="inspect", elem_classes=["fit"])
        with gr.Tabs(elem_id="dataset-tabs") as tabs:
            with gr.Tab("Rows", id="rows"):
                search, chips, rows, place = _draw_rows()
            with gr.Tab("Validation", id="validation"):
                reasons, aside, again, save, saved = _draw_validation()
            with gr.Tab("Repeats", id="repeats"):
                fixed(_REPEATS)
                groups = table(
                    _GROUPS,
                    elem_id="repeats",
                    empty="No row repeats another, or nobody has looked yet.",
                    actions=[Action("show", "Show these rows")],
                )
            with gr.Tab("Source and hashes", id="source"):
                passport = widget("passport", {"items": []}, elem_id="passport")
    state = {"offset": gr.State(0), "narrowed": gr.State(_wide())}
    parts = (reasons, aside, again, save, saved, groups, passport)
    names = ("reasons", "aside", "again", "save", "saved", "groups", "passport")
    listed = dict(zip(names, parts, strict=True))
    return Detail(sheet, title, facts, inspect, tabs, search, chips, rows, place, **state, **listed)


def _draw_rows() -> tuple[gr.Textbox, gr.HTML, gr.HTML, gr.HTML]:
    search = gr.Textbox(
        label="Search in prompts and responses", placeholder="a word or phrase", elem_id="row-search", max_lines=1, submit_btn=False
    )
    chips = widget("chips", [], elem_id="row-chips")
    rows = widget("turns", {"rows": []}, elem_id="row-preview", empty="No row holds that text.", legend=True)
    place = widget("pager", {"offset": 0, "total": 0, "page": PAGE}, elem_id="row-pager")
    return search, chips, rows, place


def _draw_validation() -> tuple[gr.HTML, gr.HTML, gr.Button, gr.Button, gr.DownloadButton]:
    reasons = table(
        _REASONS,
        elem_id="import-reasons",
        empty="Every row was read without a remark.",
        actions=[Action("fix", "Fix the mapping")],
    )
    fixed("<h3>Rows set aside</h3>")
    aside = table(_ASIDE, elem_id="quarantine", empty="No row was set aside.")
    with gr.Row(elem_classes=["rs-ends"]):
        again = gr.Button("Read the file again with other columns", size="sm", elem_id="read-again", elem_classes=["fit"], visible=False)
        save = gr.Button("Save the rows set aside", size="sm", elem_id="save-aside", elem_classes=["fit"], visible=False)
        saved = gr.DownloadButton("Save", size="sm", visible=False, elem_id="saved-aside", elem_classes=["fit"])
    return reasons, aside, again, save, saved


def wire_detail(studio: Studio, detail: Detail, line: gr.HTML) -> None:
    """React to everything but what opens the import sheet."""
    _wire_list(studio, detail)

    def inspect(narrowed: Narrowed) -> tuple[Any, ...]:
        if (current := _current(studio, narrowed)) is None:
            return (gr.skip(),)
        studio.datasets.inspect(current.id, studio.datasets.uncounted(current.id))
        return gr.update(visible=False), said(QUEUED, "note")

    def save(narrowed: Narrowed) -> tuple[Any, ...]:
        if (current := _current(studio, narrowed)) is None:
            return gr.skip(), gr.skip()
        return gr.update(visible=False), offer(studio.datasets.set_aside_file(current.id), "Save the file")

    on(detail.inspect.click, inspect, inputs=[detail.narrowed], outputs=[detail.inspect], line=line, refresh=True, **SLOW)
    on(detail.save.click, save, inputs=[detail.narrowed], outputs=[detail.save, detail.saved], line=line, **SLOW)


def _wire_list(studio: Studio, detail: Detail) -> None:
    outputs = detail.list_outputs
    inputs = [detail.search, detail.narrowed]

    def find(text: str, narrowed: Narrowed) -> tuple[Any, ...]:
        return row_values(studio, 0, text, narrowed)

    def turn(text: str, narrowed: Narrowed, event: gr.EventData) -> tuple[Any, ...]:
        return row_values(studio, max(0, int(event.offset)), text, narrowed)

    def narrow(text: str, narrowed: Narrowed, event: gr.EventData) -> tuple[Any, ...]:
        """Put a bar of the facts on, or take it off again."""
        one = [str(event.facet), str(event.label)]
        facets = [pair for pair in narrowed["facets"] if pair != one]
        changed = {**narrowed, "facets": facets if len(facets) < len(narrowed["facets"]) else [*facets, one], "group": None}
        return gr.update(selected="rows"), _facts(studio, changed), *row_values(studio, 0, text, changed)

    def widen(text: str, narrowed: Narrowed, event: gr.EventData) -> tuple[Any, ...]:
        name = str(event.id)
        group = None if name == "group" else narrowed["group"]
        changed = {**narrowed, "facets": [pair for pair in narrowed["facets"] if ":".join(pair) != name], "group": group}
        return _facts(studio, changed), *row_values(studio, 0, text, changed)

    def group(narrowed: Narrowed, event: gr.EventData) -> tuple[Any, ...]:
        changed = {**narrowed, "facets": [], "group": int(event.id)}
        return gr.update(selected="rows"), _facts(studio, changed), "", *row_values(studio, 0, "", changed)

    on(detail.search.submit, find, inputs=inputs, outputs=outputs, **FAST)
    on(detail.search.blur, find, inputs=inputs, outputs=outputs, **FAST)
    on(detail.place.turn, turn, inputs=inputs, outputs=outputs, **FAST)
    on(detail.facts.pick, narrow, inputs=inputs, outputs=[detail.tabs, detail.facts, *outputs], **FAST)
    on(detail.chips.drop, widen, inputs=inputs, outputs=[detail.facts, *outputs], **FAST)
    on(detail.groups.act, group, inputs=[detail.narrowed], outputs=[detail.tabs, detail.facts, detail.search, *outputs], **FAST)


def _wide(dataset: str | None = None) -> Narrowed:
    return {"dataset": dataset, "facets": [], "group": None}


def _current(studio: Studio, narrowed: Narrowed) -> DatasetSummary | None:
    """The dataset that the page shows, whichever another tab has chosen meanwhile. Raises StoreError if it is gone."""
    return None if narrowed["dataset"] is None else studio.datasets.summary(narrowed["dataset"])


def detail_values(studio: Studio) -> tuple[Any, ...]:
    """Values of `Detail.outputs` for the dataset in work."""
    current = studio.state().dataset
    if current is None:
        nothing = gr.update(visible=False)
        empty: tuple[Any, ...] = (
            views.reasons(None),
            views.quarantined([], 0),
            nothing,
            nothing,
            nothing,
            views.groups(None, []),
            {"items": []},
        )
        return (nothing, {"title": "", "note": ""}, {}, nothing, "", *_no_rows(), *empty)
    manifest = studio.datasets.manifest(current.id)
    report = views.report_of(manifest)
    found = studio.datasets.inspection(current.id)
    aside = studio.datasets.set_aside(current.id, limit=LISTED)
    total = report.quarantined if report else 0
    ids = studio.datasets.row_ids(current.id, [place for place, _ in found.groups]) if found else []
    return (
        gr.update(visible=True),
        {"title": show(current.name, 120), "note": f"{counted(current.rows, 'row')}, id {current.id}"},
        _facts(studio, _wide(current.id)),
        _inspect_button(studio, current.id, known=found is not None),
        "",
        *row_values(studio, 0, "", _wide(current.id)),
        views.reasons(report),
        views.quarantined(aside, total),
        gr.update(visible=bool((manifest.get("source") or {}).get("stored"))),
        gr.update(visible=total > 0),
        gr.update(visible=False),
        views.groups(found, ids),
        views.passport(manifest, studio.datasets.origin(current.id)),
    )


def inspected_values(studio: Studio, detail: Detail, narrowed: Narrowed) -> list[Any]:
    """Values of `Detail.outputs` when an inspection has ended: what it found; the rows that somebody is looking at stay."""
    current = _current(studio, narrowed)
    if current is None:
        return [gr.skip() for _ in detail.outputs]
    found = studio.datasets.inspection(current.id)
    ids = studio.datasets.row_ids(current.id, [place for place, _ in found.groups]) if found else []
    known = {
        detail.facts: _facts(studio, narrowed),
        detail.inspect: _inspect_button(studio, current.id, known=found is not None),
        detail.groups: views.groups(found, ids),
    }
    return [known.get(part, gr.skip()) for part in detail.outputs]


def _inspect_button(studio: Studio, dataset_id: str, *, known: bool) -> Any:
    """Shown while nobody has looked, or the tokens of the teacher in use were not counted."""
    if studio.datasets.being_inspected(dataset_id):
        return gr.update(visible=False)
    if not known:
        return gr.update(value=LOOK, visible=True)
    return gr.update(value="Count tokens as the teacher in use does", visible=studio.datasets.uncounted(dataset_id) is not None)


def _facts(studio: Studio, narrowed: Narrowed) -> dict[str, Any]:
    current = _current(studio, narrowed)
    if current is None:
        return {}
    chosen = [":".join(pair) for pair in narrowed["facets"]]
    report = views.report_of(studio.datasets.manifest(current.id))
    return views.profiled(current.rows, studio.datasets.profile(current.id), report, studio.datasets.inspection(current.id), chosen)


def row_values(studio: Studio, offset: int, text: str, narrowed: Narrowed) -> tuple[Any, ...]:
    """Values of `Detail.list_outputs`: one page of the rows that hold the text and are of these facets or this group."""
    current = _current(studio, narrowed)
    if current is None:
        return _no_rows()
    facets = [(name, label) for name, label in narrowed["facets"]]
    page = _page(studio, current, offset, text.strip(), facets, narrowed["group"])
    hide_all = studio.settings.get("mask_rule", "known") == "all"
    chats = row_chats.chats(page.rows, hide_all=hide_all)
    return chats, _pager(page.offset, page.total), page.offset, narrowed, views.chips(facets, narrowed["group"])


def _page(studio: Studio, current: DatasetSummary, offset: int, text: str, facets: Sequence[tuple[str, str]], group: int | None) -> RowPage:
    if group is not None:
        return studio.datasets.group(current.id, group, offset=offset, limit=PAGE)
    return studio.datasets.rows(current.id, RowFilter(search=text, facets=tuple(facets), order="file"), offset=offset, limit=PAGE)


def _no_rows() -> tuple[Any, ...]:
    return {"rows": []}, _pager(0, 0), 0, _wide(), []


def _pager(offset: int, total: int) -> dict[str, int]:
    return {"offset": offset, "total": total, "page": PAGE}
