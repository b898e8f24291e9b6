"""The cleaned file: which rows of an upload are kept, which get another answer, and why the others are not there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from reft_studio.audit.freeze import AUDIT, Check, Entries, plan, unheeded
from reft_studio.audit.held import RELABEL, Decided
from reft_studio.audit.policy import REFUSAL
from reft_studio.data.dataset import Dataset, open_dataset
from reft_studio.data.index.rowstore import row_store
from reft_studio.data.writing.export import export_kept, named
from reft_studio.data.writing.files import replacing
from reft_studio.data.writing.spreadsheet import export_csv_safe
from reft_studio.errors import StoreError
from reft_studio.scoring.scores import ScoreSet
from reft_studio.workspace import Workspace

COLUMNS = ("row_id", "outcome", "score", "threshold", "reason", "decided_by", "at", "comment", "seen", "left_out_because")
"""What is told of a row that is not in the cleaned file. `seen`: whether its text was shown to the person who decided."""


@dataclass(frozen=True)
class Cleaned:
    """What an export writes: the dataset as uploaded, the ids of the rows to keep (ascending), new answers of relabelled rows by row id.

    `notes` tells of each row that is left out, as `audit.jsonl` does; it may tell of kept ones too.
    """

    upload: Dataset
    kept: NDArray[np.int64]
    responses: dict[int, str]
    notes: Callable[[], Iterator[dict[str, Any]]]
    threshold: float | None
    reasons: Callable[[int], str | None]
    """Why a row has no score, by row id."""
    left_out_reason: str | None = None
    """Why undecided rows were left out, as it was said when freezing."""


@dataclass(frozen=True)
class Written:
    """The cleaned file and the list of what is not in it."""

    path: Path
    removed_path: Path
    kept: int
    removed: int


def cleaned(
    workspace: Workspace, dataset: Dataset, score: ScoreSet | None, threshold: float | None, decided: Decided, entries: Entries
) -> Cleaned:
    """What an export writes. A frozen dataset is what its audit made it; else decisions and threshold hold, undecided rows stay out."""
    if lineage := dataset.manifest.get("lineage"):
        upload, audit = open_dataset(workspace, lineage["source"]), dataset.folder / AUDIT
        responses = dict.fromkeys(relabelled(dataset), lineage["refusal"] or REFUSAL)
        return Cleaned(
            upload,
            row_store(dataset).row_ids,
            responses,
            lambda: _notes(audit),
            lineage["threshold"],
            _unknown,
            lineage.get("left_out_reason"),
        )
    what = plan(dataset, scores=score, threshold=threshold or 0.0, decided=decided)
    kept = what.kept if score is not None else what.kept | (what.codes == 0)  # nobody judged an undecided row: it is copied
    responses = dict.fromkeys(decided.rows_with(RELABEL).tolist(), REFUSAL)

    def why(row_id: int) -> str | None:
        return score.reasons(row_store(dataset).positions([row_id]).tolist())[0] if score is not None else None

    def notes() -> Iterator[dict[str, Any]]:
        noted = what.noted(entries, kept=False)
        return noted if score is not None else (note for note in noted if note["decision"] is not None)

    return Cleaned(dataset, what.row_ids[kept], responses, notes, threshold, why)


@dataclass(frozen=True)
class CleanedFiles:
    """A cleaned file, and the two lists beside it of what is not in it: lines of JSON, and CSV."""

    file: Path
    removed: Path
    table: Path

    @classmethod
    def at(cls, file: Path) -> Self:
        """The names of all three."""
        return cls(file, file.with_name(f"{file.stem}.removed.jsonl"), file.with_name(f"{file.stem}.removed.csv"))


def write_cleaned(found: Cleaned, target: Path, *, check: Check = unheeded) -> Written:
    """Write the cleaned file, and beside it `<its name>.removed.jsonl`: one line per row that is not in it, with the reason, no text.

    `<its name>.removed.csv` is the same for a spreadsheet: people's comments are the only free text, and no cell of it runs.
    """
    flags = np.zeros(int(found.kept.max()) + 1 if len(found.kept) else 0, dtype=np.bool_)
    flags[found.kept] = True
    wanted, size = flags.tobytes(), len(flags)
    seen = 0

    def keep(row_id: int) -> bool:
        nonlocal seen
        seen += 1
        if not seen % 10_000:
            check(seen, found.upload.rows)
        return row_id < size and wanted[row_id] == 1

    path = named(found.upload, target)
    files, count = CleanedFiles.at(path), 0
    with replacing(files.removed) as file:  # both take their places at the end, so that one always tells of the other
        for note in found.notes():
            if note["outcome"] != "keep":
                count += 1
                file.write(json.dumps(_reason(note, found)).encode("ascii") + b"\n")
                if not count % 1_000:
                    check(0, found.upload.rows)
        export_kept(found.upload, keep, path, responses=found.responses)
    with files.removed.open(encoding="ascii") as lines:
        export_csv_safe(map(json.loads, lines), files.table, columns=COLUMNS)
    return Written(path, files.removed, len(found.kept), count)


def _reason(note: dict[str, Any], found: Cleaned) -> dict[str, Any]:
    """Why a row is not in the cleaned file. `row_id` counts the rows of the upload from 0."""
    decision, removed = note["decision"], note["outcome"] == "remove"
    outcome = "remove" if removed else "left_out"
    value: dict[str, Any] = {"row_id": note["row_id"], "outcome": outcome, "score": note["score"], "threshold": found.threshold}
    if decision is not None:
        person = {"decided_by": decision["decided_by"], "at": decision["at"], "comment": decision["reason"], "seen": decision.get("seen")}
        unseen = ", unseen" if decision.get("seen") is False else ""
        value |= {"reason": f"removed by a person{unseen}" if removed else f"left out, undecided: marked unsure{unseen}", **person}
    elif removed:
        value["reason"] = "the score is at or above the threshold"
    else:
        why = found.reasons(note["row_id"])
        value["reason"] = "left out, undecided: it has no score and no decision" + (f" ({why})" if why else "")
    return value if removed else {**value, "left_out_because": found.left_out_reason}


def relabelled(frozen: Dataset) -> list[int]:
    """Ids of the rows of a frozen dataset that got another answer. Raises StoreError if its record cannot be read."""
    return [note["row_id"] for note in _notes(frozen.folder / AUDIT) if note["outcome"] == "keep" and _action(note) == "relabel"]


def _notes(audit: Path) -> Iterator[dict[str, Any]]:
    try:
        with audit.open(encoding="utf-8") as file:
            next(file, None)  # the policy
            for line in file:
                yield json.loads(line)
    except (OSError, ValueError) as exc:
        raise StoreError("The record of this frozen dataset is missing or damaged. Freeze the audited dataset again.") from exc


def _action(note: dict[str, Any]) -> str:
    return "" if note["decision"] is None else str(note["decision"]["action"])


def _unknown(row_id: int) -> str | None:
    return None
