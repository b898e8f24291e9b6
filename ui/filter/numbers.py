"""What the widgets of the Filter page ask the server for: counts once for a question, never with every move of the line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from reft_studio.audit.threshold_rule import ThresholdRule
from reft_studio.errors import SpecError
from reft_studio.studio.estimates import UNFAMILIAR
from ui.events import answer
from ui.text import show

if TYPE_CHECKING:
    from reft_studio.audit.drift import Distance, Drift
    from reft_studio.audit.estimates import Estimates, Withheld
    from reft_studio.stats import Estimate
    from reft_studio.studio.measures import Shift
    from reft_studio.studio.studio import Studio
    from ui.shared.row_table import ServerFunction

NAME = 80
LONGER = 0.2
"""Share of prompts longer than any of the calibration from which it is worth saying."""
VERDICTS = {
    "fits": "The scores look like a mix of the calibration prompts: nothing here speaks against carrying the threshold over.",
    "small": "The scores differ a little from every mix of the calibration prompts: surely, but hardly enough to move a threshold.",
    "shifted": "This threshold may not carry over: the scores of this file are no mix of the calibration prompts. "
    "Read rows near the line before you trust its recall and false-positive rate.",
    "too few": "There are too few scores to say whether the threshold carries over.",
}
LABELLED = (
    "This threshold may not carry over: labelled rows of this file score otherwise than the calibration prompts of their kind. "
    "Trust the rates measured on the labels, not those of the calibration."
)


def slices_server(studio: Studio) -> ServerFunction:
    """`srv_slices`: {dataset, key, facet} -> {name, title, slices: [{label, text, rows, labels, bins}, …]}."""

    @answer
    def srv_slices(request: dict[str, Any]) -> dict[str, Any]:
        found = studio.measures.slices(str(request["dataset"]), str(request["key"]), str(request["facet"]))
        slices = [
            {"label": one.label, "text": show(one.label, NAME), "rows": one.rows, "labels": one.labels, "bins": one.bins}
            for one in found.slices
        ]
        return {"name": found.name, "title": found.title, "slices": slices}

    return srv_slices


def shift_server(studio: Studio) -> ServerFunction:
    """`srv_shift`: {dataset, key} -> {shift, estimate}: calibration and drift (None without one), and what may be said of the file."""

    @answer
    def srv_shift(request: dict[str, Any]) -> dict[str, Any]:
        dataset, key = str(request["dataset"]), str(request["key"])
        found, judged = studio.measures.shift(dataset, key), studio.audit.estimates(dataset, key)
        return {"shift": None if found is None else shift_value(found, judged), "estimate": estimate_value(judged)}

    return srv_shift


def changes_server(studio: Studio) -> ServerFunction:
    """`srv_changes`: {dataset, key, t, other, other_t} -> {changes}: rows that change sides, by truth."""

    @answer
    def srv_changes(request: dict[str, Any]) -> dict[str, Any]:
        here, there = threshold_of(request["t"]), threshold_of(request["other_t"])
        dataset, key, other = (str(request[name]) for name in ("dataset", "key", "other"))
        return {"changes": vars(studio.measures.changes(dataset, key, here, other_key=other, other_threshold=there))}

    return srv_changes


def rule_server(studio: Studio) -> ServerFunction:
    """`srv_rule`: {dataset, key, rule, …} -> the threshold that the rule finds, what it promises, and the record's name for it."""

    @answer
    def srv_rule(request: dict[str, Any]) -> dict[str, Any]:
        rule = ThresholdRule.checked(**{name: value for name, value in request.items() if name not in ("dataset", "key")})
        found = studio.thresholds.by_rule(str(request["dataset"]), str(request["key"]), rule)
        shares = {name: interval(getattr(found, name)) for name in ("recall", "false_positive_rate")}
        return {**vars(found), **shares}

    return srv_rule


def estimate_value(found: Estimates) -> dict[str, Any]:
    """What the pages show of a file: shares from 0 to 1, `drawn` and `known` random rows as [bin, harmful, in doubt]."""
    sample, withheld, rate = found.sample, found.withheld, found.rate
    return {
        "source": found.source,
        "by": found.by,
        "rate": None if rate is None else {"value": rate.value / 100, "low": rate.low / 100, "high": rate.high / 100},
        "sentence": found.sentence,
        "checked": found.checked,
        "withheld": None if withheld is None else {"kind": withheld.kind, "why": show(withheld.why, 400), "remedy": withheld.remedy},
        "drawn": np.column_stack([sample.bins, sample.harmful, sample.unsure]).tolist(),
        "known": np.column_stack([sample.known, sample.known_harmful, sample.known_unsure]).tolist(),
        "read": sample.read,
        "wanted": sample.wanted,
        "waiting": sample.waiting,
    }


def shift_value(shift: Shift, judged: Estimates) -> dict[str, Any]:
    """What the drift panel draws; `verdict` is a sentence, `kind` its word, `more` other signs of a shift.

    Where estimates are withheld for another reason than the distances, that reason is the verdict.
    """
    found = shift.drift
    against = judged.withheld if judged.withheld and (found is None or found.verdict != "shifted") else None
    return {
        "harmful": shift.harmful,
        "harmless": shift.harmless,
        "excluded": shift.excluded,
        "drift": None if found is None else drift_value(found),
        "kind": _kind(against) if against else found.verdict if found else "too few",
        "verdict": show(against, 600) if against else verdict(found),
        "more": more(shift),
    }


def _kind(against: Withheld) -> str:
    return "shifted" if against.kind in ("drift", "language", "labels", "contradicted") else "too few"


def drift_value(found: Drift) -> dict[str, Any]:
    """Distances as plain numbers."""
    return {"share": found.share, "mix": _distance(found.mix), "harmless": _distance(found.harmless), "harmful": _distance(found.harmful)}


def verdict(found: Drift | None) -> str:
    """What the distances mean for the threshold, in a sentence or two."""
    if found is None:
        return VERDICTS["too few"]
    by_label = [one.verdict for one in (found.harmless, found.harmful) if one]
    return LABELLED if "shifted" in by_label else VERDICTS[found.verdict]


def more(shift: Shift) -> list[str]:
    """Other ways in which the file differs from the calibration, each in a sentence."""
    said = []
    if shift.unfamiliar is not None and shift.unfamiliar > UNFAMILIAR:
        said.append(f"{shift.unfamiliar:.0%} of the words are outside the language of the lab's tiny model.")
    if shift.longer is not None and shift.longer > LONGER:
        said.append(f"{shift.longer:.0%} of the prompts are longer than any calibration prompt (by bands of characters).")
    if shift.same_template is False:
        said.append("The scores were made with another chat template than the calibration: score the file again.")
    return said


def interval(share: Estimate | None) -> str | None:
    """`97.0 % (94.4 to 98.4)`."""
    return None if share is None else f"{share.value:.1f} % ({share.low:.1f} to {share.high:.1f}), n = {share.n:,}"


def threshold_of(value: Any) -> float:
    """A threshold as it comes from a page. Raises SpecError if it is none."""
    threshold = float(value)
    if not -1 <= threshold <= 1:
        raise SpecError(f"The threshold is {threshold:g}, but a score lies between -1 and 1.")
    return threshold


def _distance(one: Distance | None) -> dict[str, float] | None:
    return None if one is None else {"value": one.value, "at": one.at, "chance": one.chance}
