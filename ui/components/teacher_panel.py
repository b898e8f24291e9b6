"""A teacher for another model: its form, and the sets of prompts it is prepared on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from reft_studio.teacher.spec import TeacherSpec
from ui.events import SLOW, on, said, status
from ui.forms import Form, form
from ui.text import counted, show
from ui.widgets import fixed

if TYPE_CHECKING:
    from reft_studio.studio import Studio

SETS = {
    "harmful": ("Harmful prompts with refusals", ("harmful",)),
    "helpful": ("Harmless prompts with answers", ("helpful",)),
    "calibration_harmful": ("Held-out harmful prompts", ("harmful", "benchmark")),
    "calibration_harmless": ("Held-out harmless prompts", ("helpful", "benchmark", "user")),
}
"""Field of the spec, its label, and the roles a dataset may have to be chosen for it."""
LEAD = (
    "<p class='rs-lead'>The lab's teacher only knows the lab's tiny language. For real text, prepare a teacher on the model you are "
    "going to finetune: it learns to refuse harmful prompts, and its refusal feature scores every row. It needs four sets of prompts, "
    "imported on the Data page with the role harmful or helpful; the held-out ones set layer and threshold.</p>"
)


@dataclass(frozen=True)
class TeacherPanel:
    """The sheet, its form, and the line that says what happened."""

    fields: Form[TeacherSpec]
    sets: list[gr.Dropdown]
    prepare: gr.Button
    line: gr.HTML


def draw_teacher() -> TeacherPanel:
    """Closed until it is needed: the lab's own teacher is ready."""
    with gr.Accordion("Prepare a teacher for another model", open=False, elem_id="teacher-sheet", elem_classes=["rs-card"]):
        fixed(LEAD)
        with gr.Row():
            sets = {
                name: gr.Dropdown([], label=label, info="role: " + " or ".join(roles), elem_id=f"teacher-{name}", min_width=200)
                for name, (label, roles) in SETS.items()
            }
        with gr.Row(elem_classes=["rs-form"]):
            drawn = form(TeacherSpec, skip={*SETS, "lora", "optim", "loading", "momentum", "layer", "template"}, prefix="teacher")
        line = status("teacher-status")
        prepare = gr.Button("Prepare the teacher", elem_id="teacher-prepare", scale=0, min_width=190)
    kept = {name: value for name, value in drawn.base.items() if name not in SETS}
    return TeacherPanel(Form(TeacherSpec, {**drawn.inputs, **sets}, kept), list(sets.values()), prepare, line)


def wire_teacher(studio: Studio, panel: TeacherPanel) -> None:
    """The button queues a job; the job panel above shows it."""

    def prepare(*values: Any) -> dict[str, str]:
        studio.prepare_teacher(panel.fields.read(*values))
        return said("Preparing the teacher is queued. It can be chosen above once it is done.", "note")

    on(panel.prepare.click, prepare, inputs=panel.fields.components, line=panel.line, refresh=True, **SLOW)


def set_choices(studio: Studio) -> list[Any]:
    """The datasets that may be chosen for each set of prompts."""
    known = [(f"{show(one.name, 60)} ({counted(one.rows, 'row')})", one.id, one.role) for one in studio.datasets(None)]
    return [gr.Dropdown(choices=[(name, key) for name, key, role in known if role in roles]) for _, roles in SETS.values()]
