"""A recipe as YAML text: parsed with the line of each error, and edited by a form without touching the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from reft_studio.attacks import ATTACKS
from reft_studio.errors import SpecError
from reft_studio.models.spec import LoraSpec, OptimSpec, Settings, preset_named
from reft_studio.sweeps.spec import SweepSpec, Variant

LONGEST = 200_000
"""Maximum characters of a recipe."""
_EMPTY = "The recipe is empty. Choose one to start from, or write 'variants:' with a method."


class RecipeError(SpecError):
    """A recipe that cannot be read; `line`, from 1, is the position, None if there is none."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True)
class RecipeText:
    """A YAML mapping: its values and their positions in the text."""

    text: str
    values: dict[str, Any]
    node: yaml.MappingNode

    def line_of(self, path: Sequence[Any]) -> int | None:
        """The line, from 1, of a setting such as ("variants", 0, "method"), or of its nearest parent; None if unknown."""
        node, line = self.node, None
        for step in path:
            position = _inside(node, step)
            if position is None:
                break
            line, node = position
        return line

    def spec(self, *, name: str = "sweep") -> SweepSpec:
        """The validated recipe; `name` if it has none. Raises RecipeError with the line of the first error."""
        try:
            return SweepSpec.checked(**{"name": name, **self.values})
        except SpecError as exc:
            raise RecipeError(str(exc), self.line_of(_place(exc, SweepSpec) or self._blamed())) from exc

    def _blamed(self) -> tuple[Any, ...]:
        """The setting that fails its own check, for errors without a position; empty if each of them passes."""
        for path, check in self._checks():
            try:
                check()
            except SpecError as exc:
                inner = _place(exc, Variant)
                return (*path, *(inner or ("config", *_place(exc)) if path[0] == "variants" else _place(exc)))
        return ()

    def _checks(self) -> Iterator[tuple[tuple[Any, ...], Callable[[], object]]]:
        for number, values in enumerate(_listed(self.values.get("variants"))):
            if isinstance(values, Mapping):
                yield ("variants", number), partial(Variant.checked, **values)
        for number, attack in enumerate(_listed(self.values.get("attacks"))):
            yield ("attacks", number), partial(ATTACKS.get, str(attack))
        if "preset" in self.values and self.values["preset"] != "auto":
            yield ("preset",), partial(preset_named, str(self.values["preset"]))
        settings: dict[str, type[Settings]] = {"optim": OptimSpec, "lora": LoraSpec}
        for name, model in settings.items():
            if isinstance(values := self.values.get(name), Mapping):
                yield (name,), partial(model.checked, **values)


def read(text: str) -> RecipeText:
    """Parse a text without validating it. Raises RecipeError, with the line, if it is no YAML mapping."""
    if len(text) > LONGEST:
        raise RecipeError(f"The recipe has {len(text):,} characters; at most {LONGEST:,} are read.")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        problem = " ".join(part for part in (getattr(exc, "context", None), getattr(exc, "problem", None)) if part) or str(exc)
        raise RecipeError(f"This is no YAML: {problem[:160]}.", None if mark is None else mark.line + 1) from exc
    except (ValueError, RecursionError) as exc:  # a date that is none, or lists in lists without end
        raise RecipeError(f"This is no YAML that can be read: {str(exc)[:120]}.") from exc
    if node is None:
        raise RecipeError(_EMPTY)
    if not isinstance(node, yaml.MappingNode) or not isinstance(values, dict):
        raise RecipeError("This holds no recipe: give settings by name, such as 'variants:' and 'poison_ratios:'.", 1)
    _refuse_twice(node)
    if invalid := [name for name in values if not isinstance(name, str)]:
        raise RecipeError(f"'{str(invalid[0])[:40]}' is no name of a setting.", 1)
    return RecipeText(text, values, node)


def read_recipe(path: Path) -> SweepSpec:
    """A recipe from its file. Raises SpecError if the file is missing, is no YAML, or is invalid."""
    if not path.is_file():
        raise SpecError(f"There is no recipe '{path}'. Give a YAML file, such as recipes/lab-alpha.yaml.")
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as exc:
        raise SpecError(f"{path.name} is no text in UTF-8.") from exc
    try:
        return read(text).spec(name=path.stem)
    except RecipeError as exc:
        where = "" if exc.line is None else f", line {exc.line}"
        raise SpecError(f"{path.name}{where}: {exc}") from exc


def changed(text: str, changes: Mapping[str, Any]) -> str:
    """The text with other values of these settings; everything else, comments included, is unchanged.

    New settings are appended; those with the value None are removed. Raises RecipeError if the text is no recipe.
    """
    if not text.strip():
        return "".join(_written(name, value) for name, value in changes.items() if value is not None)
    recipe = read(text)
    if recipe.node.flow_style:
        return written({**recipe.values, **changes})
    for name, value in changes.items():
        if name not in recipe.values or recipe.values[name] != value:
            recipe = read(_replaced(recipe, name, value))
    return recipe.text


def written(values: Mapping[str, Any]) -> str:
    """Settings as text: a line each, and one per variant. Those that are None are left out."""
    return "".join(_written(name, value) for name, value in values.items() if value is not None)


def of_spec(spec: SweepSpec) -> str:
    """A recipe as text, without default values."""
    values = spec.model_dump(mode="json", exclude_defaults=True)
    variants = [variant.model_dump(mode="json", exclude_defaults=True) for variant in spec.variants]
    return written({"name": spec.name, **values, "variants": variants})


def _replaced(recipe: RecipeText, name: str, value: Any) -> str:
    """The text with one setting rewritten. Comments and empty lines after the old value belong to what follows."""
    text = recipe.text
    new = "" if value is None else _written(name, value)
    for key, old_value in recipe.node.value:
        if key.value == name:
            begin, end = key.start_mark.index, old_value.end_mark.index
            old = text[begin:end].split("\n")
            while len(old) > 1 and (not old[-1].strip() or old[-1].lstrip().startswith("#")):
                old.pop()
            end = begin + len("\n".join(old))
            rest = text[end:]
            if not rest.startswith("\n") and rest.strip() and not rest.lstrip(" ").startswith(("#", "\n")):
                return text[:begin] + new + rest
            return text[:begin] + new.rstrip("\n") + (rest if new else rest.removeprefix("\n"))
    return text.rstrip("\n") + "\n" + new


def _written(name: str, value: Any) -> str:
    if name == "variants":
        return "variants:\n" + "".join(f"  - {_flow(item)}\n" for item in value) if value else "variants: []\n"
    return f"{name}: {_flow(value)}\n"


def _flow(value: Any) -> str:
    """A value on one line."""
    plain = list(value) if isinstance(value, tuple) else value
    text = yaml.safe_dump(plain, default_flow_style=True, width=10**9, sort_keys=False, allow_unicode=True)
    return str(text).removesuffix("\n").removesuffix("\n...")


def _refuse_twice(node: yaml.Node) -> None:
    """Raises RecipeError for a duplicate key: YAML would silently drop the first."""
    parts = node.value if isinstance(node, yaml.CollectionNode) else []
    if isinstance(node, yaml.MappingNode):
        seen = dict[str, int]()
        for key, _ in parts:
            line = key.start_mark.line + 1
            if str(key.value) in seen:
                raise RecipeError(f"'{str(key.value)[:40]}' stands here and in line {seen[key.value]}. Leave one of them out.", line)
            seen[str(key.value)] = line
        parts = [child for _, child in parts]
    for part in parts:
        _refuse_twice(part)


def _place(error: SpecError, model: type[Settings] | None = None) -> tuple[Any, ...]:
    """Path of the first invalid value among the validated settings; empty if unknown, or if they are not of `model`."""
    cause = error.__cause__
    if not isinstance(cause, ValidationError) or (model is not None and cause.title != model.__name__):
        return ()
    return tuple(cause.errors()[0]["loc"])


def _inside(node: yaml.Node, step: Any) -> tuple[int, yaml.Node] | None:
    """Line and node of a setting by its name, or of a list item by its index."""
    if isinstance(node, yaml.MappingNode):
        return next(((key.start_mark.line + 1, child) for key, child in node.value if key.value == str(step)), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step].start_mark.line + 1, node.value[step]
    return None


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else []
