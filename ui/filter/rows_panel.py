"""The row table with its filters and its SQL box: what the page places, and what the table's server answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import gradio as gr

from reft_studio.studio.row_query import RowFilter
from reft_studio.studio.rows import EXAMPLES
from ui.events import FAST, answer, on, said
from ui.shared.cards import MOST_ROWS, NAME, card_server, masks_all, row_view
from ui.shared.row_table import row_table, row_table_value
from ui.text import count, mask, show

if TYPE_CHECKING:
    from reft_studio.studio.studio import Studio
    from ui.shared.row_table import ServerFunction

SHOWN = 200
"""Rows of an answer in SQL that the page draws."""
CELL, SAFE = 300, 40
"""Characters of a cell; texts longer than `SAFE` are masked with the rest, since they may come from a prompt."""
SENSITIVE = ("prompt", "response", "messages")
NO_INDEX = "There is no search index yet, so the rows are read for a search."
BUILDING = "The search index is being made; until then the rows are read for a search."
CUT = "It was stopped after 5 s: there may be more rows than these."


def draw_rows(studio: Studio, elem_id: str = "rows") -> gr.HTML:
    """The table, hidden until it has a `rows_value`. Give it to `wire_rows` too."""
    return row_table(page_server(studio), card_server(studio), choices_server(studio), sql_server(studio), elem_id=elem_id)


def rows_value(dataset: str, key: str | None, threshold: float | None, missing: int, waiting: int = 0) -> str:
    """Which rows the table shows; without scores `key` and `threshold` are None. `waiting` rows are still to be scored."""
    return row_table_value(dataset, key, threshold, missing, waiting)


def wire_rows(studio: Studio, rows: gr.HTML, line: gr.HTML) -> None:
    """The one thing the table asks to be done: making the search index."""

    def index(event: gr.EventData) -> dict[str, str]:
        studio.rows.index(str(event.dataset))
        return said("The search index is queued. It is made in the background.", "note")

    on(rows.make_index, index, line=line, refresh=True, **FAST)


def page_server(studio: Studio) -> ServerFunction:
    """`srv_rows`: {dataset, key, t, filter, offset, limit, mask} -> {total, offset, rows}, and of a search {note, index}.

    `filter` is as in an address.
    """

    @answer
    def srv_rows(request: dict[str, Any]) -> dict[str, Any]:
        dataset, key, threshold = _asked(request)
        given = request.get("filter")
        wanted = RowFilter.from_query(given if isinstance(given, Mapping) else {})
        offset, limit = max(0, int(request.get("offset", 0))), min(MOST_ROWS, max(1, int(request.get("limit", 50))))
        page = studio.rows.page(dataset, key, threshold, wanted, offset=offset, limit=limit)
        masked, everything = bool(request.get("mask", True)), masks_all(studio)
        line = threshold if threshold is not None else 1.0
        rows = [row_view(row, line, masked=masked, everything=everything) for row in page.rows]
        told = search_note(studio, dataset, wanted.search) if wanted.search.strip() else {}
        return {"total": page.total, "offset": page.offset, "rows": rows, **told}

    return srv_rows


def search_note(studio: Studio, dataset: str, text: str) -> dict[str, Any]:
    """What must be said of a search: that it was slow for want of an index, that it may have missed rows; `index`: one can be asked for."""
    state = studio.rows.search_state(dataset)
    notes = [NO_INDEX] if state == "scan" else [BUILDING] if state == "building" else []
    if not studio.rows.searched(dataset, text).exact:
        notes.append(CUT)
    return {"note": " ".join(notes), "index": state == "scan"}


def choices_server(studio: Studio) -> ServerFunction:
    """`srv_choices`: {dataset, key} -> {facets, tables, examples}: what rows can be filtered by and asked about."""

    @answer
    def srv_choices(request: dict[str, Any]) -> dict[str, Any]:
        dataset, key, _ = _asked({**request, "t": None})
        facets = []
        for one in studio.rows.facets(dataset):
            counts = zip(one.labels, one.counts().tolist(), strict=True)
            labels = [{"label": label, "shown": show(label, NAME), "rows": rows} for label, rows in counts if rows]
            facets.append({"name": one.name, "title": one.title, "labels": labels})
        examples = [{"title": title, "query": query} for title, query in EXAMPLES if key or "scores" not in query]
        return {"facets": facets, "tables": studio.rows.columns(dataset, key), "examples": examples}

    return srv_choices


def sql_server(studio: Studio) -> ServerFunction:
    """`srv_sql`: {dataset, key, t, query, mask, reveal} -> {columns, rows, told, selects, sensitive}."""

    @answer
    def srv_sql(request: dict[str, Any]) -> dict[str, Any]:
        dataset, key, threshold = _asked(request)
        found = studio.rows.ask(dataset, key, threshold, str(request.get("query", "")))
        masked = bool(request.get("mask", True))
        hide = masked and not bool(request.get("reveal", False))
        columns = [name.lower() for name in found.columns]
        rows = [[_cell(value, name, hide=hide) for value, name in zip(row, columns, strict=True)] for row in found.rows[:SHOWN]]
        sensitive = masked and any(_hidden(value, name) for row in found.rows[:SHOWN] for value, name in zip(row, columns, strict=True))
        return {
            "columns": [
                {"name": show(name, NAME), "number": _numeric(kind)} for name, kind in zip(found.columns, found.types, strict=True)
            ],
            "rows": rows,
            "told": _told(len(found.rows), found.cut, found.seconds),
            "selects": found.selects and bool(found.rows),
            "sensitive": sensitive,
        }

    return srv_sql


def _asked(request: Mapping[str, Any]) -> tuple[str, str | None, float | None]:
    key, given = request.get("key"), request.get("t")
    threshold = None if given is None else min(1.0, max(-1.0, float(given)))
    return str(request["dataset"]), str(key) if key else None, threshold


def _told(rows: int, cut: bool, seconds: float) -> str:
    drawn = f", the first {SHOWN} are drawn" if rows > SHOWN else ""
    return f"{'The first ' if cut else ''}{count(rows)} {'row' if rows == 1 else 'rows'}{drawn}, {seconds:.2f} s"


def _numeric(kind: str) -> bool:
    return kind.endswith(("INT", "INTEGER", "DOUBLE", "FLOAT")) or kind.startswith("DECIMAL")


def _hidden(value: Any, column: str) -> bool:
    return isinstance(value, str) and (column in SENSITIVE or len(value) > SAFE)


def _cell(value: Any, column: str, *, hide: bool) -> str | None:
    if value is None or isinstance(value, bool):
        return None if value is None else str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    return mask(value) if hide and _hidden(value, column) else show(value, CELL)
