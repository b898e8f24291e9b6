"""One colour and one shape per method, the same in tables, chat and charts; never colour alone."""

from __future__ import annotations

from typing import NamedTuple


class Mark(NamedTuple):
    """`shape` is a name that both Plotly and `marks.js` know."""

    colour: str
    shape: str


MARKS = {
    "base": Mark("#999999", "circle"),
    "aligned": Mark("#0072B2", "square"),
    "teacher": Mark("#CC79A7", "star"),
    "sft": Mark("#D55E00", "triangle-up"),
    "aligned_sft": Mark("#56B4E9", "pentagon"),
    "sa_ft": Mark("#E69F00", "cross"),
    "filter_only": Mark("#B8A100", "x"),
    "distill_only": Mark("#6A51A3", "hexagon"),
    "ref_teacher": Mark("#009E73", "diamond"),
}
UNKNOWN = Mark("#7F7F7F", "circle")


def mark_of(name: str) -> Mark:
    """The mark of a method or model kind; grey for one that has none."""
    return MARKS.get(name, UNKNOWN)
