"""What the Report page says: what is there to report, a built report in short, the list of reports."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from gradio.utils import get_upload_folder

from reft_studio.errors import StoreError
from reft_studio.studio.reports import twin_of
from ui.shared.frozen_view import frozen_line
from ui.text import ago, count, counted, show, size

if TYPE_CHECKING:
    from reft_studio.studio.frozen import FrozenAudit
    from reft_studio.studio.project import State
    from reft_studio.studio.studio import Studio

SECTIONS = (
    ("Data", "data"),
    ("Filter", "filter"),
    ("Decisions", "decisions"),
    ("Runs", "runs"),
    ("Comparison", "comparison"),
    ("Limits", "limits"),
)
DRAFT = "The report will be marked DRAFT."
EMPTY = "No report yet. Choose what goes in and press “Build the report”."
WORDS = {
    "data": "Data: where the rows come from, how many, what was set aside",
    "filter": "Filter: scores, threshold, quality where the truth is known",
    "decisions": "Decisions: what people decided, what is in effect, the bound on what is left",
    "runs": "Runs: methods, settings, training curves",
    "comparison": "Comparison: safety and accuracy with intervals and paired tests",
    "limits": "Limits: what the numbers do not show",
}


def checklist(studio: Studio) -> list[dict[str, Any]]:
    """What a report of the chosen dataset would hold and what is still missing."""
    state, graded = studio.state(), [run for run in studio.runs.finished() if run.hs is not None]
    data = state.dataset
    frozen = studio.audit.frozen(data.id) if data is not None and data.frozen_from else None
    found = [
        _item(data is not None, f"Dataset: {show(data.name, 80)}, {count(data.rows)} rows" if data else "No dataset", "Add data", "/data"),
        _scored(state, frozen),
    ]
    if frozen is not None:
        found.append(_of_frozen(frozen))
    elif data is not None:
        found.append(_decided(studio, data.id))
    runs = f"{counted(len(graded), 'evaluated run')} to compare" if graded else "No evaluated run: the report will tell of the data only"
    return [*found, _item(bool(graded), runs, "Train", "/train")]


def _scored(state: State, frozen: FrozenAudit | None) -> dict[str, Any]:
    """Scores and line that the report rests on: of a frozen dataset, those that it was frozen with."""
    if frozen is not None and frozen.threshold is not None:
        return _item(True, f"Frozen at {frozen_line(frozen)}", "", "")
    if frozen is not None:
        return _item(True, "Frozen without scores: only people decided", "", "")
    return _item(
        state.score is not None, "Scores and threshold" if state.score else "The rows have not been scored", "Score them", "/filter"
    )


def _of_frozen(frozen: FrozenAudit) -> dict[str, Any]:
    """What the audit behind a frozen dataset settled, and what it left to the threshold."""
    counts = f"{count(frozen.kept)} rows kept, {count(frozen.removed)} removed, {count(frozen.undecided)} left out undecided"
    if reasons := frozen.draft_reasons():
        return {**_item(False, f"{counts}. {' '.join(reasons)}", "See the audit", "/review"), "note": DRAFT}
    return _item(True, counts, "", "")


def _decided(studio: Studio, dataset: str) -> dict[str, Any]:
    """Whether the report would be a draft, by the rule of the report itself."""
    progress = studio.audit.review_progress(dataset)
    if progress.flagged_open:
        text = f"{counted(progress.flagged_open, 'flagged row')} that no person decided"
    elif progress.undecided:
        text = f"{counted(progress.undecided, 'row')} undecided"
    else:
        done = f"Decisions: {count(progress.decided)} made" if progress.flagged else "No flagged row waits for a decision"
        return _item(True, done, "", "")
    return {**_item(False, text, "Review", "/review"), "note": DRAFT}


def _item(ok: bool, text: str, action: str, href: str) -> dict[str, Any]:
    return {"ok": ok, "text": text, "note": "", "action": "" if ok else action, "href": href}


def view(path: Path | None, *, open_now: bool = False) -> dict[str, Any]:
    """A built report in short, with the address of a copy that the browser may read."""
    if path is None:
        return {"report": None, "url": "", "open": False, "empty": EMPTY}
    twin = twin_of(path)
    return {"report": brief(twin), "url": f"/gradio_api/file={quote(str(served(path)))}", "open": open_now, "empty": EMPTY}


def brief(twin: Mapping[str, Any]) -> dict[str, Any]:
    """Title, state, findings, contents and limits of a report, from its JSON twin."""
    return {
        "title": show(twin["title"], 120),
        "draft": [show(reason, 300) for reason in twin["draft"]],
        "redacted": bool(twin["redacted"]),
        "when": f"Made {ago(twin['created'])}" + (f" by {show(twin['reviewer'], 60)}" if twin["reviewer"] else ""),
        "findings": [show(text, 400) for text in twin["summary"]],
        "contents": [WORDS.get(name, name) for name in twin["sections"]],
        "limits": [show(text, 400) for text in twin.get("limits", [])],
    }


def served(path: Path) -> Path:
    """A copy in the app's own temporary folder, which is all that is ever served; Gradio sweeps it."""
    folder = Path(get_upload_folder()) / uuid.uuid4().hex
    folder.mkdir(parents=True)
    return Path(shutil.copyfile(path, folder / path.name))


def lines(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Reports for the table, newest first; `id` is the file name."""
    return [line for line in map(_line, paths) if line]


def _line(path: Path) -> dict[str, Any] | None:
    try:
        twin = twin_of(path)
    except StoreError:
        return None  # a report without its twin was put there by hand; it is not ours to describe
    state = ("DRAFT", "warn") if twin["draft"] else ("Final", "done")
    texts = "left out" if twin["redacted"] else "included"
    return {
        "id": path.name,
        "title": twin["title"],
        "made": ago(twin["created"]),
        "state": state,
        "texts": texts,
        "size": size(path.stat().st_size),
    }


def named(studio: Studio, name: str) -> Path:
    """The report with this file name. Raises StoreError if it is gone."""
    found = next((path for path in studio.reports.every() if path.name == name), None)
    if found is None:
        raise StoreError("This report is no longer in the workspace. Build it again.")
    return found
