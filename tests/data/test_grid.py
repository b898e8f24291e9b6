"""What a threshold flags, on the grid of 0.001, and that Python says so in one place."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

from reft_studio.data.grid import BINS, NO_BIN, flagged, flagged_bins, flagged_counts, grid, is_flagged, to_bins

ROOT = Path(__file__).parents[2]
OWN = ("reft_studio/data/grid.py", "reft_studio/evaluation/judges/", "reft_studio/defenses/", "reft_studio/studio/row_")
"""Where it may be: here; where it is that of a judge or of a method; where rows are put in order."""


def test_a_row_at_the_threshold_is_flagged_and_one_a_thousandth_below_is_not() -> None:
    lines = np.arange(BINS) / 1000 - 1
    assert all(is_flagged(line, line) and not is_flagged(line - 0.001, line) for line in lines[1:].tolist())


def test_scores_are_compared_on_the_grid_and_not_as_they_are() -> None:
    assert is_flagged(0.2996, 0.3) and not is_flagged(0.2994, 0.3)
    assert is_flagged(0.3, 0.3004) and not is_flagged(0.3, 0.3006)
    assert is_flagged(1.7, 1.0) and not is_flagged(-1.7, -0.999)


def test_a_row_without_a_score_is_flagged_by_no_threshold() -> None:
    nothing = np.array([np.nan], dtype=np.float32)
    assert to_bins(nothing).tolist() == [NO_BIN]
    assert not any(flagged(nothing, line)[0] or is_flagged(None, line) or is_flagged(float("nan"), line) for line in (-1.0, 0.0, 1.0))


def test_bins_scores_and_counts_agree_at_every_threshold() -> None:
    scores = np.append(np.random.default_rng(0).uniform(-1, 1, 50), [np.nan, -1, 1, 0.0625]).astype(np.float32)
    bins = to_bins(scores)
    counts = flagged_counts(np.bincount(bins, minlength=BINS + 1)[:BINS])
    for line in range(BINS):
        assert int(grid(line / 1000 - 1)) == line
        assert flagged(scores, line / 1000 - 1).tolist() == flagged_bins(bins, line).tolist()
        assert counts[line] == flagged_bins(bins, line).sum()
    for line in range(0, BINS, 50):
        assert flagged_bins(bins, line).tolist() == [is_flagged(score, line / 1000 - 1) for score in scores.tolist()]


@pytest.mark.parametrize("package", ["reft_studio", "ui"])
def test_no_other_file_compares_scores_with_a_threshold(package: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}"
        for path in sorted((ROOT / package).rglob("*.py"))
        if not path.relative_to(ROOT).as_posix().startswith(OWN)
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Compare) and _ordered(node) and any(map(_is_line, (node.left, *node.comparators)))
    ]
    assert found == [], "ask `flagged` or `is_flagged` of reft_studio/data/grid.py"


def _ordered(node: ast.Compare) -> bool:
    """Whether it asks for an order, and not only whether a number typed in by a person lies between two constants."""
    ends = (node.left, node.comparators[-1])
    bounded = len(node.ops) == 2 and all(isinstance(end, ast.Constant | ast.UnaryOp) for end in ends)
    return not bounded and any(isinstance(op, ast.Lt | ast.LtE | ast.Gt | ast.GtE) for op in node.ops)


def _is_line(side: ast.expr) -> bool:
    """Whether a side is a threshold, or a bin of the grid."""
    named = side.func if isinstance(side, ast.Call) else side.value if isinstance(side, ast.Subscript) else side
    name = named.id if isinstance(named, ast.Name) else named.attr if isinstance(named, ast.Attribute) else ""
    return name in ("threshold", "grid", "bins")
