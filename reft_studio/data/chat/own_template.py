"""A prompt template that a person wrote: plain text around {prompt}, or a small part of Jinja in which nothing can hang or grow."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from jinja2 import nodes
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from reft_studio.errors import SpecError

MARK = "custom:"
"""Begins a Jinja template."""
PLACE = "{prompt}"
"""Stands for a user turn in a plain text template."""
PATTERN = rf"^(auto|chat|alpaca|{MARK}[\s\S]+|[\s\S]*\{{prompt\}}[\s\S]*)$"
"""What a template setting may be: the name of one of ours, or an own one."""
LONGEST = 8_000
"""Characters an own template may have."""
_GROWTH, _SLACK = 4, 20_000
"""No value may grow beyond so many times the conversation, and some; the whole text beyond five times that."""
_MOVED = 200_000_000
"""Characters that all sums of one rendering may copy: about a tenth of a second."""
_OPERANDS = 50
"""Parts that one ~ may join."""
_FILTERS = {"trim", "upper", "lower", "capitalize", "title", "first", "last", "length", "count", "default", "d"}
_METHODS = {"strip", "lstrip", "rstrip", "upper", "lower", "startswith", "endswith", "get"}
_CALLS = {"raise_exception", "namespace"}
_TESTS = {
    "defined",
    "undefined",
    "none",
    "string",
    "mapping",
    "eq",
    "equalto",
    "ne",
    "true",
    "false",
    "in",
    "odd",
    "even",
    "boolean",
    "number",
}
_ALLOWED: tuple[type[nodes.Node], ...] = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.For, nodes.If, nodes.Assign, nodes.NSRef, nodes.Name, nodes.Const),
    *(nodes.Getattr, nodes.Getitem, nodes.Slice, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.CondExpr),
    *(nodes.Add, nodes.Sub, nodes.Mod, nodes.Neg, nodes.Concat, nodes.Filter, nodes.Test, nodes.Call, nodes.Keyword, nodes.List),
)


class _Space(Namespace):
    """A namespace that says nothing of what it holds, since spaces that hold spaces could say it without end."""

    def __repr__(self) -> str:
        return "namespace"


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox; sums cannot grow without bound, and % is for numbers, since on text it can ask for any width."""

    intercepted_binops = frozenset({"+", "%"})
    limit = _SLACK
    moved = 0

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Do + or % within the limits. Raises SecurityError beyond them."""
        if isinstance(left, int) and isinstance(right, int):
            return super().call_binop(context, operator, left, right)
        if operator == "%" or not (isinstance(left, str) and isinstance(right, str)):
            raise SecurityError(f"{operator} is for {'whole numbers' if operator == '%' else 'two texts or two numbers'}")
        self.moved += len(left) + len(right)
        if len(left) + len(right) > self.limit or self.moved > _MOVED:
            raise SecurityError("a text grows far beyond the conversation")
        return left + right


def is_own(choice: str) -> bool:
    """Whether a template setting is an own template and not the name of one of ours."""
    return choice.startswith(MARK) or PLACE in choice


def uses_specials(choice: str) -> bool:
    """Whether the text holds the tokenizer's special tokens, so that it must not add them again."""
    return choice.startswith(MARK) and "bos_token" in choice


def render_own(choice: str, messages: Sequence[Mapping[str, str]], *, specials: Mapping[str, str]) -> str:
    """The prompt of a conversation of `role` and `content` texts, up to where the model answers.

    Raises SpecError if the template is refused: too long, no place for the prompt, or anything in it that could hang.
    """
    if not choice.startswith(MARK):
        return _render_plain(choice, messages)
    template = _compiled(choice)
    last = next((turn["content"] for turn in reversed(messages) if turn["role"] == "user"), "")
    sandbox = template.environment
    sandbox.limit, sandbox.moved = _GROWTH * sum(len(turn["content"]) for turn in messages) + _SLACK, 0
    parts, size = [], 0
    try:
        for part in template.generate(messages=messages, prompt=last, add_generation_prompt=True, **specials):
            parts.append(part)
            size += len(part)
            if size > 5 * sandbox.limit:
                raise SecurityError("its text grows far beyond the conversation")
    except (TemplateError, TypeError, ValueError, KeyError, AttributeError, IndexError, RecursionError) as exc:
        raise SpecError(f"Your template cannot be rendered: {_told(exc)}. Compare it with the model's card, or use 'auto'.") from exc
    return "".join(parts)


def check_own(choice: str, *, specials: Mapping[str, str]) -> None:
    """Raises SpecError unless the template can be rendered and shows the whole prompt, and ends after it."""
    if len(choice) > LONGEST:
        raise SpecError(f"Your template has {len(choice):,} characters; at most {LONGEST:,} are allowed.")
    marked = "first line\n<<the prompt>> {{ 7 }} {prompt}"
    text = render_own(choice, [{"role": "user", "content": marked}], specials=specials)
    if marked not in text:
        raise SpecError("Your template does not show the prompt. Put {prompt} into plain text, or {{ prompt }} or messages into Jinja.")


def _render_plain(choice: str, messages: Sequence[Mapping[str, str]]) -> str:
    """Each user turn stands in for {prompt}, each answer follows; a system turn opens the first user turn."""
    text, opening = "", ""
    for turn in messages:
        if turn["role"] == "system":
            opening += turn["content"] + "\n\n"
        elif turn["role"] == "assistant":
            text += turn["content"] + "\n\n"
        else:
            text += choice.replace(PLACE, opening + turn["content"])
            opening = ""
    return text


@cache
def _compiled(choice: str) -> Any:
    environment = _Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[])
    environment.globals = {"raise_exception": _refuse, "namespace": _Space}
    environment.filters = {name: value for name, value in environment.filters.items() if name in _FILTERS}
    try:
        parsed = environment.parse(choice.removeprefix(MARK))
    except TemplateError as exc:
        raise SpecError(f"Your template is no Jinja that is allowed here: {_told(exc)}.") from exc
    except RecursionError as exc:
        raise SpecError("Your template is nested too deeply. Use a simpler one.") from exc
    for node in _walk(parsed):
        if complaint := _complaint(node):
            raise SpecError(
                f"Your template uses {complaint} (line {node.lineno}), which could hang or read what it must not. Allowed are: for over "
                "messages, if, set, comparisons, +, ~, and the filters trim, upper, lower, first, last, length and default."
            )
    return environment.from_string(parsed)


def _walk(node: nodes.Node) -> Iterator[nodes.Node]:
    yield node
    for child in node.iter_child_nodes():
        yield from _walk(child)


def _complaint(node: nodes.Node) -> str:
    """What is wrong with a node, or nothing. Time is linear in the turns: loops do not nest and iterate over what is given."""
    if not isinstance(node, _ALLOWED):
        return f"'{type(node).__name__.lower()}'"
    if isinstance(node, nodes.For) and (node.recursive or any(node.find_all(nodes.For))):
        return "a loop in a loop"
    if isinstance(node, nodes.Assign) and any(isinstance(part, nodes.Concat) for part in _walk(node.node)):
        return "~ in set (use +)"
    if isinstance(node, nodes.Concat) and len(node.nodes) > _OPERANDS:
        return f"more than {_OPERANDS} parts joined by ~"
    if isinstance(node, nodes.List | nodes.Keyword) and not all(isinstance(part, nodes.Const) for part in node.iter_child_nodes()):
        return "a list or argument that holds no plain text"
    if isinstance(node, nodes.Filter) and node.name not in _FILTERS:
        return f"the filter '{node.name}'"
    if isinstance(node, nodes.Test) and node.name not in _TESTS:
        return f"the test '{node.name}'"
    if isinstance(node, nodes.Getattr) and node.attr.startswith("_"):
        return f"'{node.attr}'"
    if isinstance(node, nodes.Call) and not _may_be_called(node.node):
        return "a call"
    return ""


def _may_be_called(what: nodes.Expr) -> bool:
    return (isinstance(what, nodes.Name) and what.name in _CALLS) or (isinstance(what, nodes.Getattr) and what.attr in _METHODS)


def _refuse(message: str = "") -> str:
    raise TemplateError(str(message)[:200])


def _told(exc: Exception) -> str:
    return re.sub(r"\s+", " ", str(exc) or type(exc).__name__)[:200]
