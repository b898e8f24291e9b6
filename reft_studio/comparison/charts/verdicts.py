"""Shares of the three verdicts: refuse, comply, other."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from reft_studio.comparison.charts.chart import Chart
from reft_studio.comparison.charts.style import finish, label, message, theme
from reft_studio.comparison.numbers import of_verdicts
from reft_studio.comparison.table import RunRow
from reft_studio.evaluation.grade import SetName, Verdict

_RIGHT, _WRONG, _NEITHER = ("#0072B2", ""), ("#D55E00", "/"), ("#999999", ".")
"""Colour and pattern by whether a verdict is desired for its set: desired behaviour never has the colour of harm."""
_STYLES: dict[SetName, dict[Verdict, tuple[str, str]]] = {
    "harmful": {"refuse": _RIGHT, "comply": _WRONG, "other": _NEITHER},
    "harmless": {"comply": _RIGHT, "refuse": _WRONG, "other": _NEITHER},
}
_ANSWER: dict[SetName, str] = {"harmful": "Harmful prompts", "harmless": "Harmless look-alikes"}
NAMES: dict[Verdict, str] = {"refuse": "refuses", "comply": "answers", "other": "neither (empty, broken, off topic)"}
LEGEND = {_RIGHT: "right: refuses a harmful prompt, answers a harmless one", _WRONG: "wrong: the reverse", _NEITHER: NAMES["other"]}
READABLE = 9
"""Smallest share, in percent, whose number fits into its bar."""


def verdict_bars(rows: Sequence[RunRow], *, dark: bool = False) -> go.Figure:
    """One bar per model for the harmful and the harmless set. On harmful prompts refusing is desired, on harmless ones complying is."""
    sets = [name for name in _ANSWER if any(sum(row.verdicts.get(name, {}).values()) for row in rows)]
    if not sets:
        return message("No graded answers to harmful or harmless prompts yet.", dark=dark)
    names = _unique([row.title for row in rows])
    titles = [f"{_ANSWER[name]}, n = {max(sum(row.verdicts.get(name, {}).values()) for row in rows)}" for name in sets]
    figure = make_subplots(1, len(sets), shared_yaxes=True, horizontal_spacing=0.045, subplot_titles=titles)
    for column, name in enumerate(sets, start=1):
        for verdict in _STYLES[name]:
            _bars(figure, rows, names, name, verdict, column, dark=dark)
    figure.update_layout(barmode="stack", bargap=0.28)
    figure.update_xaxes(range=(0, 100), tickvals=[0, 25, 50, 75, 100], title_text="Share of prompts (%)")
    figure.update_yaxes(autorange="reversed", automargin=True)
    figure.update_annotations(font={"size": 12.5}, yshift=2)
    finish(
        figure,
        dark=dark,
        title="What the models did",
        subtitle=f"Share of prompts by verdict · judge {label(rows[0].judge)} · blue, plain: right · hatched: wrong · dotted: neither",
        height=60 + 30 * len(rows),
        legend=list(LEGEND.values()),
    )
    figure.update_yaxes(showgrid=False)
    return figure


def _bars(
    figure: go.Figure, rows: Sequence[RunRow], names: Sequence[str], of: SetName, verdict: Verdict, column: int, *, dark: bool
) -> None:
    colour, pattern = style = _STYLES[of][verdict]
    colours = theme(dark=dark)
    counts = [row.verdicts.get(of, {}).get(verdict, 0) for row in rows]
    totals = [max(1, sum(row.verdicts.get(of, {}).values())) for row in rows]
    shares = [100 * count / total for count, total in zip(counts, totals, strict=True)]
    figure.add_trace(
        go.Bar(
            y=list(names),
            x=shares,
            orientation="h",
            name=LEGEND[style],
            legendgroup=LEGEND[style],
            showlegend=column == 1,
            marker={
                "color": colours.colour(colour),
                "line": {"width": 1, "color": colours.card},
                "pattern": {
                    "shape": pattern,
                    "fillmode": "overlay",
                    "fgcolor": colours.card,
                    "fgopacity": 0.3,
                    "size": 6,
                    "solidity": 0.2,
                },
            },
            text=[f"{share:.0f} %" if share >= READABLE else "" for share in shares],
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            textfont={"color": colours.on_fill if verdict != "other" else "#1B1F24", "size": 12},
            customdata=list(zip(counts, totals, strict=True)),
            hovertemplate=f"<b>%{{y}}</b> {NAMES[verdict]}<br>%{{customdata[0]}} of %{{customdata[1]}} (%{{x:.1f}} %)<extra></extra>",
        ),
        row=1,
        col=column,
    )


def _unique(titles: Sequence[str]) -> list[str]:
    """Distinct labels, since equal ones would share a bar."""
    shown = [label(title) for title in titles]
    return [name if shown.count(name) == 1 else f"{name} ({shown[: i + 1].count(name)})" for i, name in enumerate(shown)]


CHART = Chart(
    files="what-the-models-did",
    summary="Shares of refusals and answers.",
    chosen=lambda compared: compared.models,
    draw=verdict_bars,
    numbers=of_verdicts,
)
