"""The audit at a million rows, and at ten: what a person waits for against its budget, and beside the app one would write first."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import audit_browser
from benchmarks.audit_scene import measured, write_upload
from benchmarks.race import Measured

MILLION = 1_000_000
IMPORT_S, IMPORT_MB, APP_MB = 10.0, 2000.0, 1500.0
"""Budgets: seconds to import a million rows; memory of an import, and of the app, at ten million."""
BUDGETS_MS = {
    "panel": (20.0, "histogram, curves and slices of the Filter page after a move of the threshold"),
    "page": (60.0, "any page of the row table"),
    "moved": (60.0, "the flagged rows at a threshold nobody asked for yet"),
    "search": (100.0, "one or two words, with the first page of the rows that hold them"),
    "decide": (50.0, "one decision on disk, 200,000 there already"),
    "bulk": (2000.0, "one decision about 100,000 rows on disk"),
    "open": (3000.0, "from nothing to the values of the Filter page"),
}
BROWSER_MS = {
    "line": (100.0, "the line moved: counts and picture new"),
    "next_row": (150.0, "decision key to the next row"),
    "first_page": (3000.0, "first rows of an upload of 100,000"),
}
FASTER = 50


def audit() -> list[Measured]:
    """A million rows: import, server, browser, and the race for the threshold."""
    with tempfile.TemporaryDirectory() as folder:
        scene = _scene(Path(folder), MILLION)
        return [*_imported(scene, MILLION), *_served(scene), *_in_browser(Path(folder), scene)]


def audit_10m() -> list[Measured]:
    """Ten million rows: import and server."""
    with tempfile.TemporaryDirectory() as folder:
        scene = _scene(Path(folder), 10 * MILLION)
        return [*_imported(scene, 10 * MILLION), *_served(scene)]


def _scene(folder: Path, rows: int) -> dict[str, Any]:
    upload, workspace = folder / "upload.jsonl", folder / "workspace"
    write_upload(upload, rows)
    found = {"import": measured("import", workspace, upload)}
    upload.unlink()
    dataset = found["import"]["dataset"]
    shutil.rmtree(workspace / "datasets" / dataset / "original", ignore_errors=True)  # the disk may be small
    found |= {"score": measured("score", workspace, dataset), "index": measured("index", workspace, dataset)}
    return {**found, "server": measured("serve", workspace, dataset), "rows": rows}


def _imported(scene: dict[str, Any], rows: int) -> list[Measured]:
    found, budget = scene["import"], IMPORT_S * rows / MILLION
    name = _name("import", rows)
    note = f"{found['cpu_s']:.0f} s of processor time; search index {scene['index']['seconds']:.0f} s in the background"
    return [
        _against(name, f"import of {rows:,} rows of 560 bytes", 1000 * found["seconds"], 1000 * budget, note=note),
        _against(f"{name}_memory", f"memory of an import of {rows:,} rows, all processes", found["peak_mb"], IMPORT_MB, unit="MB"),
    ]


def _served(scene: dict[str, Any]) -> list[Measured]:
    rows, server = scene["rows"], scene["server"]
    found = [_p95(_name(name, rows), what, server["times"][name], budget) for name, (budget, what) in BUDGETS_MS.items()]
    memory = _against(_name("app_memory", rows), "memory of the process that answered all of this", server["memory_mb"], APP_MB, unit="MB")
    return [*found, memory]


def _in_browser(folder: Path, scene: dict[str, Any]) -> list[Measured]:
    times = audit_browser.measure(folder / "workspace", scene["import"]["dataset"], scene["score"]["key"])
    if times is None:
        return []
    found = [_p95(f"audit_browser_{name}", what, times[name], budget) for name, (budget, what) in BROWSER_MS.items()]
    ours, usual = (float(np.median(times[name])) for name in ("ours", "usual"))
    race = Measured(
        "audit_threshold_vs_usual",
        "a move of the threshold at a million rows, in the browser, until the counts are new (medians)",
        ours,
        "pandas in gr.State, figure and table sent again",
        usual,
        ours / usual,
        1 / FASTER,
    )
    return [*found, race]


def _p95(name: str, what: str, times: list[float], budget: float) -> Measured:
    note = f"median {np.median(times):.1f} ms, slowest {max(times):.1f} ms of {len(times)}" if len(times) > 1 else ""
    return _against(name, f"{what}, p95", float(np.quantile(times, 0.95)), budget, note=note)


def _against(name: str, what: str, ours: float, budget: float, *, unit: str = "ms", note: str = "") -> Measured:
    return Measured(name, what, ours, "budget", budget, ours / budget, 1.0, unit=unit, note=note)


def _name(what: str, rows: int) -> str:
    return f"audit_{what}" + ("" if rows == MILLION else f"_{rows // MILLION}m")
