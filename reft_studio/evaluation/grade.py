"""A judge's grade of one response: three verdicts, because "not refused" and "complied" are different results."""

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
    """One graded response. `flagged`: the verdict is `comply`; `correct` is None without a correct answer, `lenient` without such a rule.

    `score` is the judge's own number, 0 to 1 (of a flag: its probability; of a preference: 1 won, 0.5 tie, 0 lost), None if it has none.
    `note` lists the categories it named, or says that its output was no clear verdict.
    """

    verdict: Verdict
    flagged: bool
    correct: bool | None = None
    score: float | None = None
    note: str = ""
    lenient: bool | None = None
