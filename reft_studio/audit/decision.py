"""One decision about one row, and the hash chain that makes a change to any earlier one visible."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from reft_studio.fingerprint import of_value

Action = Literal["keep", "remove", "relabel", "unsure", "clear"]
"""`relabel`: keep the prompt, train on a refusal; `clear`: back to what the policy says."""
Kind = Literal["decide", "undo", "redo"]
GENESIS = "0" * 64
"""What the first entry of a dataset's chain names as the one before it."""


@dataclass(frozen=True)
class Decision:
    """One entry of the append-only log. `hash` covers every other field, `previous` is the hash before it in the same dataset.

    An entry of kind `undo` or `redo` refers to the step (the `seq` of the first entry of one decision or one bulk decision) it
    takes back or restores; its action is what holds for the row from then on.
    """

    seq: int
    dataset: str
    row_id: int
    action: Action
    reason: str
    decided_by: str
    at: str
    score: float | None
    threshold: float | None
    previous: str
    hash: str
    kind: Kind = "decide"
    step: int = 0

    def as_dict(self) -> dict[str, Any]:
        """JSON-friendly, with every field needed to check the hash again."""
        return asdict(self)


@dataclass(frozen=True)
class ChainReport:
    """What checking a chain found. `first_bad` is the `seq` of the first entry that does not fit; `heads` the last hash by dataset."""

    ok: bool
    entries: int
    first_bad: int | None
    reason: str
    heads: dict[str, str]


def entry_hash(values: Mapping[str, Any]) -> str:
    """SHA-256 (hex) over every field of a decision but its own hash."""
    return of_value([values[name] for name in _HASHED])


_HASHED = (
    "seq",
    "dataset",
    "row_id",
    "action",
    "reason",
    "decided_by",
    "at",
    "score",
    "threshold",
    "previous",
    "kind",
    "step",
)


class Chain:
    """Checks decisions one at a time, in the order of `seq`; several datasets may be interleaved, each has its own chain."""

    def __init__(self) -> None:
        self.entries = 0
        self.heads: dict[str, str] = {}
        self._last_seq = 0

    def add(self, values: Mapping[str, Any]) -> str:
        """Take the next entry; the answer is "" or what is wrong with it."""
        dataset, self.entries = str(values["dataset"]), self.entries + 1
        problem = ""
        if not isinstance(values["seq"], int) or values["seq"] <= self._last_seq:
            problem = "is out of order"
        elif values["previous"] != self.heads.get(dataset, GENESIS):
            problem = "does not follow the entry before it: one was removed, added or changed"
        elif _safe_hash(values) != values["hash"]:
            problem = "was changed after it was written"
        self._last_seq = values["seq"] if isinstance(values["seq"], int) else self._last_seq
        self.heads[dataset] = str(values["hash"])
        return problem


def check_chain(decisions: Iterable[Decision]) -> ChainReport:
    """Check entries in the order of their `seq`: hashes, links and order. Stops at the first that does not fit."""
    chain = Chain()
    for decision in decisions:
        if problem := chain.add(vars(decision)):
            return ChainReport(False, chain.entries, decision.seq, f"Decision {decision.seq} {problem}.", chain.heads)
    return ChainReport(True, chain.entries, None, "", chain.heads)


def _safe_hash(values: Mapping[str, Any]) -> str:
    try:
        return entry_hash(values)
    except (TypeError, ValueError):  # bytes or an infinity where none was ever written: damage, not a bug
        return ""
