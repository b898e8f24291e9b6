"""A table for what fits on a screen: plain data in, text only on the page, rows that can be picked, buttons that ask first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import gradio as gr

from ui.text import show
from ui.widgets import widget

ROWS = 200
"""Rows sent at most; longer lists belong in the virtual table."""


@dataclass(frozen=True)
class Column:
    """`kind`: text (wraps), short (does not), num (right, tabular), mono, badge.

    A badge cell may be `(text, kind)` with a kind of `.rs-badge`.
    """

    key: str
    label: str
    kind: Literal["text", "short", "line", "num", "mono", "badge"] = "text"


@dataclass(frozen=True)
class Action:
    """A button in every row; `confirm` is the question asked before it acts. The event `act` carries `{act, id}`."""

    act: str
    label: str
    confirm: str = ""


def table(
    columns: Sequence[Column],
    *,
    elem_id: str,
    empty: str,
    actions: Sequence[Action] = (),
    pick: bool = False,
    caption: str = "",
    waits: bool = True,
) -> gr.HTML:
    """A table; give it `table_value(…)`. Its events: `pick` ({id}, with `pick=True`) and `act` ({act, id}).

    `empty` is the sentence shown when there is no row; it says what to do. Until the first value comes nothing is said of rows, unless
    the table is one that is filled only when somebody asks (`waits=False`).
    """
    return widget(
        "table",
        None if waits else table_value([]),
        elem_id=elem_id,
        columns=[asdict(column) for column in columns],
        actions=[asdict(action) for action in actions],
        empty=empty,
        pick=pick,
        caption=caption,
    )


def table_value(rows: Iterable[Mapping[str, Any]], *, selected: str | int | None = None, total: int | None = None) -> dict[str, Any]:
    """Rows as the table's value: `id` stays as it is, every other cell crosses `show`. `total` adds "showing a of b"."""
    cells = [{key: value if key == "id" else _cell(value) for key, value in row.items()} for row in rows]
    return {"rows": cells[:ROWS], "selected": selected, "total": total if total is not None else len(cells)}


def _cell(value: Any) -> Any:
    if isinstance(value, tuple):
        text, kind = value
        return {"text": show(text, 200), "kind": str(kind)}
    return "–" if value is None else show(value, 600)
