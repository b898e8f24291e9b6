"""A form of the Train page as the command that does the same, every setting of it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reft_studio.defenses import DEFENSES
from reft_studio.errors import SpecError
from reft_studio.evaluation.judges.spec import JudgeSpec
from reft_studio.models.spec import LoadSpec, LoraSpec, OptimSpec, Settings, preset_named
from reft_studio.scoring import OF_TEACHER
from reft_studio.training.spec import RunSpec, own_config
from reft_studio.workspace import read_json

if TYPE_CHECKING:
    from reft_studio.studio.run_form import RunForm

GROUPS = ("optim", "lora", "loading", "method_config", "judge")
"""What `--set GROUP.NAME=VALUE` can change."""
"""The name of the filter that the run's teacher is."""
NOTHING = "none"
"""How the command line writes a setting that is left empty."""


def filtering(name: str | None, *, none: bool) -> dict[str, Any]:
    """Fields of RunForm from `--filter NAME` and `--no-filter`. Raises SpecError for both at once."""
    if none and name:
        raise SpecError(f"--no-filter and --filter {name} contradict each other. Leave one of them out.")
    if name is None:
        return {"filter": False if none else None}
    return {"filter": True, "scorer": None if name == OF_TEACHER else name}


_ALIGNMENT = {"refusals": "harmful", "answers": "helpful"}
"""Options that name alignment data, and the fields of a run's settings that they fill."""
_SHORT = {"lora.r": "lora.rank"}
_NONE_IS_A_VALUE = {("loading", "quantization")}
"""Settings that can be called `none`, which is then no empty setting."""


def command(form: RunForm, *, teacher: str | None, preset: str, filtered: bool) -> str:
    """`python launch.py run …` for this form; `teacher`, `preset` and whether rows are `filtered` as its plan settled them."""
    words = ["python launch.py run", "--dataset", form.dataset, "--method", form.method]
    words += ["--model", form.model] if form.model else []
    words += ["--teacher", teacher] if teacher else []
    words += [] if form.start == "method" else ["--start", form.start]
    words += [] if form.adapters == "continue" else ["--adapters", form.adapters]
    words += ["--harmful-answers", form.harmful_answers] if form.harmful_answers else []
    words += ["--refusals", form.refusals] if form.refusals else []
    words += ["--answers", form.answers] if form.answers else []
    words += ["--seed", str(form.seed), "--preset", preset]
    if form.filter is False:
        words += ["--no-filter"]
    elif form.filter or (form.scorer and filtered):
        words += ["--filter", form.scorer or OF_TEACHER]
    words += ["--threshold", f"{form.threshold:g}"] if filtered and form.threshold is not None else []
    words += ["--drop", str(form.drop)] if filtered and form.drop is not None else []
    words += ["--no-decisions"] if filtered and form.drop is None and not form.heed_decisions else []
    words += [] if form.prompts == "auto" else ["--prompts", form.prompts]
    for pair in _pairs(form, preset):
        words += ["--set", pair]
    return " ".join([words[0], *map(shlex.quote, words[1:])])


def judge_pairs(form: RunForm) -> list[str]:
    """`judge.name=…` and the like for a judge of the form's own."""
    return [pair for pair in _pairs(form, "lab") if pair.startswith("judge.")]


def _pairs(form: RunForm, preset: str) -> Iterator[str]:
    groups: tuple[tuple[str, Any, Any], ...] = (
        ("optim", form.optim, preset_named(preset).optim),
        ("lora", form.lora, preset_named(preset).lora),
        ("loading", form.loading, LoadSpec()),
        ("judge", form.judge, JudgeSpec()),
    )
    for name, own, usual in groups:
        if own is not None:
            keys = (key for key in type(own).model_fields if getattr(own, key) != getattr(usual, key))
            yield from (f"{name}.{key}={_text(getattr(own, key))}" for key in keys)
    usual_config = DEFENSES.get(form.method).Config().model_dump(mode="json")
    yield from (f"method_config.{key}={_text(value)}" for key, value in form.method_config.items() if value != usual_config.get(key))


def _text(value: Any) -> str:
    if value is None:
        return NOTHING
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def chosen(pairs: Sequence[str], *, method: str, preset: str, steps: int | None = None) -> dict[str, Any]:
    """Fields of RunForm from `optim.steps=400` and the like, on top of a preset.

    Raises SpecError for what is no pair or no setting, naming what there is.
    """
    named = preset_named(preset)
    usual: dict[str, Settings] = {"optim": named.optim, "lora": named.lora, "loading": LoadSpec(), "judge": JudgeSpec()}
    changes = _changes(pairs, method=method, steps=steps)
    found: dict[str, Any] = {name: type(usual[name]).checked(**{**dict(usual[name]), **changes[name]}) for name in usual if name in changes}
    if "method_config" in changes:
        found["method_config"] = own_config(method, changes["method_config"])
    return found


def specs_in(path: Path) -> list[RunSpec]:
    """The run of a spec.json, or the runs of a list of them. Raises SpecError if the file is missing or holds something else."""
    if not path.is_file():
        raise SpecError(f"There is no file '{path}'. Give the spec.json of a run's folder, or one saved on the Train page.")
    found = read_json(path)
    listed = found if isinstance(found, list) else [found]
    if not listed or not all(isinstance(one, dict) for one in listed):
        raise SpecError(f"{path.name} holds no settings of a run: give one JSON object, or a list of them, as the Train page saves it.")
    return [RunSpec.checked(**one) for one in listed]


def changed(spec: RunSpec, options: Mapping[str, Any], pairs: Sequence[str], *, steps: int | None = None) -> RunSpec:
    """A stored run with `options` (fields of RunForm that were given) and `--set` pairs on top. Raises SpecError as `chosen`."""
    given = {name: value for name, value in options.items() if value is not None}
    if "preset" in given:
        raise SpecError("The file holds all settings, so --preset has nothing to say. Change single ones with --set, e.g. optim.steps=400.")
    values = spec.model_dump(mode="json")
    if given.get("method", spec.method) != spec.method:
        values["method_config"] = {}
    if given.get("filter") is False:
        values |= dict.fromkeys(("scorer", "threshold", "drop", "decisions"))
    elif given.get("filter"):
        values["scorer"] = None
    values |= {"drop": None} if "threshold" in given else {}
    values |= {"threshold": None, "decisions": None} if "drop" in given else {}
    values |= {"decisions": None} if given.get("heed_decisions") is False else {}
    values |= {name: value for name, value in given.items() if name in RunSpec.model_fields}
    values |= {name: given[option] for option, name in _ALIGNMENT.items() if option in given}
    for group, new in _changes(pairs, method=values["method"], steps=steps).items():
        if group in values:  # a judge is none of the run's own settings
            values[group] = {**values[group], **new}
    values["method_config"] = own_config(values["method"], values["method_config"])
    return RunSpec.checked(**values)


def judge_of(pairs: Sequence[str], *, method: str) -> JudgeSpec | None:
    """The judge that `--set judge.…` names; None if it names none."""
    own = _changes(pairs, method=method).get("judge")
    return JudgeSpec.checked(**own) if own else None


def _changes(pairs: Sequence[str], *, method: str, steps: int | None = None) -> dict[str, dict[str, Any]]:
    """What `GROUP.NAME=VALUE` pairs say, by group. Raises SpecError for what is no pair or no setting."""
    known = {
        name: set(of.model_fields) for name, of in (("optim", OptimSpec), ("lora", LoraSpec), ("loading", LoadSpec), ("judge", JudgeSpec))
    }
    known["method_config"] = set(DEFENSES.get(method).Config.model_fields)
    found: dict[str, dict[str, Any]] = {"optim": {"steps": steps}} if steps is not None else {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        group, _, key = _SHORT.get(name, name).partition(".")
        if not sign or key not in known.get(group, ()):
            allowed = ", ".join(f"{one}.{key}" for one in GROUPS for key in sorted(known[one])[:3])
            raise SpecError(
                f"'{pair[:60]}' is no setting of a run with {method}. Write GROUP.NAME=VALUE, e.g. optim.steps=400 or lora.rank=8; there "
                f"are {allowed} and others."
            )
        empty = value == NOTHING and (group, key) not in _NONE_IS_A_VALUE
        found.setdefault(group, {})[key] = None if empty else _targets(value) if key == "targets" else value
    return found


def _targets(value: str) -> str | tuple[str, ...]:
    return value if value == "all-linear" else tuple(value.split(","))
