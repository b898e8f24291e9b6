"""The recipe of a sweep: fields and list of methods on the left, its text on the right. The text is the truth; the fields write into it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from reft_studio.errors import SpecError
from reft_studio.studio import sweep_form
from reft_studio.sweeps import recipe_text
from ui.events import FAST, SLOW, on, status
from ui.shared.marks import mark_of
from ui.sweep import plan_view
from ui.widgets import fixed, widget

if TYPE_CHECKING:
    from reft_studio.studio.studio import Studio

_FORM = """<div class="rs-stack"><h2>Recipe</h2><p class="rs-lead">A sweep does every combination of what is listed here, once each. Lists
have commas between their values.</p></div>"""
_METHODS = """<div class="rs-stack"><h3>Methods</h3><p class="rs-small rs-muted">What is compared. Several filters, or several values of a
setting, stand for a variant each. Empty: the usual value.</p></div>"""
_TEXT = """<div class="rs-stack"><h2>The same as text</h2><p class="rs-small rs-muted">What runs is what stands here; the fields write into
it. Steps, optimizer, adapter, numbers of prompts, disguises of the poison: here only.</p></div>"""
_OWN = ("My own: plain SFT beside Ref-Teacher", "")
_TASKS = ("sentiment", "topic", "arithmetic")
_FIELDS = (
    {"name": "name", "label": "Name", "help": "for tables and files"},
    {"name": "rows", "label": "Rows", "help": "rows of user data, n"},
    {"name": "poison_ratios", "label": "Shares of poison", "help": "of the rows, 0 to 1"},
    {"name": "seeds", "label": "Seeds", "help": "0, 1, 2 or 0-2"},
    {"name": "split", "label": "Test prompts", "help": "settings: on validation", "choices": ["test", "validation"]},
)
_WORDS = tuple(str(field["name"]) for field in _FIELDS)
_LISTS = ("models", "tasks")


@dataclass(frozen=True)
class RecipePanel:
    """The parts. `outputs` in the order in which `filled` gives their values; the last two are the plan and the button."""

    template: gr.Dropdown
    upload: gr.UploadButton
    words: gr.HTML
    models: gr.Dropdown
    tasks: gr.Dropdown
    methods: gr.HTML
    text: gr.Code
    plan: gr.HTML
    start: gr.Button
    line: gr.HTML

    @property
    def fields(self) -> list[Any]:
        """What writes into the text."""
        return [self.words, self.models, self.tasks, self.methods]

    @property
    def outputs(self) -> list[Any]:
        return [self.text, *self.fields, self.plan, self.start]


def draw_recipe(studio: Studio) -> RecipePanel:
    """Draw both cards."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=6, min_width=430, elem_classes=["rs-card"]):
            fixed(_FORM)
            choices = [_OWN, *((one.name, one.file) for one in studio.sweeps.templates())]
            with gr.Row(elem_classes=["rs-form", "rs-ends"]):
                template = gr.Dropdown(choices, value=None, label="Start from", elem_id="sweep-template", interactive=True)
                upload = gr.UploadButton(
                    "Open a recipe file", file_types=[".yaml", ".yml"], size="md", elem_id="sweep-upload", elem_classes=["fit"]
                )
            words, models, tasks = _draw_fields(studio)
            fixed(_METHODS)
            methods = _draw_methods()
        with gr.Column(scale=5, min_width=360, elem_classes=["rs-card", "rs-sticky"]):
            fixed(_TEXT)
            text = gr.Code(
                "", language="yaml", label="Recipe", show_label=False, lines=12, max_lines=22, elem_id="sweep-text", interactive=True
            )
            plan = widget("sweep_plan", None, scripts=("dom",), elem_id="sweep-plan")
            start = gr.Button("Start the sweep", variant="primary", elem_id="sweep-start", interactive=False)
            line = status("sweep-status")
    return RecipePanel(template, upload, words, models, tasks, methods, text, plan, start, line)


def _draw_fields(studio: Studio) -> tuple[gr.HTML, gr.Dropdown, gr.Dropdown]:
    several: dict[str, Any] = {"multiselect": True, "allow_custom_value": True, "interactive": True, "value": []}
    words = widget("sweep_fields", {}, scripts=("dom",), elem_id="sweep-fields", fields=list(_FIELDS))
    with gr.Row(elem_classes=["rs-fields"]):
        models = gr.Dropdown(
            studio.models.names(), label="Bases", info="lab, names of the shelf, folders, Hub ids", elem_id="sweep-models", **several
        )
        tasks = gr.Dropdown(list(_TASKS), label="Tasks", info="what the user data teaches", elem_id="sweep-tasks", **several)
    return words, models, tasks


def _draw_methods() -> gr.HTML:
    known = [{**one, **mark_of(one["name"])._asdict()} for one in sweep_form.methods()]
    filters = [list(one) for one in sweep_form.filters()]
    return widget("sweep_methods", {"rows": []}, scripts=("dom", "marks"), elem_id="sweep-methods", methods=known, filters=filters)


def wire_recipe(studio: Studio, panel: RecipePanel) -> None:
    """The fields write into the text, the text fills the fields, and both are checked at every letter."""

    def template(file: str) -> list[Any]:
        found = {one.file: one.text for one in studio.sweeps.templates()}
        return filled(studio, panel, found.get(file) or studio.sweeps.own_recipe)

    def uploaded(path: str) -> list[Any]:
        try:
            text = Path(path).read_text("utf-8")
        except UnicodeDecodeError as exc:
            raise SpecError(f"{Path(path).name[:60]} is no text in UTF-8, so it is no recipe.") from exc
        return filled(studio, panel, text)

    def edited(text: str, words: dict[str, str], models: list[str], tasks: list[str], methods: dict[str, Any]) -> list[Any]:
        try:
            fields = {**{name: words.get(name, "") for name in _WORDS}, "models": models, "tasks": tasks}
            new = sweep_form.edited(text, fields, methods.get("rows") or [])
        except SpecError as exc:
            return [gr.skip(), *plan_view.refused(text, exc)]
        return [gr.skip() if new == text else new, *plan_view.both(studio, new)]

    def typed(text: str) -> list[Any]:
        return [gr.skip(), *filled(studio, panel, text)[1:]]

    shown: dict[str, Any] = {**SLOW, "show_progress": "hidden"}
    on(panel.template.input, template, inputs=[panel.template], outputs=panel.outputs, line=panel.line, **shown)
    on(panel.upload.upload, uploaded, inputs=[panel.upload], outputs=panel.outputs, line=panel.line, **shown)
    on(panel.text.input, typed, inputs=[panel.text], outputs=panel.outputs, **FAST)
    for change in (panel.words.edit, panel.models.input, panel.tasks.input, panel.methods.edit):
        on(change, edited, inputs=[panel.text, *panel.fields], outputs=[panel.text, panel.plan, panel.start], **FAST)


def filled(studio: Studio, panel: RecipePanel, text: str) -> list[Any]:
    """Values of `panel.outputs` for a text; one that is no recipe leaves the fields as they are."""
    try:
        recipe = recipe_text.read(text)
    except SpecError:  # told by the plan
        fields: list[Any] = [gr.skip() for _ in panel.fields]
    else:
        values = sweep_form.shown(recipe)
        rows = [asdict(one) for one in sweep_form.variants(recipe)]
        fields = [{name: values[name] for name in _WORDS}, *(gr.update(value=values[name]) for name in _LISTS), {"rows": rows}]
    return [text, *fields, *plan_view.both(studio, text)]
