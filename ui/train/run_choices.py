"""What stands in the form of the Train page when it opens: the choices made last, or those of a run or job that is to be done again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import gradio as gr

from reft_studio.defenses import DEFENSES
from reft_studio.errors import SpecError, StudioError
from reft_studio.evaluation.judges.spec import JudgeSpec
from reft_studio.models.spec import PRESETS, usual_preset
from reft_studio.training.spec import RunSpec
from ui.events import said
from ui.text import show
from ui.train.run_form import (
    ADAPTERS,
    BARE,
    FILTERING,
    JUDGE,
    PROMPTS,
    STARTS,
    RunInputs,
    base_of,
    dataset_choices,
    foreign,
    harmful_choices,
    preset_choices,
    preset_note,
    scorer_choices,
    teacher_choices,
)

if TYPE_CHECKING:
    from reft_studio.studio.studio import Studio

KEY = "train-form"
"""The setting that keeps the choices."""
ADDRESS_JS = """() => {
  const address = new URL(location.href), asked = address.search;
  address.searchParams.delete('job'); address.searchParams.delete('like');
  if (address.href !== location.href) history.replaceState(history.state, '', address);
  return asked;
}"""
"""`js=` of the page's load event. What the address asked for is taken out of it: a reload shows what was changed since."""


def opened(studio: Studio, inputs: RunInputs, search: str) -> tuple[Any, ...]:
    """Contents of all fields, the columns that show, and a line on where they come from."""
    given, told = _asked(studio, inputs, search)
    values = {**usual(studio, inputs), **given}
    return (*contents(studio, inputs, values), said(*told) if told else said("", "quiet"))


def contents(studio: Studio, inputs: RunInputs, values: Mapping[str, Any]) -> tuple[Any, ...]:
    """Updates of all fields and of the columns of methods and evaluation."""
    choices = _listed(studio)
    updates = {name: gr.update(value=values[name], **({"choices": choices[name]} if name in choices else {})) for name in inputs.fields}
    updates["preset"] = gr.update(value=values["preset"], info=preset_note(values["preset"]))
    judge = inputs.judge.read(*(values[name] for name in JUDGE))
    updates |= dict(zip(JUDGE, inputs.judge.updates(judge, studio), strict=True))
    return (*updates.values(), *boxes(inputs, values["methods"]), gr.update(visible=bool(values["evaluate"])))


def boxes(inputs: RunInputs, methods: list[str]) -> list[Any]:
    """Settings of a method show while it is chosen."""
    return [gr.update(visible=method in methods) for method in inputs.boxes]


def usual(studio: Studio, inputs: RunInputs) -> dict[str, Any]:
    """What the form holds before anybody has chosen anything."""
    values = {name: field.value for name, field in inputs.fields.items()}
    values |= dict(zip(("dataset", "teacher"), _in_use(studio), strict=True))
    judge = studio.evaluations.judge()
    values |= dict(zip(JUDGE, (judge.name, judge.model or "", judge.threshold), strict=True))
    return values | preset_values(studio, inputs, "auto", values["teacher"])


def preset_values(studio: Studio, inputs: RunInputs, name: str, teacher: str | None) -> dict[str, Any]:
    """The fields of optimizer and adapter as a preset has them."""
    preset = PRESETS[usual_preset(base_of(studio, teacher)) if name == "auto" else name]
    return {**inputs.shown("optim", preset.optim), **inputs.shown("lora", preset.lora)}


def of_preset(studio: Studio, inputs: RunInputs, values: Mapping[str, Any], *, by_hand: bool) -> list[Any]:
    """Updates of the preset and its fields after another preset (`by_hand`) or another base was chosen.

    A base changes settings only where they are those that fitted the one before.
    """
    name = values["preset"]
    wanted = preset_values(studio, inputs, name, values["teacher"])
    if not by_hand:
        now = inputs.group("optim", values), inputs.group("lora", values)
        fitted = any(now == (preset.optim, preset.lora) for preset in (PRESETS[one] for one in ("lab", "real")))
        if name != "auto" or not fitted:
            return [gr.update() for _ in range(1 + len(wanted))]
    return [gr.update(info=preset_note(name)), *(gr.update(value=value) for value in wanted.values())]


def keep(studio: Studio, inputs: RunInputs, values: Mapping[str, Any]) -> None:
    """Remember the choices in the workspace, with the data in use at the time: other data that is chosen later goes before them."""
    judge = {} if inputs.grader(values) else dict.fromkeys(JUDGE)
    kept = {"values": {**values, **judge}, "in_use": list(_in_use(studio))}
    if studio.settings.get(KEY) != kept:
        studio.settings.set(KEY, kept)


def of_spec(studio: Studio, inputs: RunInputs, spec: RunSpec, judge: JudgeSpec | None = None) -> dict[str, Any]:
    """The form that asks for a run once more."""
    known = [value for _, value in teacher_choices(studio)]
    on_base = [one.id for one in studio.teachers.every() if one.model == spec.model and one.id in known]
    teacher = spec.teacher or next(iter(on_base), f"{BARE}{spec.model}")
    if (other := foreign(teacher, spec.model)) in known:
        teacher = other
    frozen = "lineage" in studio.datasets.manifest(spec.dataset)
    usual_filter = DEFENSES.get(spec.method).info.uses_filter and not frozen
    values: dict[str, Any] = {"methods": [spec.method], "dataset": spec.dataset, "teacher": teacher, "seeds": str(spec.seed)}
    values |= {"filtering": "method" if spec.filter == usual_filter else "drop" if spec.filter else "keep", "scorer": spec.scorer or ""}
    values |= {"heed": spec.drop is not None or not studio.runs.ignores_decisions(spec)}
    values |= {"start": _start(spec), "adapters": spec.adapters, "harmful_answers": _harmful_answers(studio, spec)}
    values |= {"threshold": _line(studio, spec), "drop": "" if spec.drop is None else str(spec.drop), "preset": _preset(studio, spec)}
    values |= {**inputs.shown("optim", spec.optim), **inputs.shown("lora", spec.lora)}
    if not (spec.teacher or spec.aligned):
        values |= inputs.shown("loading", spec.loading)
    if spec.method in inputs.configs:
        group = f"config.{spec.method}"
        values |= inputs.shown(group, inputs.groups[group].model.checked(**spec.method_config))
    if judge is not None:
        values |= dict(zip(JUDGE, (judge.name, judge.model or "", judge.threshold), strict=True))
    return values


def _line(studio: Studio, spec: RunSpec) -> str:
    """The threshold of a run; the scorer's own is spelled out, since another may be in use today."""
    if not spec.filters_with or spec.drop is not None:
        return ""
    line = studio.scorers.find(spec.filters_with).threshold if spec.threshold is None else spec.threshold
    return f"{line:.6g}"


def _preset(studio: Studio, spec: RunSpec) -> str:
    """The preset whose settings a run has, else the one that fits its base."""
    return next((name for name, one in PRESETS.items() if (one.optim, one.lora) == (spec.optim, spec.lora)), "auto")


def _asked(studio: Studio, inputs: RunInputs, search: str) -> tuple[dict[str, Any], tuple[str, str] | None]:
    """What the address asks for, else what was kept; with a line that says so."""
    given = parse_qs(str(search or "").lstrip("?")[:2000])
    job, run = (given.get(name, [""])[-1] for name in ("job", "like"))
    if not (job or run):
        return _possible(studio, inputs, _stored(studio)), None
    try:
        params = studio.jobs.get(job).params if job else {"spec": studio.runs.spec(run).model_dump(mode="json")}
        if "spec" not in params:
            raise SpecError("This job is no run, so there are no settings of a run to start from.")
        spec = RunSpec.checked(**params["spec"])
        values = of_spec(studio, inputs, spec, JudgeSpec.checked(**params["judge"]) if params.get("judge") else None)
    except StudioError as exc:
        return {}, (show(exc, 400), "error")
    if "suite" in params and params["suite"] is None:
        values["evaluate"] = False
    return values, (
        f"The form holds the settings of '{show(studio.runs.title(spec), 80)}'. Change what you like and start it.",
        "note",
    )


def _start(spec: RunSpec) -> str:
    """Where a run starts; a method that starts from the base and was given aligned weights starts from those."""
    given = spec.aligned is not None and DEFENSES.get(spec.method).info.starts_from == "base"
    return "aligned" if given else spec.start


def _harmful_answers(studio: Studio, spec: RunSpec) -> str:
    """The set of a run, unless it is the placeholders that are taken without a choice."""
    if spec.harmful_answers is None:
        return ""
    return "" if studio.datasets.manifest(spec.harmful_answers).get("made_by") in ("lab", "demo") else spec.harmful_answers


def _stored(studio: Studio) -> dict[str, Any]:
    kept = studio.settings.get(KEY) or {}
    values = dict(kept.get("values") or {})
    now, then = list(_in_use(studio)), kept.get("in_use")
    if then != now:  # other data or scores were chosen on another page
        values = {name: value for name, value in values.items() if name not in ("dataset", "teacher")}
    return values


def _possible(studio: Studio, inputs: RunInputs, values: dict[str, Any]) -> dict[str, Any]:
    """Of stored choices those that can still be chosen."""
    listed = {**_listed(studio), "preset": preset_choices(), "filtering": FILTERING, "prompts": PROMPTS}
    listed |= {"start": STARTS, "adapters": ADAPTERS}
    allowed = {name: [value for _, value in found] for name, found in listed.items()}
    found = {
        name: value for name, value in values.items() if name in inputs.fields and value is not None and value in allowed.get(name, [value])
    }
    found["methods"] = [one for one in found.get("methods") or [] if one in DEFENSES] or inputs.fields["methods"].value
    for group, one in inputs.groups.items():
        names = [f"{group}.{field}" for field in one.inputs]
        try:
            inputs.group(group, {**{name: inputs.fields[name].value for name in names}, **found})
        except SpecError:
            found = {name: value for name, value in found.items() if name not in names}
    return found


def _listed(studio: Studio) -> dict[str, list[tuple[str, str]]]:
    """What the fields offer that list something of the workspace."""
    return {
        "dataset": dataset_choices(studio),
        "teacher": teacher_choices(studio),
        "scorer": scorer_choices(studio),
        "harmful_answers": harmful_choices(studio),
    }


def _in_use(studio: Studio) -> tuple[str | None, str | None]:
    """The dataset in work and the teacher whose flags a person has seen, as far as the form can name them."""
    state = studio.state()
    data, teachers = ([value for _, value in found] for found in (dataset_choices(studio), teacher_choices(studio)))
    dataset = state.dataset.id if state.dataset and state.dataset.id in data else next(iter(data), None)
    scored_by = state.score.teacher if state.score else None
    return dataset, scored_by if scored_by in teachers else next(iter(teachers), None)
