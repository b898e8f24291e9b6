"""A recipe as fields of a form, and what was typed there as settings of the recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reft_studio.defenses import DEFENSES
from reft_studio.scoring import JOINING, SCORERS
from reft_studio.studio.sweeps import numbers
from reft_studio.sweeps.recipe_text import RecipeText, changed, read
from reft_studio.sweeps.spec import NONE, OWN, TEACHER, SweepSpec

FIELDS = ("name", "models", "tasks", "rows", "poison_ratios", "seeds", "split")
"""Settings that have a field of their own, in the order of the form; variants have a list, the others stand in the text alone."""
FILTERS = {OWN: "own", NONE: "none", TEACHER: "refusal feature"}
"""Filters that are no scorers, as the form calls them."""
_LISTS = {"rows": (int, "Rows"), "poison_ratios": (float, "Shares of poison"), "seeds": (int, "Seeds")}
_OF_FORM = ("method", "config", "filter")
MOST_VARIANTS = 500


@dataclass(frozen=True)
class FormVariant:
    """A method of the list. `config` has the text of each setting that is given; `rest` is what only the text of the recipe can change."""

    method: str
    filter: list[str]
    config: dict[str, str]
    rest: dict[str, Any]


def shown(recipe: RecipeText) -> dict[str, Any]:
    """The value of each field; the default where the recipe does not say. What is none of its kind is shown as it stands."""
    values = {name: recipe.values.get(name, SweepSpec.model_fields[name].default) for name in FIELDS}
    return {name: _listed(value) if name in ("models", "tasks") else _text(value) for name, value in values.items()}


def variants(recipe: RecipeText) -> list[FormVariant]:
    """The methods of a recipe; entries that are none are left out, which its check tells."""
    found = recipe.values.get("variants")
    entries = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    return [
        FormVariant(
            str(one.get("method", "")),
            [str(name) for name in _listed(one.get("filter", OWN))],
            {str(name): _text(value) for name, value in (one.get("config") or {}).items()} if isinstance(one.get("config"), dict) else {},
            {str(name): value for name, value in one.items() if name not in _OF_FORM},
        )
        for one in entries[:MOST_VARIANTS]
    ]


def setting(name: str, typed: Any) -> Any:
    """What was typed into a field as the value of its setting: one number, or a list. Raises SpecError for what is no number."""
    if name in _LISTS:
        kind, what = _LISTS[name]
        return numbers(str(typed or ""), kind, what)
    if name in ("models", "tasks"):
        return [str(one).strip() for one in typed or [] if str(one).strip()]
    return str(typed or "").strip()


def written(given: Sequence[Any]) -> list[dict[str, Any]]:
    """The list of methods as settings of the recipe. `given` are mappings with the fields of FormVariant."""
    return [_variant(one) for one in given[:MOST_VARIANTS] if isinstance(one, Mapping)]


def edited(text: str, fields: Mapping[str, Any], rows: Sequence[Any]) -> str:
    """The text of a recipe with what the fields and the list of methods say. All that says the same already stays as it was written.

    Raises SpecError for what is no number, RecipeError for a text that is no recipe, so that there is nothing to write into.
    """
    asked = {name: setting(name, typed) for name, typed in fields.items()}
    if text.strip():
        recipe = read(text)
        told = {name: recipe.values.get(name, SweepSpec.model_fields[name].default) for name in fields}
        asked = {name: value for name, value in asked.items() if value != (_listed(told[name]) if isinstance(value, list) else told[name])}
        if written(rows) != written([vars(one) for one in variants(recipe)]):
            asked["variants"] = written(rows)
    else:
        asked["variants"] = written(rows)
    return changed(text, asked)


def methods() -> list[dict[str, Any]]:
    """Every method with the settings that a recipe can list values of: name, label, default."""
    return [
        {
            "name": name,
            "title": DEFENSES.get(name).info.title,
            "filters": DEFENSES.get(name).info.uses_filter,
            "settings": [[key, _text(one.default)] for key, one in DEFENSES.get(name).Config.model_fields.items()],
        }
        for name in DEFENSES
    ]


def filters() -> list[tuple[str, str]]:
    """Name and title of everything that can filter."""
    return [*FILTERS.items(), *((name, SCORERS.get(name).info.title) for name in SCORERS if name not in (TEACHER, JOINING))]


def _variant(given: Mapping[str, Any]) -> dict[str, Any]:
    rest = given.get("rest")
    filtered = [str(name) for name in _listed(given.get("filter"))] or [OWN]
    config = {
        str(name): values if len(values) > 1 else values[0]
        for name, text in dict(given.get("config") or {}).items()
        if (values := [_value(part) for part in str(text).split(",") if part.strip()])
    }
    return {
        "method": str(given.get("method", "")),
        **({"config": config} if config else {}),
        **({} if filtered == [OWN] else {"filter": filtered if len(filtered) > 1 else filtered[0]}),
        **(dict(rest) if isinstance(rest, Mapping) else {}),
    }


def _value(text: str) -> Any:
    """`0.1` as a number, `true` and `false` as such, anything else as the word it is."""
    word = text.strip()
    if word in ("true", "false"):
        return word == "true"
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [] if value is None else [value]
