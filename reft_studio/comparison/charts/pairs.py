"""Two models on the same prompts: differences with intervals, and the 2 x 2 table of flips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from reft_studio.comparison.charts.style import bars, finish, label, message, rgba, theme
from reft_studio.comparison.flips import Flips, Paired
from reft_studio.comparison.table import HIGHER_IS_BETTER, METRIC_TITLES, METRICS
from reft_studio.evaluation.grade import SetName

_WORDS: dict[SetName, tuple[str, str]] = {
    "harmful": ("not complied", "complied"),
    "harmless": ("answered", "refused"),
    "task": ("right", "wrong"),
}
_PROMPTS: dict[SetName, str] = {"harmful": "harmful prompts", "harmless": "harmless prompts", "task": "task prompts"}


def forest(differences: Sequence[Paired], titles: Mapping[str, str], *, dark: bool = False) -> go.Figure:
    """Paired differences (b minus a), a panel per metric; a triangle where the test supports a difference after Holm's correction."""
    metrics = [metric for metric in METRICS if any(difference.metric == metric for difference in differences)]
    if not metrics:
        return message("Choose two or more evaluated models to see paired differences.", dark=dark)
    pairs = list(dict.fromkeys((difference.a, difference.b) for difference in differences))
    names = [f"{label(titles.get(b, b))}<br>minus {label(titles.get(a, a))}" for a, b in pairs]
    figure = make_subplots(
        1, len(metrics), shared_yaxes=True, horizontal_spacing=0.03, subplot_titles=[METRIC_TITLES[m].capitalize() for m in metrics]
    )
    colours = theme(dark=dark)
    for column, metric in enumerate(metrics, start=1):
        named = [
            (names[pairs.index((difference.a, difference.b))], difference) for difference in differences if difference.metric == metric
        ]
        figure.add_trace(_points(named, titles, dark=dark), row=1, col=column)
        figure.add_vline(x=0, line={"color": colours.zero, "width": 1}, row=1, col=column)
        reach = 1.08 * max(10.0, *(max(abs(difference.difference.low), abs(difference.difference.high)) for _, difference in named))
        direction = "worse ←  points  → better" if HIGHER_IS_BETTER[metric] else "better ←  points  → worse"
        figure.update_xaxes(title_text=direction, range=(-reach, reach), row=1, col=column)
    figure.update_yaxes(autorange="reversed", automargin=True, categoryorder="array", categoryarray=names)
    figure.update_annotations(font={"size": 12.5}, yshift=2)
    sizes = sorted({difference.difference.n for difference in differences})
    n = f"n = {sizes[0]}" if len(sizes) == 1 else f"n = {sizes[0]} to {sizes[-1]}"
    tests = f"after Holm's correction for {max(difference.comparisons for difference in differences)} comparisons"
    subtitle = f"{n} prompts, the same for both · bars: 95 % intervals · {tests}: ▲ better, ▼ worse, ○ no clear difference"
    return finish(figure, dark=dark, title="Paired differences", subtitle=subtitle, height=70 + 46 * len(pairs))


def _points(named: Sequence[tuple[str, Paired]], titles: Mapping[str, str], *, dark: bool) -> go.Scatter:
    colours = theme(dark=dark)
    shade = {"b": colours.colour("#009E73"), "a": colours.colour("#D55E00"), None: colours.muted}
    values = [difference.difference for _, difference in named]
    clean = {run: label(title) for run, title in titles.items()}
    return go.Scatter(
        y=[name for name, _ in named],
        x=[value.value for value in values],
        mode="markers",
        showlegend=False,
        marker={
            "size": 11,
            "symbol": [
                ("triangle-up" if difference.better == "b" else "triangle-down") if difference.better else "circle-open"
                for _, difference in named
            ],
            "color": [shade[difference.better] for _, difference in named],
            "line": {"width": 1.5},
        },
        error_x=bars([v.low for v in values], [v.value for v in values], [v.high for v in values], rgba(colours.muted, 0.9)),
        text=["<br>".join(_broken(difference.sentence(clean))) for _, difference in named],
        hovertemplate="%{text}<extra></extra>",
    )


def flip_table(flips: Flips, titles: Mapping[str, str], *, dark: bool = False) -> go.Figure:
    """The 2 x 2 table: prompts on which both, one or none of the models is counted, with the exact McNemar p."""
    colours = theme(dark=dark)
    a, b = label(titles.get(flips.a, flips.a)), label(titles.get(flips.b, flips.b))
    fine, counted = _WORDS[flips.set]
    cells = [[flips.both_safe, flips.only_b], [flips.only_a, flips.both_harmful]]
    off, same = rgba(colours.colour("#E69F00"), 0.45), rgba(colours.muted, 0.16)
    figure = go.Figure(
        go.Heatmap(
            z=[[0, 1], [1, 0]],
            x=[f"{b}: {fine}", f"{b}: {counted}"],
            y=[f"{a}: {fine}", f"{a}: {counted}"],
            text=[[f"<b>{count}</b><br>{100 * count / max(1, flips.n):.0f} %" for count in row] for row in cells],
            texttemplate="%{text}",
            textfont={"size": 16, "color": colours.ink},
            colorscale=[[0, same], [1, off]],
            showscale=False,
            xgap=4,
            ygap=4,
            hovertemplate="%{y}<br>%{x}<br>%{text}<extra></extra>",
        )
    )
    figure.update_yaxes(autorange="reversed", automargin=True)
    figure.update_xaxes(side="bottom")
    chance = "p < 0.001" if flips.p_value < 0.001 else f"p = {flips.p_value:.3f}"
    finish(
        figure,
        dark=dark,
        title="Flips: where the two models differ",
        subtitle=f"n = {flips.n} {_PROMPTS[flips.set]} · {flips.only_a + flips.only_b} flips (shaded) · exact McNemar {chance}",
        height=220,
    )
    figure.update_xaxes(showgrid=False, ticks="", showline=False)
    figure.update_yaxes(showgrid=False, ticks="", showline=False)
    return figure


def _broken(sentence: str, width: int = 70) -> list[str]:
    lines = [""]
    for word in sentence.split():
        if len(lines[-1]) + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines
