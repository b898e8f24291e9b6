"""Turns scores and decisions into a new dataset that may be trained on, with the record of how it came about."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from reft_studio.audit.decision import Decision
from reft_studio.audit.policy import REFUSAL, effective
from reft_studio.audit.queue import among
from reft_studio.data.dataset import Dataset, Row, write_dataset
from reft_studio.errors import SpecError
from reft_studio.fingerprint import of_file, of_value
from reft_studio.scoring.scores import ScoreSet, flagged
from reft_studio.workspace import Workspace

AUDIT = "audit.jsonl"
"""First line: the policy; then one line for each row that was not simply kept because its score is below the threshold."""
_KEEP, _REMOVE, _UNDECIDED = 0, 1, 2
_OUTCOMES = ("keep", "remove", "undecided")


@dataclass(frozen=True)
class Plan:
    """What will happen to each row, before anything is written. Arrays are (rows,), in dataset order."""

    row_ids: NDArray[np.int64]
    scores: NDArray[np.float32]
    outcomes: NDArray[np.int8]
    decided: NDArray[np.bool_]
    decisions: Mapping[int, Decision]

    @property
    def kept(self) -> NDArray[np.bool_]:
        return np.equal(self.outcomes, _KEEP)

    def counts(self) -> dict[str, int]:
        """Rows by what happens to them; `relabelled` ones are among the kept."""
        human = {action: sum(1 for decision in self.decisions.values() if decision.action == action) for action in ("keep", "remove")}
        return {
            "rows": len(self.outcomes),
            "kept": int(self.kept.sum()),
            "removed": int((self.outcomes == _REMOVE).sum()),
            "undecided": int((self.outcomes == _UNDECIDED).sum()),
            "relabelled": sum(1 for decision in self.decisions.values() if decision.action == "relabel"),
            "kept_by_human": human["keep"],
            "removed_by_human": human["remove"],
        }

    def noted(self) -> Iterator[dict[str, Any]]:
        """Rows with something to tell: removed, undecided, or decided by a person."""
        for at in np.flatnonzero(self.decided | ~self.kept).tolist():
            row_id, score = int(self.row_ids[at]), float(self.scores[at])
            decision = self.decisions.get(row_id)
            yield {
                "row_id": row_id,
                "outcome": _OUTCOMES[self.outcomes[at]],
                "score": None if np.isnan(score) else score,
                "decision": None if decision is None else decision.as_dict(),
            }


def plan(dataset: Dataset, *, scores: ScoreSet | None, threshold: float, decisions: Mapping[int, Decision]) -> Plan:
    """What freezing would do. Raises SpecError if scores or decisions are not about this dataset."""
    row_ids = dataset.table(["row_id"]).column("row_id").to_numpy()
    values = np.full(len(row_ids), np.nan, dtype=np.float32) if scores is None else scores.scores()
    if scores is not None and (scores.dataset != dataset.id or len(values) != len(row_ids)):
        raise SpecError(f"These scores are of dataset '{scores.dataset}', but '{dataset.id}' is to be frozen. Score that one.")
    outcomes = np.where(np.isnan(values), _UNDECIDED, np.where(flagged(values, threshold), _REMOVE, _KEEP)).astype(np.int8)
    decided = among(row_ids, decisions)
    found = np.flatnonzero(decided)
    if len(found) != len(decisions):
        raise SpecError(f"{len(decisions) - len(found)} decisions are about rows that dataset '{dataset.id}' does not have.")
    for at in found.tolist():
        score = None if np.isnan(values[at]) else float(values[at])
        outcomes[at] = _OUTCOMES.index(effective(score, threshold, decisions[int(row_ids[at])]))
    return Plan(row_ids, values, outcomes, decided, decisions)


def freeze(
    workspace: Workspace,
    dataset: Dataset,
    *,
    scores: ScoreSet | None,
    threshold: float,
    decisions: Mapping[int, Decision],
    policy_by: str,
    allow_undecided: bool = False,
    refusal: str = REFUSAL,
    check: Callable[[], None] = lambda: None,
) -> Dataset:
    """Write the rows that are kept as a new dataset, with `audit.jsonl` beside them and `lineage` in the manifest.

    Rows keep their `row_id` and order; a relabelled one is answered with `refusal`. Undecided rows (no score and no decision, or
    marked unsure) stop it with a SpecError, or are left out if `allow_undecided`. `check` is called between batches and may raise.
    Nothing is held but one number per row.
    """
    what = plan(dataset, scores=scores, threshold=threshold, decisions=decisions)
    counts = what.counts()
    _check(counts, what, allow_undecided)
    policy: dict[str, Any] = {
        "source": dataset.id,
        "source_fingerprint": dataset.fingerprint,
        "score_key": None if scores is None else scores.key,
        "teacher": None if scores is None else scores.teacher,
        "threshold": threshold,
        "policy_by": policy_by,
        **counts,
        "refusal": refusal if counts["relabelled"] else None,
        "decisions_hash": _newest_hash(decisions.values()),
    }

    lineage = dict(policy)

    def attach(folder: Path) -> None:
        _write_audit(folder / AUDIT, policy, what)
        lineage["audit_sha256"] = of_file(folder / AUDIT)

    # The salt keeps every audit a dataset of its own, also where two keep the same rows, or one keeps them all.
    rows, extra, salt = _rows(dataset, what, refusal, check), {"lineage": lineage}, of_value(policy)
    return write_dataset(workspace, rows, name=f"{dataset.name} (audited)", role="user", extra=extra, attach=attach, salt=salt)


def noted_hashes(datasets: Iterable[Dataset]) -> list[str]:
    """Decision hashes that frozen datasets refer to: `DecisionLog.verify` must find each."""
    found = (dataset.manifest.get("lineage", {}).get("decisions_hash") for dataset in datasets)
    return [noted for noted in found if noted]


def _check(counts: Mapping[str, int], what: Plan, allow_undecided: bool) -> None:
    if counts["undecided"] and not allow_undecided:
        unsure = int((what.decided & (what.outcomes == _UNDECIDED)).sum())
        raise SpecError(
            f"{counts['undecided']:,} rows are undecided ({unsure:,} marked unsure, {counts['undecided'] - unsure:,} without a score). "
            "Decide them, or leave undecided rows out."
        )
    if not counts["kept"]:
        raise SpecError(f"None of the {counts['rows']:,} rows would be left. Raise the threshold or keep some rows.")


def _rows(dataset: Dataset, what: Plan, refusal: str, check: Callable[[], None]) -> Iterator[Row]:
    kept, at = what.kept, 0
    relabelled = {row_id for row_id, decision in what.decisions.items() if decision.action == "relabel"}
    for batch in dataset.batches():
        check()
        chosen = batch.filter(pa.array(kept[at : at + len(batch)]))
        at += len(batch)
        for values in chosen.to_pylist():
            row = cast(Row, {**values, "messages": json.loads(values["messages"])})
            yield _refusing(row, refusal) if row["row_id"] in relabelled else row


def _refusing(row: Row, refusal: str) -> Row:
    """The same row, its last answer replaced."""
    messages = [dict(message) for message in row["messages"]]
    for message in reversed(messages):
        if message.get("role") == "assistant":
            message["content"] = refusal
            break
    return {**row, "messages": messages, "response": refusal}


def _write_audit(path: Path, policy: Mapping[str, Any], what: Plan) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(json.dumps({"policy": dict(policy)}) + "\n")
        file.writelines(json.dumps(note) + "\n" for note in what.noted())


def _newest_hash(decisions: Iterable[Decision]) -> str | None:
    newest = max(decisions, key=lambda decision: decision.seq, default=None)
    return None if newest is None else newest.hash
