"""Audit: what a person does with a scored dataset, from the first decision to the frozen data and its bundle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reft_studio.audit.bundle import BundleReport as BundleReport
from reft_studio.audit.checks import MOST as MOST_CHECKS
from reft_studio.audit.checks import USUAL, Reader
from reft_studio.audit.cleaned import CleanedFiles as CleanedFiles
from reft_studio.audit.freeze import noted_hashes
from reft_studio.audit.frozen_audit import FrozenAudit
from reft_studio.audit.opinion import HUMAN, Opinion, overruling, standing_of_others
from reft_studio.audit.policy import name
from reft_studio.data.dataset import Dataset, list_datasets, open_dataset
from reft_studio.data.index.rowstore import row_store
from reft_studio.errors import DataError, SpecError
from reft_studio.jobs.queue import JobQueue
from reft_studio.jobs.view import JobView
from reft_studio.scoring.partial import require_finished
from reft_studio.store import records, settings
from reft_studio.store.decisions import Action, Decision
from reft_studio.store.decisions import ChainReport as ChainReport
from reft_studio.studio import bulk, draws, review
from reft_studio.studio.assurance import Assuring, require_approved
from reft_studio.studio.checks import Checked, Checking
from reft_studio.studio.frozen import claim, frozen_audit, told_of_frozen
from reft_studio.studio.row_filter import RowFilter
from reft_studio.tasks import export as outgoing
from reft_studio.training.run_folder import list_runs

LARGE = 100_000
"""Rows above which freezing, exporting and packing are left to jobs."""
IN_BULK = "decided in bulk"
"""The reason of such a decision where a person gives none."""
HANDING = ("freeze", "export", "bundle")
"""The kinds of these jobs."""


@dataclass
class Audit(Assuring):
    """The decisions of one workspace, made and used."""

    jobs: JobQueue | None = None

    def card(self, dataset_id: str, row_id: int) -> review.Card:
        _, score, threshold = self.audited(dataset_id)
        return review.card(self.workspace, self.log, dataset_id, row_id, score, threshold)

    def decide(
        self,
        dataset_id: str,
        row_id: int,
        action: Action,
        reason: str = "",
        *,
        by: str | None = None,
        overrule: bool = False,
        seen: bool = False,
    ) -> Decision:
        """Record a decision; it is on disk when this returns. Raises DataError if the dataset has no such row.

        `overrule` settles what others decided otherwise, and needs a reason; `by` is the reviewer, else the one of the settings. Only
        with `seen` (the row's whole text was shown to that person) does the row count as read.
        """
        score, threshold = self._known(dataset_id, [row_id])
        told = overruling(reason) if overrule else reason
        value = None if score is None else float(score[0])
        by = self.reviewer(by)
        return self.log.decide(dataset_id, row_id, action, reason=told, by=by, score=value, threshold=threshold, seen=seen)

    def disputed(self, dataset_id: str, row_id: int, action: Action, *, by: str | None = None) -> Opinion | None:
        """The opinion of another person that counts and that this decision would contradict; None if there is none."""
        opinions = self.log.opinions_of(dataset_id, [row_id]).get(row_id, [])
        other = standing_of_others(opinions, self.reviewer(by).removeprefix(HUMAN))
        return other if other is not None and other.action != action else None

    def decide_selected(
        self, dataset_id: str, row_filter: RowFilter, action: Action, reason: str = "", *, overrule: bool = False, by: str | None = None
    ) -> int:
        """`decide_many` for the rows that a filter selects, as `select_rows` counts them."""
        rows = self.select_rows(dataset_id, row_filter, overrule=overrule).row_ids
        return self.decide_many(dataset_id, rows, action, reason.strip() or IN_BULK, by=by)

    def decide_many(self, dataset_id: str, row_ids: ArrayLike, action: Action, reason: str = "", *, by: str | None = None) -> int:
        """One decision for many unread rows, undone in one step; returns how many. Raises DataError if the dataset lacks one of them."""
        score, threshold = self._known(dataset_id, row_ids)
        return self.log.decide_bulk(dataset_id, row_ids, action, reason=reason, by=self.reviewer(by), scores=score, threshold=threshold)

    def _known(self, dataset_id: str, row_ids: ArrayLike) -> tuple[NDArray[np.float32] | None, float | None]:
        """Scores of rows that exist, and the threshold in use."""
        dataset, score, threshold = self.audited(dataset_id)
        wanted = np.asarray(row_ids, dtype=np.int64)
        at = row_store(dataset).positions(wanted)
        if (unknown := wanted[at < 0]).size:
            raise DataError(f"'{dataset.name}' has no row {unknown.min()}, so nothing was decided. Choose rows that it has.")
        return (None if score is None else score.scores()[at]), threshold

    def check_card(self, dataset_id: str, check_id: int) -> review.Card:
        """A check (a negative id) as the row it is shown as."""
        return Checking(self._sampling(dataset_id)).card(check_id)

    def decide_check(self, dataset_id: str, check_id: int, action: Action, *, by: str | None = None, seen: bool = False) -> Checked:
        """Record a decision on a check: no decision on a row. The first one with the text on the screen stands."""
        return Checking(self._sampling(dataset_id)).decide(check_id, action, by=self.reviewer(by), seen=seen)

    def readers(self, dataset_id: str) -> list[Reader]:
        """Which share of the checks all readers together (first), and each of them, found; empty before one was decided."""
        return Checking(self._sampling(dataset_id)).readers()

    @property
    def checks(self) -> int:
        """How many known harmful prompts are mixed into a first draw below a line."""
        return int(settings.get(self.workspace, "checks", USUAL))

    def set_checks(self, count: int) -> None:
        """Ask for so many from the next draw on. With none, claims take for granted that readers overlook nothing."""
        if not 0 <= count <= MOST_CHECKS:
            raise SpecError(f"{count:,} checks cannot be mixed in. Choose 0 to {MOST_CHECKS}.")
        settings.set(self.workspace, "checks", count)

    def select_rows(self, dataset_id: str, row_filter: RowFilter, *, overrule: bool = False) -> bulk.Selection:
        """Rows that a filter selects for one decision, and how many of them a person has decided already."""
        asked = self.audited(dataset_id)
        return bulk.select(self.workspace, *asked, self.log.decided(dataset_id), row_filter, overrule=overrule)

    def undo(self, dataset_id: str, *, by: str | None = None) -> Decision | None:
        return self.log.undo(dataset_id, self.reviewer(by))

    def redo(self, dataset_id: str, *, by: str | None = None) -> Decision | None:
        return self.log.redo(dataset_id, self.reviewer(by))

    def review_progress(self, dataset_id: str) -> review.ReviewProgress:
        return review.progress(self.log, *self.audited(dataset_id))

    def freeze(self, dataset_id: str, reason: str = "", *, by: str | None = None) -> Dataset:
        """Turn scores and decisions into a new dataset with its audit trail, in one act, and choose it.

        Undecided rows (no score and no decision, or marked unsure) stop it with a SpecError, unless a `reason` is given to leave them
        out: the trail holds it, and tells these rows from removed ones. What fails or is stopped leaves nothing.
        """
        self.workspace.require_writable()
        return outgoing.frozen(self.workspace, **self._to_freeze(dataset_id, reason, by))

    def start_freeze(self, dataset_id: str, reason: str = "", *, by: str | None = None) -> str:
        """`freeze` as a job, of the decisions as they are now; its result names the dataset."""
        params = self._to_freeze(dataset_id, reason, by)
        return self._jobs().submit("freeze", params, title=f"Freeze {open_dataset(self.workspace, dataset_id).name}")

    def freeze_or_queue(self, dataset_id: str, reason: str = "", *, by: str | None = None) -> Dataset | None:
        """`freeze`; None where it takes longer than a person waits and a job does it."""
        if self._is_large(dataset_id):
            self.start_freeze(dataset_id, reason, by=by)
            return None
        return self.freeze(dataset_id, reason, by=by)

    def export(self, dataset_id: str, target: Path | None = None) -> Path:
        """Write the cleaned file in the format of the upload: kept rows as they were, relabelled ones with a refusal.

        Beside it stands `<name>.removed.jsonl`: one line for each row that is not in it, with the reason; and the same as CSV.
        """
        return outgoing.exported(self.workspace, **{**self._to_export(dataset_id), "target": target or self._export_path(dataset_id)}).path

    def start_export(self, dataset_id: str) -> str:
        """`export` as a job; its result names both files."""
        params = {**self._to_export(dataset_id), "target": str(self._export_path(dataset_id))}
        return self._jobs().submit("export", params, title=f"Export {open_dataset(self.workspace, dataset_id).name}")

    def export_or_queue(self, dataset_id: str) -> CleanedFiles | None:
        """`export`; None where a job does it."""
        if self._is_large(dataset_id):
            self.start_export(dataset_id)
            return None
        return CleanedFiles.at(self.export(dataset_id))

    def bundle(self, dataset_id: str, *, by: str | None = None, report: Path | None = None) -> Path:
        """The audit bundle of a frozen dataset: manifests, decisions, draws, scores, and the report if given, sealed by hashes."""
        self.workspace.require_writable()
        return outgoing.bundled(self.workspace, dataset_id, by=self.reviewer(by), report=report)

    def start_bundle(self, dataset_id: str, *, by: str | None = None, report: Path | None = None) -> str:
        """`bundle` as a job; its result names the file."""
        params = {"dataset": dataset_id, "by": self.reviewer(by), "report": None if report is None else str(report)}
        return self._jobs().submit("bundle", params, title=f"Pack the audit of {open_dataset(self.workspace, dataset_id).name}")

    def bundle_or_queue(self, dataset_id: str, *, by: str | None = None, report: Path | None = None) -> Path | None:
        """`bundle`; None where a job does it."""
        if self._is_large(dataset_id):
            self.start_bundle(dataset_id, by=by, report=report)
            return None
        return self.bundle(dataset_id, by=by, report=report)

    def newest_job(self, dataset_id: str, *kinds: str) -> JobView | None:
        """The newest job that freezes a dataset, exports it or packs its audit; only of these kinds if some are named."""
        asked = kinds or HANDING
        return next((job for job in self._jobs().list() if job.kind in asked and job.params.get("dataset") == dataset_id), None)

    def exported(self, dataset_id: str) -> CleanedFiles | None:
        """What the newest job has exported of a dataset, if it has ended well and the file is still there."""
        made = self._made(dataset_id, "export")
        return CleanedFiles.at(made) if made else None

    def bundled(self, dataset_id: str) -> Path | None:
        """The bundle that the newest job has made of a dataset, if it has ended well and the file is still there."""
        return self._made(dataset_id, "bundle")

    def _made(self, dataset_id: str, kind: str) -> Path | None:
        job = self.newest_job(dataset_id, kind)
        path = Path(str((job.result or {}).get("path", ""))) if job is not None and job.state == "done" else None
        return path if path is not None and path.is_file() else None

    def verify(self) -> ChainReport:
        """Check the chains of decisions and of draws, what datasets and runs noted of them, and that draws follow from their seeds."""
        trained = [run.spec.decisions for run in list_runs(self.workspace) if run.spec.decisions]
        found = self.log.verify([*noted_hashes(list_datasets(self.workspace)), *trained])
        wrong = draws.dishonest(self.workspace) if found.ok else None
        return found if wrong is None else ChainReport(False, found.entries, None, wrong, found.heads)

    def frozen(self, dataset_id: str) -> FrozenAudit | None:
        """The audit behind a frozen dataset; None for any other."""
        return frozen_audit(self.log, open_dataset(self.workspace, dataset_id))

    def told(self, dataset_id: str) -> dict[str, Any]:
        """What a report tells of the audit of a dataset, or of the one behind a frozen dataset, by the names of its inputs."""
        if (frozen := self.frozen(dataset_id)) is not None:
            return {"dataset": dataset_id, "chain": self.verify(), **told_of_frozen(self.workspace, frozen)}
        dataset, score, threshold = self.audited(dataset_id)
        require_finished(score, "the report")
        return {
            "dataset": dataset.id,
            "score": score,
            "threshold": threshold,
            "claim": claim(self.log, dataset, score, threshold),
            "decided": self.log.decided(dataset.id),
            "entries": lambda row_ids: self.log.current_of(dataset.id, row_ids),
            "by_person": self.log.by_person(dataset.id),
            "chain": self.verify(),
        }

    def verify_bundle(self, path: Path, *, data: Path | None = None, seal: str | None = None) -> BundleReport:
        """Check a bundle; one of a dataset whose bundles were made in this workspace must have a seal that was noted here."""
        return outgoing.check_bundle(self.workspace, path, data=data, seal=seal)

    def _to_freeze(self, dataset_id: str, reason: str, by: str | None) -> dict[str, Any]:
        dataset, score, threshold = self.audited(dataset_id)
        require_finished(score, "freezing")
        decided = self.log.decided(dataset.id)
        if (undecided := len(bulk.undecided(dataset, score, decided))) and not reason.strip():
            rows = "1 row is" if undecided == 1 else f"{undecided:,} rows are"
            raise SpecError(f"{rows} undecided: no score and no decision, or marked Unsure. Decide, or say why to leave out.")
        require_approved(self.log, dataset.id, score, threshold)
        at = threshold if threshold is not None else 1.0
        rule = settings.get(self.workspace, f"threshold-rule:{dataset.id}:{score.key}") if score else None
        key = score.key if score else None
        return {
            "dataset": dataset.id,
            "score_key": key,
            "threshold": at,
            "policy_by": name(at, rule),
            "by": self.reviewer(by),
            "reason": reason.strip() if undecided else "",
            "until": decided.seq,
            "records_hash": records.head(self.workspace, dataset.id),
            "claim": claim(self.log, dataset, score, threshold).as_dict(),
        }

    def _to_export(self, dataset_id: str) -> dict[str, Any]:
        dataset, score, threshold = self.audited(dataset_id)
        require_finished(score, "the export")
        return {"dataset": dataset.id, "score_key": score.key if score else None, "threshold": threshold}

    def _is_large(self, dataset_id: str) -> bool:
        """Whether freezing, exporting and packing take longer than a person waits."""
        return open_dataset(self.workspace, dataset_id).rows > LARGE

    def _jobs(self) -> JobQueue:
        return self.jobs or JobQueue(self.workspace)

    def _export_path(self, dataset_id: str) -> Path:
        dataset = open_dataset(self.workspace, dataset_id)
        if lineage := dataset.manifest.get("lineage"):
            dataset = open_dataset(self.workspace, lineage["source"])
        folder = self.workspace.folder("exports", dataset_id)  # two uploads may have one name
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"cleaned-{Path((dataset.manifest.get('source') or {}).get('file') or f'{dataset.id}.jsonl').name}"
