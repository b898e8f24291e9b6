"""What a report is asked to tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from reft_studio.audit.assurance import Assurance
from reft_studio.audit.decision import ChainReport, Decision
from reft_studio.scoring.scores import ScoreSet

Section = Literal["data", "filter", "decisions", "runs", "comparison", "limits"]
SECTIONS: tuple[Section, ...] = ("data", "filter", "decisions", "runs", "comparison", "limits")


@dataclass(frozen=True)
class ReportInput:
    """What the workspace's files alone do not say; everything else is read from them.

    `dataset` is the user data that was audited, None for a report on models only; `decisions` are the reviewers' decisions in effect,
    by row id. `redact` leaves out the text of every row and the reasons that reviewers wrote. `runs` limits the models that are
    compared; None takes all that were evaluated.
    """

    dataset: str | None = None
    score: ScoreSet | None = None
    threshold: float | None = None
    decisions: Mapping[int, Decision] = field(default_factory=dict)
    assurance: Assurance | None = None
    chain: ChainReport | None = None
    redact: bool = True
    sections: Sequence[Section] = SECTIONS
    runs: Sequence[str] | None = None
    title: str = ""
    reviewer: str = ""
