"""A form of the Train page as the command that does the same, every setting of it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from reft_studio.defenses import DEFENSES
from reft_studio.errors import SpecError
from reft_studio.evaluation.judges.spec import JudgeSpec
from reft_studio.models.spec import LoraSpec, OptimSpec, preset_named

if TYPE_CHECKING:
    from reft_studio.views.runs import RunForm

GROUPS = ("optim", "lora", "method_config", "judge")
"""What `--set GROUP.NAME=VALUE` can change."""
TEACHER = "refusal_feature"
"""The name of the filter that the run's teacher is."""
NOTHING = "none"
"""How the command line writes a setting that is left empty."""


def filtering(name: str | None, *, none: bool) -> dict[str, Any]:
    """Fields of RunForm from `--filter NAME` and `--no-filter`. Raises SpecError for both at once."""
    if none and name:
        raise SpecError(f"--no-filter and --filter {name} contradict each other. Leave one of them out.")
    if name is None:
        return {"filter": False if none else None}
    return {"filter": True, "scorer": None if name == TEACHER else name}


_SHORT = {"lora.r": "lora.rank"}


def command(form: RunForm, *, teacher: str | None, preset: str, filtered: bool) -> str:
    """`python launch.py run …` for this form; `teacher`, `preset` and whether rows are `filtered` as its plan settled them."""
    words = ["python launch.py run", "--dataset", form.dataset, "--method", form.method]
    words += ["--model", form.model] if form.model else []
    words += ["--teacher", teacher] if teacher else []
    words += ["--seed", str(form.seed), "--preset", preset]
    if form.filter is False:
        words += ["--no-filter"]
    elif form.filter or (form.scorer and filtered):
        words += ["--filter", form.scorer or TEACHER]
    words += ["--threshold", f"{form.threshold:g}"] if filtered and form.threshold is not None else []
    words += ["--drop", str(form.drop)] if filtered and form.drop is not None else []
    words += [] if form.prompts == "auto" else ["--prompts", form.prompts]
    for pair in _pairs(form, preset):
        words += ["--set", pair]
    return " ".join([words[0], *map(shlex.quote, words[1:])])


def _pairs(form: RunForm, preset: str) -> Iterator[str]:
    groups: tuple[tuple[str, Any, Any], ...] = (
        ("optim", form.optim, preset_named(preset).optim),
        ("lora", form.lora, preset_named(preset).lora),
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
    config = DEFENSES.get(method).Config
    fields = {"optim": OptimSpec.model_fields, "lora": LoraSpec.model_fields, "judge": JudgeSpec.model_fields}
    known = {**{name: set(found) for name, found in fields.items()}, "method_config": set(config.model_fields)}
    changes: dict[str, dict[str, Any]] = {"optim": {"steps": steps}} if steps is not None else {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        group, _, key = _SHORT.get(name, name).partition(".")
        if not sign or key not in known.get(group, ()):
            allowed = ", ".join(f"{one}.{key}" for one in GROUPS for key in sorted(known[one])[:3])
            raise SpecError(
                f"'{pair[:60]}' is no setting of a run with {method}. Write GROUP.NAME=VALUE, e.g. optim.steps=400 or lora.rank=8; there "
                f"are {allowed} and others."
            )
        changes.setdefault(group, {})[key] = None if value == NOTHING else _targets(value) if key == "targets" else value
    found: dict[str, Any] = {}
    if "optim" in changes:
        found["optim"] = OptimSpec.checked(**{**dict(preset_named(preset).optim), **changes["optim"]})
    if "lora" in changes:
        found["lora"] = LoraSpec.checked(**{**dict(preset_named(preset).lora), **changes["lora"]})
    if "judge" in changes:
        found["judge"] = JudgeSpec.checked(**changes["judge"])
    if "method_config" in changes:
        found["method_config"] = config.checked(**changes["method_config"]).model_dump(mode="json")
    return found


def _targets(value: str) -> str | tuple[str, ...]:
    return value if value == "all-linear" else tuple(value.split(","))
