"""One colour and one shape per method in tables and chat, the same as in the charts (a test holds the two together).

The charts' own table is not imported here: it brings scipy and plotly, a second of start-up.
"""

from __future__ import annotations

from typing import NamedTuple


class Mark(NamedTuple):
    """`colour` is a CSS colour that follows the theme, `shape` a name that `marks.js` draws."""

    colour: str
    shape: str


GREY, SKY, GREEN, VERMILION = "var(--rs-base)", "#56B4E9", "var(--rs-teacher)", "var(--rs-sft)"
BLUE, PINK, ORANGE, INK = "var(--rs-aligned)", "#CC79A7", "#E69F00", "var(--rs-ink)"
MARKS = {
    "base": Mark(GREY, "circle"),
    "aligned": Mark(SKY, "square-open"),
    "teacher": Mark(GREEN, "diamond-open"),
    "sft": Mark(VERMILION, "triangle-up"),
    "aligned_sft": Mark(BLUE, "square"),
    "sa_ft": Mark(PINK, "cross"),
    "filter_only": Mark(ORANGE, "pentagon"),
    "distill_only": Mark(INK, "x"),
    "ref_teacher": Mark(GREEN, "diamond"),
}
UNKNOWN = Mark(GREY, "hexagon")


def mark_of(name: str) -> Mark:
    """The mark of a method or model kind; a grey hexagon for one that has none."""
    return MARKS.get(name, UNKNOWN)
