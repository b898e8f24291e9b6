"""Data: bring rows in or make a sample, see what was understood, look at what is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from reft_studio.errors import SpecError, StudioError
from ui.data.detail import QUEUED, Detail, Narrowed, detail_values, draw_detail, inspected_values, wire_detail
from ui.data.import_sheet import BY_HAND, SHOW, Sheet, looked, preview_of
from ui.data.importing import draw_import
from ui.data.mix_form import MixForm
from ui.events import FAST, REFRESH, SLOW, guarded, on, on_change, on_load, said
from ui.shared import dataset_views as views
from ui.shared.jobs import job_panel
from ui.tables import Action, Column, table
from ui.text import counted, show
from ui.widgets import fixed

if TYPE_CHECKING:
    from reft_studio.jobs.view import JobView
    from reft_studio.studio.studio import Studio

QUIET = {**SLOW, "show_progress": "hidden"}
"""For what happens by itself: nobody waits for it, so nothing fades while it is read."""
_LIST = (
    Column("name", "Name"),
    Column("rows", "Rows", "num"),
    Column("format", "Format"),
    Column("aside", "Set aside", "num"),
    Column("state", "State", "badge"),
    Column("created", "Added", "short"),
)


def build(studio: Studio) -> None:
    """Draw the page and wire it."""
    bring = draw_import(studio)
    ended = job_panel(studio, ["import", "fetch", "sample", "mix", "inspect"], of_chosen=True)
    datasets = _draw_list()
    mixing = MixForm(studio)
    detail = draw_detail()
    everything = [datasets, *mixing.outputs, *detail.outputs]

    def first() -> list[Any]:
        studio.imports.get_ready()
        return show_all()

    def show_all() -> list[Any]:
        return [_listing(studio), *mixing.choices(), *detail_values(studio)]

    def pick(event: gr.EventData) -> list[Any]:
        studio.choose(dataset=str(event.id))
        return show_all()

    def act(event: gr.EventData) -> tuple[Any, ...]:
        studio.datasets.delete(str(event.id))
        return (*show_all(), said("The dataset and its scores were deleted.", "note"))

    def finished(narrowed: Narrowed, told: Any, event: gr.EventData) -> tuple[Any, ...]:
        job = studio.jobs.get(str(event.id))
        if job.kind == "inspect":
            unchanged = [gr.skip() for _ in mixing.outputs]
            return (_inspected(job, told), _listing(studio), *unchanged, *inspected_values(studio, detail, narrowed))
        return (_adopt(studio, job), *show_all())

    def follow(narrowed: Narrowed) -> list[Any]:
        """Another dataset may have been chosen in another tab; the rows that somebody is looking at stay else."""
        current = studio.state().dataset
        if (current.id if current else None) == narrowed["dataset"]:
            return [_listing(studio), *(gr.skip() for _ in everything[1:])]
        return show_all()

    on_load(first, outputs=everything)
    on_change(follow, inputs=[detail.narrowed], outputs=everything)
    on(datasets.pick, pick, outputs=everything, refresh=True, **FAST)
    on(datasets.act, act, outputs=everything, line=bring.line, refresh=True, **SLOW)
    ended.done(guarded(finished), [detail.narrowed, bring.line], [bring.line, *everything], **QUIET).then(None, None, None, js=REFRESH)
    mixing.wire(bring.line)
    wire_detail(studio, detail, bring.line)
    _wire_again(studio, detail, bring.sheet, bring.line)


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


def _wire_again(studio: Studio, detail: Detail, sheet: Sheet, line: gr.HTML) -> None:
    """Open the sheet on the kept upload of the dataset in work, with the columns it was read with."""

    def again(narrowed: Narrowed) -> list[Any]:
        if (dataset := narrowed["dataset"]) is None:
            raise SpecError("There is no dataset in work. Choose one in the list.")
        chosen = studio.imports.mapping_of(dataset)
        at = {"again": dataset} | ({BY_HAND: "yes"} if chosen and chosen.columns else {})
        return looked(studio, at, preview_of(studio, at, chosen))

    def fix(narrowed: Narrowed, event: gr.EventData) -> list[Any]:
        return again(narrowed)

    on(detail.again.click, again, inputs=[detail.narrowed], outputs=sheet.outputs, line=line, **SLOW).then(None, None, None, js=SHOW)
    on(detail.reasons.act, fix, inputs=[detail.narrowed], outputs=sheet.outputs, line=line, **SLOW).then(None, None, None, js=SHOW)


def _listing(studio: Studio) -> dict[str, Any]:
    current = studio.state().dataset
    return views.listed(studio.datasets.every(), current.id if current else None)


def _inspected(job: JobView, told: Any) -> Any:
    """Only who asked for the inspection is told of its end: what stands in the line, of an import or an error, matters more."""
    waiting = isinstance(told, dict) and told.get("text") == QUEUED
    return said("Repeats, languages and lengths are known now.", "done") if waiting and job.state == "done" else gr.skip()


def _adopt(studio: Studio, job: JobView) -> dict[str, str]:
    """Make what a finished import made the dataset in work; the sentence for the status line."""
    made = (job.result or {}).get("dataset_id")
    if job.state != "done" or not isinstance(made, str):
        return said("", "quiet")
    studio.choose(dataset=made)
    manifest = studio.datasets.manifest(made)
    report = views.report_of(manifest)
    told = views.sentence(report) if report else f"{counted(manifest['rows'], 'row')} made."
    name, wanted = studio.datasets.name_of(made), job.params.get("name")
    if isinstance(wanted, str) and wanted != name:
        told += f" The same file was here already, as '{show(name, 80)}'."
    return said(f"{told}{_replaced(studio, job.params.get('replaces'), made)}", "done")


def _replaced(studio: Studio, old: Any, made: str) -> str:
    """Delete the dataset that a new reading replaces; what to add to the sentence."""
    if not isinstance(old, str) or old == made:
        return ""
    try:
        studio.datasets.delete(old)
    except StudioError as exc:
        return f" The earlier reading stays: {exc}"
    return " The earlier reading was deleted."
