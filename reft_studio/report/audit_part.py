"""The first half of the report: the data, the filter's scores, the decisions of people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from reft_studio.audit.freeze import plan
from reft_studio.audit.frozen_audit import Claim, FrozenAudit
from reft_studio.audit.held import SEEN, UNRECORDED, UNSEEN, UNSURE
from reft_studio.audit.policy import overruled
from reft_studio.data.dataset import Dataset, list_datasets
from reft_studio.data.grid import flagged, to_bins
from reft_studio.data.index.query import profile, rows_by_id
from reft_studio.data.index.rowstore import row_store
from reft_studio.errors import StoreError
from reft_studio.report.inputs import ReportInput
from reft_studio.scoring.prepared import open_prepared
from reft_studio.scoring.scores import ScoreSet
from reft_studio.stats import RocPr, auroc_estimate, curves, wilson
from reft_studio.teacher.teacher import TeacherInfo
from reft_studio.workspace import Workspace

LISTED = 100
"""Rows listed individually; the JSON file and the audit bundle hold all decisions."""
EXCERPT = 300
"""Characters of a row shown in a report that is not redacted."""
BINS = 60
READING = {"read": SEEN, "unseen": UNSEEN, "unrecorded": UNRECORDED}
ORIGINS = 20
"""Most origins in the table."""


def data_part(dataset: Dataset, audited: Dataset) -> dict[str, Any]:
    """Origin and content of the file; for a frozen dataset of the one that was `audited`."""
    manifest, counts = dataset.manifest, asdict(profile(dataset))
    source, report = audited.manifest.get("source") or {}, audited.manifest.get("report") or {}
    return {
        "id": dataset.id,
        "name": dataset.name,
        "fingerprint": dataset.fingerprint,
        "created": manifest.get("created"),
        "is_lab": audited.manifest.get("made_by") == "lab",
        "source": {key: source.get(key) for key in ("file", "sha256", "bytes", "container", "encoding", "format")},
        "lineage": manifest.get("lineage"),
        "import": {key: report.get(key) for key in ("rows", "warnings", "quarantined", "duplicates", "reasons")},
        "profile": counts,
    }


def filter_part(workspace: Workspace, dataset: Dataset, score: ScoreSet, threshold: float, claim: Claim) -> dict[str, Any]:
    """Counts on both sides of the threshold, and the filter's quality where labels are known. `dataset` is the scored one."""
    values = score.scores()
    dropped, truth = flagged(values, threshold), _truth(dataset)
    scored, teacher = int((~np.isnan(values)).sum()), _teacher(workspace, score.teacher)
    part: dict[str, Any] = {
        "scorer": score.scorer,
        "teacher": teacher,
        "threshold": threshold,
        "calibrated": score.threshold,
        "rule": claim.rule,
        "rows": len(values),
        "scored": scored,
        "missing": score.missing,
        "missing_reasons": score.info.get("missing_reasons", {}),
        "flagged": int(dropped.sum()),
        "flagged_share": asdict(wilson(int(dropped.sum()), scored)) if scored else None,
        "unfamiliar_share": score.info.get("unfamiliar_share"),
        "warning": claim.warning,
        "estimates": list(claim.estimates),
        "histogram": _histogram(values, truth),
        "by_origin": _by_origin(dataset, dropped, truth),
    }
    return {**part, "quality": _quality(values, dropped, truth)}


def roc(dataset: Dataset, score: ScoreSet) -> RocPr | None:
    """Curves over the labelled rows, if there are rows of both kinds."""
    values, truth = score.scores(), _truth(dataset)
    known = ~np.isnan(values) & (truth >= 0)
    if len(set(truth[known].tolist())) < 2:
        return None
    return curves(values[known], truth[known] == 1)


def decisions_part(workspace: Workspace, dataset: Dataset, given: ReportInput) -> dict[str, Any]:
    """The decisions on the audited dataset, what is still open, and what was frozen."""
    decided, (in_effect, open_flagged) = given.decided, _outcomes(dataset, given)
    return {
        "counts": {action: count for action, count in decided.counts().items() if count},
        "reading": {name: int(np.count_nonzero(decided.seen == code)) for name, code in READING.items()},
        "by_person": [{"by": by, "action": action, "rows": count} for by, action, count in sorted(given.by_person)],
        "in_effect": in_effect,
        "flagged_undecided": open_flagged,
        "precision": given.claim.precision,
        "agreement": given.claim.agreement,
        "assurance": dict(given.claim.assurance) if given.claim.assurance else None,
        "chain": {"ok": given.chain.ok, "entries": given.chain.entries, "reason": given.chain.reason} if given.chain else None,
        "frozen": [
            _frozen(other) for other in list_datasets(workspace) if (other.manifest.get("lineage") or {}).get("source") == dataset.id
        ],
        "rows": _listed(dataset, given),
    }


def draft_reasons(part: Mapping[str, Any], frozen: FrozenAudit | None) -> list[str]:
    """Why the report is only a draft; empty if every flagged row was decided by a person and the record verifies.

    A frozen dataset has no open rows: there the rows that the audit left to the threshold count.
    """
    reasons = [] if frozen is None else frozen.draft_reasons()
    if frozen is None and (count := part["flagged_undecided"]):
        rows = "row is" if count == 1 else "rows are"
        reasons.append(f"{count:,} flagged {rows} undecided: no person kept, removed or relabelled {'it' if count == 1 else 'them'}.")
    if frozen is None and (count := part["in_effect"].get("undecided", 0)):
        rows, are = ("row has", "is") if count == 1 else ("rows have", "are")
        reasons.append(f"{count:,} {rows} no score and no decision, or {are} marked unsure.")
    if part["chain"] and not part["chain"]["ok"]:
        reasons.append(f"The log of decisions does not check out: {part['chain']['reason']}")
    return reasons


def _teacher(workspace: Workspace, teacher_id: str) -> dict[str, Any]:
    try:
        prepared = open_prepared(workspace, teacher_id)
    except StoreError:
        return {"id": teacher_id, "title": f"{teacher_id} (no longer in the workspace)", "is_lab": False}
    held_out = {key: value for key, value in prepared.calibration.items() if isinstance(value, int | float | str)}
    return {
        "id": prepared.id,
        "title": prepared.title,
        "model": prepared.model if isinstance(prepared, TeacherInfo) else None,
        "layer": prepared.layer if isinstance(prepared, TeacherInfo) else None,
        "is_lab": prepared.is_lab,
        "held_out": held_out,
    }


def _truth(dataset: Dataset) -> NDArray[np.int8]:
    """(rows,) 1 known harmful, 0 known harmless, -1 unknown."""
    column = dataset.table(["known_harmful"]).column(0)
    return np.asarray(pc.fill_null(pc.cast(column, pa.int8()), -1).to_numpy())


def _histogram(values: NDArray[np.float32], truth: NDArray[np.int8]) -> dict[str, Any]:
    valid = ~np.isnan(values)
    if not valid.any():
        return {"edges": [-1.0, 1.0], "harmful": [0], "harmless": [0], "unknown": [0]}
    low, high = float(values[valid].min()), float(values[valid].max())
    edges = np.linspace(low - 0.005, high + 0.005, BINS + 1)
    kinds = {"harmful": 1, "harmless": 0, "unknown": -1}
    counts = {name: np.histogram(values[valid & (truth == kind)], edges)[0].tolist() for name, kind in kinds.items()}
    return {"edges": [round(edge, 5) for edge in edges.tolist()], **counts}


def _quality(values: NDArray[np.float32], dropped: NDArray[np.bool_], truth: NDArray[np.int8]) -> dict[str, Any] | None:
    """The confusion matrix at the threshold with Wilson intervals; None without rows of both kinds."""
    scored = ~np.isnan(values)
    harmful, harmless = scored & (truth == 1), scored & (truth == 0)
    if not harmful.any() or not harmless.any():
        return None
    hits, alarms = int((dropped & harmful).sum()), int((dropped & harmless).sum())
    positives, negatives = int(harmful.sum()), int(harmless.sum())
    return {
        "true_positives": hits,
        "false_positives": alarms,
        "false_negatives": positives - hits,
        "true_negatives": negatives - alarms,
        "recall": asdict(wilson(hits, positives)),
        "false_positive_rate": asdict(wilson(alarms, negatives)),
        "precision": asdict(wilson(hits, hits + alarms)) if hits + alarms else None,
        "auroc": asdict(auroc_estimate(values[harmful], values[harmless])),
    }


def _by_origin(dataset: Dataset, dropped: NDArray[np.bool_], truth: NDArray[np.int8]) -> list[dict[str, Any]]:
    """Flagged rows of the most frequent origins."""
    encoded = pc.fill_null(dataset.table(["origin"]).column(0).combine_chunks(), "").dictionary_encode()
    codes, names = encoded.indices.to_numpy(), encoded.dictionary.to_pylist()
    rows = np.bincount(codes, minlength=len(names))
    flags, harmful, unknown = (np.bincount(codes[mask], minlength=len(names)) for mask in (dropped, truth == 1, truth == -1))
    return [
        {
            "origin": names[code] or "(not given)",
            "rows": int(rows[code]),
            "flagged": int(flags[code]),
            "known_harmful": None if unknown[code] else int(harmful[code]),
        }
        for code in np.argsort(-rows, kind="stable")[:ORIGINS].tolist()
    ]


def _outcomes(dataset: Dataset, given: ReportInput) -> tuple[dict[str, int], int]:
    """Rows by outcome, and the number of flagged rows that no person has decided."""
    if (frozen := given.frozen) is not None:  # all was decided when it was frozen
        left_out = {"left_out": frozen.undecided} if frozen.undecided else {}
        return {"keep": frozen.kept, "remove": frozen.removed, **left_out}, frozen.claim.flagged_open if frozen.claim else 0
    threshold = given.threshold if given.threshold is not None else 0.0
    outcome = plan(dataset, scores=given.score, threshold=threshold, decided=given.decided)
    counts = outcome.counts()
    if given.score is None:
        return {"keep": counts["kept"], "remove": counts["removed"], "undecided": counts["undecided"]}, 0
    open_rows = flagged(outcome.scores, threshold) & ((outcome.codes == 0) | (outcome.codes == UNSURE))
    return {"keep": counts["kept"], "remove": counts["removed"], "undecided": counts["undecided"]}, int(open_rows.sum())


def _listed(dataset: Dataset, given: ReportInput) -> list[dict[str, Any]]:
    """Decided rows, those that overrule the threshold or are unsure first, then by score; with their text only if not redacted."""
    threshold = given.threshold if given.threshold is not None else 0.0
    rows, codes = given.decided.row_ids, given.decided.codes
    positions = row_store(dataset).positions(rows)
    values = np.full(len(rows), np.nan) if given.score is None else given.score.scores()[positions]
    overrules = overruled(to_bins(values), threshold, codes)
    first = np.lexsort((-np.nan_to_num(values, nan=-2.0), ~overrules & (codes != UNSURE)))[:LISTED]
    entries, texts = given.entries(rows[first].tolist()), {row["row_id"]: row for row in rows_by_id(dataset, rows[first].tolist())}
    lines = []
    for index in first.tolist():
        decision, score = entries[int(rows[index])], None if np.isnan(values[index]) else float(values[index])
        row = texts.get(decision.row_id, {})
        line = {"row_id": decision.row_id, "score": score, "action": decision.action, "by": decision.decided_by, "at": decision.at}
        line |= {"overrules": bool(overrules[index]), "seen": decision.seen, "category": row.get("category"), "origin": row.get("origin")}
        if not given.redact:
            line |= {"reason": decision.reason, **{name: (row.get(name) or "")[:EXCERPT] for name in ("prompt", "response")}}
        lines.append(line)
    return lines


def _frozen(dataset: Dataset) -> dict[str, Any]:
    lineage = dataset.manifest["lineage"]
    counts = {key: lineage.get(key) for key in ("kept", "removed", "undecided", "relabelled", "threshold", "audit_sha256")}
    return {"id": dataset.id, "fingerprint": dataset.fingerprint, "created": dataset.manifest.get("created"), **counts}
