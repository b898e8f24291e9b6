"""What Settings shows, as the values of widgets."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reft_studio.errors import SpecError
from reft_studio.studio.models import fetched
from ui.events import said
from ui.offline import attempts, watching
from ui.tables import table_value
from ui.text import count, counted, show, size

if TYPE_CHECKING:
    from reft_studio.studio.audit import ChainReport
    from reft_studio.studio.studio import HealthCheck, Studio

KINDS = ("datasets", "teachers", "scores", "runs", "evaluations", "unfinished", "labels", "jobs", "reports", "exports", "uploads")
NAME_LIMIT = 60


def switches(studio: Studio) -> list[Any]:
    """Masking, its rule, and single-key shortcuts as they are stored."""
    return [studio.state().masked, studio.settings.get("mask_rule", "known"), bool(studio.settings.get("keys", True))]


def reviewer_name(text: str) -> str:
    """A name fit for the record of decisions. Raises SpecError if it is empty or too long."""
    name = " ".join((text or "").split())
    if not name or len(name) > NAME_LIMIT:
        raise SpecError(f"The name has {counted(len(name), 'character')}. Give it 1 to {NAME_LIMIT}.")
    return show(name, NAME_LIMIT)


def checks(found: Sequence[HealthCheck]) -> dict[str, Any]:
    """The doctor's checks, what needs attention first."""
    ordered = sorted(found, key=lambda check: check.ok)
    return table_value(
        {
            "id": check.name,
            "name": check.name,
            "state": ("sound", "keep") if check.ok else ("look here", "flag"),
            "value": check.value,
            "hint": check.hint if not check.ok else "",
        }
        for check in ordered
    )


def storage(root: Path) -> list[Any]:
    """Where the workspace lies, and what takes how much of the disk."""
    disk = shutil.disk_usage(root)
    place = {
        "facts": [
            {"label": "Folder", "value": show(root, 300), "kind": "quiet"},
            {"label": "Free", "value": f"{size(disk.free)} of {size(disk.total)}", "kind": "quiet" if disk.free > 1e9 else "warn"},
        ]
    }
    measured = [(name, *_measure(root / name)) for name in KINDS if (root / name).is_dir()]
    rows = ({"id": name, "name": name, "items": count(items), "size": size(taken)} for name, items, taken in measured)
    return [place, table_value(rows)]


def verdict(report: ChainReport) -> dict[str, str]:
    """Whether the record of decisions is whole, as a status line."""
    if report.ok:
        return said(f"The record is whole: {counted(report.entries, 'entry', 'entries')}, each fits the one before it.", "done")
    return said(
        f"The record does not fit from entry {report.first_bad} on (of {count(report.entries)}): it was changed outside the app. "
        "Restore studio.sqlite from a backup, or note this in the report.",
        "error",
    )


def offline() -> list[dict[str, Any]]:
    """The server's half of the offline self test: what this process has tried, and the switches that keep it quiet."""
    tried = attempts()
    return [
        {
            "name": "Connections of the app to other machines",
            "ok": watching() and not tried,
            "value": ("none since it started" if watching() else "not watched")
            if not tried
            else ", ".join(show(one, 60) for one in tried[:5]),
        },
        {"name": "Telemetry", "ok": os.environ.get("GRADIO_ANALYTICS_ENABLED") == "False", "value": "off"},
        {
            "name": "Model hub",
            "ok": os.environ.get("HF_HUB_OFFLINE") == "1",
            "value": ("not contacted" if os.environ.get("HF_HUB_OFFLINE") == "1" else "allowed by HF_HUB_OFFLINE") + _brought(),
        },
    ]


def _brought() -> str:
    """Models that were fetched because somebody, or set-up, asked for them."""
    brought = ", ".join(show(f"{model.name} ({model.source.partition(',')[0]})", 120) for model in fetched())
    return f"; fetched on request: {brought}" if brought else ""


def _measure(folder: Path) -> tuple[int, int]:
    """Entries in a folder and bytes below it."""
    items = sum(1 for _ in folder.iterdir())
    taken = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return items, taken
