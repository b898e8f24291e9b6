"""Names of runs from their settings: the method, and the settings that distinguish a run from others of its method.

Pure: settings in, names out. `run_names.py` reads the settings of a workspace and the names given by people.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from reft_studio.defenses import DEFENSES
from reft_studio.training.spec import RunSpec, filtering_words

LONGEST = 40
"""Maximum characters of one setting in a name."""
_HASH = 8
"""Characters of a hash in a name."""
GROUPS = {"lora": "LoRA", "loading": "Base in memory", "optim": "Training", "method_config": "Method"}
"""Nested settings, with the heading the form gives them."""
_FIRST = ("method", "model", "optim.steps", "stop_after", "optim.learning_rate", "method_config", "lora", "optim", "dataset")
_LAST = "seed"


@dataclass(frozen=True)
class Known:
    """How an id among the settings is compared and shown: `value` is equal for draws that differ only in their seed."""

    value: Any
    words: str
    audited: bool = False


Resolve = Callable[[str, str], Known]
"""From the name of a setting that holds an id (`dataset`, `teacher`) and that id to its value and words."""


@dataclass(frozen=True)
class Setting:
    """One setting of a run: `value` is compared, `words` are shown, `phrase` appears in names."""

    key: str
    group: str
    label: str
    value: Any
    words: str
    phrase: str


@dataclass(frozen=True)
class RunName:
    """`title` is unique among all runs; `family` is the title without the seed, shared by all seeds of one setting."""

    title: str
    family: str


@dataclass(frozen=True)
class Described:
    """A run as input to naming: the head of its name, and its settings in order of precedence."""

    head: str
    settings: dict[str, Setting]


def as_they_are(field: str, value: str) -> Known:
    """Shows ids unchanged, where there is no workspace to resolve them."""
    return Known(value, value)


def describe(spec: Mapping[str, Any], resolve: Resolve = as_they_are) -> Described:
    """Describe a stored spec; settings missing from it, because they are newer, have their defaults."""
    audited = bool(spec.get("dataset")) and resolve("dataset", str(spec["dataset"])).audited
    return Described(head(spec, audited=audited), settings(spec, resolve))


def head(spec: Mapping[str, Any], *, audited: bool = False) -> str:
    """The method, with what changes its meaning: a filter of its own, aligned weights, audited data."""
    method = str(spec.get("method", "sft"))
    info = DEFENSES.get(method).info if method in DEFENSES else None
    start = spec.get("start")
    words = info.title if info else method.replace("_", " ").capitalize()
    words += " + filter" if spec.get("filter") and info and not info.uses_filter else ""
    words += " without filter" if info and info.uses_filter and spec.get("filter") is False and not audited else ""
    words += f" ({filtering})" if (filtering := filtering_words(spec)) else ""
    words += " from aligned weights" if info and info.starts_from == "base" and (spec.get("aligned") or start == "aligned") else ""
    words += " from the base" if info and info.starts_from == "aligned" and start == "base" else ""
    return words + (", audited data" if audited else "")


def name_all(runs: Mapping[str, Described]) -> dict[str, RunName]:
    """A name for each run: its head, then the settings that distinguish it from every other run with the same head.

    The first setting in which two runs differ appears in both names, so names are unique. The order of the runs does not matter, and a run
    without others of its head has its head for a name. Runs that differ only in their id (another draw of the same data) show the id.
    """
    alike: dict[str, list[str]] = {}
    for run, described in runs.items():
        alike.setdefault(described.head, []).append(run)
    named: dict[str, RunName] = {}
    for names in alike.values():
        differing = _differing([runs[run] for run in names])
        named |= {run: _name(run, [other for other in names if other != run], runs, differing) for run in names}
    return named


def settings(spec: Mapping[str, Any], resolve: Resolve = as_they_are) -> dict[str, Setting]:
    """Every setting by its key (`optim.steps`), the most distinguishing first; labels as in the form."""
    by_key: dict[str, Setting] = {}
    for name, field in RunSpec.model_fields.items():
        value, inner = spec.get(name, _default(field)), _inner(name, spec)
        if inner is None:
            by_key[name] = _setting(name, "", label_of(name, field), value, resolve)
            continue
        given = value if isinstance(value, Mapping) else {}
        for key, inner_field in inner.model_fields.items():
            by_key[f"{name}.{key}"] = _setting(
                f"{name}.{key}", GROUPS[name], label_of(key, inner_field), given.get(key, _default(inner_field)), resolve
            )
    epochs = by_key.pop("optim.epochs")  # a number of steps takes their place
    if by_key["optim.steps"].value is None:
        by_key["optim.steps"] = replace(epochs, key="optim.steps", value=epochs.phrase)
    else:
        by_key.pop("optim.epochs_of", None)
    return dict(sorted(by_key.items(), key=lambda item: _rank(item[0])))


def label_of(name: str, field: FieldInfo) -> str:
    """`batch_size` → `Batch size`, unless the field has a title."""
    return field.title or name.replace("_", " ").capitalize()


def number(value: float) -> str:
    """`0.003`, `1e-4`, `2.5e-5`, `160`."""
    if value and abs(value) < 1e-3:
        digits, _, power = f"{value:e}".partition("e")
        return f"{float(digits):g}e{int(power)}"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _differing(runs: Sequence[Described]) -> list[str]:
    """Settings, except the seed, that differ between these runs."""
    keys = dict.fromkeys(key for run in runs for key in run.settings)
    varying = [key for key in keys if len({repr(_value(run, key)) for run in runs}) > 1]
    return sorted((key for key in varying if key != _LAST), key=_rank)


def _name(run: str, others: Sequence[str], runs: Mapping[str, Described], differing: Sequence[str]) -> RunName:
    own, remaining, phrases = runs[run], list(others), list[str]()
    for key in differing:
        alike = [other for other in remaining if _value(runs[other], key) == _value(own, key)]
        if len(alike) < len(remaining):
            phrases.append(own.settings[key].phrase if key in own.settings else "")
            remaining = alike
    family = ", ".join(word for word in (own.head, *phrases) if word)
    seed = own.settings.get(_LAST)
    same = [other for other in remaining if seed is None or _value(runs[other], _LAST) == seed.value]
    title = family if len(same) == len(remaining) or seed is None else f"{family}, {seed.phrase}"
    return RunName(f"{title} ({run})" if same else title, family)


def _value(described: Described, key: str) -> Any:
    setting = described.settings.get(key)
    return None if setting is None else setting.value


def _setting(key: str, group: str, label: str, value: Any, resolve: Resolve) -> Setting:
    if key in _IDS and value:
        known = resolve(key, str(value))
        return Setting(key, group, label, known.value, known.words, _PHRASES.get(key, "{}").format(known.words))
    words = DEFENSES.get(value).info.title if key == "method" and value in DEFENSES else _words(value)
    words = words[:_HASH] if key == "decisions" and value else words
    plain = value if not isinstance(value, tuple) else list(value)
    return Setting(key, group, label, plain, words, _phrase(key, group, label, value, words))


_IDS = ("dataset", "teacher", "aligned", "harmful", "helpful", "harmful_answers", "scorer")
_PHRASES = {
    "model": "base {}",
    "optim.steps": "{} steps",
    "optim.epochs": "{} epochs",
    "stop_after": "stopped after step {}",
    "dataset": "on {}",
    "teacher": "teacher {}",
    "aligned": "aligned weights {}",
    "harmful": "refusals {}",
    "helpful": "helpful answers {}",
    "harmful_answers": "harmful answers {}",
    "start": "start: {}",
    "adapters": "{} adapter",
    "scorer": "scorer {}",
    "decisions": "decisions {}",
    "optim.batch_size": "{} rows a step",
    "seed": "seed {}",
}


def _phrase(key: str, group: str, label: str, value: Any, words: str) -> str:
    """How a name expresses a setting; one that is not set is left out."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return label.lower() if value else f"no {label.lower()}"
    named = f"{group} {label.lower()}" if group == GROUPS["lora"] else label.lower()
    return _PHRASES[key].format(words) if key in _PHRASES else f"{named} {words}"


def _words(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, int | float):
        return number(value)
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _inner(name: str, spec: Mapping[str, Any]) -> type[BaseModel] | None:
    """The config class of a nested setting."""
    if name == "method_config":
        method = str(spec.get("method", "sft"))
        return DEFENSES.get(method).Config if method in DEFENSES else None
    kind = RunSpec.model_fields[name].annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _default(field: FieldInfo) -> Any:
    value = None if field.is_required() else field.get_default(call_default_factory=True)
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value


def _rank(key: str) -> tuple[int, str]:
    """Sort key of a setting: those that people compare first, then by group, the seed last."""
    if key == _LAST:
        return len(_FIRST) + 1, ""
    group = key.partition(".")[0]
    position = _FIRST.index(key) if key in _FIRST else _FIRST.index(group) if group in _FIRST else len(_FIRST)
    return position, ""
