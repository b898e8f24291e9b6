"""Reports: one HTML file each, with a JSON twin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from reft_studio.errors import StoreError
from reft_studio.store import settings
from reft_studio.studio import project
from reft_studio.studio.audit import Audit
from reft_studio.workspace import Workspace, read_json


@dataclass
class Reports:
    """The reports of one workspace."""

    workspace: Workspace
    audit: Audit

    def build(self, *, dataset_id: str | None = None, redact: bool = True, sections: Sequence[str] | None = None) -> Path:
        """Build the report of a dataset (None: the chosen one) as one HTML file with a JSON twin; of a frozen one: of its audit."""
        self.workspace.require_writable()
        current = dataset_id or getattr(project.chosen_dataset(self.workspace), "id", None)
        from reft_studio.report import ReportInput, build_report  # draws with plotly, which would slow every start

        given: dict[str, Any] = {"redact": redact, "reviewer": settings.get(self.workspace, "reviewer", "")}
        if sections is not None:
            given["sections"] = tuple(sections)
        if current is not None:
            given |= self.audit.told(current)
        return build_report(self.workspace, ReportInput(**given), self.workspace.folder("reports"))

    def bundle(self, dataset_id: str, *, by: str) -> Path | None:
        """The audit bundle of a frozen dataset with the redacted report of its audit inside; None where a job packs it."""
        return self.audit.bundle_or_queue(dataset_id, by=by, report=self.build(dataset_id=dataset_id, redact=True))

    def every(self) -> list[Path]:
        """Reports of the workspace, newest first."""
        folder = self.workspace.folder("reports")
        return sorted(folder.glob("*.html"), key=lambda path: path.stat().st_mtime, reverse=True) if folder.is_dir() else []

    def has(self, dataset_id: str) -> bool:
        """Whether there is a report of a dataset."""
        return any(_reported(path.with_suffix(".json"), path.stat().st_mtime_ns) == dataset_id for path in self.every())


def twin_of(report: Path) -> dict[str, Any]:
    """What a report says, as data. Raises StoreError if the file beside it is missing or damaged."""
    found: dict[str, Any] = read_json(report.with_suffix(".json"))
    return found


@lru_cache(maxsize=512)
def _reported(twin: Path, _written: int) -> str | None:
    """Which dataset a report is of; None for one on models only, or without its twin."""
    try:
        found: dict[str, Any] = read_json(twin)
    except StoreError:
        return None
    return found.get("dataset") or (found.get("data") or {}).get("id")
