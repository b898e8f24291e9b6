"""Report: what goes in, build it, read it in short, open it, take it away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from ui.downloads import offer
from ui.events import FAST, SLOW, on, on_change, on_load, said, status
from ui.report import view as views
from ui.shared.shown import Shown
from ui.tables import Action, Column, table, table_value
from ui.widgets import fixed, widget

if TYPE_CHECKING:
    from reft_studio.studio.studio import Studio

_COLUMNS = (
    Column("title", "Report"),
    Column("state", "State", "badge"),
    Column("texts", "Row texts"),
    Column("made", "Made"),
    Column("size", "Size", "num"),
)
_ACTIONS = (Action("show", "Show"), Action("save", "Save as file"))
_BUILD = """<div class="rs-stack"><h2>Build a report</h2><p class="rs-lead">One HTML file that needs no network, and a JSON file with every
number in it.</p></div>"""


def build(studio: Studio) -> None:
    """Draw the page and wire it."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=320, elem_classes=["rs-card"]):
            fixed(_BUILD)
            missing = widget("checklist", None, scripts=("dom",), elem_id="report-checklist")
            sections = gr.CheckboxGroup(
                list(views.SECTIONS), value=[value for _, value in views.SECTIONS], label="Sections", elem_id="report-sections"
            )
            redact = gr.Checkbox(
                True,
                label="Leave out the text of rows and the reasons reviewers wrote",
                info="Keep this on for a report that leaves your hands: rows may hold harm or personal data.",
                elem_id="report-redact",
            )
            button = gr.Button("Build the report", variant="primary", elem_id="report-build")
            line = status("report-status")
        with gr.Column(scale=6, min_width=380, elem_classes=["rs-card"]):
            view = widget("report_view", None, scripts=("dom",), elem_id="report-view")
    with gr.Column(elem_classes=["rs-card"]):
        fixed("<h2>Reports</h2>")
        reports = table(_COLUMNS, elem_id="report-list", empty="No report yet.", actions=_ACTIONS)
        save = gr.DownloadButton("Save", visible=False, elem_id="report-save", elem_classes=["fit"])
    _wire(studio, {"missing": missing, "sections": sections, "redact": redact, "button": button, "line": line}, view, reports, save)


def _wire(studio: Studio, form: dict[str, Any], view: gr.HTML, reports: gr.HTML, save: gr.DownloadButton) -> None:
    shown = gr.State(Shown())

    def fill() -> tuple[Any, ...]:
        known = studio.reports.every()
        return views.checklist(studio), Shown.of(studio.state()), views.view(known[0] if known else None), table_value(views.lines(known))

    def follow() -> tuple[Any, ...]:
        return views.checklist(studio), Shown.of(studio.state())

    def make(sections: list[str], redact: bool, shown: Shown) -> tuple[Any, ...]:
        dataset = shown.take(studio, line=True) if shown.dataset else None
        path = studio.reports.build(dataset_id=dataset, redact=redact, sections=sections)
        return views.view(path), table_value(views.lines(studio.reports.every())), said("The report is built.")

    def act(event: gr.EventData) -> tuple[Any, ...]:
        path = views.named(studio, str(event.id))
        if event.act == "save":
            return gr.update(), offer(path)
        return views.view(path), gr.update(visible=False)

    line = form["line"]
    on_load(fill, outputs=[form["missing"], shown, view, reports])
    on_change(follow, outputs=[form["missing"], shown])
    slow = {**SLOW, "show_progress": "full"}
    on(
        form["button"].click,
        make,
        inputs=[form["sections"], form["redact"], shown],
        outputs=[view, reports],
        line=line,
        refresh=True,
        **slow,
    )
    on(reports.act, act, outputs=[view, save], line=line, **{**FAST, "trigger_mode": "multiple"})
