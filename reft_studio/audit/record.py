"""One record beside the decisions (a draw, an override, a rule of review), and the chain that makes a change to it visible."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from reft_studio.audit.decision import GENESIS
from reft_studio.fingerprint import of_value

RecordKind = Literal["draw", "check", "override", "approvals", "bundle"]
"""`check`: a decision on a known harmful prompt that a draw holds;
`override`: somebody let the gate pass; `approvals`: a second name is asked for, or no longer; `bundle`: its seal."""
_HASHED = ("seq", "dataset", "kind", "body", "by", "at", "previous")


@dataclass(frozen=True)
class AuditRecord:
    """`body` is canonical JSON; `hash` covers every other field, `previous` is the hash before it of the same dataset."""

    seq: int
    dataset: str
    kind: RecordKind
    body: str
    by: str
    at: str
    previous: str
    hash: str

    def content(self) -> dict[str, Any]:
        """What was recorded."""
        found: dict[str, Any] = json.loads(self.body)
        return found

    def as_dict(self) -> dict[str, Any]:
        """JSON-friendly, with every field needed to check the hash again."""
        return asdict(self)


def record_hash(values: Mapping[str, Any]) -> str:
    """SHA-256 (hex) over every field of a record but its own hash."""
    return of_value([values[name] for name in _HASHED])


class RecordChain:
    """Checks records one at a time, in the order of `seq`; each dataset has its own chain."""

    def __init__(self) -> None:
        self.heads: dict[str, str] = {}
        self.ends: dict[str, tuple[int, int, str]] = {}
        """By dataset: seq of its newest record, how many it has, the newest hash."""
        self._last_seq = 0

    def add(self, record: AuditRecord) -> str:
        """Take the next one; the answer is "" or what is wrong with it."""
        problem = ""
        if not isinstance(record.seq, int) or record.seq <= self._last_seq:
            problem = "is out of order"
        elif record.previous != self.heads.get(record.dataset, GENESIS):
            problem = "does not follow the record before it: one was removed, added or changed"
        elif _safe_hash(record) != record.hash:
            problem = "was changed after it was written"
        self._last_seq = record.seq if isinstance(record.seq, int) else self._last_seq
        dataset = str(record.dataset)
        self.heads[dataset] = str(record.hash)
        self.ends[dataset] = (record.seq, self.ends.get(dataset, (0, 0, ""))[1] + 1, str(record.hash))
        return problem


def _safe_hash(record: AuditRecord) -> str:
    try:
        return record_hash(vars(record))
    except (TypeError, ValueError):  # bytes where a text was written: damage, not a bug
        return ""
