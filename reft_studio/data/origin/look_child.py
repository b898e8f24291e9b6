"""Looks at files of strangers in a process of its own: `python -m reft_studio.data.origin.look_child`, the other half of `looking.py`.

It reads one request as JSON on a line, and answers with one line of JSON, until its input ends or nobody asks for ten minutes.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from reft_studio import offline
from reft_studio.data.origin import hub
from reft_studio.data.origin.sources import FILE, DataSource, SourceTable, head, local
from reft_studio.data.reading import budget
from reft_studio.data.reading.readers import Preview, preview
from reft_studio.data.rows.mapping import Mapping
from reft_studio.errors import DataError, StudioError

MEMORY = 768 << 20
"""Bytes; a usual look takes 150 MB, of which 90 MB are Python and its libraries."""
SECONDS = 10.0
"""Of processor time."""
TIRED = 256 << 20
"""A process that still takes this much afterwards is replaced, so that nothing big stays."""
MOST_ANSWER = 8 << 20
"""Bytes of an answer."""
TEXT, TURNS = 20_000, 200
"""Characters of a text, and turns of a chat, that are handed on to be shown."""
IDLE_S = 600.0
NICE = 5
_LOG = logging.getLogger(__name__)


def main() -> None:
    """Serve until nobody is there any more."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what anything prints must not get between the answers
    offline.enforce_by_default()
    budget.limit_memory(MEMORY)
    if hasattr(os, "nice"):
        os.nice(NICE)
    while line := _next_line():
        with budget.watched(memory=MEMORY, seconds=SECONDS):
            answer = answered(json.loads(line))
        with suppress(BrokenPipeError):
            answers.write(answer + b"\n")
            answers.flush()


def _next_line() -> bytes:
    bored = threading.Timer(IDLE_S, os._exit, (0,))
    bored.daemon = True
    bored.start()
    try:
        return sys.stdin.buffer.readline()
    finally:
        bored.cancel()


def answered(request: dict[str, Any]) -> bytes:
    """The answer to one request, as JSON on one line."""
    try:
        found = OPERATIONS[request["op"]](request)
        line = _line({"found": found, "tired": budget.resident_memory() > TIRED})
        if len(line) <= MOST_ANSWER:
            return line
        told = f"What {request['name']} holds is too large to be shown: {len(line) / 1e6:.0f} MB of names and texts, of "
        return _failed(DataError.code, f"{told}which at most {MOST_ANSWER >> 20} MB are. Shorten the names of its columns.")
    except StudioError as exc:
        return _failed(exc.code, str(exc))
    except MemoryError:
        return _failed("memory", "")
    except Exception as exc:
        _LOG.exception("a file could not be looked at")
        return _failed("unexpected", type(exc).__name__)


def _failed(kind: str, told: str) -> bytes:
    return _line({"error": kind, "told": told, "tired": kind == "memory" or budget.resident_memory() > TIRED})


def _line(value: dict[str, Any]) -> bytes:
    text = json.dumps(value, ensure_ascii=False, default=_plain)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode("utf-8")  # half a surrogate pair is no text


def _plain(value: object) -> Any:
    return value.model_dump() if isinstance(value, BaseModel) else str(value)


def _preview(request: dict[str, Any]) -> dict[str, Any]:
    return _shown(preview(Path(request["path"]), _mapping(request)))


def _look(request: dict[str, Any]) -> dict[str, Any]:
    text = request["text"]
    return asdict(hub.look(text) if hub.names_a_dataset(text) else local(text))


def _part(request: dict[str, Any]) -> dict[str, Any]:
    source, part = request["source"], SourceTable(**request["part"])
    files = hub.fetch(DataSource(**source), part, first_only=part.kind != FILE or (len(part.files) > 1 and source["place"] == "hub"))
    return _shown(preview(head(files, part.kind, Path(request["target"])), _mapping(request)))


def _mapping(request: dict[str, Any]) -> Mapping | None:
    return Mapping(**request["mapping"]) if request["mapping"] else None


def _shown(found: Preview) -> dict[str, Any]:
    """A preview whose texts are cut to what a page can show."""
    value = asdict(found)
    return {**value, "rows": [_cut(row) for row in value["rows"]]}


def _cut(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= TEXT else f"{value[:TEXT]} … ({len(value) - TEXT:,} more characters)"
    if isinstance(value, dict):
        return {str(key)[:TEXT]: _cut(inner) for key, inner in value.items()}
    return [_cut(inner) for inner in value[:TURNS]] if isinstance(value, list | tuple) else value


OPERATIONS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {"preview": _preview, "look": _look, "part": _part}

if __name__ == "__main__":
    main()
