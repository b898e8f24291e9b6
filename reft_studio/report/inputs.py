"""What a report is asked to tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from reft_studio.audit.decision import ChainReport, Decision
from reft_studio.audit.freeze import Entries
from reft_studio.audit.frozen_audit import NO_CLAIM, Claim, FrozenAudit
from reft_studio.audit.held import NONE, Decided
from reft_studio.scoring.scores import ScoreSet

Section = Literal["data", "filter", "decisions", "runs", "comparison", "limits"]
SECTIONS: tuple[Section, ...] = ("data", "filter", "decisions", "runs", "comparison", "limits")


def no_entries(row_ids: Sequence[int]) -> Mapping[int, Decision]:
    """Where nothing was decided."""
    return {}


@dataclass(frozen=True)
class ReportInput:
    """What the workspace's files alone do not say; everything else is read from them.

    `dataset` is the user data that was audited, None for a report on models only; `decided` is what holds for each decided row,
    `entries` gives the decisions themselves for a few rows, `by_person` who decided how many rows (name, action, rows). `claim` is what
    may be said of the audit. Where `dataset` is a frozen one, `frozen` is the audit behind it, and scores, threshold, decisions and claim
    are those that made it. `redact` leaves out the text of every row and the reasons that reviewers wrote. `runs` limits the models that
    are compared; None takes all that were evaluated.
    """

    dataset: str | None = None
    score: ScoreSet | None = None
    threshold: float | None = None
    decided: Decided = NONE
    entries: Entries = no_entries
    by_person: Sequence[tuple[str, str, int]] = ()
    claim: Claim = NO_CLAIM
    frozen: FrozenAudit | None = None
    chain: ChainReport | None = None
    redact: bool = True
    sections: Sequence[Section] = SECTIONS
    runs: Sequence[str] | None = None
    title: str = ""
    reviewer: str = ""
