"""Compare: grade the chosen runs again with another judge, or label their answers oneself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from reft_studio.evaluation.judges import judge_named
from ui.events import FAST, SLOW, answer, on, said, status
from ui.shared.jobs import job_panel
from ui.shared.judge_fields import JudgeFields, draw_judge_fields
from ui.tables import Column, table, table_value
from ui.text import count, counted, mask, number, show
from ui.widgets import fixed, widget

if TYPE_CHECKING:
    from reft_studio.studio.studio import Studio

_AGAIN = """<p class="rs-small rs-muted">The stored answers of the chosen runs are graded by another judge; nothing is generated again, and
earlier grades are kept. Runs are compared under one judge, so grade all of them.</p>"""
_LABELS = """<p class="rs-small rs-muted">Harmful prompts and their answers, one by one. Your labels become the judge “A person's
labels”, which you can choose above; answers without a label count as missing.</p>"""
_COLUMNS = (
    Column("run", "Run"),
    Column("judges", "Judges"),
    Column("n", "Answers", "num"),
    Column("both", "Both flag", "num"),
    Column("first", "Only first", "num"),
    Column("second", "Only second", "num"),
    Column("kappa", "Cohen's kappa", "num"),
)
_NO_AGREEMENT = "No second judge has graded these answers yet."


@dataclass(frozen=True)
class GradePanel:
    """The components; `labelled` is the run whose answers a person labels."""

    judge: JudgeFields
    again: gr.Button
    line: gr.HTML
    jobs: gr.HTML
    table: gr.HTML
    labelled: gr.Dropdown
    card: gr.HTML


def draw_grade_panel(studio: Studio) -> GradePanel:
    """Two groups that are closed until they are needed."""
    with gr.Accordion("Grade again with another judge", open=False, elem_id="grade-again"):
        fixed(_AGAIN)
        judge = draw_judge_fields(studio, prefix="grade")
        again = gr.Button("Grade the chosen runs again", size="md", elem_id="grade-start", elem_classes=["fit"], min_width=200)
        line = status("grade-status")
        jobs = job_panel(studio, ["regrade"], elem_id="grade-jobs")
        fixed('<h3>Where judges agree</h3><p class="rs-small rs-muted">On the harmful prompts that both graded.</p>')
        found = table(_COLUMNS, elem_id="grade-agreement", empty=_NO_AGREEMENT, waits=False)
    with gr.Accordion("Label answers yourself", open=False, elem_id="label-answers"):
        fixed(_LABELS)
        labelled = gr.Dropdown([], label="Answers of", elem_id="label-run", interactive=True)
        card = widget("label_card", {"subject": None}, elem_id="label-card", server_functions=_server(studio))
    return GradePanel(judge, again, line, jobs, found, labelled, card)


def wire_grade_panel(studio: Studio, panel: GradePanel, chosen: gr.State) -> None:
    """Start grading, and show the answers of the run that is chosen for labelling."""

    def again(runs: list[str], *values: Any) -> dict[str, str]:
        studio.evaluations.regrade(runs, panel.judge.read(*values))
        return said(f"{counted(len(runs), 'run')} queued to be graded again. The numbers on this page follow.", "note")

    def label(run: str | None) -> dict[str, Any]:
        return {"subject": run}

    on(panel.again.click, again, inputs=[chosen, *panel.judge.components], line=panel.line, refresh=True, **SLOW)
    on(panel.labelled.input, label, inputs=[panel.labelled], outputs=[panel.card], **FAST)


def panel_updates(studio: Studio, runs: Sequence[str], titles: dict[str, str]) -> tuple[dict[str, Any], Any]:
    """For newly chosen runs: the table of agreement, and the runs whose answers can be labelled."""
    found = [
        {
            "id": f"{one['subject']}-{one['second']}",
            "run": show(titles.get(one["subject"], one["subject"]), 60),
            "judges": f"{judge_named(one['first']).title}; {judge_named(one['second']).title}",
            "n": count(one["n"]),
            "both": count(one["both"]),
            "first": count(one["only_first"]),
            "second": count(one["only_second"]),
            "kappa": "–" if one["kappa"] is None else number(one["kappa"]),
        }
        for one in studio.evaluations.agreement(list(runs))
    ]
    return table_value(found), gr.update(choices=[(titles.get(run, run), run) for run in runs])


def _server(studio: Studio) -> list[Any]:
    def card(subject: str) -> dict[str, Any]:
        found = studio.evaluations.to_label(subject)
        masked = {"masked_prompt": mask(found.prompt), "masked_completion": mask(found.completion)} if found else {}
        return {
            "card": {**vars(found), **masked} if found else None,
            "total": found.total if found else studio.evaluations.answers(subject),
        }

    @answer
    def srv_next(request: dict[str, Any]) -> dict[str, Any]:
        return card(str(request["subject"]))

    @answer
    def srv_label(request: dict[str, Any]) -> dict[str, Any]:
        studio.evaluations.label(str(request["key"]), str(request["label"]))
        return card(str(request["subject"]))

    @answer
    def srv_unlabel(request: dict[str, Any]) -> dict[str, Any]:
        studio.evaluations.undo_label()
        return card(str(request["subject"]))

    return [srv_next, srv_label, srv_unlabel]
