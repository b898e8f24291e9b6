"""The audit behind a frozen dataset: one value that its page, the report, the state dots and the bundle all read.

Counts and policy are in the manifest; what could be claimed when the dataset was frozen is recorded there too, since the log goes on:
rows decided later, or a line moved later, belong to another audit.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from reft_studio.audit.decision import Decision
from reft_studio.audit.freeze import AUDIT
from reft_studio.audit.held import ACTIONS, UNRECORDED, Decided
from reft_studio.data.dataset import Dataset
from reft_studio.errors import StoreError

CLAIM = "claim"
"""The field of the lineage that holds the claim."""


@dataclass(frozen=True)
class Claim:
    """What could be said of an audit when its dataset was frozen; JSON-friendly.

    `flagged` rows are at or above the threshold, `flagged_open` of them no person decided, on `conflicts` rows two people differed.
    `rule` found the threshold (empty: a person, or the calibration). `assurance` holds the fields of `Assurance`: the bound on rows below
    the threshold. `warning` is why the scores should not be trusted, if they should not.
    """

    teacher: str = ""
    rule: str = ""
    warning: str | None = None
    flagged: int = 0
    flagged_open: int = 0
    conflicts: int = 0
    assurance: Mapping[str, Any] | None = None
    precision: str = ""
    estimates: Sequence[str] = ()
    agreement: str = ""

    @classmethod
    def of(cls, recorded: Mapping[str, Any]) -> Claim:
        """A recorded one; fields that another version wrote are left out."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in recorded.items() if name in known})

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "estimates": list(self.estimates)}

    def sentences(self) -> list[str]:
        """The bound, the precision, what may be said of the file and how reviewers agree; without the warning."""
        bound = str(self.assurance["sentence"]) if self.assurance else ""
        return [one for one in (bound, self.precision, *self.estimates, self.agreement) if one]


NO_CLAIM = Claim()
"""Where nothing was scored, or nothing is known."""


@dataclass(frozen=True)
class FrozenAudit:
    """How a frozen dataset came about. `undecided` rows were left out; `threshold` is None where nothing was scored.

    `recorded` is False for a claim that was worked out later, since the dataset was frozen before claims were recorded.
    """

    dataset: str
    source: str
    rows: int
    kept: int
    removed: int
    undecided: int
    relabelled: int
    kept_by_human: int
    removed_by_human: int
    score_key: str | None
    teacher: str | None
    threshold: float | None
    policy: str
    frozen_by: str
    created: str
    reason: str
    claim: Claim | None
    recorded: bool = True

    @classmethod
    def of(cls, dataset: Dataset) -> FrozenAudit | None:
        """What a manifest says; None if the dataset was not frozen."""
        lineage = dataset.manifest.get("lineage")
        if not lineage:
            return None
        counts = {name: int(lineage.get(name) or 0) for name in ("removed", "undecided", "relabelled", "kept_by_human", "removed_by_human")}
        key, recorded = lineage.get("score_key"), lineage.get(CLAIM)
        kept = int(lineage.get("kept", dataset.rows))
        return cls(
            dataset=dataset.id,
            source=str(lineage["source"]),
            rows=int(lineage.get("rows", kept + counts["removed"] + counts["undecided"])),
            kept=kept,
            removed=counts["removed"],
            undecided=counts["undecided"],
            relabelled=counts["relabelled"],
            kept_by_human=counts["kept_by_human"],
            removed_by_human=counts["removed_by_human"],
            score_key=key,
            teacher=lineage.get("teacher"),
            threshold=float(lineage["threshold"]) if key else None,
            policy=str(lineage.get("policy_by") or ""),
            frozen_by=str(lineage.get("frozen_by") or "").removeprefix("human:"),
            created=str(dataset.manifest.get("created") or ""),
            reason=str(lineage.get("left_out_reason") or ""),
            claim=Claim.of(recorded) if recorded else None,
        )

    @property
    def teacher_title(self) -> str:
        """The scorer's name; its id where no name was recorded, empty where nothing was scored."""
        return (self.claim.teacher if self.claim else "") or self.teacher or ""

    @property
    def rule(self) -> str:
        """The rule that found the threshold, empty if a person or the calibration did."""
        return self.claim.rule if self.claim else ""

    @property
    def warning(self) -> str | None:
        return self.claim.warning if self.claim else None

    def draft_reasons(self) -> list[str]:
        """Why a report of it is only a draft: what people did not settle before it was frozen."""
        if self.claim is None:
            return (
                ["What could be claimed when this dataset was frozen was not recorded, and its scores are gone."] if self.score_key else []
            )
        reasons = []
        if n := self.claim.flagged_open:
            rows, them = ("row was", "it") if n == 1 else ("rows were", "them")
            reasons.append(f"{n:,} flagged {rows} removed by the threshold alone: no person kept, removed or relabelled {them}.")
        if n := self.claim.conflicts:
            reasons.append(f"Two people differed on {n:,} {'row' if n == 1 else 'rows'} when the dataset was frozen.")
        return reasons


@dataclass(frozen=True)
class RecordedDecisions:
    """The decisions that made a frozen dataset, as its record holds them."""

    decided: Decided
    by_row: Mapping[int, Decision]

    def entries(self, row_ids: Sequence[int]) -> dict[int, Decision]:
        return {row: self.by_row[row] for row in row_ids if row in self.by_row}

    def by_person(self) -> list[tuple[str, str, int]]:
        """Who decided how many rows: (name, action, rows)."""
        counted = Counter((one.decided_by, str(one.action)) for one in self.by_row.values())
        return [(by, action, rows) for (by, action), rows in sorted(counted.items())]


def recorded_decisions(frozen: Dataset) -> RecordedDecisions:
    """Read them from the record beside the data. Raises StoreError if it is missing or damaged."""
    try:
        by_row = {decision.row_id: decision for decision in _decisions(frozen)}
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise StoreError(f"The record of '{frozen.name}' ({AUDIT}) is missing or damaged. Freeze its source again.") from exc
    rows = np.array(sorted(by_row), dtype=np.int64)
    held = [by_row[row] for row in rows.tolist()]
    codes = np.array([ACTIONS.index(one.action) + 1 for one in held], dtype=np.uint8)
    scores = np.array([np.nan if one.score is None else one.score for one in held], dtype=np.float32)
    last = max((one.seq for one in held), default=0)
    seen = np.array([UNRECORDED if one.seen is None else int(one.seen) for one in held], dtype=np.uint8)
    return RecordedDecisions(Decided(last, rows, codes, scores, seen=seen), by_row)


def _decisions(frozen: Dataset) -> Iterator[Decision]:
    with (frozen.folder / AUDIT).open(encoding="utf-8") as lines:
        next(lines, None)  # the policy
        for line in lines:
            noted = json.loads(line)["decision"]
            if noted is not None and noted["action"] in ACTIONS:
                yield Decision(**noted)
