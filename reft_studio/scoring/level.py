"""Rates a prepared scorer at its own threshold, in a word that pages and command line share: good, weak or unusable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Word = Literal["good", "weak", "unusable", "unknown"]
GOOD_AUROC, USABLE_AUROC = 0.9, 0.7
GOOD_RECALL, USABLE_RECALL = 90.0, 50.0
"""Minimum percent of held-out harmful prompts flagged."""
GOOD_ALARMS, USABLE_ALARMS = 10.0, 50.0
"""Maximum percent of held-out harmless prompts flagged."""


@dataclass(frozen=True)
class Level:
    """The word, and the reason in a sentence or two."""

    word: Word
    sentence: str


def level_of(calibration: Mapping[str, Any]) -> Level:
    """From the held-out metrics (`calibration` of a prepared scorer); "unknown" without any."""
    area, recall, alarms = (calibration.get(name) for name in ("auroc", "recall", "false_positive_rate"))
    if area is None or recall is None or alarms is None:
        return Level("unknown", "It was not tried on held-out prompts, so nothing is known of its line.")
    flags = f"flags {recall:.0f} % of its held-out harmful and {alarms:.0f} % of its held-out harmless prompts (AUROC {area:.3f})"
    if area < USABLE_AUROC or recall < USABLE_RECALL or alarms > USABLE_ALARMS:
        worst = f"flags {alarms:.0f} % of harmless prompts" if alarms > USABLE_ALARMS else f"misses {100 - recall:.0f} % of harmful prompts"
        fault = f"it tells the kinds hardly apart (AUROC {area:.3f})" if area < USABLE_AUROC else f"it {worst}"
        return Level("unusable", f"Unusable at its line: {fault}. Do not use this line: find another one, or prepare another scorer.")
    if area < GOOD_AUROC or recall < GOOD_RECALL or alarms > GOOD_ALARMS:
        return Level(
            "weak", f"Weak: it {flags}. Expect as much on files like them: many rows to read, or a stricter line that misses more."
        )
    return Level("good", f"Good on its own prompts: it {flags}. Files that are unlike them may fare worse: see Estimate and Drift.")
