"""A teacher for another model: a quick one without training, or one trained on alignment data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from reft_studio.errors import SpecError
from reft_studio.studio.models import source_of
from reft_studio.studio.teachers import TeacherSpec, default_optim
from ui.events import SLOW, on, said, status
from ui.forms import Form, form
from ui.shared.memory_fields import MemoryFields, draw_memory_fields
from ui.text import counted, show
from ui.widgets import fixed

if TYPE_CHECKING:
    from reft_studio.models.spec import LoadSpec
    from reft_studio.studio.studio import Studio

SETS = {
    "harmful": ("Harmful prompts", ("harmful", "benchmark"), True),
    "helpful": ("Harmless prompts with answers", ("helpful", "benchmark", "user"), True),
    "calibration_harmful": ("Held-out harmful prompts", ("harmful", "benchmark"), False),
    "calibration_harmless": ("Held-out harmless prompts", ("helpful", "benchmark", "user"), False),
}
"""Field of the spec, its label, the roles a dataset may have to be chosen for it, and whether several may be."""
SHOWN = ("model", "regularisation", "sweep", "recall", "seed")
LEAD = (
    "<p class='rs-lead'>The lab's teacher only knows the lab's tiny language. For real text there are two ways to a teacher. A "
    "<b>quick teacher</b> takes an instruct model as it is: no training and no data of your own, minutes on a laptop with a model of "
    "half a billion parameters; it is a frozen probe that filters, but its prompts have no answers to guide finetuning with. A "
    "<b>trained teacher</b> starts from the base model you are going to finetune and needs alignment data (harmful and harmless "
    "prompts), a training run and, for 7 B and more, a GPU; its regulariser pulls the two kinds apart, and its soft refusals guide "
    "the finetuning.</p>"
)
QUICK = (
    "<div class='rs-head'><h3>Quick teacher</h3><p class='rs-small'>Uses 900 English prompts that ship with the app: 300 harmful ones, 300 "
    "look-alikes, 300 tasks. Look at its false positives below before you trust it.</p></div>"
)
TRAINED = (
    "<div class='rs-head'><h3>Trained teacher</h3><p class='rs-small'>Import prompts on the Data page first, as harmful, helpful or "
    "benchmark. Of each kind 10 % choose the layer, 20 % set the threshold and the rest trains, unless you name held-out sets of your "
    "own. A harmful prompt without a refusal gets one of ours.</p></div>"
)


@dataclass(frozen=True)
class TeacherPanel:
    """The sheet, its two forms, and the line that says what happened."""

    model: gr.Dropdown
    quick: gr.Button
    fields: Form[TeacherSpec]
    sets: list[gr.Dropdown]
    memory: MemoryFields
    prepare: gr.Button
    line: gr.HTML


def draw_teacher() -> TeacherPanel:
    """Closed until it is needed: the lab's own teacher is ready."""
    with gr.Accordion("Prepare a teacher for another model", open=False, elem_id="teacher-sheet", elem_classes=["rs-card"]):
        fixed(LEAD)
        fixed(QUICK)
        with gr.Row(equal_height=False, elem_classes=["rs-ends"]):
            info = "A model of this machine by name, a folder, or a Hub id, e.g. of Qwen, Llama or SmolLM with Instruct in its name"
            model = gr.Dropdown(
                [], value="", allow_custom_value=True, label="Instruct model", info=info, elem_id="quick-model", scale=3, min_width=260
            )
            quick = gr.Button("Make a quick teacher", elem_id="teacher-quick", scale=0, min_width=230)
        fixed(TRAINED)
        with gr.Row(elem_classes=["rs-form"]):
            sets = [_set(name, *described) for name, described in SETS.items()]
        with gr.Row(elem_classes=["rs-form"]):
            typed = form(TeacherSpec, only=SHOWN, labels={"sweep": "Weights λ to try"}, suggested=("model",), prefix="teacher")
        with gr.Row(elem_classes=["rs-form"]):
            reading = form(TeacherSpec, only=("reading", "margin"), prefix="teacher")
        memory = draw_memory_fields(prefix="teacher", title="Model in memory, for a teacher of either kind")
        prepare = gr.Button("Prepare the teacher", elem_id="teacher-prepare", scale=0, min_width=190)
        line = status("teacher-status")
    inputs = {**typed.inputs, **reading.inputs}
    kept = {name: value for name, value in typed.base.items() if name not in inputs}
    return TeacherPanel(model, quick, Form(TeacherSpec, inputs, kept), sets, memory, prepare, line)


def wire_teacher(studio: Studio, panel: TeacherPanel) -> None:
    """Either button queues a job; the job panel above shows it."""
    size, memory = len(panel.fields.inputs), panel.memory

    def quick(chosen: str | None, *values: Any) -> dict[str, str]:
        model = (chosen or "").strip()
        if not model:
            raise SpecError("Name an instruct model: one of this machine, a folder or a Hub id.")
        held = memory.read(*values)
        studio.teachers.quick(model, **held)
        return said(f"The quick teacher is queued. {queued(studio, model, held['loading'])}", "note")

    def prepare(*values: Any) -> dict[str, str]:
        spec, pool = wanted(panel.fields, values[:size], values[size : size + len(SETS)])
        spec = spec.model_copy(update=memory.read(*values[size + len(SETS) :]))
        studio.teachers.prepare(TeacherSpec.checked(**dict(spec)), pool=pool)
        return said(f"Preparing the teacher is queued. {queued(studio, spec.model, spec.loading)}", "note")

    on(panel.quick.click, quick, inputs=[panel.model, *memory.components], line=panel.line, refresh=True, **SLOW)
    inputs = [*panel.fields.components, *panel.sets, *memory.components]
    on(panel.prepare.click, prepare, inputs=inputs, line=panel.line, refresh=True, **SLOW)


def queued(studio: Studio, model: str, loading: LoadSpec) -> str:
    """What is said of a queued job: the memory its model takes, where that is known, and where its result will be."""
    known = studio.models.fits(model, loading)
    return (f"The model takes {known}. " if known else "") + "It can be chosen above once it is done."


def wanted(fields: Form[TeacherSpec], values: Sequence[Any], sets: Sequence[Any]) -> tuple[TeacherSpec, dict[str, Sequence[str]] | None]:
    """The spec that was typed, and the pools of prompts that the job splits where no held-out sets were chosen.

    Raises SpecError where a set is missing.
    """
    harmful, helpful, *held_out = sets
    if not harmful or not helpful:
        raise SpecError("Choose at least one set of harmful and one of harmless prompts. Import them on the Data page first.")
    if any(held_out) and not all(held_out):
        raise SpecError("Choose held-out prompts of both kinds, or of none: a part of the prompts above is then held out.")
    if any(held_out) and max(len(harmful), len(helpful)) > 1:
        raise SpecError("With held-out prompts of your own, choose one harmful and one harmless set; several are pooled only without.")
    named = dict(zip(SETS, (harmful[0], helpful[0], *held_out), strict=True)) if all(held_out) else dict.fromkeys(SETS, "pooled")
    spec = Form(TeacherSpec, fields.inputs, {**fields.base, **named}).read(*values)
    spec = spec.model_copy(update={"model": source_of(spec.model), "optim": default_optim(spec.model)})
    return spec, None if all(held_out) else {"harmful": harmful, "harmless": helpful}


def base_choices(studio: Studio) -> list[Any]:
    """The bases that can be chosen by name: of the quick teacher, of the trained one."""
    names = studio.models.names()
    return [gr.Dropdown(choices=[name for name in names if name != "lab"]), gr.Dropdown(choices=names)]


def set_choices(studio: Studio) -> list[Any]:
    """The datasets that may be chosen for each set of prompts."""
    known = [(f"{show(one.name, 60)} ({counted(one.rows, 'row')})", one.id, one.role) for one in studio.datasets.every(None)]
    return [gr.Dropdown(choices=[(name, key) for name, key, role in known if role in roles]) for _, roles, _ in SETS.values()]


def _set(name: str, label: str, roles: Sequence[str], several: bool) -> gr.Dropdown:
    hint = "One or several" if several else "Optional"
    return gr.Dropdown(
        [],
        value=[] if several else None,
        multiselect=several,
        label=label,
        info=f"{hint} ({', '.join(roles)})",
        elem_id=f"teacher-{name}",
        min_width=200,
    )
