"""The form of the Train page: methods, data, settings, seeds; what was chosen as run forms."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from reft_studio.defenses import DEFENSES
from reft_studio.errors import SpecError
from reft_studio.models import shelf
from reft_studio.models.spec import OptimSpec
from reft_studio.views.runs import RunForm
from ui.components.judge_fields import JudgeFields, draw_judge_fields
from ui.components.marks import mark_of
from ui.components.memory_fields import held
from ui.events import FAST, on
from ui.forms import Form, form
from ui.text import count, show
from ui.widgets import fixed, widget

if TYPE_CHECKING:
    from reft_studio.defenses.defense import DefenseConfig, DefenseInfo
    from reft_studio.evaluation.judges.spec import JudgeSpec
    from reft_studio.studio import Studio
    from reft_studio.teacher.teacher import TeacherInfo

CUSTOM = "custom"
BARE = "base:"
"""What the choice of a base without a teacher begins with."""
DEFAULT_METHODS = ["sft", "ref_teacher"]
FILTERING = (
    ("As each method does: methods with a filter drop flagged rows, the others keep all", "method"),
    ("Drop flagged rows for every method", "drop"),
    ("Keep all rows for every method", "keep"),
)
PROMPTS = (("The lab's for its base, own ones for any other", "auto"), ("Own ones for every base", "own"))
_PROMPTS_HELP = "Own prompts, and the usual judge, are chosen on the Settings page."
TEACHERS_OWN = ("The teacher's refusal feature", "")
_FILTERING_HELP = "Data frozen on the Review page holds the decisions already. Other data is filtered by the threshold alone."
MOST_RUNS = 48
MOST_SEEDS = 12
_PART = re.compile(r"(\d{1,9})(?:\s*(?:-|–|to)\s*(\d{1,9}))?")

_METHODS = """<div class="rs-stack"><h2>Methods</h2><p class="rs-lead">Choose one or several; each becomes a run of its own
on the same data.</p></div>"""
_DATA = "<h2>Data and base model</h2>"
_SETTINGS = "<h2>Settings</h2>"


@dataclass(frozen=True)
class RunInputs:
    """The inputs of the form; `components` in the order in which `chosen` reads their values."""

    methods: gr.HTML
    dataset: gr.Dropdown
    teacher: gr.Dropdown
    filtering: gr.Radio
    scorer: gr.Dropdown
    preset: gr.Radio
    seeds: gr.Textbox
    evaluate: gr.Checkbox
    custom: gr.Column
    optim: Form[OptimSpec]
    configs: dict[str, Form[Any]]
    boxes: dict[str, gr.Column]
    prompts: gr.Radio
    judge: JudgeFields
    usual_judge: Callable[[], JudgeSpec]

    @property
    def components(self) -> list[Any]:
        """What to pass as `inputs=`."""
        own = [self.methods, self.dataset, self.teacher, self.filtering, self.preset, self.seeds, self.evaluate, self.scorer]
        configs = (field for config in self.configs.values() for field in config.components)
        return [*own, *self.optim.components, *configs, self.prompts, *self.judge.components]

    def forms(self, *values: Any) -> list[RunForm]:
        """One run form for each chosen method and seed. Raises SpecError for a value out of range or nothing chosen."""
        methods, dataset, teacher, filtering, preset, seeds = values[:6]
        if not dataset:
            raise SpecError("Choose a dataset to train on.")
        if not methods:
            raise SpecError("Choose at least one method.")
        found = parse_seeds(seeds)
        if len(methods) * len(found) > MOST_RUNS:
            raise SpecError(
                f"{len(methods)} methods with {len(found)} seeds are {len(methods) * len(found)} runs; at most {MOST_RUNS} at once."
            )
        own, configs = self._custom(values[8:]) if preset == CUSTOM else (None, {})
        drop = {"drop": True, "keep": False}.get(filtering)
        common = {"dataset": dataset, **based_on(teacher or "lab"), "filter": drop, "optim": own}
        grader = self.judge.read(*values[-len(self.judge.components) :])
        common |= {"prompts": values[-len(self.judge.components) - 1], "judge": None if grader == self.usual_judge() else grader}
        name = {} if preset == CUSTOM else {"preset": preset}
        filtering_methods = [method for method in methods if drop or (drop is None and DEFENSES.get(method).info.uses_filter)]
        scorer = {method: values[7] or None for method in filtering_methods}
        return [
            RunForm(method=method, seed=seed, method_config=configs.get(method, {}), scorer=scorer.get(method), **common, **name)
            for method in methods
            for seed in found
        ]

    def _custom(self, values: Sequence[Any]) -> tuple[OptimSpec, dict[str, dict[str, Any]]]:
        size = len(self.optim.components)
        own, rest, configs = self.optim.read(*values[:size]), values[size:], {}
        for method, config in self.configs.items():
            size = len(config.components)
            configs[method] = config.read(*rest[:size]).model_dump(mode="json")
            rest = rest[size:]
        return own, configs


def draw_run_form(studio: Studio) -> RunInputs:
    """Draw the form where the caller stands in the layout."""
    with gr.Column(elem_classes=["rs-card"]):
        fixed(_METHODS)
        cards = [method_card(info) for info in studio.methods()]
        methods = widget("method_cards", DEFAULT_METHODS, scripts=("dom", "marks"), elem_id="train-methods", cards=cards)
    with gr.Column(elem_classes=["rs-card"]):
        fixed(_DATA)
        dataset = gr.Dropdown([], label="Dataset", elem_id="train-dataset", interactive=True)
        teacher = gr.Dropdown([], label="Teacher and its base model", elem_id="train-teacher", interactive=True)
        filtering = gr.Radio(list(FILTERING), value="method", label="Flagged rows", info=_FILTERING_HELP, elem_id="train-filtering")
        scorer = gr.Dropdown([TEACHERS_OWN], value="", label="Scorer that flags them", elem_id="train-scorer", interactive=True)
    with gr.Column(elem_classes=["rs-card"]):
        fixed(_SETTINGS)
        preset = gr.Radio(preset_choices(studio), value="auto", label="Preset", elem_id="train-preset")
        custom, optim, configs, boxes = _draw_custom(studio)
        with gr.Row():
            seeds = gr.Textbox("0", label="Seeds", info="One run per seed: 0, or 0-2, or 0, 1, 5", elem_id="train-seeds", max_lines=1)
            evaluate = gr.Checkbox(True, label="Evaluate at the end (HS, FA, over-refusal)", elem_id="train-evaluate")
        with gr.Column(elem_id="train-grading") as grading:
            prompts = gr.Radio(list(PROMPTS), value="auto", label="Evaluation prompts", info=_PROMPTS_HELP, elem_id="train-prompts")
            judge = draw_judge_fields(studio, prefix="train", people=False)
    on(evaluate.input, lambda wanted: gr.update(visible=bool(wanted)), inputs=[evaluate], outputs=[grading], **FAST)
    shown = (methods, dataset, teacher, filtering, scorer, preset, seeds, evaluate, custom, optim, configs, boxes)
    return RunInputs(*shown, prompts, judge, studio.grading.judge)


def _draw_custom(studio: Studio) -> tuple[gr.Column, Form[OptimSpec], dict[str, Form[Any]], dict[str, gr.Column]]:
    """Fields for every setting; hidden until the preset is Custom."""
    configs, boxes = {}, {}
    with gr.Column(visible=False, elem_id="train-custom") as column:
        with gr.Row(elem_classes=["rs-fields"]):
            optim = form(OptimSpec, value=studio.presets()["lab"].optim, prefix="optim")
        for info in studio.methods():
            config: type[DefenseConfig] = DEFENSES.get(info.name).Config
            if config.model_fields:
                with gr.Column(visible=info.name in DEFAULT_METHODS) as boxes[info.name]:
                    fixed(f"<h3>{info.title}</h3>")
                    with gr.Row(elem_classes=["rs-fields"]):
                        configs[info.name] = form(config, prefix=f"config-{info.name}")
    return column, optim, configs, boxes


def method_card(info: DefenseInfo) -> dict[str, Any]:
    """A method as its card: what it does in a sentence, where it starts, what it needs, what it costs."""
    mark = mark_of(info.name)
    start = "from aligned weights" if info.starts_from == "aligned" else "from the base"
    needs = [word for word, needed in (("filter", info.uses_filter), ("teacher", info.needs_teacher)) if needed]
    facts = [start, *needs, f"{info.cost:g}x cost per step"]
    return {"name": info.name, "title": info.title, "summary": info.summary, "facts": facts, "colour": mark.colour, "shape": mark.shape}


def preset_choices(studio: Studio) -> list[tuple[str, str]]:
    """The one that fits the base, presets with the length of a run, and Custom."""
    found = []
    for name, preset in studio.presets().items():
        length = f"{count(preset.optim.steps)} steps" if preset.optim.steps else f"{preset.optim.epochs:g} passes over the data"
        found.append((f"{preset.title} ({length})", name))
    return [("As fits the base", "auto"), *found, ("Custom", CUSTOM)]


def dataset_choices(studio: Studio) -> list[tuple[str, str]]:
    """Audited datasets first, with what was done to them."""
    known = sorted(studio.datasets(), key=lambda one: one.frozen_from is None)
    return [(f"{show(one.name, 80)} ({count(one.rows)} rows, {'audited' if one.frozen_from else 'as uploaded'})", one.id) for one in known]


def teacher_choices(studio: Studio) -> list[tuple[str, str]]:
    """Teachers that guide and filter, whose model is the base of the run; then models of the shelf without a teacher."""
    teachers = [(f"{show(one.title, 60)} (base: {_base(one)})", one.id) for one in studio.teachers() if one.regularised]
    return [*teachers, *((f"No teacher (base: {show(name, 60)})", f"{BARE}{name}") for name in shelf.names())]


def scorer_choices(studio: Studio) -> list[tuple[str, str]]:
    """What can say which rows are flagged: the teacher of the run, or another scorer that is ready."""
    others = [(show(one.title, 60), one.id) for one in studio.scorers() if one.scorer != "refusal_feature"]
    return [TEACHERS_OWN, *others]


def based_on(choice: str) -> dict[str, str]:
    """The base or the teacher of a run form that a choice means."""
    return {"model": choice.removeprefix(BARE)} if choice.startswith(BARE) else {"teacher": choice}


def base_of(studio: Studio, choice: str | None) -> str:
    """The base that a choice means; the lab if there is none yet."""
    if choice and choice.startswith(BARE):
        return choice.removeprefix(BARE)
    return next((one.model for one in studio.teachers() if one.id == choice), "lab")


def _base(teacher: TeacherInfo) -> str:
    """The base and how it is held in memory, which a run takes over from its teacher."""
    return ", ".join(part for part in (show(teacher.model, 60), show(held(teacher.loading), 60)) if part)


def parse_seeds(text: object) -> list[int]:
    """`0, 2-4` as [0, 2, 3, 4]. Raises SpecError if it is something else or more than `MOST_SEEDS`."""
    seeds: list[int] = []
    for part in (part.strip() for part in str(text or "").split(",")):
        found = _PART.fullmatch(part)
        if not found:
            raise SpecError(f"Seeds are '{show(text, 40)}'. Write whole numbers from 0, like 0 or 0-2 or 0, 1, 5.")
        first, last = int(found[1]), int(found[2] or found[1])
        seeds += range(first, min(last, first + MOST_SEEDS) + 1)
    unique = list(dict.fromkeys(seeds))
    if not 1 <= len(unique) <= MOST_SEEDS:
        raise SpecError(f"'{show(text, 40)}' names {len(unique)} seeds. Give 1 to {MOST_SEEDS}.")
    return unique
