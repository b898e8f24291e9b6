"""One decision about one row, and the hash chain that makes a change to any earlier one visible."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Literal

Action = Literal["keep", "remove", "relabel", "unsure", "clear"]
"""`relabel`: keep the prompt, train on a refusal; `clear`: back to what the policy says."""
Kind = Literal["decide", "undo", "redo"]
REASON_LIMIT = 2000
"""Characters of a reason; longer text belongs elsewhere."""
GENESIS = "0" * 64
"""What the first entry of a dataset's chain names as the one before it."""


@dataclass(frozen=True)
class Decision:
    """One entry of the append-only log. `hash` covers every other field, `previous` is the hash before it in the same dataset.

    An entry of kind `undo` or `redo` refers to the step (the `seq` of the first entry of one decision or one bulk decision) it
    takes back or restores; its action is what holds for the row from then on.

    `seen`: whether the whole text of the row was shown to the person who decided; a decision for many rows at once is unseen. None in
    entries of earlier versions, which did not record it: their hash covers the other fields only.
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
    seen: bool | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON-friendly, with every field needed to check the hash again; without `seen` where it was not recorded."""
        return {name: value for name, value in vars(self).items() if name != "seen" or value is not None}


@dataclass(frozen=True)
class ChainReport:
    """What checking a chain found. `first_bad` is the `seq` of the first entry that does not fit; `heads` the last hash by dataset."""

    ok: bool
    entries: int
    first_bad: int | None
    reason: str
    heads: dict[str, str]


HASHED = (
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
    "seen",
)
"""The fields that an entry's hash covers, in their order; `seen` where it was recorded."""
_first = itemgetter(*HASHED[:-1])
_SEEN = {None: "", False: ",false", True: ",true"}


def _values(values: Mapping[str, Any]) -> tuple[Any, ...]:
    return (*_first(values), values.get("seen"))


def entry_hash(values: Mapping[str, Any]) -> str:
    """SHA-256 (hex) over every field of a decision but its own hash: of the fields in their order as a list in canonical JSON."""
    return hashlib.sha256(_text(_values(values)).encode("ascii")).hexdigest()


def _text(values: tuple[Any, ...]) -> str:
    """`canonical_json` of the values, spelled out: a million entries are checked at once. Raises TypeError for other types."""
    seq, dataset, row_id, action, reason, by, at, score, threshold, previous, kind, step, seen = values
    if not type(seq) is type(row_id) is type(step) is int:
        raise TypeError("seq, row_id and step are whole numbers")
    words = f"{_quoted(action)},{_quoted(reason)},{_quoted(by)},{_quoted(at)}"
    numbers = f"{_number(score)},{_number(threshold)}"
    return f"[{seq},{_quoted(dataset)},{row_id},{words},{numbers},{_quoted(previous)},{_quoted(kind)},{step}{_SEEN[seen]}]"


def _number(value: float | None) -> str:
    return "null" if value is None else float.__repr__(value)


_quoted = json.encoder.encode_basestring_ascii


class DecisionChain:
    """Checks decisions one at a time, in the order of `seq`; several datasets may be interleaved, each has its own chain."""

    def __init__(self) -> None:
        self.entries = 0
        self.heads: dict[str, str] = {}
        self.ends: dict[str, tuple[int, int, str]] = {}
        """By dataset: seq of its newest entry, how many it has, the newest hash."""
        self._last_seq = 0

    def add(self, values: Mapping[str, Any]) -> str:
        """Take the next entry; the answer is "" or what is wrong with it."""
        return self.add_values(_values(values), values["hash"])

    def add_values(self, values: tuple[Any, ...], claimed: Any) -> str:
        """`add` for the values of the fields `HASHED` and the hash that stands with them."""
        seq, dataset, self.entries = values[0], str(values[1]), self.entries + 1
        problem = ""
        if not isinstance(seq, int) or seq <= self._last_seq:
            problem = "is out of order"
        elif values[9] != self.heads.get(dataset, GENESIS):
            problem = "does not follow the entry before it: one was removed, added or changed"
        elif _safe_hash(values) != claimed:
            problem = "was changed after it was written"
        self._last_seq = seq if isinstance(seq, int) else self._last_seq
        self.heads[dataset] = str(claimed)
        self.ends[dataset] = (seq, self.ends.get(dataset, (0, 0, ""))[1] + 1, str(claimed))
        return problem


def check_chain(decisions: Iterable[Decision]) -> ChainReport:
    """Check entries in the order of their `seq`: hashes, links and order. Stops at the first that does not fit."""
    chain = DecisionChain()
    for decision in decisions:
        if problem := chain.add(vars(decision)):
            return ChainReport(False, chain.entries, decision.seq, f"Decision {decision.seq} {problem}.", chain.heads)
    return ChainReport(True, chain.entries, None, "", chain.heads)


def _safe_hash(values: tuple[Any, ...]) -> str:
    try:
        return hashlib.sha256(_text(values).encode("ascii")).hexdigest()
    except (TypeError, ValueError, LookupError):  # bytes or a text where a number was written: damage, not a bug
        return ""
