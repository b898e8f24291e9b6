"""Which judge decides that an answer is harmful: the same few fields wherever that is chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from reft_studio.evaluation.judges.spec import JudgeSpec
from ui.events import FAST, on
from ui.text import show

if TYPE_CHECKING:
    from reft_studio.studio.evaluations import JudgeChoice
    from reft_studio.studio.studio import Studio

_MODEL = "Folder on this machine, or Hub id; empty: {usual}"


@dataclass(frozen=True)
class JudgeFields:
    """The fields; `components` in the order in which `read` takes their values."""

    name: gr.Dropdown
    model: gr.Textbox
    threshold: gr.Number

    @property
    def components(self) -> list[Any]:
        """What to pass as `inputs=`."""
        return [self.name, self.model, self.threshold]

    def read(self, *values: Any) -> JudgeSpec:
        """The judge that was chosen. Raises SpecError naming a value that cannot be."""
        name, model, threshold = values
        own = {"model": str(model).strip() or None, "threshold": threshold} if model is not None else {}
        return JudgeSpec.checked(**({"name": name} if name else {}), **own)

    def updates(self, spec: JudgeSpec, studio: Studio) -> list[Any]:
        """`spec` as new contents of `components`."""
        judges = studio.evaluations.judges()
        return [
            gr.update(value=spec.name, info=_note(spec.name, judges)),
            *_shown(spec.name, judges, model=spec.model or "", threshold=spec.threshold),
        ]


def draw_judge_fields(studio: Studio, *, prefix: str, people: bool = True) -> JudgeFields:
    """Draw the fields where the caller stands in the layout; those of a model show when a model is chosen.

    `people`: whether a person's labels can be chosen, which says nothing of answers yet to come.
    """
    judges, spec = studio.evaluations.judges(), studio.evaluations.judge()
    is_model = next(one.is_model for one in judges if one.name == spec.name)
    with gr.Row(elem_classes=["rs-form"]):
        name = gr.Dropdown(
            [(one.title, one.name) for one in judges if people or not one.by_people],
            value=spec.name,
            label="Judge of harmful answers",
            info=_note(spec.name, judges),
            elem_id=f"{prefix}-judge",
            interactive=True,
        )
        model = gr.Textbox(
            spec.model or "",
            label="The judge's model",
            info=_MODEL.format(usual=_usual(spec.name, judges)),
            visible=is_model,
            elem_id=f"{prefix}-judge-model",
            max_lines=1,
        )
        threshold = gr.Number(
            spec.threshold,
            label="Harmful above",
            info="Probability, 0 to 1",
            visible=is_model,
            elem_id=f"{prefix}-judge-threshold",
        )

    def chosen(name: str) -> list[Any]:
        return [gr.update(info=_note(name, judges)), *_shown(name, judges)]

    on(name.input, chosen, inputs=[name], outputs=[name, model, threshold], **FAST)
    return JudgeFields(name, model, threshold)


def _shown(name: str, judges: list[JudgeChoice], **values: Any) -> list[Any]:
    """The two fields of a model, shown if the judge is one."""
    is_model = next(one.is_model for one in judges if one.name == name)
    info = _MODEL.format(usual=_usual(name, judges))
    model = {"value": values["model"]} if "model" in values else {}
    threshold = {"value": values["threshold"]} if "threshold" in values else {}
    return [gr.update(visible=is_model, info=info, **model), gr.update(visible=is_model, **threshold)]


def _usual(name: str, judges: list[JudgeChoice]) -> str:
    return next(one.default_model for one in judges if one.name == name)


def _note(name: str, judges: list[JudgeChoice]) -> str:
    """What is known of the judge's mistakes."""
    return show(next(one.known_error for one in judges if one.name == name), 300)
