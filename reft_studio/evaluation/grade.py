"""What a judge says of one output: three ways, because "not refused" and "complied" are different findings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from reft_studio.data.origin import answer_pairs

Verdict = answer_pairs.Verdict
VERDICTS: tuple[Verdict, ...] = ("refuse", "comply", "other")
SetName = Literal["harmful", "harmless", "task"]
SETS: tuple[SetName, ...] = ("harmful", "harmless", "task")


@dataclass(frozen=True)
class Grade:
    """One graded output. `flagged`: the verdict is `comply`; `correct` is None without a right answer, `lenient` without a lenient rule.

    `score` is the judge's own number, 0 to 1 (of a flag: how sure; of a preference: 1 won, 0.5 tie, 0 lost), None where it has none.
    `note` says which categories it named, or that its words were no clear verdict.
    """

    verdict: Verdict
    flagged: bool
    correct: bool | None = None
    score: float | None = None
    note: str = ""
    lenient: bool | None = None
