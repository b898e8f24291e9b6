"""What the pages ask of the app while somebody audits, timed in a process of its own."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.audit_scene import memory_mb
from reft_studio.studio.row_query import RowFilter
from reft_studio.studio.studio import Studio
from reft_studio.workspace import Workspace

TURNS = 60
PAGE = 50
BULK = 100_000
WORDS = 40
"""Different words that are searched for."""


def serve(workspace: Workspace, dataset: str) -> dict[str, Any]:
    """Milliseconds of each turn by name, and the memory of this process at the end."""
    started = time.perf_counter()
    studio = Studio(workspace)
    times = {"open": [_open(studio, started)]}
    draw = np.random.default_rng(1)
    times |= _looking(studio, dataset, draw)
    times |= _deciding(studio, dataset, draw)
    return {"times": times, "memory_mb": memory_mb(os.getpid())}


def _open(studio: Studio, started: float) -> float:
    """From nothing to the values of the Filter page and its first rows."""
    state = studio.state()
    assert state.dataset is not None and state.score is not None and state.threshold is not None
    studio.scores.view(state.dataset.id, state.score.key)
    studio.rows.page(state.dataset.id, state.score.key, state.threshold, RowFilter(side="flagged"), offset=0, limit=PAGE)
    return 1000 * (time.perf_counter() - started)


def _looking(studio: Studio, dataset: str, draw: np.random.Generator) -> dict[str, list[float]]:
    state = studio.state()
    assert state.score is not None
    key = state.score.key
    lists = (RowFilter(side="flagged"), RowFilter(side="kept"), RowFilter(order="borderline"), RowFilter(order="file"))

    totals = {rows: studio.rows.count(dataset, key, 0.0, rows) for rows in lists}

    def page(turn: int) -> None:
        """Another place of another list at the same threshold, as somebody scrolls."""
        rows = lists[turn % len(lists)]
        studio.rows.page(dataset, key, 0.0, rows, offset=int(draw.integers(0, max(1, totals[rows] - PAGE))), limit=PAGE)

    def moved(turn: int) -> None:
        """The first page of the flagged rows at a threshold nobody asked for yet."""
        studio.rows.page(dataset, key, float(turn) / 1000 - 0.3, RowFilter(side="flagged"), offset=0, limit=PAGE)

    def panel(turn: int) -> None:
        studio.choose(threshold=float(turn) / 1000)
        studio.scores.view(dataset, key)

    found = {"panel": _timed(panel), "page": _timed(page), "moved": _timed(moved)}
    words = [
        word
        for row in studio.datasets.rows(dataset, RowFilter(order="file"), offset=0, limit=WORDS).rows
        for word in row["prompt"].split()[:1]
    ]

    def search(turn: int) -> None:
        """A word, or two, with the first page of what holds them."""
        text = words[turn % len(words)] if turn % 2 else f"{words[turn % len(words)]} {words[(turn + 7) % len(words)]}"
        studio.rows.page(dataset, key, 0.0, RowFilter(search=text), offset=0, limit=PAGE)

    return {**found, "search": _timed(search)}


def _deciding(studio: Studio, dataset: str, draw: np.random.Generator) -> dict[str, list[float]]:
    rows = draw.permutation(studio.audit.audited(dataset)[0].rows)[: 2 * BULK + TURNS]
    ids = [int(row) for row in rows]

    def bulk(turn: int) -> None:
        studio.audit.decide_many(dataset, ids[turn * BULK : (turn + 1) * BULK], "remove", reason="bulk")

    found = {"bulk": _timed(bulk, turns=2)}

    def decide(turn: int) -> None:
        studio.audit.decide(dataset, ids[2 * BULK + turn], "keep", reason="read", seen=True)

    return {**found, "decide": _timed(decide)}


def _timed(work: Callable[[int], None], *, turns: int = TURNS) -> list[float]:
    """Milliseconds of each turn, after one that warms up where there are many."""
    if turns > 2:
        work(0)
    times = []
    for turn in range(turns):
        started = time.perf_counter()
        work(turn)
        times.append(1000 * (time.perf_counter() - started))
    return times
