"""Rules that choose the threshold, each with what it promises, under which assumption, and on how many prompts that rests."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from reft_studio.audit.bounds import at_most, last
from reft_studio.audit.overlap import shared_groups
from reft_studio.audit.threshold_rule import ThresholdRule
from reft_studio.data.dataset import Dataset
from reft_studio.errors import DataError, StoreError
from reft_studio.scoring import OF_TEACHER
from reft_studio.scoring.prepared import Prepared
from reft_studio.scoring.scores import BINS, grid
from reft_studio.stats import Estimate, wilson

LEAST = 30
"""Held-out prompts of a kind below which no rule but conformal risk control says anything about it."""
_TUNED = (
    " Settings of this teacher, such as its layer, were chosen on the same prompts, which makes them a little too easy: prepare it with a "
    "selection set for the bound as it stands."
)
PAPER_RECALL = 0.99
"""The paper tunes its filter for recall on harmful prompts and prints no number; this and the cap at 0 are our reading of it."""


@dataclass(frozen=True)
class Choice:
    """A threshold with its promise.

    `recall` and `false_positive_rate` are what the held-out prompts show at it (None: too few of that kind, or they say nothing of this
    file: `withheld`); `excluded` counts calibration prompts left out because the audited file holds them too.
    """

    threshold: float
    rule: str
    promise: str
    assumption: str
    flagged: int
    recall: Estimate | None
    false_positive_rate: Estimate | None
    harmful: int
    harmless: int
    excluded: int
    withheld: bool = False


@dataclass(frozen=True)
class Calibration:
    """Held-out prompts of a teacher, one per prompt group, as bins of the 0.001 grid, ascending; `excluded` were left out.

    `tuned`: the teacher's layer, λ or moment to stop were chosen on these very prompts, for want of a selection set.
    """

    harmful: NDArray[np.int64]
    harmless: NDArray[np.int64]
    excluded: int = 0
    tuned: bool = False

    @classmethod
    def of(cls, prepared: Prepared, audited: Dataset | None = None) -> Self:
        """The calibration scores of a prepared scorer without the prompt groups that the audited file holds.

        Of a group with several scores the least convenient counts: the lowest harmful, the highest harmless one.
        Raises StoreError if it has no calibration scores.
        """
        kinds, excluded = _stored(prepared.folder / "calibration.parquet", prepared.id), 0
        if audited is not None:
            known = frozenset(kinds["harmful"]) | frozenset(kinds["harmless"])
            shared = shared_groups(audited, prepared, known)
            excluded = len(shared)
            kinds = {kind: {group: value for group, value in found.items() if group not in shared} for kind, found in kinds.items()}
        bins = {kind: np.sort(grid(np.array(list(found.values()), dtype=np.float32))) for kind, found in kinds.items()}
        return cls(bins["harmful"], bins["harmless"], excluded, _tuned(prepared))


def prepare(prepared: Prepared, audited: Dataset) -> None:
    """Look for calibration prompts in the file now, in a job, so that no page has to wait for it."""
    with contextlib.suppress(StoreError):  # a scorer without calibration scores has nothing to look for
        Calibration.of(prepared, audited)


def choose(rule: ThresholdRule, calibration: Calibration, bins: NDArray[np.uint16], *, clean: NDArray[np.int64] | None = None) -> Choice:
    """The threshold by `rule`; `bins` are those of the audited file's scores, NO_BIN where a row has none.

    `clean` are the bins, ascending, of rows known to be harmless, which the rule of that name needs. Raises DataError, with the number
    needed, if there are too few held-out prompts, or such rows, for it.
    """
    counts = np.bincount(bins, minlength=BINS + 1)[:BINS]
    above = np.append(np.cumsum(counts[::-1])[::-1], 0)
    if rule.rule == "clean":
        place, promise, assumption = _clean(rule, np.zeros(0, dtype=np.int64) if clean is None else clean)
    else:
        place, promise, assumption = _RULES[rule.rule](rule, calibration, above)
    recall, rate = (_share_from(bins, place) for bins in (calibration.harmful, calibration.harmless))
    return Choice(
        threshold=place / 1000 - 1,
        rule=_named(rule),
        promise=promise,
        assumption=assumption,
        flagged=int(above[place]),
        recall=recall,
        false_positive_rate=rate,
        harmful=len(calibration.harmful),
        harmless=len(calibration.harmless),
        excluded=calibration.excluded,
    )


def withheld(choice: Choice, rule: ThresholdRule, why: str, remedy: str) -> Choice:
    """The same line where calibration prompts say nothing of the file: what rests on them is not promised."""
    bare = replace(choice, recall=None, false_positive_rate=None, withheld=True)
    if rule.rule in ("budget", "fixed", "clean"):
        return bare
    return replace(bare, promise=f"No promise: {why}", assumption=remedy)


def _clean(rule: ThresholdRule, clean: NDArray[np.int64]) -> tuple[int, str, str]:
    """The conformal quantile: a new harmless row exceeds the k-th lowest of n with probability at most 1 - k / (n + 1)."""
    wanted, n = Fraction(str(rule.false_positives)), len(clean)
    needed = math.ceil(1 / wanted) - 1
    if n < needed:
        raise DataError(
            f"At most {_percent(rule.false_positives)} false positives needs {needed:,} rows known to be harmless; there are {n:,}. "
            "Read more random rows, name a larger clean dataset, or allow more false positives."
        )
    place = int(clean[math.ceil((1 - wanted) * (n + 1)) - 1]) + 1
    if place >= BINS:
        raise DataError(
            "Harmless rows of yours reach the highest score there is, so no line keeps them. Allow more false positives, or choose "
            "another scorer."
        )
    return (
        place,
        f"At most {_percent(rule.false_positives)} of harmless rows like yours are expected to be flagged (conformal, {n:,} rows).",
        "Holds for any distribution if those rows are harmless and the harmless rows of this file are like them, on average over draws of "
        "both. It promises nothing of harmful rows: how many stay below the line only random rows from there can say.",
    )


def _recall(rule: ThresholdRule, calibration: Calibration, _: NDArray[np.int64]) -> tuple[int, str, str]:
    harmful = calibration.harmful
    needed = max(LEAST, math.ceil(1 / (1 - rule.recall) - 1e-9))
    _enough(len(harmful), needed, "harmful", f"a recall of {_percent(rule.recall)}")
    place = int(harmful[math.floor((1 - rule.recall) * len(harmful) + 1e-9)])
    found = _from(harmful, place)
    return (
        place,
        f"{found} of {len(harmful)} held-out harmful prompts are flagged, at least the {_percent(rule.recall)} asked for.",
        "An observation, no bound: on new prompts recall varies as its interval says.",
    )


def _conformal(rule: ThresholdRule, calibration: Calibration, _: NDArray[np.int64]) -> tuple[int, str, str]:
    """Conformal risk control (Angelopoulos et al., arXiv:2208.02814) with the loss "this harmful prompt is missed", bounded by 1.

    The loss falls as the threshold falls, so the largest threshold with (misses + 1) / (n + 1) <= the wanted rate bounds the
    expected loss of a new exchangeable prompt by that rate, for any distribution and any n.
    """
    harmful, wanted = calibration.harmful, Fraction(str(rule.miss_rate))
    needed = math.ceil(1 / wanted) - 1
    _enough(len(harmful), needed, "harmful", f"a bound of {_percent(rule.miss_rate)} on the expected miss rate")
    misses = math.floor(wanted * (len(harmful) + 1)) - 1
    place = int(harmful[misses])
    return (
        place,
        f"At most {_percent(rule.miss_rate)} of harmful prompts are missed on average over calibrations: conformal risk control on "
        f"{len(harmful)}.",
        "Holds for any distribution if the harmful rows of this file are exchangeable with the held-out harmful prompts, on average over "
        f"draws of both, not for each: this calibration may be one of the {_exceeded(len(harmful), misses, rule.miss_rate)} in 100 in "
        "which more are missed (the rule with certainty bounds that). It does not hold against somebody who words rows to evade "
        "the filter, or for another language or domain." + (_TUNED if calibration.tuned else ""),
    )


def _tolerance(rule: ThresholdRule, calibration: Calibration, _: NDArray[np.int64]) -> tuple[int, str, str]:
    """A one-sided tolerance limit (Wilks, Annals of Mathematical Statistics 12, 1941): holds in most calibrations, not on average.

    With the k-th lowest of n harmful scores as the line, the share of harmful prompts below it exceeds e with probability
    P(Binomial(n, e) < k) at most, for any distribution; the largest k for which that is at most 1 - certainty is taken.
    """
    harmful = calibration.harmful
    needed = math.ceil(math.log(1 - rule.certainty) / math.log1p(-rule.miss_rate) - 1e-9)
    certain = f"in {_percent(rule.certainty)} of calibrations"
    _enough(len(harmful), needed, "harmful", f"at most {_percent(rule.miss_rate)} missed {certain}")
    uncertain = 1 - rule.certainty + 1e-12
    misses = last(lambda number: at_most(number, len(harmful), rule.miss_rate) <= uncertain, 0, len(harmful) - 1)
    return (
        int(harmful[misses]),
        f"At most {_percent(rule.miss_rate)} of harmful prompts are missed {certain}: a tolerance limit on {len(harmful)}.",
        "Holds with that probability over draws of the held-out prompts, for any distribution, if the harmful rows of this file are like "
        "them; the rule that holds on average lets more be missed in about every second calibration. It does not hold against somebody "
        "who words rows to evade the filter, or for another language or domain." + (_TUNED if calibration.tuned else ""),
    )


def _exceeded(prompts: int, misses: int, rate: float) -> int:
    """Of 100 calibrations, in how many the line just above so many lowest of the prompts misses more than `rate` of new ones."""
    return round(100 * at_most(misses, prompts, rate))


def _cost(rule: ThresholdRule, calibration: Calibration, _: NDArray[np.int64]) -> tuple[int, str, str]:
    for kind, bins in (("harmful", calibration.harmful), ("harmless", calibration.harmless)):
        _enough(len(bins), LEAST, kind, "a cost-optimal threshold")
    places = np.arange(BINS)
    missed = np.searchsorted(calibration.harmful, places, side="left") / len(calibration.harmful)
    alarms = 1 - np.searchsorted(calibration.harmless, places, side="left") / len(calibration.harmless)
    cost = rule.miss_cost * rule.poison_ratio * missed + (1 - rule.poison_ratio) * alarms
    place = _middle_of_lowest(cost)
    return (
        place,
        f"Expected cost {1000 * cost[place]:,.1f} per 1,000 rows, the least of any threshold: a miss costs {rule.miss_cost:g}, "
        f"a false alarm 1, {_percent(rule.poison_ratio)} of the rows harmful.",
        "As good as the two costs and the share of harmful rows you gave, and as far as held-out prompts of both kinds resemble this file.",
    )


def _budget(rule: ThresholdRule, calibration: Calibration, above: NDArray[np.int64]) -> tuple[int, str, str]:
    """`above` holds for each bin the rows of the file in it or higher, and a last 0."""
    place = int(np.flatnonzero(above <= rule.rows)[0])  # `above` falls, so this is the lowest line that flags no more
    count = int(above[place])
    if place >= BINS or (count == 0 and above[0]):
        tied = int(above[np.flatnonzero(above)[-1]])
        raise DataError(
            f"{tied:,} rows share the highest score, more than the {rule.rows:,} that can be reviewed, so the scores cannot choose among "
            f"them. Review at least {tied:,} rows, or draw a random part of them on the Review page."
        )
    return (
        place,
        f"{count:,} rows are flagged, the most that fit into a budget of {rule.rows:,}.",
        "The budget sets the threshold, not the risk: see the recall that it costs.",
    )


def _paper(_: ThresholdRule, calibration: Calibration, __: NDArray[np.int64]) -> tuple[int, str, str]:
    harmful = calibration.harmful
    _enough(len(harmful), LEAST, "harmful", "the paper's threshold")
    place = min(int(harmful[math.floor((1 - PAPER_RECALL) * len(harmful) + 1e-9)]), int(grid(0.0)))
    return (
        place,
        f"{_from(harmful, place):,} of {len(harmful):,} held-out harmful prompts are flagged: at least {_percent(PAPER_RECALL)}, with the "
        "line never above 0.",
        "The paper (Ham et al., arXiv 2506.07356) tunes its filter for recall on harmful prompts and prints no number: 99 % and the cap "
        "at 0, midway between the targets -1 and +1 of its regulariser, are our reading.",
    )


def _fixed(rule: ThresholdRule, calibration: Calibration, _: NDArray[np.int64]) -> tuple[int, str, str]:
    return (
        int(grid(rule.value)),
        "The threshold you gave.",
        "It promises nothing; recall and false positives on held-out prompts are beside it.",
    )


_RULES = {
    "recall": _recall,
    "conformal": _conformal,
    "tolerance": _tolerance,
    "cost": _cost,
    "budget": _budget,
    "paper": _paper,
    "fixed": _fixed,
}


def _named(rule: ThresholdRule) -> str:
    """The rule and its settings in a few words, for records."""
    match rule.rule:
        case "recall":
            return f"recall at least {rule.recall:g}"
        case "conformal":
            return f"miss rate at most {rule.miss_rate:g} on average (conformal)"
        case "tolerance":
            return f"miss rate at most {rule.miss_rate:g} in {_percent(rule.certainty)} of calibrations (tolerance)"
        case "cost":
            return f"least cost, miss {rule.miss_cost:g} : 1, poison ratio {rule.poison_ratio:g}"
        case "budget":
            return f"budget of {rule.rows} rows"
        case "clean":
            return f"false positives at most {rule.false_positives:g} on clean rows ({rule.clean})"
        case "paper":
            return "paper: recall at least 0.99, at most 0"
        case _:
            return "fixed"


def _percent(share: float) -> str:
    return f"{100 * share:g} %"


def _enough(count: int, needed: int, kind: str, what: str) -> None:
    if count < needed:
        raise DataError(
            f"{what[0].upper()}{what[1:]} needs at least {needed} held-out {kind} prompts that the audited file does not hold; "
            f"there are {count}. Prepare the teacher with more of them, or ask for less."
        )


def _from(bins: NDArray[np.int64], place: int) -> int:
    """How many of the ascending bins lie at or above `place`."""
    return int(len(bins) - np.searchsorted(bins, place, side="left"))


def _share_from(bins: NDArray[np.int64], place: int) -> Estimate | None:
    return wilson(_from(bins, place), len(bins)) if len(bins) >= LEAST else None


def _middle_of_lowest(cost: NDArray[np.float64]) -> int:
    """The middle of the longest run of lowest cost (the lower one of equals): as far as can be from either kind."""
    lowest = np.flatnonzero(np.isclose(cost, cost.min(), rtol=0, atol=1e-12))
    runs = np.split(lowest, np.flatnonzero(np.diff(lowest) > 1) + 1)
    longest = max(runs, key=len)
    return int(longest[len(longest) // 2])


def _tuned(prepared: Prepared) -> bool:
    """Whether something of a teacher was chosen on its calibration prompts; other scorers choose nothing."""
    spec = prepared.spec
    if prepared.scorer != OF_TEACHER:
        return False
    chosen = spec.get("layer") is None or len(spec.get("sweep") or ()) > 1 or spec.get("early_stop") is not None
    return chosen and not spec.get("selection_harmful")


@lru_cache(maxsize=8)
def _stored(path: Path, prepared: str) -> dict[str, dict[str, float]]:
    """Kind -> prompt group -> score."""
    try:
        rows = pq.read_table(path, columns=["kind", "score", "group"]).to_pylist()
    except (OSError, pa.ArrowException) as exc:
        raise StoreError(
            f"'{prepared}' has no calibration scores, so only a fixed threshold is possible. Prepare it again, or choose another scorer."
        ) from exc
    found: dict[str, dict[str, float]] = {"harmful": {}, "harmless": {}}
    if not all(row["kind"] in found and isinstance(row["score"], float) and math.isfinite(row["score"]) for row in rows):
        raise StoreError(f"The calibration scores of '{prepared}' are damaged. Prepare it again.")
    for row in rows:
        kind, worse = found[row["kind"]], min if row["kind"] == "harmful" else max
        kind[row["group"]] = worse(kind.get(row["group"], row["score"]), row["score"])
    return found
