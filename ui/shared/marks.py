"""One colour and one shape per method in tables and chat, the same as in the charts (a test holds the two together).

The charts' own table is not imported here: it brings scipy and plotly, a second of start-up.
"""

from __future__ import annotations

from typing import NamedTuple

from reft_studio.defenses import DEFENSES
from reft_studio.defenses.defense import Colour


class PageMark(NamedTuple):
    """`colour` is a CSS colour that follows the theme, `shape` a name that `marks.js` draws."""

    colour: str
    shape: str


COLOURS: dict[Colour, str] = {
    "vermilion": "var(--rs-sft)",
    "blue": "var(--rs-aligned)",
    "pink": "#CC79A7",
    "orange": "#E69F00",
    "green": "var(--rs-teacher)",
    "sky": "#56B4E9",
    "ink": "var(--rs-ink)",
}
GREY = "var(--rs-base)"
KINDS = {
    "base": PageMark(GREY, "circle"),
    "aligned": PageMark(COLOURS["sky"], "square-open"),
    "teacher": PageMark(COLOURS["green"], "diamond-open"),
}
UNKNOWN = PageMark(GREY, "hexagon")


def mark_of(name: str) -> PageMark:
    """The mark of a method or model kind; a grey hexagon for one that has none."""
    if name in DEFENSES:
        style = DEFENSES.get(name).info.style
        return PageMark(COLOURS[style.colour], style.shape)
    return KINDS.get(name, UNKNOWN)
