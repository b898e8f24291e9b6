"""Renders chat templates that strangers wrote, in a process of its own with little memory: the other half of `renderer.py`.

Run as a script, so that nothing of the app is loaded. It reads one request a line from standard input (JSON: template, names, chats,
add_generation_prompt) and answers with one line a chat: {"text": …}, or {"error": …, "why": …} with one of the kinds below. A template
sees what transformers shows it (`render_jinja_template` of 5.24), but for what would give another text another time: the clock stands
still, and `random` and `lipsum` are not there.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from typing import Any

import jinja2.ext
from jinja2 import nodes
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

CLOCK = datetime(2025, 1, 1, 12)
"""What `strftime_now` of every template says, always."""
SECONDS = 1.0
"""Seconds of processor time that one conversation may take."""
MEMORY = 1 << 29
"""Bytes of address space that the process may have."""
GROWTH, SPARE = 8, 1_000_000
"""Characters of a rendered conversation: so many times its own, and some."""
REFUSED, SYNTAX, SLOW, LARGE = "refused", "syntax", "slow", "large"
"""The template refuses the conversation; it is no template; time ran out; memory did, or the text is too long."""
_REASONING = ("reasoning_content", "thinking", "reasoning")


class _Slow(BaseException):
    """Time ran out; no Exception, so that nothing in between takes it for an error of the template."""


class _Large(Exception):
    """The text grows beyond what a conversation of this length can need."""


class _Generation(jinja2.ext.Extension):
    """The block that marks what an assistant said, for those who train on it only; here its content stands as it is."""

    tags = {"generation"}  # noqa: RUF012  as Jinja declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Dict:
    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)


class _Namespace(Namespace):
    def __setitem__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            raise SecurityError("a namespace holds no such name")
        super().__setitem__(name, value)


def main() -> int:
    """Answer requests until there are no more."""
    _limit()
    signal.signal(signal.SIGPROF, _stop)
    for line in sys.stdin.buffer:
        request = json.loads(line)
        for chat in request["chats"]:
            os.write(1, json.dumps(answer(request, chat)).encode() + b"\n")
    return 0


def answer(request: dict[str, Any], chat: list[dict[str, Any]]) -> dict[str, str]:
    """The text of a conversation, or why there is none."""
    try:
        with _timed():
            template, complaint = _compiled(request["template"])
            if template is None:
                return {"error": SYNTAX, "why": complaint}
            given = {"messages": [_plain(turn) for turn in chat], "tools": None, "documents": None, **request["names"]}
            return {"text": _text(template, {**given, "add_generation_prompt": request["add_generation_prompt"]}, chat)}
    except _Slow:
        return {"error": SLOW}
    except (_Large, MemoryError, OverflowError):
        return {"error": LARGE}
    except Exception as exc:  # whatever a template does to what it is given
        return {"error": REFUSED, "why": _line(exc)}


def _text(template: Any, given: dict[str, Any], chat: list[dict[str, Any]]) -> str:
    parts, size = [], 0
    for part in template.generate(**given):
        parts.append(part)
        size += len(part)
        if size > SPARE and size > GROWTH * len(json.dumps(chat, ensure_ascii=False)) + SPARE:
            raise _Large
    return "".join(parts)


def _plain(turn: dict[str, Any]) -> dict[str, Any]:
    """A turn without what is None, its reasoning under every name that templates look for."""
    found = {key: value for key, value in turn.items() if value is not None}
    thought = next((found[key] for key in _REASONING if key in found), None)
    return found if thought is None else {"thinking": thought, **found, "reasoning_content": thought}


@lru_cache(maxsize=16)
def _compiled(source: str) -> tuple[Any, str]:
    """The template; None, and why, if it is none."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols])
    environment.filters["tojson"] = _tojson
    del environment.filters["random"], environment.globals["lipsum"]
    environment.globals |= {"raise_exception": _refuse, "strftime_now": CLOCK.strftime, "dict": _Dict(), "namespace": _Namespace}
    try:
        return environment.from_string(source), ""
    except (TemplateError, RecursionError, SyntaxError, ValueError) as exc:
        return None, _line(exc)


def _line(exc: Exception) -> str:
    """What an error says, in one short line."""
    return " ".join((str(exc) or type(exc).__name__).split())[:200]


def _tojson(value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _refuse(message: str = "") -> str:
    raise TemplateError(message)


@contextmanager
def _timed() -> Iterator[None]:
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _stop(*_: Any) -> None:
    raise _Slow


def _limit() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    except (ValueError, OSError):  # macOS keeps no such limit: there the time alone is limited
        return


if __name__ == "__main__":
    sys.exit(main())
