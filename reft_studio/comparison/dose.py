"""Effect of the filter's threshold on finetuned models: HS and FA at several thresholds, and with as many random rows removed."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

from reft_studio.comparison.table import RunRow, Summary, groups, summaries
from reft_studio.scoring import BY_CHANCE
from reft_studio.training.spec import RunSpec

Kind = Literal["none", "filter", "control"]
CONTROL = BY_CHANCE
"""The scorer with random scores."""
METHODS = ("sft", "filter_only")
"""Methods that are plain finetuning on the remaining rows, so that only the rows differ."""


@dataclass(frozen=True)
class Point:
    """Runs at one threshold, or at one size of the control: means over seeds. `removed` of `rows` were not trained on.

    `threshold` is None for the control and for runs without a filter.
    """

    kind: Kind
    threshold: float | None
    removed: int
    rows: int
    mean: Summary

    @property
    def share(self) -> float:
        """Rows not trained on, in percent."""
        return 100 * self.removed / max(1, self.rows)


@dataclass(frozen=True)
class Dose:
    """The points of one setting, by share of rows removed, and the number of runs with other settings or prompts that were left out."""

    points: list[Point]
    judge: str
    left_out: int

    @property
    def lines(self) -> int:
        """Number of the filter's thresholds with an evaluated run."""
        return sum(point.kind == "filter" for point in self.points)


def dose(rows: Sequence[RunRow], *, dataset: str, scorer: str, threshold: float) -> Dose:
    """The runs on a dataset filtered by one scorer at any threshold, at random, or not at all, and otherwise equal.

    `scorer` is the id of the teacher or prepared scorer, `threshold` its calibrated one, which runs without their own have.
    """
    candidates = [row for row in rows if row.dataset == dataset and row.method in METHODS and row.hs and row.work and _kind(row, scorer)]
    by_setting: dict[Hashable, list[RunRow]] = {}
    for group in groups(candidates):
        for row in group:
            by_setting.setdefault((row.suite_fingerprint, row.judge, _shared(row)), []).append(row)
    best = max(by_setting.values(), key=lambda same: (_lines(same, scorer, threshold), max(row.created for row in same)), default=[])
    points = [_point(mean, best, scorer, threshold) for mean in summaries(best)]
    return Dose(sorted(points, key=lambda point: (point.share, point.kind)), best[0].judge if best else "", len(candidates) - len(best))


_FREE = {"method", "method_config", "teacher", "filter", "scorer", "threshold", "drop", "seed", "template"}
"""Settings in which runs on one curve may differ: the filter, the seed, and the template's name (their decoding is the same)."""


def _shared(row: RunRow) -> str:
    """All other settings; for older runs too, whose files lack newer ones."""
    return repr(RunSpec.checked(**row.spec).model_dump(exclude=_FREE))


def _kind(row: RunRow, scorer: str) -> Kind | None:
    if not row.spec.get("filter"):
        return "none"
    if row.spec.get("decisions"):  # people had a part in it: the line alone did not do it
        return None
    by = row.spec.get("scorer") or row.spec.get("teacher")
    return "control" if by == CONTROL else "filter" if by == scorer and not row.spec.get("drop") else None


def _line(row: RunRow, calibrated: float) -> float:
    own = row.spec.get("threshold")
    return calibrated if own is None else float(own)


def _lines(rows: Sequence[RunRow], scorer: str, calibrated: float) -> int:
    return len({_line(row, calibrated) for row in rows if _kind(row, scorer) == "filter"})


def _point(mean: Summary, rows: Sequence[RunRow], scorer: str, calibrated: float) -> Point:
    first = next(row for row in rows if row.run_id == mean.runs[0])
    kind = _kind(first, scorer)
    assert kind is not None and first.work is not None, "rows were chosen by both"
    line, work = _line(first, calibrated) if kind == "filter" else None, first.work
    return Point(kind, line, work.removed, work.rows + work.removed, mean)
