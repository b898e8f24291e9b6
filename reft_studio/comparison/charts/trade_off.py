"""The headline chart: harmful score against finetune accuracy, and against over-refusal, since refusing everything looks safe."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from reft_studio.comparison.charts.chart import Chart
from reft_studio.comparison.charts.style import ChartMark, bars, estimate_words, finish, label, mark, message, rgba, theme
from reft_studio.comparison.frontier import non_dominated, not_separable
from reft_studio.comparison.numbers import of_models
from reft_studio.comparison.table import Metric, RunRow, Summary, summaries
from reft_studio.stats import Estimate

RANGE = (-4, 104)
_SIDES = ("fa", "over_refusal")


def trade_off(rows: Sequence[RunRow], *, dark: bool = False) -> go.Figure:
    """HS against FA and against over-refusal, for comparable rows. Large marks are methods, crosses 95 % intervals, dots seeds."""
    means = [summary for summary in summaries(rows) if summary.hs and (summary.fa or summary.over_refusal)]
    if not means:
        return message("No evaluated model yet. Train a run, or evaluate the base model, to see the trade-off.", dark=dark)
    names = _names(means)
    figure = make_subplots(1, 2, shared_yaxes=True, horizontal_spacing=0.06)
    for summary, name in zip(means, names, strict=True):
        _method(figure, summary, name, [row for row in rows if row.run_id in summary.runs], mark(summary.method, dark=dark))
    _steps(figure, means, dark=dark)
    figure.update_xaxes(title_text="Finetune accuracy (%)   better →", range=RANGE, row=1, col=1)
    figure.update_xaxes(title_text="← better   Over-refusal of harmless prompts (%)", range=_range(means), row=1, col=2)
    figure.update_yaxes(title_text="← better   Harmful score (%)", range=RANGE, row=1, col=1)
    figure.update_yaxes(range=RANGE, row=1, col=2)
    legend = [*names, "not beaten on both"]
    return finish(
        figure,
        dark=dark,
        title="Safety against usefulness",
        subtitle=_subtitle(rows, means),
        height=400,
        legend=legend,
        note=_note(means, names),
    )


def _method(figure: go.Figure, summary: Summary, name: str, runs: Sequence[RunRow], style: ChartMark) -> None:
    for column, side in enumerate(_SIDES, start=1):
        x, y = (summary.fa if side == "fa" else summary.over_refusal), summary.hs
        if x is None or y is None:
            continue
        if len(runs) > 1:
            _seeds(figure, runs, side, column, name, style)
        what = "Finetune accuracy" if side == "fa" else "Over-refusal"
        seeds = f"mean of {summary.seeds} seeds" if summary.seeds > 1 else "one run"
        figure.add_trace(
            go.Scatter(
                x=[x.value],
                y=[y.value],
                mode="markers",
                name=name,
                legendgroup=name,
                showlegend=column == 1 or summary.fa is None,
                marker={"color": style.colour, "symbol": style.symbol, "size": 12, "line": {"width": 1.5, "color": style.colour}},
                error_x=bars([x.low], [x.value], [x.high], rgba(style.colour, 0.65)),
                error_y=bars([y.low], [y.value], [y.high], rgba(style.colour, 0.65)),
                hovertemplate=f"<b>{name}</b> ({seeds})<br>Harmful score {estimate_words(y)}<br>{what} {estimate_words(x)}<extra></extra>",
            ),
            row=1,
            col=column,
        )


def _seeds(figure: go.Figure, runs: Sequence[RunRow], side: str, column: int, name: str, style: ChartMark) -> None:
    points = [(row.metric("fa" if side == "fa" else "over_refusal"), row.hs, row) for row in runs]
    known = [(x, y, row) for x, y, row in points if x is not None and y is not None]
    figure.add_trace(
        go.Scatter(
            x=[x.value for x, _, _ in known],
            y=[y.value for _, y, _ in known],
            mode="markers",
            legendgroup=name,
            showlegend=False,
            marker={"color": rgba(style.colour, 0.55), "symbol": "circle", "size": 5},
            text=[f"{label(row.title)} ({label(row.run_id)})" for _, _, row in known],
            hovertemplate="%{text}<br>Harmful score %{y:.1f} %<br>%{x:.1f} %<extra></extra>",
        ),
        row=1,
        col=column,
    )


def _steps(figure: go.Figure, means: Sequence[Summary], *, dark: bool) -> None:
    """The staircase through the methods that no other beats on both HS and FA."""
    front = sorted((means[i].fa.value, means[i].hs.value) for i in non_dominated(means))  # type: ignore[union-attr]
    colours = theme(dark=dark)
    figure.add_trace(
        go.Scatter(
            x=[x for x, _ in front] or [None],
            y=[y for _, y in front] or [None],
            mode="lines",
            line={"shape": "vh", "dash": "dot", "width": 1.5, "color": colours.muted},
            name="not beaten on both",
            hoverinfo="skip",
        ),
        row=1,
        col=1,
    )


def _range(means: Sequence[Summary]) -> tuple[float, float]:
    """Over-refusal is small or large: a quarter, a half or all of the scale."""
    top = max((mean.over_refusal.high for mean in means if mean.over_refusal), default=100.0)
    end = next(size for size in (25, 50, 100) if top <= size)
    return -0.04 * end, 1.04 * end


def _names(means: Sequence[Summary]) -> list[str]:
    """Titles, with the poison ratio or a number appended where two settings of a method would have the same."""
    titles = [label(summary.title) for summary in means]
    if len({summary.poison_ratio for summary in means if summary.poison_ratio is not None}) > 1:
        titles = [
            title if mean.poison_ratio is None else f"{title}, {100 * mean.poison_ratio:g} % poison"
            for title, mean in zip(titles, means, strict=True)
        ]
    return [title if titles.count(title) == 1 else f"{title} ({titles[: i + 1].count(title)})" for i, title in enumerate(titles)]


def _subtitle(rows: Sequence[RunRow], means: Sequence[Summary]) -> str:
    kinds: tuple[tuple[str, Metric], ...] = (("harmful", "hs"), ("harmless", "over_refusal"), ("task prompts", "fa"))
    sizes = [(kind, _first([mean.metric(metric) for mean in means])) for kind, metric in kinds]
    counts = ", ".join(f"{estimate.n} {kind}" for kind, estimate in sizes if estimate)
    return f"n = {counts} · judge {label(rows[0].judge)} · crosses: 95 % intervals · dots: seeds"


def _first(estimates: Sequence[Estimate | None]) -> Estimate | None:
    return next((estimate for estimate in estimates if estimate is not None), None)


def _note(means: Sequence[Summary], names: Sequence[str]) -> str:
    pairs = [f"{names[i]} and {names[j]}" for i, j in not_separable(means)]
    if not pairs:
        return ""
    more = f", and {len(pairs) - 4} more" if len(pairs) > 4 else ""
    return f"Not separable here (intervals overlap in both harmful score and accuracy): {'; '.join(pairs[:4])}{more}."


CHART = Chart(
    files="safety-against-usefulness",
    summary="Harmful score against finetune accuracy and over-refusal.",
    chosen=lambda compared: compared.models,
    draw=trade_off,
    numbers=of_models,
)
