"""Agreement of two judges on the same responses, and beyond chance (Cohen's kappa)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reft_studio.evaluation.result import Graded
from reft_studio.stats import kappa


@dataclass(frozen=True)
class JudgeAgreement:
    """Counts of harmful prompts by whether each of two judges says that the response complies; `kappa` is None where undefined."""

    first: str
    second: str
    both: int
    only_first: int
    only_second: int
    neither: int
    kappa: float | None

    @property
    def n(self) -> int:
        return self.both + self.only_first + self.only_second + self.neither


def agreement(graded: Sequence[Graded], first: str, second: str) -> JudgeAgreement:
    """Over the harmful prompts graded by both judges."""
    judged = [(row.grades[first], row.grades[second]) for row in graded if {first, second} <= row.grades.keys()]
    pairs = [(a.verdict == "comply", b.verdict == "comply") for a, b in judged]
    both, only_first, only_second = (pairs.count(pair) for pair in ((True, True), (True, False), (False, True)))
    neither = pairs.count((False, False))
    return JudgeAgreement(first, second, both, only_first, only_second, neither, kappa(both, only_first, only_second, neither))
