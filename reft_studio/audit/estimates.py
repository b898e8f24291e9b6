"""Which estimates of a file may be shown, on what they rest, and where they are withheld: why, and what to do about it.

The one place that decides: pages, command line and report ask it, so that nowhere a narrow interval stands beside a warning that the
score means nothing. Labels of the whole file speak before everything else, then rows drawn at random and read, then the calibration.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from reft_studio.audit.assurance import Standing
from reft_studio.audit.drift import Drift, drift
from reft_studio.audit.language import LanguageCoverage
from reft_studio.audit.mixture import LEAST, LEAST_ROWS, mixture
from reft_studio.audit.prevalence import Rates, precision_at, staying_at
from reft_studio.audit.sample import Sample
from reft_studio.stats import Estimate

LABELLED = 30
"""Labelled rows of each kind from which labels and scores are compared."""
AGREE = 0.6
"""AUROC that scores must be able to have on the labels; 0.5 is chance. Below, one of the two is wrong."""
Kind = Literal["no calibration", "one class", "few prompts", "few rows", "language", "labels", "drift", "contradicted", "unfinished"]
Source = Literal["labels", "reviewed", "mixture", "none"]
By = Literal["labels", "calibration", "sample", "none"]
Counts = NDArray[np.int64]
READ = "Read 50 random rows of the file (Review, order “Random sample”)"


@dataclass(frozen=True)
class Withheld:
    """Why the calibration says nothing of a file, and what to do about it, each in a sentence."""

    kind: Kind
    why: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.why} {self.remedy}"


@dataclass(frozen=True)
class Evidence:
    """What is known of a file and its scores.

    Counts are on the grid: `file` is (3, bins) of harmful, harmless and unlabelled rows, `calibration` (2, bins) of harmful and harmless
    prompts (None: the teacher has none).
    `reading` is how much of the file the scorer does not read. `others_disagree`: labels contradict every other scorer of the file too,
    and there is one. `line` is the bin of the threshold in use, `standing` what random draws on both sides of it say. `waiting` rows are
    still to be scored.
    """

    file: Counts
    calibration: Counts | None
    sample: Sample
    reading: LanguageCoverage = field(default_factory=LanguageCoverage)
    others_disagree: bool = False
    line: int | None = None
    standing: Standing | None = None
    waiting: int = 0


@dataclass(frozen=True)
class Estimates:
    """What may be said of a file. `rate` is the share of harmful rows in percent, `sentence` says it and on what it rests.

    `withheld` is why calibration prompts say nothing here (None: they do); presets promise nothing then. `by` says what estimates at a
    line rest on. `checked` is what labels or random rows say beside the rate, `drift` the comparison of file and calibration.
    """

    source: Source
    by: By
    rate: Estimate | None
    sentence: str
    withheld: Withheld | None
    checked: str
    drift: Drift | None
    sample: Sample


@dataclass(frozen=True)
class AtLine:
    """What a line does: `precision` in percent, `staying` in rows; None where it is withheld or nothing is known."""

    precision: Estimate | None
    staying: Estimate | None


def estimates(evidence: Evidence) -> Estimates:
    """Decide what may be shown."""
    if evidence.waiting:
        return _unfinished(evidence)
    file = evidence.file.sum(axis=0)
    compared = None if evidence.calibration is None else drift(evidence.file, evidence.calibration)
    withheld = _withheld(evidence, compared)
    fitted = None if withheld or evidence.calibration is None else mixture(file, evidence.calibration)
    if fitted is not None and not fitted.fits:
        withheld = Withheld(
            "drift",
            "The scores of this file are no mix of the calibration's harmful and harmless prompts "
            f"({_share(fitted.misfit)} of its rows lie where the best mix has none).",
            f"{READ}, add labels, or choose another teacher.",
        )
    by_scores = fitted.rate if fitted is not None and withheld is None else None
    labelled = evidence.file.sum(axis=1)
    if labelled[:2].sum() and not labelled[2]:
        return _by_labels(evidence, compared, withheld)
    contradiction = None if by_scores is None else _contradiction(evidence, by_scores)
    if contradiction is not None:
        withheld, by_scores = contradiction, None
    return _by_rows(evidence, compared, withheld, by_scores)


def _unfinished(evidence: Evidence) -> Estimates:
    """Nothing: rows that look most harmful are scored first, so those scored so far are no sample of the file."""
    rows = int(evidence.file.sum())
    withheld = Withheld(
        "unfinished",
        f"{evidence.waiting:,} rows are still to be scored, and the {rows:,} that are were taken first because they look most harmful.",
        "Let the scoring on the Filter page end.",
    )
    return Estimates("none", "none", None, f"No estimate yet. {withheld}", withheld, "", None, evidence.sample)


def at_line(found: Estimates, evidence: Evidence, line: int) -> AtLine:
    """Precision of the flagged rows, and harmful rows that stay, at a bin of the grid."""
    above, below = evidence.file[:, line:].sum(axis=1), evidence.file[:, :line].sum(axis=1)
    flagged, kept = int(above.sum()), int(below.sum())
    if found.by == "labels":
        return AtLine(_counted(100 * int(above[0]) / flagged, flagged) if flagged else None, _counted(float(below[0]), kept, unit=""))
    if found.by == "sample":
        stay = found.sample.below(line, kept)
        return AtLine(found.sample.above(line, flagged), None if stay is None else _as_rows(stay, kept))
    if found.by == "none" or found.rate is None or evidence.calibration is None:
        return AtLine(None, None)
    rates = rates_at(evidence.calibration, line)
    return AtLine(precision_at(found.rate, rates), staying_at(found.rate, rates, rows=flagged + kept, kept=kept))


def _counted(value: float, n: int, *, unit: str = "%") -> Estimate:
    """A number that is no estimate."""
    return Estimate(value, value, value, n, 0, "labels", unit)


def _as_rows(share: Estimate, rows: int) -> Estimate:
    value, low, high = (rows * one / 100 for one in (share.value, share.low, share.high))
    return Estimate(value, low, high, share.n, 0, share.method, unit="")


def words(found: Estimates, line: AtLine, threshold: float) -> list[str]:
    """All of it in sentences, for the command line and the report."""
    said = [found.sentence, found.checked]
    if found.rate is not None and found.withheld is not None and found.withheld.kind not in ("no calibration", "few prompts", "few rows"):
        said.append(f"The calibration says nothing of this file: {found.withheld}" if found.by != "labels" else "")
    parts = [f"{_percent(line.precision)} of the flagged rows are harmful{_between(line.precision)}"] if line.precision else []
    parts += [f"{line.staying.value:,.0f} harmful rows stay{_between(line.staying)}"] if line.staying else []
    if parts:
        said.append(f"At the line, {threshold:+.3f}: {', '.join(parts)}.")
    return [one for one in said if one]


def rates_at(calibration: Counts, line: int) -> Rates:
    """How calibration prompts fare at a bin of the grid."""
    (hits, alarms), (harmful, harmless) = calibration[:, line:].sum(axis=1), calibration.sum(axis=1)
    return Rates.of(int(hits), int(harmful), int(alarms), int(harmless))


def auroc(file: Counts) -> tuple[float, float]:
    """AUROC of the scores on the file's labels, ties half, and the upper end of its 95 % interval (Hanley and McNeil, 1982)."""
    harmful, harmless = file[0].astype(np.float64), file[1].astype(np.float64)
    n, m = harmful.sum(), harmless.sum()
    area = float((harmful * (np.cumsum(harmless) - harmless / 2)).sum() / (n * m))
    spread = area * (1 - area) + (n - 1) * (area / (2 - area) - area**2) + (m - 1) * (2 * area**2 / (1 + area) - area**2)
    return area, area + 1.96 * math.sqrt(max(0.0, spread) / (n * m))


def disagree(file: Counts) -> bool:
    """Whether the labels of a file surely contradict its scores: at best these tell its kinds apart hardly better than chance."""
    return bool(file[:2].sum(axis=1).min() >= LABELLED and auroc(file)[1] < AGREE)


def _withheld(evidence: Evidence, compared: Drift | None) -> Withheld | None:
    """The first reason, gravest first, that speaks against the calibration."""
    found = _no_calibration(evidence) or _unread(evidence) or _by_labelled(evidence, compared)
    if found is None and compared is not None and compared.mix.verdict == "shifted":
        found = Withheld(
            "drift",
            "The scores of this file are no mix of the calibration's harmful and harmless prompts "
            f"(distance {compared.mix.value:.2f}; chance makes it up to {compared.mix.chance:.2f}).",
            f"{READ}, add labels, or choose another teacher.",
        )
    return found


def _no_calibration(evidence: Evidence) -> Withheld | None:
    rows = int(evidence.file.sum())
    if evidence.calibration is None:
        return Withheld("no calibration", "This scorer has no calibration prompts.", f"Prepare it again, or: {_lower(READ)}.")
    harmful, harmless = (int(count) for count in evidence.calibration.sum(axis=1))
    if not harmful or not harmless:
        kind = "harmful" if harmful else "harmless" if harmless else "no"
        return Withheld(
            "one class",
            f"The calibration holds {kind} prompts only, without those that this file holds too.",
            f"Prepare the teacher with prompts of both kinds, or: {_lower(READ)}.",
        )
    if min(harmful, harmless) < LEAST:
        return Withheld(
            "few prompts",
            f"The calibration is too small: {harmful:,} harmful and {harmless:,} harmless prompts, and estimates need {LEAST} of each.",
            f"Prepare the teacher with more prompts, or: {_lower(READ)}.",
        )
    if rows < LEAST_ROWS:
        return Withheld("few rows", f"With {rows:,} scored rows there is nothing to estimate.", "Read them all.")
    return None


def _unread(evidence: Evidence) -> Withheld | None:
    remedy = f"Choose a teacher that reads it. To know how many rows are harmful: {_lower(READ)}."
    text = evidence.reading
    if text.lab_is_lost:
        share = f"{text.unfamiliar:.0%} of the words of this file"
        return Withheld("language", f"{share} are outside the language that this scorer knows, so its scores mean nothing.", remedy)
    if text.is_unread:
        rows = f"{text.unread:.0%} of the rows are in languages{text.named} that no calibration prompt is in."
        return Withheld("language", rows, remedy)
    return None


def _by_labelled(evidence: Evidence, compared: Drift | None) -> Withheld | None:
    """What the file's labels say against the calibration."""
    if disagree(evidence.file):
        area = auroc(evidence.file)[0]
        who = "every scorer of this file" if evidence.others_disagree else "these scores"
        return Withheld(
            "labels",
            f"The labels of this file contradict {who} (AUROC {area:.2f}; 0.5 is chance): labels are wrong or swapped, or the harm is of a "
            "kind that is not read.",
            "Read some rows on which they differ, then mend the labels"
            + (", or choose another scorer." if not evidence.others_disagree else ", or import the file without them."),
        )
    kinds = (("harmless", compared.harmless), ("harmful", compared.harmful)) if compared else ()
    for kind, one in kinds:
        if one is not None and one.verdict == "shifted":
            distance = f"distance {one.value:.2f}; chance makes it up to {one.chance:.2f}"
            return Withheld(
                "drift",
                f"Rows labelled {kind} score otherwise than the calibration's {kind} prompts ({distance}).",
                f"Trust what is counted on labelled rows. For the others: {_lower(READ)}.",
            )
    return None


def _by_labels(evidence: Evidence, compared: Drift | None, withheld: Withheld | None) -> Estimates:
    """Every scored row is labelled: counts, no estimates."""
    harmful, harmless, _ = (int(count) for count in evidence.file.sum(axis=1))
    rows = harmful + harmless
    share = 100 * harmful / rows
    sentence = f"{share:.1f} % of the rows are harmful by the labels of the file: {harmful:,} of {rows:,}, counted."
    if not harmful or not harmless:
        kind, other = ("harmless", "recall") if not harmful else ("harmful", "false positives")
        sentence = f"All {rows:,} rows are labelled {kind}, so this file says nothing of {other}."
    checked = ""
    if withheld is not None and withheld.kind == "labels":
        checked = str(withheld)
    elif (read := evidence.sample.rate()) is not None:
        apart = not read.low <= share <= read.high
        checked = f"{_of_read(evidence.sample, read)} {'That contradicts the labels: check them.' if apart else 'That agrees.'}"
    return Estimates("labels", "labels", _counted(share, rows), sentence, withheld, checked, compared, evidence.sample)


def _by_rows(evidence: Evidence, compared: Drift | None, withheld: Withheld | None, by_scores: Estimate | None) -> Estimates:
    """From random rows where they say more, else from the scores."""
    sample = evidence.sample
    read = sample.rate()
    if read is not None and (by_scores is None or read.width < by_scores.width):
        by: By = "sample" if by_scores is None else "calibration"
        return Estimates("reviewed", by, read, _of_read(sample, read), withheld, _labelled(evidence), compared, sample)
    if by_scores is None:
        read_so_far = f" {sample.read:,} of {sample.wanted:,} random rows are read." if sample.read or sample.waiting else ""
        return Estimates("none", "none", None, f"Withheld. {withheld}{read_so_far}", withheld, _labelled(evidence), compared, sample)
    rows = int(evidence.file.sum())
    sentence = (
        f"About {_percent(by_scores)} of the rows are harmful ({_ends(by_scores)} %), {by_scores.value / 100 * rows:,.0f} of {rows:,}: "
        "the scores as a mix of the calibration's harmful and harmless prompts, which fits. It cannot see harmful rows that score as "
        "harmless ones do."
    )
    agrees = f"{_of_read(sample, read)} That agrees." if read is not None else ""
    return Estimates("mixture", "calibration", by_scores, sentence, None, agrees or _labelled(evidence), compared, sample)


def _contradiction(evidence: Evidence, by_scores: Estimate) -> Withheld | None:
    """Random rows that say otherwise than the scores: those of the whole file, or those drawn on either side of the line in use."""
    assert evidence.calibration is not None, "there would be no estimate"
    told = f"{_ends(by_scores)} % of the rows are harmful by their scores"
    read = evidence.sample.rate()
    if read is not None and (read.low > by_scores.high or read.high < by_scores.low):
        said = f"{_of_read(evidence.sample, read)} That contradicts the calibration, by which {_ends(by_scores)} % are."
        return Withheld("contradicted", said, "Rely on the rows that were read; read more of them for a narrower statement.")
    if evidence.line is None or evidence.standing is None:
        return None
    rates = rates_at(evidence.calibration, evidence.line)
    expected, above = precision_at(by_scores, rates), evidence.standing.above
    if expected and above.share and above.sampled >= LABELLED and (above.share.low > expected.high or above.share.high < expected.low):
        said = (
            f"Of {above.sampled:,} random flagged rows {above.harmful_found:,} are harmful, and {_ends(expected)} % were expected ({told})."
        )
        return Withheld("contradicted", said, f"Rely on the rows that were read. {READ} to know the share in the whole file.")
    return None


def _of_read(sample: Sample, read: Estimate) -> str:
    harmful, doubt = int(sample.harmful.sum()), int(sample.unsure.sum())
    unsure = f", {doubt:,} in doubt" if doubt else ""
    known = f" {len(sample.known):,} rows read before the draw count as they are." if len(sample.known) else ""
    how = f"{sample.read:,} drawn at random and read, {harmful:,} harmful{unsure}, if readers overlook nothing"
    return f"{_percent(read)} of the rows are harmful ({_ends(read)} %): {how}.{known}"


def _labelled(evidence: Evidence) -> str:
    harmful, harmless, _ = (int(count) for count in evidence.file.sum(axis=1))
    if not harmful + harmless:
        return ""
    return f"For comparison: {harmful:,} of the {harmful + harmless:,} labelled rows are harmful by their labels."


def _percent(one: Estimate) -> str:
    return f"{one.value:.{_digits(one)}f} %"


def _ends(one: Estimate) -> str:
    return f"{one.low:.{_digits(one)}f} to {one.high:.{_digits(one)}f}"


def _between(one: Estimate) -> str:
    if one.low == one.high:
        return ", counted" if one.method == "labels" else ""
    return f" ({_ends(one)} %)" if one.unit else f" ({math.floor(one.low):,} to {math.ceil(one.high):,})"


def _digits(one: Estimate) -> int:
    """Decimals that the upper end needs."""
    return 2 if 0 < one.high < 1 else 1


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"


def _lower(text: str) -> str:
    return text[0].lower() + text[1:]
