"""Data: bring a file or make a sample, see what was understood, look at what is there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from ui.components import dataset_views as views
from ui.components.data_import import draw_import
from ui.components.jobs import job_panel
from ui.events import FAST, REFRESH, SLOW, guarded, on, on_load, said
from ui.tables import Action, Column, table
from ui.text import counted, show
from ui.widgets import fixed, widget

if TYPE_CHECKING:
    from reft_studio.studio import Studio

PAGE = 6
_LIST = (
    Column("name", "Name"),
    Column("rows", "Rows", "num"),
    Column("format", "Format"),
    Column("aside", "Set aside", "num"),
    Column("state", "State", "badge"),
    Column("created", "Added", "short"),
)
_REASONS = (
    Column("severity", "What happened", "badge"),
    Column("reason", "Why"),
    Column("rows", "Rows", "num"),
    Column("lines", "First lines", "mono"),
)
_QUARANTINE = (Column("line", "Line", "num"), Column("reason", "What is wrong"), Column("hint", "What to do"))


@dataclass(frozen=True)
class Detail:
    """The parts of the page that show one dataset."""

    title: gr.HTML
    facts: gr.HTML
    rows: gr.HTML
    place: gr.HTML
    search: gr.Textbox
    offset: gr.State
    reasons: gr.HTML
    quarantine: gr.HTML
    sheet: gr.Column

    @property
    def outputs(self) -> list[Any]:
        return [self.sheet, self.title, self.facts, self.rows, self.place, self.offset, self.reasons, self.quarantine]


def build(studio: Studio) -> None:
    """Draw the page and wire it."""
    line = draw_import(studio)
    ended = job_panel(studio, ["import", "sample"])
    datasets = _draw_list()
    detail = _draw_detail()
    everything = [datasets, *detail.outputs]

    def show_all() -> list[Any]:
        return [_listing(studio), *_detail_values(studio)]

    def pick(event: gr.EventData) -> list[Any]:
        studio.choose(dataset=str(event.id))
        return show_all()

    def act(event: gr.EventData) -> tuple[Any, ...]:
        studio.delete_dataset(str(event.id))
        return (*show_all(), said("The dataset and its scores were deleted.", "note"))

    def finished(event: gr.EventData) -> tuple[Any, ...]:
        return (*_adopt(studio, str(event.id)), *show_all())

    on_load(show_all, outputs=everything)
    on(datasets.pick, pick, outputs=everything, refresh=True, **FAST)
    on(datasets.act, act, outputs=everything, line=line, refresh=True, **SLOW)
    ended.done(guarded(finished), None, [line, *everything], **SLOW).then(None, None, None, js=REFRESH)
    _wire_rows(studio, detail)


def _draw_list() -> gr.HTML:
    with gr.Column(elem_classes=["rs-card"]):
        fixed("<h2>Datasets</h2>")
        return table(
            _LIST,
            elem_id="datasets",
            empty="No dataset yet. Drop a file above, or make the sample: it takes a second.",
            actions=[Action("delete", "Delete", "Delete this dataset and its scores?")],
            pick=True,
        )


def _draw_detail() -> Detail:
    with gr.Column(elem_classes=["rs-card"], visible=False, elem_id="dataset-detail") as sheet:
        title = widget("title", {"title": "", "note": ""}, elem_id="dataset-title")
        facts = widget("facts", {}, elem_id="dataset-facts")
        with gr.Tabs(elem_id="dataset-tabs"):
            with gr.Tab("Rows"):
                rows, place, search, offset = _draw_rows()
            with gr.Tab("Import report"):
                reasons = table(_REASONS, elem_id="import-reasons", empty="Every row was read without a remark.")
            with gr.Tab("Rows set aside"):
                quarantine = table(_QUARANTINE, elem_id="quarantine", empty="No row was set aside.")
    return Detail(title, facts, rows, place, search, offset, reasons, quarantine, sheet)


def _draw_rows() -> tuple[gr.HTML, gr.HTML, gr.Textbox, gr.State]:
    search = gr.Textbox(
        label="Search in prompts and responses", placeholder="a word or phrase", elem_id="row-search", max_lines=1, submit_btn=False
    )
    rows = widget("turns", {"rows": []}, elem_id="row-preview", empty="No row holds that text.")
    place = widget("pager", {"offset": 0, "total": 0, "page": PAGE}, elem_id="row-pager")
    return rows, place, search, gr.State(0)


def _wire_rows(studio: Studio, detail: Detail) -> None:
    outputs = [detail.rows, detail.place, detail.offset]

    def find(text: str) -> tuple[Any, ...]:
        return _row_values(studio, 0, text)

    def turn(text: str, event: gr.EventData) -> tuple[Any, ...]:
        return _row_values(studio, max(0, int(event.offset)), text)

    on(detail.search.submit, find, inputs=[detail.search], outputs=outputs, **FAST)
    on(detail.search.blur, find, inputs=[detail.search], outputs=outputs, **FAST)
    on(detail.place.turn, turn, inputs=[detail.search], outputs=outputs, **FAST)


def _listing(studio: Studio) -> dict[str, Any]:
    current = studio.state().dataset
    return views.listed(studio.datasets(), current.id if current else None)


def _detail_values(studio: Studio) -> tuple[Any, ...]:
    """Values of `Detail.outputs` for the dataset in work."""
    current = studio.state().dataset
    if current is None:
        return (
            gr.update(visible=False),
            {"title": "", "note": ""},
            {},
            {"rows": []},
            _pager(0, 0),
            0,
            views.reasons(None),
            views.quarantined([], 0),
        )
    detail = studio.dataset(current.id)
    report = views.report_of(detail.manifest)
    aside = studio.quarantine(current.id)
    title = {"title": show(current.name, 120), "note": f"{counted(current.rows, 'row')}, id {current.id}"}
    return (
        gr.update(visible=True),
        title,
        views.profiled(detail.profile, report),
        *_row_values(studio, 0, ""),
        views.reasons(report),
        views.quarantined(aside, len(aside)),
    )


def _row_values(studio: Studio, offset: int, text: str) -> tuple[Any, ...]:
    """Values for the row preview, its pager and the offset."""
    current = studio.state().dataset
    if current is None:
        return {"rows": []}, _pager(0, 0), 0
    page = studio.rows(current.id, offset=offset, limit=PAGE, search=text.strip())
    rows = [views.card_row(studio.audit.card(current.id, row["row_id"])) for row in page.rows]
    hide_all = studio.setting("mask_rule", "known") == "all"
    return views.chats(rows, hide_all=hide_all), _pager(page.offset, page.total), page.offset


def _pager(offset: int, total: int) -> dict[str, int]:
    return {"offset": offset, "total": total, "page": PAGE}


def _adopt(studio: Studio, job_id: str) -> tuple[Any]:
    """Make what a finished import made the dataset in work; the sentence for the status line."""
    job = studio.jobs.get(job_id)
    made = (job.result or {}).get("dataset_id")
    if job.state != "done" or not isinstance(made, str):
        return (said("", "quiet"),)
    studio.choose(dataset=made)
    detail = studio.dataset(made)
    report = views.report_of(detail.manifest)
    return (said(views.sentence(report) if report else f"{counted(detail.summary.rows, 'row')} made.", "done"),)
