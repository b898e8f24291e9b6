"""Steps shared by all fitted scorers: split the examples, set the threshold on the held-out ones, store both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reft_studio import fingerprint
from reft_studio.data.splits import split_groups
from reft_studio.errors import DataError
from reft_studio.scoring.prepared import PreparedScorer, open_prepared, write_facts
from reft_studio.scoring.scorer import Examples, ScorerSpec
from reft_studio.workspace import Workspace

KEY = 12
"""Characters of a prepared scorer's id after its name."""
SHARES = {"fit": 0.7, "calibration": 0.3}
LEAST = 100
"""Minimum examples of each kind to fit a scorer: 30 of them are then held out."""
SATURATION = 0.95
"""Score of the held-out examples' 99 % quantile, on the scale from -1 to 1."""
Positions = list[int]


@dataclass(frozen=True)
class Scale:
    """Maps a measure to scores: tanh((value - middle) / width)."""

    middle: float
    width: float

    @classmethod
    def fitted(cls, values: NDArray[np.float32], harmful: NDArray[np.bool_]) -> Scale:
        """0 is halfway between the medians of both kinds."""
        above, below = float(np.median(values[harmful])), float(np.median(values[~harmful]))
        middle = (above + below) / 2
        width = float(np.quantile(np.abs(values - middle), 0.99) / np.arctanh(SATURATION)) or 1.0
        return cls(middle, width)

    def __call__(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores of values; NaN stays NaN."""
        return np.asarray(np.tanh((values - self.middle) / self.width), dtype=np.float32)


def id_of(spec: ScorerSpec, *made_from: Any) -> str:
    """The id of a scorer prepared with this spec and these examples."""
    return f"{spec.scorer}-{fingerprint.of_value([spec.model_dump(mode='json'), *made_from])[:KEY]}"


def split(texts: Sequence[str], harmful: NDArray[np.bool_], *, seed: int) -> tuple[Positions, Positions]:
    """Positions to fit on and held-out positions; near-duplicates are never on both sides. Raises DataError with too few of a kind."""
    for kind, count in (("harmful", int(harmful.sum())), ("harmless", int((~harmful).sum()))):
        if count < LEAST:
            raise DataError(
                f"There are {count} {kind} examples, but a scorer is fitted on at least {LEAST} of each kind. Give more, or leave in those "
                "that ship with the app."
            )
    parts = split_groups(texts, SHARES, seed=seed, near=True)
    return parts["fit"], parts["calibration"]


def calibrate(
    building: Path,
    spec: ScorerSpec,
    examples: Examples,
    texts: Sequence[str],
    held_out: Positions,
    scores: NDArray[np.float32],
    *,
    title: str,
    extra: dict[str, Any] | None = None,
    threshold: float | None = None,
) -> None:
    """Set the threshold on the scores of held-out examples unless it is given, and write scorer.json and calibration.parquet.

    `texts` are the examples as the scorer reads them; `extra` is added to the spec.
    """
    from reft_studio.teacher.calibration import report, threshold_for_recall, write_scores  # brings torch, which scoring does without

    truth = examples.harmful[held_out]
    if threshold is None:
        threshold = threshold_for_recall(scores[truth], recall=spec.recall)
    kinds = [("harmful", truth), ("harmless", ~truth)]
    read = {kind: [texts[held_out[index]] for index in np.flatnonzero(mask)] for kind, mask in kinds}
    write_scores(building / "calibration.parquet", [(kind, scores[mask], read[kind]) for kind, mask in kinds])
    write_facts(
        building,
        scorer=spec.scorer,
        title=title,
        threshold=threshold,
        calibration=report(scores[truth], scores[~truth], threshold=threshold, layers={}),
        spec={**spec.model_dump(mode="json"), **(extra or {})},
        record={"examples": len(texts), "held_out": len(held_out), "sources": examples.sources},
    )


def opened(workspace: Workspace, name: str) -> PreparedScorer:
    """A scorer that was just prepared."""
    prepared = open_prepared(workspace, name)
    assert isinstance(prepared, PreparedScorer), "no teacher has such a name"
    return prepared
