"""Turns scores and decisions into a new dataset that may be trained on, with the record of how it came about."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from reft_studio.audit.decision import REASON_LIMIT, Decision
from reft_studio.audit.held import KEEP, RELABEL, REMOVE, UNSURE, Decided
from reft_studio.audit.policy import KEPT, OUTCOMES, REFUSAL, REMOVED, UNDECIDED, outcomes
from reft_studio.data.chat.marks import with_answer
from reft_studio.data.dataset import SCHEMA, Dataset, Row, full_row, write_batches
from reft_studio.data.index.rowstore import row_store
from reft_studio.errors import SpecError
from reft_studio.fingerprint import of_file, of_value
from reft_studio.scoring.scores import NO_BIN, ScoreSet
from reft_studio.workspace import Workspace

AUDIT = "audit.jsonl"
"""First line: the policy; then one line for each row that was not simply kept because its score is below the threshold."""
_RECORDED = ("keep", "remove", "left_out")
"""Outcomes as they stand in records: an undecided row is left out, which is no removal (`undecided` in records of earlier versions)."""
_CHUNK = 2000
"""Decisions asked for at once."""
Entries = Callable[[Sequence[int]], Mapping[int, Decision]]
"""The decisions that hold for some rows, by row id; rows that nobody decided are not in it."""
Check = Callable[[int, int], None]
"""Told how many of how many rows are done; may raise to stop the work."""


def unheeded(done: int, total: int) -> None:
    """Nobody follows."""


@dataclass(frozen=True)
class FreezePlan:
    """What will happen to each row, before anything is written. Arrays are (rows,), in dataset order; `codes` 0: nobody decided."""

    row_ids: NDArray[np.int64]
    scores: NDArray[np.float32]
    outcomes: NDArray[np.int8]
    codes: NDArray[np.uint8]

    @property
    def kept(self) -> NDArray[np.bool_]:
        return np.equal(self.outcomes, KEPT)

    def counts(self) -> dict[str, int]:
        """Rows by what happens to them; `relabelled` ones are among the kept."""
        found, human = np.bincount(self.outcomes, minlength=len(OUTCOMES)), np.bincount(self.codes, minlength=5)
        return {
            "rows": len(self.outcomes),
            "kept": int(found[KEPT]),
            "removed": int(found[REMOVED]),
            "undecided": int(found[UNDECIDED]),
            "relabelled": int(human[RELABEL]),
            "kept_by_human": int(human[KEEP]),
            "removed_by_human": int(human[REMOVE]),
        }

    def noted(self, entries: Entries, *, kept: bool = True) -> Iterator[dict[str, Any]]:
        """Rows with something to tell: removed, left out, or decided by a person (without those that are kept, if not `kept`)."""
        places = np.flatnonzero(((self.codes > 0) & kept) | ~self.kept)
        for start in range(0, len(places), _CHUNK):
            part = places[start : start + _CHUNK]
            found = entries(self.row_ids[part[self.codes[part] > 0]].tolist())
            columns = (self.row_ids[part], self.outcomes[part], self.scores[part])
            for row_id, outcome, score in zip(*(column.tolist() for column in columns), strict=True):
                decision = found.get(row_id)
                yield {
                    "row_id": row_id,
                    "outcome": _RECORDED[outcome],
                    "score": None if np.isnan(score) else score,
                    "decision": None if decision is None else decision.as_dict(),
                }


def plan(dataset: Dataset, *, scores: ScoreSet | None, threshold: float, decided: Decided) -> FreezePlan:
    """What freezing would do. Raises SpecError if scores or decisions are not about this dataset."""
    row_ids = row_store(dataset).row_ids
    if scores is not None and (scores.dataset != dataset.id or scores.rows != len(row_ids)):
        raise SpecError(f"These scores are of dataset '{scores.dataset}', but '{dataset.id}' is to be frozen. Score that one.")
    codes = decided.code_of(row_ids)
    if strangers := len(decided.row_ids) - int(np.count_nonzero(codes)):
        raise SpecError(f"{strangers} decisions are about rows that dataset '{dataset.id}' does not have.")
    values = np.full(len(row_ids), np.nan, dtype=np.float32) if scores is None else scores.scores()
    bins = np.full(len(row_ids), NO_BIN, dtype=np.uint16) if scores is None else scores.bins()
    return FreezePlan(row_ids, values, outcomes(bins, threshold, codes), codes)


def freeze(
    workspace: Workspace,
    dataset: Dataset,
    *,
    scores: ScoreSet | None,
    threshold: float,
    decided: Decided,
    entries: Entries,
    policy_by: str,
    reason: str = "",
    refusal: str = REFUSAL,
    check: Check = unheeded,
    noted: Mapping[str, Any] | None = None,
) -> Dataset:
    """Write the rows that are kept as a new dataset, with `audit.jsonl` beside them and `lineage` in the manifest.

    Rows keep their `row_id` and order; a relabelled one is answered with `refusal`. Undecided rows (no score and no decision, or
    marked unsure) stop it with a SpecError, or are left out if a `reason` is given, which is recorded. `noted` is put into the policy
    too. Data and trail get their place at once, by one rename: what fails or is stopped before it leaves nothing. Memory: some numbers
    per row.
    """
    what = plan(dataset, scores=scores, threshold=threshold, decided=decided)
    counts = what.counts()
    _check(counts, what, reason)
    policy: dict[str, Any] = {
        "source": dataset.id,
        "source_fingerprint": dataset.fingerprint,
        "score_key": None if scores is None else scores.key,
        "teacher": None if scores is None else scores.teacher,
        "threshold": threshold,
        "policy_by": policy_by,
        **counts,
        "left_out_reason": reason.strip() if counts["undecided"] else None,
        "refusal": refusal if counts["relabelled"] else None,
        "decisions_hash": decided.hash if decided.seq else None,
        **(noted or {}),
    }

    lineage = dict(policy)

    def attach(folder: Path) -> None:
        _write_audit(folder / AUDIT, policy, what, entries)
        lineage["audit_sha256"] = of_file(folder / AUDIT)

    # The salt keeps every audit a dataset of its own, also where two keep the same rows, or one keeps them all.
    batches, extra, salt = _batches(dataset, what, refusal, check), {"lineage": lineage}, of_value(policy)
    return write_batches(workspace, batches, name=f"{dataset.name} (audited)", role="user", extra=extra, attach=attach, salt=salt)


def noted_hashes(datasets: Iterable[Dataset]) -> list[str]:
    """Hashes of decisions and of records that frozen datasets refer to: `DecisionLog.verify` must find each."""
    lineages = [dataset.manifest.get("lineage", {}) for dataset in datasets]
    return [lineage[name] for lineage in lineages for name in ("decisions_hash", "records_hash") if lineage.get(name)]


def _check(counts: Mapping[str, int], what: FreezePlan, reason: str) -> None:
    undecided, unsure = counts["undecided"], int((what.codes == UNSURE).sum())
    if undecided and not reason.strip():
        rows = "1 row is" if undecided == 1 else f"{undecided:,} rows are"
        raise SpecError(
            f"{rows} undecided ({unsure:,} marked unsure, {undecided - unsure:,} without a score and a decision). Decide what is open, or "
            "give a reason to leave it out."
        )
    if len(reason) > REASON_LIMIT:
        raise SpecError(f"The reason has {len(reason)} characters; at most {REASON_LIMIT} are kept. Shorten it.")
    if not counts["kept"]:
        raise SpecError(f"None of the {counts['rows']:,} rows would be left. Raise the threshold or keep some rows.")


def _batches(dataset: Dataset, what: FreezePlan, refusal: str, check: Check) -> Iterator[pa.RecordBatch]:
    kept, relabelled, at = what.kept, what.codes == RELABEL, 0
    for batch in dataset.batches():
        part = slice(at, at + len(batch))
        at += len(batch)
        check(at, len(kept))
        chosen = batch.filter(pa.array(kept[part]))
        changed = relabelled[part][kept[part]]
        if changed.any():
            rows = [refusing(row, refusal) if new else row for row, new in zip(chosen.to_pylist(), changed.tolist(), strict=True)]
            chosen = pa.RecordBatch.from_pylist(rows, schema=SCHEMA)
        yield chosen


def refusing(values: dict[str, Any], refusal: str) -> dict[str, Any]:
    """The same stored row, its trained answer replaced."""
    messages = with_answer(json.loads(values["messages"]), refusal)
    return full_row(cast(Row, {**values, "messages": messages, "response": refusal}), values["row_id"])


def _write_audit(path: Path, policy: Mapping[str, Any], what: FreezePlan, entries: Entries) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(json.dumps({"policy": dict(policy)}) + "\n")
        file.writelines(json.dumps(note) + "\n" for note in what.noted(entries))
