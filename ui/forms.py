"""A config class as a form: label, help and bounds come from its fields, and what was typed goes back through its own checks."""

from __future__ import annotations

import re
import types
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar, Union, get_args, get_origin

import annotated_types
import gradio as gr
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from reft_studio.errors import SpecError
from reft_studio.training.naming import label_of
from ui.text import show

M = TypeVar("M", bound=BaseModel)
_CHOICES_AS_RADIO = 3
MOST_SEEDS = 12
_PART = re.compile(r"(\d{1,9})(?:\s*(?:-|–|to)\s*(\d{1,9}))?")


@dataclass(frozen=True)
class Form(Generic[M]):
    """Inputs for the fields of `model`, in their order; fields that were left out keep the values of `base`."""

    model: type[M]
    inputs: dict[str, gr.components.Component]
    base: dict[str, Any]

    @property
    def components(self) -> list[gr.components.Component]:
        """What to pass as `inputs=` of an event; the handler hands the values to `read`."""
        return list(self.inputs.values())

    def read(self, *values: Any) -> M:
        """The typed values as a checked `model`. Raises SpecError naming each field, its value and what is allowed."""
        typed = {name: _typed(self.model.model_fields[name], value) for name, value in zip(self.inputs, values, strict=True)}
        return checked(self.model, {**self.base, **typed})

    def updates(self, value: M) -> list[Any]:
        """`value` as new contents of `components`, in order."""
        return [gr.update(value=shown(getattr(value, name))) for name in self.inputs]


def form(
    model: type[M],
    *,
    value: M | None = None,
    skip: Collection[str] = (),
    only: Collection[str] | None = None,
    labels: Mapping[str, str] | None = None,
    suggested: Collection[str] = (),
    prefix: str = "field",
) -> Form[M]:
    """Draw an input for every field of `model` (or `only` some) where the caller stands in the layout.

    `elem_id` of an input is `prefix-field`. A text field in `suggested` is a list to choose from, which is filled later and takes any
    other text too. Fields that hold other models or lists of them cannot be drawn: SpecError.
    """
    values = (
        {name: getattr(value, name) for name in model.model_fields}
        if value is not None
        else {name: field.get_default(call_default_factory=True) for name, field in model.model_fields.items()}
    )
    names = [name for name in model.model_fields if name not in skip and (only is None or name in only)]
    inputs = {
        name: _input(name, model.model_fields[name], values[name], (labels or {}).get(name), prefix, suggested=name in suggested)
        for name in names
    }
    return Form(model, inputs, {name: kept for name, kept in values.items() if name not in inputs})


def joined(first: Form[M], second: Form[M]) -> Form[M]:
    """Two forms of one model that were drawn at different places, as one."""
    inputs = {**first.inputs, **second.inputs}
    return Form(first.model, inputs, {name: kept for name, kept in first.base.items() if name not in inputs})


def checked(model: type[M], values: Mapping[str, Any]) -> M:
    """`values` as a `model`, or a SpecError that says for each wrong field what was given and what is allowed."""
    try:
        return model(**values)
    except ValidationError as exc:
        raise SpecError(" ".join(_complaint(model, error) for error in exc.errors()[:4])) from exc


def allowed(field: FieldInfo) -> str:
    """The bounds of a field in words: `1 to 64`, `above 0 and below 1`, `at least 1`; empty if it has none."""
    low = _bound(field, annotated_types.Ge, "ge"), _bound(field, annotated_types.Gt, "gt")
    high = _bound(field, annotated_types.Le, "le"), _bound(field, annotated_types.Lt, "lt")
    if low[0] and high[0]:
        return f"{low[0]} to {high[0]}"
    words = (("at least", low[0]), ("above", low[1]), ("at most", high[0]), ("below", high[1]))
    return " and ".join(f"{word} {bound}" for word, bound in words if bound)


def _input(name: str, field: FieldInfo, value: Any, label: str | None, prefix: str, *, suggested: bool = False) -> gr.components.Component:
    kind, options = _kind(field.annotation)
    help_text = _sentence("; ".join(part for part in ((field.description or "").rstrip("."), allowed(field)) if part))
    named: dict[str, Any] = {"label": label or label_of(name, field), "info": help_text or None, "elem_id": f"{prefix}-{name}"}
    if suggested and kind is str:
        return gr.Dropdown([shown(value)] if value else [], value=shown(value), allow_custom_value=True, **named)
    if kind is bool:
        return gr.Checkbox(bool(value), **named)
    if kind is Literal:
        draw = gr.Radio if len(options) <= _CHOICES_AS_RADIO else gr.Dropdown
        return draw([str(option) for option in options], value=str(value), **named)
    if kind in (int, float) and _is_optional(field.annotation):  # Gradio shows a number field without a value as 0
        return gr.Textbox("" if value is None else str(value), max_lines=1, **named)
    if kind in (int, float):
        return gr.Number(shown(value), precision=0 if kind is int else None, **named)
    if kind in (str, list, tuple):
        return gr.Textbox(shown(value), **named)
    raise SpecError(
        f"The field '{name}' of {getattr(field.annotation, '__name__', 'its class')} cannot be drawn as an input; leave it out of the form."
    )


def _sentence(text: str) -> str:
    """With a capital, unless it begins with a value that is explained, like `auto: float32`."""
    first = text.split(" ", 1)[0]
    return text if first.endswith(":") else text[:1].upper() + text[1:]


def _kind(annotation: Any) -> tuple[Any, Sequence[Any]]:
    """The type that decides the input, seen through Optional and Annotated, and the options if it is a choice."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType) and (lists := [part for part in arguments if get_origin(part) in (list, tuple)]):
        return _kind(lists[0])  # a list, or a word that stands for one
    if origin in (Union, types.UnionType):
        rest = [part for part in arguments if part is not type(None)]
        return _kind(rest[0]) if rest else (str, ())
    if origin is Literal:
        return Literal, arguments
    if origin in (list, tuple):
        return origin, arguments
    return annotation, ()


def _is_optional(annotation: Any) -> bool:
    return type(None) in get_args(annotation)


def shown(value: Any) -> Any:
    """A value of a setting as its input shows it."""
    return ", ".join(str(part) for part in value) if isinstance(value, (list, tuple)) else value


def _typed(field: FieldInfo, value: Any) -> Any:
    kind, _ = _kind(field.annotation)
    if isinstance(value, str) and not value.strip() and _is_optional(field.annotation):
        return None
    if kind in (list, tuple):
        words = [word for part in get_args(field.annotation) if get_origin(part) is Literal for word in get_args(part)]
        if str(value or "").strip() in words:
            return str(value).strip()
        return [part.strip() for part in str(value or "").split(",") if part.strip()]
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


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


def _bound(field: FieldInfo, kind: type, attribute: str) -> str:
    limits = [getattr(limit, attribute) for limit in field.metadata if isinstance(limit, kind)]
    return (f"{limits[0]:,.0f}" if float(limits[0]).is_integer() else f"{limits[0]:g}") if limits else ""


def _complaint(model: type[BaseModel], error: Any) -> str:
    name = str(error["loc"][0]) if error["loc"] else ""
    field = model.model_fields.get(name)
    if field is None:
        return f"{error['msg'].removeprefix('Value error, ')}."
    given = "empty" if error["input"] in (None, "") else f"{error['input']!r}"[:60]
    limits = allowed(field)
    rule = f"Allowed: {limits}." if limits else f"{error['msg'].removeprefix('Value error, ')}."
    return f"{label_of(name, field)} is {given}. {rule}"
