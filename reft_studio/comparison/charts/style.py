"""The style of all charts: Okabe-Ito colours with a marker and a dash per method, light and dark, n under the title."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from typing import Any

import plotly.graph_objects as go

from reft_studio.defenses import DEFENSES
from reft_studio.defenses.defense import Colour
from reft_studio.stats import Estimate

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
LABEL = 44
"""Maximum label length in characters; longer labels end in an ellipsis."""
_ITEM, _LINE = 7.2, 640
"""Width of a letter and of a legend line in pixels, to compute the legend's height at 1024 pixels."""


@dataclass(frozen=True)
class ChartMark:
    """How one method is drawn; colour is never the only difference."""

    colour: str
    symbol: str
    dash: str


_INK = "ink"
_COLOURS: dict[Colour, str] = {
    "vermilion": "#D55E00",
    "blue": "#0072B2",
    "pink": "#CC79A7",
    "orange": "#E69F00",
    "green": "#009E73",
    "sky": "#56B4E9",
    "ink": _INK,
}
_KINDS: dict[str, ChartMark] = {
    "base": ChartMark("#999999", "circle", "dot"),
    "aligned": ChartMark("#56B4E9", "square-open", "dot"),
    "teacher": ChartMark("#009E73", "diamond-open", "dot"),
}
_OTHERS = (
    ChartMark("#56B4E9", "star-square", "dash"),
    ChartMark("#E69F00", "star-diamond", "dot"),
    ChartMark("#CC79A7", "hexagram", "solid"),
)
"""For results of other programs with unknown methods."""


@dataclass(frozen=True)
class Theme:
    """Colours of one theme; blue is lighter on dark ground, where #0072B2 is too dim to read."""

    ink: str
    muted: str
    line: str
    zero: str
    paper: str
    card: str
    on_fill: str
    dark: bool

    def colour(self, colour: str) -> str:
        """A mark's colour in this theme."""
        if colour == _INK:
            return self.ink
        return {"#0072B2": "#4FA3DC", "#009E73": "#2FBF94", "#D55E00": "#F0803C"}.get(colour, colour) if self.dark else colour


LIGHT = Theme("#1B1F24", "#5A6470", "#E3E7EC", "#9AA4AF", "#FFFFFF", "#FFFFFF", "#FFFFFF", False)
DARK = Theme("#E8ECF1", "#A3ADB8", "#323943", "#6B7683", "#14181D", "#1B2026", "#10141A", True)


def theme(*, dark: bool) -> Theme:
    """The colours for one of the two themes."""
    return DARK if dark else LIGHT


def mark(method: str, *, dark: bool) -> ChartMark:
    """Colour, marker and dash of a method, or of a kind of model; an unknown method gets one determined by its name."""
    if method in DEFENSES:
        style = DEFENSES.get(method).info.style
        chart_mark = ChartMark(_COLOURS[style.colour], style.shape, style.dash)
    else:
        chart_mark = _KINDS.get(method) or _OTHERS[sum(method.encode()) % len(_OTHERS)]
    return ChartMark(theme(dark=dark).colour(chart_mark.colour), chart_mark.symbol, chart_mark.dash)


def rgba(colour: str, alpha: float) -> str:
    """A #RRGGBB colour with an opacity of 0 to 1."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"


def label(text: str) -> str:
    """An untrusted string as plain chart text: no markup, no control or direction marks, cut to LABEL characters."""
    flat = " ".join("".join(c for c in text if unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Co"} or c in "\n\t").split())
    cut = flat if len(flat) <= LABEL else flat[: LABEL - 1] + "…"
    return escape(cut, quote=False)


def estimate_words(estimate: Estimate) -> str:
    """An estimate as hover text: value, interval and n."""
    return f"{estimate.value:.1f} % (95 % interval {estimate.low:.1f} to {estimate.high:.1f}, n = {estimate.n})"


def wrapped(text: str, *, width: int = 108) -> str:
    """Chart text wrapped into lines of about `width` characters, at spaces only, so that escaped text stays intact."""
    lines, line = [], ""
    for word in text.split(" "):
        if line and len(line) + len(word) >= width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    return "<br>".join([*lines, line])


def bars(low: Sequence[float], value: Sequence[float], high: Sequence[float], colour: str) -> dict[str, Any]:
    """Plotly error bars from the ends of intervals."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [h - v for v, h in zip(value, high, strict=True)],
        "arrayminus": [v - lo for v, lo in zip(value, low, strict=True)],
        "color": colour,
        "thickness": 1.4,
        "width": 4,
    }


def finish(
    figure: go.Figure, *, dark: bool, title: str, subtitle: str, height: int, legend: Sequence[str] = (), note: str = ""
) -> go.Figure:
    """The common frame: title, subtitle with n, legend at the bottom, a note under the axes; responsive in width."""
    colours = theme(dark=dark)
    subtitle = wrapped(subtitle, width=120)
    head = 68 + 17 * subtitle.count("<br>") + (24 if figure.layout.annotations else 0)  # panels have titles of their own
    rows = math.ceil(sum(_ITEM * len(name) + 62 for name in legend) / _LINE) if legend else 0
    note = wrapped(note)
    foot = 60 + 22 * rows + (10 + 17 * (note.count("<br>") + 1) if note else 0)
    figure.layout.template = _template(dark)
    figure.update_layout(
        height=height + head + foot,
        margin={"l": 64, "r": 20, "t": head, "b": foot},
        title={"text": title, "subtitle": {"text": subtitle}},
        showlegend=bool(legend),
    )
    if note:
        figure.add_annotation(
            text=note,
            x=0,
            xref="paper",
            xanchor="left",
            y=0,
            yref="paper",
            yanchor="top",
            yshift=-50,
            showarrow=False,
            align="left",
            font={"size": 12, "color": colours.muted},
        )
    return figure


@lru_cache(maxsize=2)
def _template(dark: bool) -> go.layout.Template:
    """The shared layout of one theme, as a template that is validated only once."""
    colours = theme(dark=dark)
    axis = {
        "gridcolor": colours.line,
        "linecolor": colours.line,
        "zeroline": False,
        "tickcolor": colours.line,
        "ticks": "outside",
        "ticklen": 4,
        "tickfont": {"size": 12, "color": colours.muted},
        "title": {"font": {"size": 12.5, "color": colours.ink}, "standoff": 8},
        "showline": True,
    }
    hover = {"font": {"family": FONT, "size": 12.5, "color": colours.ink}, "align": "left"}
    top_left = {"x": 0, "xref": "container", "xanchor": "left", "y": 1, "yref": "container", "yanchor": "top", "pad": {"l": 12, "t": 12}}
    foot = {"orientation": "h", "x": 0, "xanchor": "left", "y": 0, "yref": "container", "yanchor": "bottom", "itemsizing": "constant"}
    return go.layout.Template(
        layout={
            "font": {"family": FONT, "size": 13, "color": colours.ink},
            "title": {
                **top_left,
                "font": {"size": 16, "weight": 600, "color": colours.ink},
                "subtitle": {"font": {"size": 12.5, "color": colours.muted}},
            },
            "paper_bgcolor": colours.card,
            "plot_bgcolor": colours.card,
            "hoverlabel": {"bgcolor": colours.paper, "bordercolor": colours.line, **hover},
            "hovermode": "closest",
            "legend": {**foot, "font": {"size": 12.5}, "bgcolor": "rgba(0,0,0,0)"},
            "xaxis": axis,
            "yaxis": axis,
        }
    )


def message(text: str, *, dark: bool, height: int = 220) -> go.Figure:
    """An empty chart with the reason why it is empty."""
    colours = theme(dark=dark)
    figure = go.Figure()
    figure.layout.template = _template(dark)
    figure.update_layout(height=height, margin={"l": 20, "r": 20, "t": 20, "b": 20}, xaxis={"visible": False}, yaxis={"visible": False})
    figure.add_annotation(
        text=wrapped(escape(text, quote=False), width=80),
        x=0.5,
        y=0.5,
        xref="paper",
        yref="paper",
        showarrow=False,
        font={"family": FONT, "size": 13, "color": colours.muted},
    )
    return figure
