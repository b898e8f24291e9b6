"""Settings and inputs of a report."""

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
    """For datasets without decisions."""
    return {}


@dataclass(frozen=True)
class ReportInput:
    """Inputs of a report that are not in the workspace's files.

    `dataset` is the audited user data, None for a report on models only; `decided` is the current decision of each decided row,
    `entries` gives the decisions themselves for a few rows, `by_person` who decided how many rows (name, action, rows). `claim` is the
    conclusion of the audit. If `dataset` is a frozen one, `frozen` is the audit it came from, and scores, threshold, decisions and claim
    are those that made it. `redact` leaves out the text of every row and the reasons given by reviewers. `runs` limits the models that
    are compared; None takes all evaluated ones.
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
