"""The Review page's answers: a batch, a receipt for each decision, how far the review is. Pure values, no wiring."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from reft_studio.audit.decision import Action
from reft_studio.errors import SpecError
from ui.components.cards import ACTIONS, masks_all, row_view
from ui.events import answer, message_for
from ui.text import ago, count, counted, number, show
from ui.widgets.review_card import review_value

if TYPE_CHECKING:
    from reft_studio.audit.decision import Decision
    from reft_studio.studio import Studio
    from reft_studio.views.reviewing import ReviewProgress
    from ui.widgets.row_table import ServerFunction

RECENT = 6
FOUND = 20
UNSCORED_RISK = "Without scores nothing can be said about the rows that nobody reads. Score the dataset on the Filter page."
REASON = 1200
"""Characters of a reason that the page sends."""


@dataclass(frozen=True)
class Request:
    """A message of the review widget, checked; `n` tells it which answer is which."""

    n: int
    dataset: str
    row: int | None = None
    action: Action | None = None
    reason: str = ""

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Request:
        """Raises SpecError if a field is not what the widget sends."""
        action = values.get("action")
        if action is not None and action not in get_args(Action):
            raise SpecError(f"There is no decision '{show(action, 20)}'. Choose one of: {', '.join(get_args(Action))}.")
        row, reason = values.get("row"), str(values.get("reason", ""))[:REASON]
        return cls(int(values["n"]), str(values["dataset"]), None if row is None else int(row), action, reason)


def decide(studio: Studio, request: Request) -> tuple[Decision | None, str]:
    """Save one decision: the entry, and the sentence that is said once it is on disk."""
    if request.row is None or request.action is None:
        raise SpecError("A decision needs a row and an action.")
    entry = studio.audit.decide(request.dataset, request.row, request.action, reason=request.reason)
    return entry, f"Saved: {_told(entry)}."


def undo(studio: Studio, request: Request) -> tuple[Decision | None, str]:
    """Take back this person's last step."""
    entry = studio.audit.undo(request.dataset)
    return entry, f"Undone: {_told(entry)}." if entry else "There is nothing to undo."


def redo(studio: Studio, request: Request) -> tuple[Decision | None, str]:
    """Bring back what was undone last."""
    entry = studio.audit.redo(request.dataset)
    return entry, f"Done again: {_told(entry)}." if entry else "There is nothing to do again."


def receipt(studio: Studio, values: Mapping[str, Any], act: Callable[[Studio, Request], tuple[Decision | None, str]]) -> str:
    """Do what a message asks and say how it ended, as JSON; never an exception, since the widget waits for its answer."""
    try:
        request = Request.read(values)
        entry, text = act(studio, request)
        reply = {
            "ok": True,
            "text": text,
            "row": entry.row_id if entry else None,
            "action": entry.action if entry else None,
            "progress": progress_view(studio.audit.review_progress(request.dataset)),
            "recent": recent(studio, request.dataset),
        }
    except Exception as exc:  # the edge of the app: what is ours is told, the rest goes to the log
        reply = {"ok": False, "error": message_for(exc)}
    return json.dumps({"n": values.get("n"), **reply})


def batch_value(studio: Studio, *, start: int | None = None, turn: int = 0) -> str:
    """The next batch of the dataset in work; empty without one, or if it is the frozen result of an audit."""
    state = studio.state()
    if state.dataset is None or state.dataset.frozen_from is not None:
        return ""
    dataset = state.dataset.id
    return review_value(
        dataset,
        state.threshold,
        studio.audit.review_batch(dataset),
        progress=progress_view(studio.audit.review_progress(dataset)),
        recent=recent(studio, dataset),
        start=start,
        turn=turn,
    )


def progress_view(progress: ReviewProgress) -> dict[str, str]:
    """How far the review is, and what can be said of the rows below the line."""
    kinds = [(progress.keep, "keep"), (progress.remove, "remove"), (progress.relabel, "relabel"), (progress.unsure, "unsure")]
    split = ", ".join(f"{count(n)} {name}" for n, name in kinds if n)
    text = f"{counted(progress.decided, 'row')} decided in all" + (f": {split}" if split else "")
    risk = progress.assurance.sentence if progress.assurance else UNSCORED_RISK
    return {"text": text, "risk": risk}


def recent(studio: Studio, dataset: str) -> list[dict[str, Any]]:
    """The latest entries of the log, newest first."""
    return [
        {"row": entry.row_id, "what": f"{'undone, ' if entry.kind == 'undo' else ''}{ACTIONS[entry.action].lower()}", "when": ago(entry.at)}
        for entry in studio.log.history(dataset, limit=RECENT)
    ]


def find_server(studio: Studio) -> ServerFunction:
    """`srv_find`: {dataset, search, mask} -> the first rows that hold these words."""

    @answer
    def srv_find(request: dict[str, Any]) -> dict[str, Any]:
        dataset, words = str(request["dataset"]), str(request.get("search", ""))[:200]
        state = studio.state()
        threshold = 1.0 if state.threshold is None else state.threshold
        if state.score is not None and state.score.dataset == dataset:
            page = studio.flagged_rows(dataset, state.score.key, threshold=threshold, side="all", limit=FOUND, search=words)
        else:
            page = studio.rows(dataset, limit=FOUND, search=words)
        hidden, everything = bool(request.get("mask", True)), masks_all(studio)
        return {"rows": [row_view(row, threshold, masked=hidden, everything=everything) for row in page.rows], "total": page.total}

    return srv_find


def plan_view(progress: ReviewProgress) -> dict[str, Any]:
    """What a freeze would do, as facts."""
    kept = progress.rows - progress.removed_in_effect - progress.undecided
    return {
        "kpis": [
            {"label": "rows stay", "value": count(kept), "hint": "kept by the threshold or by a person"},
            {"label": "rows are removed", "value": count(progress.removed_in_effect), "hint": "flagged, or removed by a person"},
            {"label": "of them by a person", "value": count(progress.remove), "hint": "decided Remove in the review"},
            {"label": "answers become a refusal", "value": count(progress.relabel), "hint": "decided Relabel in the review"},
            {
                "label": "against the threshold",
                "value": count(progress.overruled),
                "hint": "a person decided otherwise than the threshold",
            },
            {"label": "undecided", "value": count(progress.undecided), "hint": "no score and no decision, or marked Unsure"},
        ]
    }


def plan_sentence(progress: ReviewProgress, threshold: float | None) -> str:
    """The plan in words."""
    policy = f"The threshold {number(threshold)} decides every row that nobody decided."
    if threshold is None:
        policy = "No threshold is in use, so only what people decided counts."
    if not progress.undecided:
        return f"{policy} Nothing is undecided: the dataset can be frozen."
    rows = counted(progress.undecided, "row is", "rows are")
    return f"{policy} {rows} undecided. Decide above, or leave out and say why; the reason is kept with the decisions."


def lineage_view(lineage: Mapping[str, Any]) -> dict[str, Any]:
    """What a freeze did, from the manifest of the frozen dataset."""
    facts = [
        ("rows stay", lineage["kept"]),
        ("rows removed", lineage["removed"]),
        ("of them by a person", lineage["removed_by_human"]),
        ("answers became a refusal", lineage["relabelled"]),
        ("left out undecided", lineage["undecided"]),
    ]
    kpis = [{"label": label, "value": count(n), "hint": label} for label, n in facts]
    threshold = {"label": "threshold", "value": number(lineage["threshold"]), "hint": "cosine at or above which rows were flagged"}
    return {"kpis": [*kpis, threshold]}


def _told(entry: Decision) -> str:
    return f"row {count(entry.row_id)}, {ACTIONS[entry.action].lower()}"
