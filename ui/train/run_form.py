"""The form of the Train page: methods, data, settings, seeds; what was chosen as run forms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from reft_studio.defenses import DEFENSES
from reft_studio.errors import SpecError
from reft_studio.models.spec import DEFAULT, PRESETS, LoadSpec, LoraSpec, OptimSpec
from reft_studio.scoring import OF_TEACHER
from reft_studio.studio.remedies import changes
from reft_studio.studio.run_form import RunForm
from ui.events import FAST, on
from ui.forms import Form, form, joined, parse_seeds, shown
from ui.shared.judge_fields import JudgeFields, draw_judge_fields
from ui.shared.marks import mark_of
from ui.shared.memory_fields import LABELS, held
from ui.text import count, show
from ui.widgets import fixed, widget

if TYPE_CHECKING:
    from reft_studio.defenses.defense import DefenseInfo
    from reft_studio.evaluation.judges.spec import JudgeSpec
    from reft_studio.studio.studio import Studio
    from reft_studio.studio.teachers import TeacherInfo

BARE, FOREIGN = "base:", "foreign:"
"""What the choice of a base without a teacher, or with one that is another model, begins with."""
DEFAULT_METHODS = ["sft", "ref_teacher"]
FILTERING = (
    ("As each method does: methods with a filter drop flagged rows, the others keep all", "method"),
    ("Drop flagged rows for every method", "drop"),
    ("Keep all rows for every method", "keep"),
)
PROMPTS = (("The lab's for its base, own ones for any other", "auto"), ("Own ones for every base", "own"))
GROUPS = {
    "none": "Without a defense",
    "filter and finetuning": "Filter and guidance",
    "filter": "Filter and guidance",
    "finetuning": "While finetuning",
    "alignment": "Before finetuning: another alignment",
    "post-finetuning": "After finetuning: a change to the adapter",
}
"""Methods by when they act, as the page heads them."""
OPEN = ("none", "filter and finetuning", "filter")
STARTS = (("Where the method does", "method"), ("From aligned weights", "aligned"), ("From the base as it is", "base"))
ADAPTERS = (("Continue the aligned weights' adapter", "continue"), ("Train a fresh adapter on top of them", "fresh"))
PLACEHOLDERS = ("Placeholders without content", "")
_STARTS_HELP = "Aligned weights are made for the run, once for all runs, where none were prepared. An instruct model is aligned already."
_HARMFUL_HELP = "For methods that learn to resist them, such as Booster."
BASIC_OPTIM = ("steps", "epochs", "batch_size", "learning_rate", "max_length")
BASIC_LORA = ("rank",)
_PROMPTS_HELP = "Own prompts, and the usual judge, are chosen on the Settings page."
TEACHERS_OWN = ("The teacher's refusal feature", "")
_FILTERING_HELP = "Data frozen on the Review page holds the decisions already. Only dropping rows for every method filters it again."
_HEED_HELP = "A row that a person kept stays, one that a person removed goes. Off: the scores alone decide, as for a number of rows."
_AUTO = "Settings that fit the base; all can be changed below."
MOST_RUNS = 48

_METHODS = """<div class="rs-stack"><h2>Methods</h2><p class="rs-lead">Choose one or several; each becomes a run of its own
on the same data.</p></div>"""
_DATA = "<h2>Data and base model</h2>"
_SETTINGS = """<div class="rs-stack"><h2>Settings</h2><p class="rs-lead">The same for all runs that are started together. Methods that start
from aligned weights continue the adapter of these, so their LoRA is that adapter's.</p></div>"""
_LINE = "Score from which a row is flagged, -1 to 1. Empty: the one in use on the Filter page"
_DROP = "Drop this many rows, the highest scores first, instead of all from a threshold on"


@dataclass(frozen=True)
class RunInputs:
    """The inputs of the form by name, in the order in which `read` takes their values."""

    fields: dict[str, Any]
    optim: Form[OptimSpec]
    lora: Form[LoraSpec]
    loading: Form[LoadSpec]
    configs: dict[str, Form[Any]]
    boxes: dict[str, gr.Column]
    grading: gr.Column
    judge: JudgeFields
    usual_judge: Callable[[], JudgeSpec]

    @property
    def components(self) -> list[Any]:
        """What to pass as `inputs=`."""
        return list(self.fields.values())

    @property
    def methods(self) -> gr.HTML:
        """The cards of the methods."""
        return self.fields["methods"]

    @property
    def teacher(self) -> gr.Dropdown:
        """The teacher, or the base without one."""
        return self.fields["teacher"]

    @property
    def preset(self) -> gr.Radio:
        """The preset."""
        return self.fields["preset"]

    @property
    def preset_fields(self) -> list[Any]:
        """What a preset fills."""
        return [*self.optim.components, *self.lora.components]

    @property
    def groups(self) -> dict[str, Form[Any]]:
        """Fields that come from a config class, by the beginning of their names."""
        return {
            "optim": self.optim,
            "lora": self.lora,
            "loading": self.loading,
            **{f"config.{name}": one for name, one in self.configs.items()},
        }

    def read(self, *values: Any) -> dict[str, Any]:
        """The values by the names of their fields."""
        return dict(zip(self.fields, values, strict=True))

    def group(self, name: str, values: Mapping[str, Any]) -> Any:
        """The settings of one config class. Raises SpecError for a value out of range."""
        found = self.groups[name]
        return found.read(*(values[f"{name}.{field}"] for field in found.inputs))

    def shown(self, name: str, settings: Any) -> dict[str, Any]:
        """Settings of a config class as its fields show them."""
        return {f"{name}.{field}": shown(getattr(settings, field)) for field in self.groups[name].inputs}

    def grader(self, values: Mapping[str, Any]) -> JudgeSpec | None:
        """The judge that was chosen; None if it is the usual one."""
        chosen = self.judge.read(*(values[name] for name in JUDGE))
        return None if chosen == self.usual_judge() else chosen

    def forms(self, *values: Any) -> list[RunForm]:
        """One run form for each chosen method and seed. Raises SpecError for a value out of range or nothing chosen."""
        given = self.read(*values)
        methods = given["methods"]
        if not given["dataset"]:
            raise SpecError("Choose a dataset to train on.")
        if not methods:
            raise SpecError("Choose at least one method.")
        seeds = parse_seeds(given["seeds"])
        if len(methods) * len(seeds) > MOST_RUNS:
            raise SpecError(
                f"{len(methods)} methods with {len(seeds)} seeds are {len(methods) * len(seeds)} runs; at most {MOST_RUNS} at once."
            )
        drop = {"drop": True, "keep": False}.get(given["filtering"])
        common = {"dataset": given["dataset"], **based_on(given["teacher"] or "lab"), "filter": drop, "preset": given["preset"]}
        common |= {"optim": self.group("optim", given), "lora": self.group("lora", given), "judge": self.grader(given)}
        loading = self.group("loading", given)
        common |= {name: given[name] for name in ("start", "adapters")} | {"harmful_answers": given["harmful_answers"] or None}
        common |= {"loading": None if loading == DEFAULT else loading, "prompts": given["prompts"]}
        filtered = {"scorer": given["scorer"] or None, "heed_decisions": bool(given["heed"]), **_line_of(given)}
        return [
            RunForm.checked(
                method=method,
                seed=seed,
                method_config=self.group(f"config.{method}", given).model_dump(mode="json") if method in self.configs else {},
                **common,
                **(filtered if drop or (drop is None and DEFENSES.get(method).info.uses_filter) else {}),
            )
            for method in methods
            for seed in seeds
        ]


JUDGE = ("judge", "judge-model", "judge-threshold")


def draw_run_form(studio: Studio) -> RunInputs:
    """Draw the form where the caller stands in the layout."""
    fields: dict[str, Any] = {}
    with gr.Column(elem_classes=["rs-card"]):
        fixed(_METHODS)
        cards = sorted(
            (method_card(one.info) for one in DEFENSES.all().values()), key=lambda card: list(GROUPS.values()).index(card["group"])
        )
        fields["methods"] = widget("method_cards", DEFAULT_METHODS, scripts=("dom", "marks"), elem_id="train-methods", cards=cards)
    with gr.Column(elem_classes=["rs-card"]):
        fixed(_DATA)
        fields |= _draw_data()
    with gr.Column(elem_classes=["rs-card"]):
        fixed(_SETTINGS)
        fields["preset"] = gr.Radio(preset_choices(), value="auto", label="Preset", info=_AUTO, elem_id="train-preset")
        named = PRESETS["lab"]
        with gr.Row(elem_classes=["rs-fields"]):
            optim = form(OptimSpec, value=named.optim, only=BASIC_OPTIM, prefix="optim")
            lora = form(LoraSpec, value=named.lora, only=BASIC_LORA, labels={"rank": "LoRA rank"}, prefix="lora")
            fields["seeds"] = gr.Textbox(
                "0", label="Seeds", info="One run per seed: 0, or 0-2, or 0, 1, 5", elem_id="train-seeds", max_lines=1
            )
        with gr.Accordion("Advanced: optimizer, LoRA, memory, methods", open=False, elem_id="train-advanced"):
            fixed("<h3>Optimizer</h3>")
            with gr.Row(elem_classes=["rs-fields"]):
                optim = joined(optim, form(OptimSpec, value=named.optim, skip=BASIC_OPTIM, prefix="optim"))
            fixed("<h3>LoRA adapter</h3>")
            with gr.Row(elem_classes=["rs-fields"]):
                lora = joined(lora, form(LoraSpec, value=named.lora, skip=BASIC_LORA, prefix="lora"))
            fixed("<h3>Base in memory</h3>")
            with gr.Row(elem_classes=["rs-fields"]):
                loading = form(LoadSpec, labels=LABELS, prefix="loading")
            configs, boxes = _draw_configs()
    with gr.Column(elem_classes=["rs-card"]):
        evaluate, grading, graded, judge = _draw_grading(studio)
        fields |= {"evaluate": evaluate, **graded}
    found = RunInputs(fields, optim, lora, loading, configs, boxes, grading, judge, studio.evaluations.judge)
    fields |= {f"{group}.{name}": field for group, one in found.groups.items() for name, field in one.inputs.items()}
    return found


def _draw_data() -> dict[str, Any]:
    fields: dict[str, Any] = {
        "dataset": gr.Dropdown([], label="Dataset", elem_id="train-dataset", interactive=True),
        "teacher": gr.Dropdown([], label="Teacher and its base model", elem_id="train-teacher", interactive=True),
        "filtering": gr.Radio(list(FILTERING), value="method", label="Flagged rows", info=_FILTERING_HELP, elem_id="train-filtering"),
    }
    with gr.Accordion("Other scorer, threshold or number of rows", open=False, elem_id="train-flagging"):
        fields["heed"] = gr.Checkbox(True, label="What people decided goes before the threshold", info=_HEED_HELP, elem_id="train-heed")
        fields["scorer"] = gr.Dropdown([TEACHERS_OWN], value="", label="Scorer that flags them", elem_id="train-scorer", interactive=True)
        with gr.Row(elem_classes=["rs-fields"]):
            fields["threshold"] = gr.Textbox("", label="Threshold", info=_LINE, elem_id="train-threshold", max_lines=1)
            fields["drop"] = gr.Textbox("", label="Rows to drop", info=_DROP, elem_id="train-drop", max_lines=1)
    with gr.Accordion("Start, adapter and harmful answers", open=False, elem_id="train-starting"):
        fields["start"] = gr.Radio(list(STARTS), value="method", label="Start", info=_STARTS_HELP, elem_id="train-start")
        fields["adapters"] = gr.Radio(list(ADAPTERS), value="continue", label="From aligned weights", elem_id="train-adapters")
        fields["harmful_answers"] = gr.Dropdown(
            [PLACEHOLDERS], value="", label="Harmful answers", info=_HARMFUL_HELP, elem_id="train-harmful-answers", interactive=True
        )
    return fields


def _draw_configs() -> tuple[dict[str, Form[Any]], dict[str, gr.Column]]:
    """Settings of the methods that have some, each shown while its method is chosen."""
    configs, boxes = {}, {}
    for method in DEFENSES.all().values():
        info, config = method.info, method.Config
        if config.model_fields:
            with gr.Column(visible=info.name in DEFAULT_METHODS) as boxes[info.name]:
                fixed(f"<h3>{info.title}</h3>")
                with gr.Row(elem_classes=["rs-fields"]):
                    configs[info.name] = form(config, prefix=f"config-{info.name}")
    return configs, boxes


def _draw_grading(studio: Studio) -> tuple[gr.Checkbox, gr.Column, dict[str, Any], JudgeFields]:
    fixed("<h2>Evaluation</h2>")
    evaluate = gr.Checkbox(True, label="Evaluate at the end (HS, FA, over-refusal)", elem_id="train-evaluate")
    with gr.Column(elem_id="train-grading") as grading, gr.Accordion("Prompts and judge", open=False, elem_id="train-judging"):
        prompts = gr.Radio(list(PROMPTS), value="auto", label="Evaluation prompts", info=_PROMPTS_HELP, elem_id="train-prompts")
        judge = draw_judge_fields(studio, prefix="train", people=False)
    on(evaluate.input, lambda wanted: gr.update(visible=bool(wanted)), inputs=[evaluate], outputs=[grading], **FAST)
    return evaluate, grading, {"prompts": prompts, **dict(zip(JUDGE, judge.components, strict=True))}, judge


def _line_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """Threshold or number of rows, where one was typed. Raises SpecError for what is no number, and for both."""
    found: dict[str, Any] = {}
    for name, kind, like in (("threshold", float, "0.25"), ("drop", int, "100")):
        if text := str(given[name] or "").strip():
            try:
                found[name] = kind(text)
            except ValueError as exc:
                label = "Threshold" if name == "threshold" else "Rows to drop"
                raise SpecError(f"{label} is '{show(text, 40)}'. Give a number like {like}, or leave it empty.") from exc
    if len(found) == 2:
        raise SpecError("Threshold and rows to drop are both given. Leave one of them empty: the other decides which rows are dropped.")
    return found


def method_card(info: DefenseInfo) -> dict[str, Any]:
    """A method as its card: what it does in a sentence, where it starts, what it needs, what it costs."""
    mark = mark_of(info.name)
    start = "from aligned weights" if info.starts_from == "aligned" else "from the base"
    wanted = (("filter", info.uses_filter), ("teacher", info.needs_teacher), ("harmful answers", info.needs_harmful))
    needs = [word for word, needed in wanted if needed]
    facts = [start, *needs, f"{info.cost:g}x cost per step"]
    looks = {"colour": mark.colour, "shape": mark.shape, "group": GROUPS[info.stage], "open": info.stage in OPEN}
    return {"name": info.name, "title": info.title, "summary": info.summary, "facts": facts, **looks}


def preset_choices() -> list[tuple[str, str]]:
    """The one that fits the base, and presets with the length of a run."""
    found = []
    for name, preset in PRESETS.items():
        length = f"{count(preset.optim.steps)} steps" if preset.optim.steps else f"{preset.optim.epochs:g} passes over the data"
        found.append((f"{preset.title} ({length})", name))
    return [("As fits the base", "auto"), *found]


def preset_note(name: str) -> str:
    """Whose settings a preset holds."""
    return _AUTO if name not in PRESETS else f"{PRESETS[name].note} All can be changed below."


def dataset_choices(studio: Studio) -> list[tuple[str, str]]:
    """Audited datasets first, with what was done to them."""
    known = sorted(studio.datasets.every(), key=lambda one: one.frozen_from is None)
    return [(f"{show(one.name, 80)} ({count(one.rows)} rows, {'audited' if one.frozen_from else 'as uploaded'})", one.id) for one in known]


def harmful_choices(studio: Studio) -> list[tuple[str, str]]:
    """Sets of harmful prompts with answers; whether these comply or refuse only the person knows."""
    own = [one for one in studio.datasets.every("harmful")]
    return [PLACEHOLDERS, *((f"{show(one.name, 60)} ({count(one.rows)} rows)", one.id) for one in own)]


def teacher_choices(studio: Studio) -> list[tuple[str, str]]:
    """Teachers whose model is the base of the run; those that are another model with its tokens; models of the shelf without a teacher."""
    known = [one for one in studio.teachers.every() if one.regularised or one.ready]
    teachers = [(f"{show(one.title, 60)} (base: {_base(one)})", one.id) for one in known if one.regularised]
    for base, one in studio.models.guides(known):
        teachers.append((f"{show(one.title, 60)}, another model with the same tokens (base: {show(base, 60)})", foreign(one.id, base)))
    return [*teachers, *((f"No teacher (base: {show(name, 60)})", f"{BARE}{name}") for name in studio.models.names() if name != "lab")]


def scorer_choices(studio: Studio) -> list[tuple[str, str]]:
    """What can say which rows are flagged: the teacher of the run, or another scorer that is ready."""
    others = [(show(one.title, 60), one.id) for one in studio.scorers.every() if one.scorer != OF_TEACHER]
    return [TEACHERS_OWN, *others]


def based_on(choice: str) -> dict[str, str]:
    """The base or the teacher of a run form that a choice means."""
    if choice.startswith(FOREIGN):
        teacher, _, model = choice.removeprefix(FOREIGN).partition(":")
        return {"teacher": teacher, "model": model}
    return {"model": choice.removeprefix(BARE)} if choice.startswith(BARE) else {"teacher": choice}


def foreign(teacher: str, base: str) -> str:
    """The choice of a teacher that is another model than the base."""
    return f"{FOREIGN}{teacher}:{base}"


def base_of(studio: Studio, choice: str | None) -> str:
    """The base that a choice means; the lab if there is none yet."""
    if choice and (model := based_on(choice).get("model")):
        return model
    return next((one.model for one in studio.teachers.every() if one.id == choice), "lab")


def _base(teacher: TeacherInfo) -> str:
    """The base and how it is held in memory, which a run takes over from its teacher."""
    return ", ".join(part for part in (show(teacher.model, 60), show(held(teacher.loading), 60)) if part)


def helped(inputs: RunInputs, values: Mapping[str, Any], act: str) -> list[Any]:
    """Updates of the fields that remedies change. Raises SpecError where the settings cannot be read; an unknown one changes nothing."""
    guided = any(DEFENSES.get(one).info.needs_alignment for one in values["methods"])
    new = changes(inputs.group("optim", values), guided=guided)
    return [gr.update(value=str(value) if one == "micro" else value) if one == act else gr.update() for one, value in new.items()]
