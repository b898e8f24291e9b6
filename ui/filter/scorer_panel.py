"""A scorer that is no teacher, prepared from examples: which one, from which sets, and the settings that are its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from reft_studio.errors import SpecError
from reft_studio.scoring import SCORERS
from reft_studio.studio.scorers import Scorer, ScorerSpec
from ui.events import FAST, SLOW, on, said, status
from ui.filter.scorer_words import READS
from ui.forms import Form, form
from ui.text import counted, show
from ui.widgets import fixed

if TYPE_CHECKING:
    from reft_studio.studio.studio import Studio

SETS = {
    "harmful": ("Harmful examples", ("harmful", "benchmark")),
    "harmless": ("Harmless examples", ("helpful", "benchmark", "user")),
}
"""Field of the spec, its label, and the roles a dataset may have to be chosen for it."""
EVERY = ("recall", "seed")
_NAMED = {name: (field.description or "").partition(":")[0] for name, field in ScorerSpec.model_fields.items()}
OWN = {name: scorer for name, scorer in _NAMED.items() if scorer in SCORERS and name != "members"}
"""Settings that one scorer has alone, with its name: their descriptions begin with it."""
LEAD = (
    "<p class='rs-lead'>A scorer is prepared from examples: 70 % fit it, the rest sets its threshold. Examples that ship with the app are "
    "taken unless you leave them out; sets of your own are imported on the Data page as harmful, helpful or benchmark. Scorers that read "
    "answers need answers in them.</p>"
)


@dataclass(frozen=True)
class ScorerPanel:
    """The sheet and what is chosen in it."""

    scorer: gr.Dropdown
    sets: list[gr.Dropdown]
    shipped: gr.Checkbox
    teacher: gr.Dropdown
    weights: gr.Radio
    members: gr.Dropdown
    fields: Form[ScorerSpec]
    prepare: gr.Button
    line: gr.HTML

    @property
    def inputs(self) -> list[Any]:
        """What `wanted` reads, in its order."""
        return [self.scorer, *self.sets, self.shipped, self.teacher, self.weights, self.members, *self.fields.components]


def choices() -> list[tuple[str, str]]:
    """Title and name of every scorer that is prepared from examples, or joins prepared ones."""
    found = SCORERS.all().items()
    return [(one.info.title, name) for name, one in found if one.prepare is not Scorer.prepare and one.built_in() is None]


def draw_scorer() -> ScorerPanel:
    """Closed until it is needed: scorers that ship are ready."""
    first = choices()[0][1]
    with gr.Accordion("Prepare another scorer", open=False, elem_id="scorer-sheet", elem_classes=["rs-card"]):
        fixed(LEAD)
        scorer = gr.Dropdown(choices(), value=first, label="Scorer", info=told(first), elem_id="scorer-name")
        with gr.Row(elem_classes=["rs-form"]):
            sets = [
                gr.Dropdown(
                    [], value=[], multiselect=True, label=label, info=f"One or several ({', '.join(roles)})", elem_id=f"scorer-{name}"
                )
                for name, (label, roles) in SETS.items()
            ]
            shipped = gr.Checkbox(True, label="Examples that ship", info="Take them as well", elem_id="scorer-shipped")
        with gr.Row(elem_classes=["rs-form"]):
            teacher = gr.Dropdown(
                [], label="Teacher", info="It is read through this teacher's model", elem_id="scorer-teacher", visible=False
            )
            weights = gr.Radio(
                [("With its adapter", "teacher"), ("The base alone", "base")],
                value="teacher",
                label="Weights",
                info="Which weights read the rows",
                elem_id="scorer-weights",
                visible=False,
            )
            members = gr.Dropdown(
                [], value=[], multiselect=True, label="Members", info="Two or more", elem_id="scorer-members", visible=False
            )
            own = form(ScorerSpec, only=tuple(OWN), prefix="scorer")
            for name, part in own.inputs.items():
                part.visible, part.info = OWN[name] == first, _without_name(part.info)
        with gr.Row(elem_classes=["rs-form"]):
            every = form(ScorerSpec, only=EVERY, prefix="scorer")
        prepare = gr.Button("Prepare the scorer", elem_id="scorer-prepare", scale=0, min_width=190)
        line = status("scorer-status")
    inputs = {**own.inputs, **every.inputs}
    kept = {name: value for name, value in own.base.items() if name not in inputs}
    return ScorerPanel(scorer, sets, shipped, teacher, weights, members, Form(ScorerSpec, inputs, kept), prepare, line)


def _without_name(info: str) -> str:
    """The help of a setting without the scorer's name before it, which is chosen above."""
    text = info.partition(": ")[2]
    return text[:1].upper() + text[1:]


def wire_scorer(studio: Studio, panel: ScorerPanel) -> None:
    """The scorer decides which settings are asked; the button queues a job, which the job panel above shows."""
    asked = [panel.scorer, *panel.sets, panel.shipped, panel.teacher, panel.weights, panel.members, *panel.fields.components]

    def prepare(*values: Any) -> dict[str, str]:
        spec = wanted(panel, values)
        studio.scorers.prepare(spec)
        title = SCORERS.get(spec.scorer).info.title
        return said(f"Preparing '{title}' is queued. It can be chosen above once it is done.", "note")

    on(panel.scorer.input, lambda name: shown(panel, name), inputs=[panel.scorer], outputs=asked, **FAST)
    on(panel.prepare.click, prepare, inputs=panel.inputs, line=panel.line, refresh=True, **SLOW)


def told(scorer: str) -> str:
    """What a scorer reads, misses and costs."""
    info = SCORERS.get(scorer).info
    return f"It {READS[info.reads]}. Misses: {info.misses} Time: {info.cost}."


def shown(panel: ScorerPanel, scorer: str) -> list[Any]:
    """Updates of `wire_scorer`'s outputs: what the chosen scorer needs, and nothing else."""
    reading, joining = through_model(scorer), joins(scorer)
    fitted = not joining and not SCORERS.get(scorer).info.own_model
    own = [gr.update(visible=fitted if name in EVERY else OWN[name] == scorer) for name in panel.fields.inputs]
    parts = [gr.update(visible=fitted) for _ in (*panel.sets, panel.shipped)]
    return [gr.update(info=told(scorer)), *parts, gr.update(visible=reading), gr.update(visible=reading), gr.update(visible=joining), *own]


def through_model(scorer: str) -> bool:
    """Whether it reads rows through the model of a teacher."""
    info = SCORERS.get(scorer).info
    return info.needs == "model" and not info.own_model


def joins(scorer: str) -> bool:
    """Whether it joins other prepared scorers."""
    return SCORERS.get(scorer).info.reads == "members"


def wanted(panel: ScorerPanel, values: Sequence[Any]) -> ScorerSpec:
    """The spec that was typed. Settings of other scorers keep their defaults. Raises SpecError where something is missing."""
    scorer, harmful, harmless, shipped, teacher, weights, members, *typed = values
    spec = Form(ScorerSpec, panel.fields.inputs, {**panel.fields.base, "scorer": scorer}).read(*typed)
    own = {name: getattr(spec, name) for name in panel.fields.inputs if name in EVERY or OWN[name] == scorer}
    if through_model(scorer) and not teacher:
        raise SpecError(f"'{SCORERS.get(scorer).info.title}' reads through the model of a teacher. Choose the teacher.")
    if through_model(scorer):
        own |= {"teacher": teacher, "weights": weights}
    if joins(scorer):
        own["members"] = tuple(members)
    elif not SCORERS.get(scorer).info.own_model:
        own |= {"harmful": tuple(harmful), "harmless": tuple(harmless), "shipped": shipped}
    return ScorerSpec.checked(scorer=scorer, **own)


def panel_choices(studio: Studio) -> list[Any]:
    """The sets, teachers and members that can be chosen."""
    known = [(f"{show(one.name, 60)} ({counted(one.rows, 'row')})", one.id, one.role) for one in studio.datasets.every(None)]
    sets = [gr.Dropdown(choices=[(name, key) for name, key, role in known if role in roles]) for _, roles in SETS.values()]
    teachers = [(show(one.title, 60), one.id) for one in studio.teachers.every()]
    prepared = [(show(one.title, 60), one.id) for one in studio.scorers.every() if not joins(one.scorer)]
    return [*sets, gr.Dropdown(choices=teachers, value=teachers[0][1] if teachers else None), gr.Dropdown(choices=prepared)]
