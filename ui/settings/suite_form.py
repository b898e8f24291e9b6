"""Settings: what models are evaluated on (datasets by role, published sets from a file), and by which judge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from reft_studio.evaluation.benchmarks import USUAL, own_rules
from reft_studio.studio.evaluations import PREFERENCE, PRESETS, SuiteForm
from ui.events import FAST, SLOW, on, on_load, said, status
from ui.forms import checked
from ui.shared.judge_fields import JudgeFields, draw_judge_fields
from ui.text import show
from ui.widgets import fixed

if TYPE_CHECKING:
    from reft_studio.studio.evaluations import Suite
    from reft_studio.studio.studio import Studio

_TEXT = """<h2>Evaluation</h2><p class="rs-small rs-muted">Models on the lab's base answer the lab's own prompts, unless the Train page says
otherwise. Models on any other base answer these: datasets imported on the Data page with the role “benchmark”.</p>"""
_PUBLISHED = """<p class="rs-small rs-muted">Published sets do not ship with the app. Give the path of a file that you have; it keeps
its own rule and answer length.</p>"""
_NONE = ("None", "")
_PARTS = (("harmful", "Harmful prompts"), ("harmless", "Harmless prompts"), ("task", "Task with right answers"))


@dataclass(frozen=True)
class SuiteInputs:
    """The inputs; `components` in the order of SuiteForm's fields."""

    parts: dict[str, gr.Dropdown]
    rule: gr.Dropdown
    rows: gr.Number
    longest: gr.Number
    judge: JudgeFields

    @property
    def components(self) -> list[Any]:
        """The inputs of the prompts."""
        return [*self.parts.values(), self.rule, self.rows, self.longest]

    def form(self, *values: Any) -> SuiteForm:
        """What was chosen. Raises SpecError naming a value that cannot be."""
        harmful, harmless, task, rule, rows, longest = values
        chosen = {"harmful": harmful or None, "harmless": harmless or None, "task": task or None}
        sizes = {"rows": rows or None, "max_new_tokens": longest or 0}
        return checked(SuiteForm, {**chosen, "benchmark": rule, **sizes})


def draw_suite_form(studio: Studio) -> None:
    """Draw the card and wire it."""
    with gr.Column(elem_classes=["rs-card"]):
        fixed(_TEXT)
        with gr.Row(elem_classes=["rs-form"]):
            parts = {name: gr.Dropdown([_NONE], value="", label=label, elem_id=f"suite-{name}", interactive=True) for name, label in _PARTS}
        with gr.Row(elem_classes=["rs-form"]):
            rule = gr.Dropdown(
                [(title, name) for name, title in own_rules().items()],
                value=USUAL,
                label="A task answer is right if it",
                info="Published sets keep their own rule",
                elem_id="suite-rule",
            )
            rows = gr.Number(None, label="First rows of each", info="Empty: all", precision=0, elem_id="suite-rows")
            longest = gr.Number(256, label="Longest answer", info="Tokens", precision=0, elem_id="suite-longest")
        judge = draw_judge_fields(studio, prefix="suite", people=False)
        save = gr.Button("Save evaluation", size="md", elem_id="suite-save", elem_classes=["fit"], min_width=140)
        line = status("suite-status")
        with gr.Accordion("Use a published set", open=False, elem_id="suite-published"):
            fixed(_PUBLISHED)
            with gr.Row(elem_classes=["rs-form"]):
                choices = [(preset.title, name) for name, preset in PRESETS.items() if preset.benchmark != PREFERENCE]
                preset = gr.Dropdown(choices, value="beavertails", label="Set", elem_id="preset-name")
                path = gr.Textbox(label="File", info="Path on this machine", elem_id="preset-path", max_lines=1)
            read = gr.Button("Read the file", size="md", elem_id="preset-read", elem_classes=["fit"], min_width=120)
            told = status("preset-status")
    inputs = SuiteInputs(parts, rule, rows, longest, judge)
    _wire(studio, inputs, save, line)
    _wire_preset(studio, inputs, preset, path, read, told)


def _wire(studio: Studio, inputs: SuiteInputs, save: gr.Button, line: gr.HTML) -> None:
    size = len(inputs.components)

    def fill() -> list[Any]:
        spec = inputs.judge.updates(studio.evaluations.judge(), studio)
        return [*_filled(studio, studio.evaluations.suite()), *spec]

    def keep(*values: Any) -> dict[str, str]:
        spec, form = inputs.judge.read(*values[size:]), inputs.form(*values[:size])
        suite = studio.evaluations.save_suite(form)
        studio.evaluations.save_judge(spec)
        return said("Saved. New evaluations use this." if suite else "Saved. No own prompts: only the lab's models are evaluated.")

    on_load(fill, outputs=[*inputs.components, *inputs.judge.components])
    on(save.click, keep, inputs=[*inputs.components, *inputs.judge.components], line=line, **SLOW)


def _wire_preset(studio: Studio, inputs: SuiteInputs, preset: gr.Dropdown, path: gr.Textbox, read: gr.Button, told: gr.HTML) -> None:
    def use(name: str, source: str) -> tuple[Any, ...]:
        part, dataset = studio.evaluations.use_preset(name, source or "")
        chosen = [gr.update(choices=_choices(studio, one), **({"value": dataset} if one == part else {})) for one in inputs.parts]
        return *chosen, said(f"Read. It is chosen above as {dict(_PARTS)[part].lower()}; save to use it.")

    on(read.click, use, inputs=[preset, path], outputs=list(inputs.parts.values()), line=told, **SLOW)
    on(preset.input, lambda: said("", "quiet"), line=told, **FAST)


def _filled(studio: Studio, suite: Suite | None) -> list[Any]:
    """The stored suite as new contents of the inputs."""
    part = {name: suite.part(name) if suite else None for name, _ in _PARTS}  # type: ignore[arg-type]  # the three set names
    dropdowns = []
    for name, found in part.items():
        choices = _choices(studio, name)
        known = found.of if found and found.of in dict((value, label) for label, value in choices) else ""
        dropdowns.append(gr.update(choices=choices, value=known))
    first = next(iter(suite.sets)) if suite else None
    task = part["task"]
    return [
        *dropdowns,
        gr.update(value=(task.benchmark if task else None) or USUAL),
        gr.update(value=first.rows if first else None),
        gr.update(value=first.max_new_tokens if first else 256),
    ]


def _choices(studio: Studio, part: str) -> list[tuple[str, str]]:
    return [_NONE, *((show(label, 80), value) for label, value in studio.evaluations.choices(part))]
