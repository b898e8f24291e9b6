"""Outputs of the audit: the frozen dataset, the cleaned file, the bundle. Small ones are made at once, large ones by a job."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from reft_studio.audit.bundle import BundleReport, verify, write_bundle
from reft_studio.audit.cleaned import Written, cleaned, write_cleaned
from reft_studio.audit.decision import Decision
from reft_studio.audit.freeze import Check, Entries, freeze, unheeded
from reft_studio.audit.frozen_audit import CLAIM
from reft_studio.data.dataset import Dataset, list_datasets, open_dataset
from reft_studio.errors import SpecError
from reft_studio.fingerprint import SHORT
from reft_studio.jobs.job import JobContext
from reft_studio.scoring.partial import require_finished
from reft_studio.scoring.scores import ScoreSet, open_score_set
from reft_studio.store import records, settings
from reft_studio.store.decisions import DecisionLog
from reft_studio.workspace import Workspace


def freeze_dataset(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Freeze a dataset and select the result. params: as those of `frozen`."""
    if "until" not in params:
        raise SpecError("This freeze was queued by an earlier version, which recorded less. Freeze the dataset again.")
    context.stage("freeze the rows", 1, 1)
    made = frozen(context.workspace, check=_told(context), **params)
    return {"dataset": made.id, "rows": made.rows}


def export_dataset(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Write the cleaned file. params: dataset, score_key, threshold, target."""
    context.stage("write the cleaned file", 1, 1)
    made = exported(context.workspace, check=_told(context), **{**params, "target": Path(params["target"])})
    return {"path": str(made.path), "removed": str(made.removed_path), "kept_rows": made.kept, "removed_rows": made.removed}


def bundle_dataset(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Write the audit bundle of a frozen dataset. params: dataset, by, report (path of a redacted one, or None)."""
    context.stage("pack the bundle", 1, 1)
    report = params.get("report")
    path = bundled(context.workspace, params["dataset"], by=params["by"], report=None if report is None else Path(report))
    return {"path": str(path)}


def frozen(
    workspace: Workspace,
    *,
    dataset: str,
    score_key: str | None,
    threshold: float,
    policy_by: str,
    by: str,
    reason: str,
    until: int,
    records_hash: str | None,
    claim: Mapping[str, Any],
    check: Check = unheeded,
) -> Dataset:
    """The dataset that results from scores and decisions, with its lineage; it becomes the one in use.

    Only decisions up to entry `until` of the log count, so that a job makes what was requested when it was queued; `claim`
    (`Claim.as_dict`) is the conclusion at that time. `reason`: why undecided rows are left out. On failure nothing of the dataset remains.
    """
    log, opened = DecisionLog(workspace), open_dataset(workspace, dataset)
    decided = log.decided(dataset, until=until)
    before = {existing.id for existing in list_datasets(workspace)}
    made = freeze(
        workspace,
        opened,
        scores=_scores(workspace, dataset, score_key),
        threshold=threshold,
        decided=decided,
        entries=_entries(log, dataset, decided.seq),
        policy_by=policy_by,
        reason=reason,
        noted={"records_hash": records_hash, "frozen_by": by, CLAIM: claim},
        check=check,
    )
    try:
        settings.set(workspace, "dataset", made.id)
    except BaseException:
        if made.id not in before:
            shutil.rmtree(made.folder, ignore_errors=True)
        raise
    return made


def exported(
    workspace: Workspace, *, dataset: str, score_key: str | None, threshold: float | None, target: Path, check: Check = unheeded
) -> Written:
    """The cleaned file in the format of the upload, and a list of the removed rows."""
    log, opened = DecisionLog(workspace), open_dataset(workspace, dataset)
    score = _scores(workspace, dataset, score_key)
    decided = log.decided(dataset)
    content = cleaned(workspace, opened, score, threshold, decided, _entries(log, dataset, decided.seq))
    return write_cleaned(content, target, check=check)


def bundled(workspace: Workspace, dataset: str, *, by: str, report: Path | None = None) -> Path:
    """The audit bundle of a frozen dataset; its seal is recorded, so that a replacement is detected."""
    frozen_dataset = open_dataset(workspace, dataset)
    lineage = frozen_dataset.manifest.get("lineage")
    if not lineage:
        raise SpecError("Only a frozen dataset has an audit bundle. Freeze the decisions on the Review page first.")
    source = open_dataset(workspace, lineage["source"])
    scores = _scores(workspace, source.id, lineage.get("score_key"))
    path = write_bundle(
        frozen_dataset,
        source,
        workspace.folder("exports") / f"audit-{frozen_dataset.id}.zip",
        decisions=DecisionLog(workspace).entries(source.id),
        scores={} if scores is None else scores.info,
        records=records.entries(workspace, source.id),
        row_scores=None if scores is None else scores.folder / "scores.parquet",
        report=report,
    )
    content = {"seal": verify(path).seal, "dataset": frozen_dataset.id}
    records.append(workspace, source.id, "bundle", by, lambda before, head: content)
    return path


def check_bundle(workspace: Workspace, path: Path, *, data: Path | None = None, seal: str | None = None) -> BundleReport:
    """Check a bundle by itself, against `seal` if given, and against the seals recorded when bundles of its dataset were made here."""
    report = verify(path, data=data, seals=[] if seal is None else [seal])
    dataset = str(report.manifest.get("dataset", ""))[:SHORT]
    contents = [record.content() for record in records.entries(workspace) if record.kind == "bundle"]
    recorded = [content["seal"] for content in contents if content["dataset"] == dataset]
    if recorded and report.seal not in recorded:
        return replace(
            report, ok=False, problems=[*report.problems, "Another bundle of this dataset was made here: its seal is not this one."]
        )
    return report


def _scores(workspace: Workspace, dataset: str, key: str | None) -> ScoreSet | None:
    score_set = open_score_set(workspace, dataset, key) if key else None
    require_finished(score_set, "freezing and exporting")
    return score_set


def _entries(log: DecisionLog, dataset: str, until: int) -> Entries:
    """Decisions as they were when the work began, since others may go on deciding."""

    def entries(row_ids: Sequence[int]) -> Mapping[int, Decision]:
        return log.current_of(dataset, row_ids, until=until)

    return entries


def _told(context: JobContext) -> Check:
    def report(done: int, total: int) -> None:
        context.progress(done, total)

    return report
