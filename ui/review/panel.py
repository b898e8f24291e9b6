"""The Review page's answers: a batch, a receipt for each decision, how far the review is. Pure values, no wiring."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, get_args

from reft_studio.audit.decision import Action
from reft_studio.errors import SpecError
from reft_studio.studio.reviewers import Habits
from reft_studio.studio.row_filter import RowFilter
from ui.events import answer, message_for
from ui.review.ask import AddressFilter, filter_words
from ui.review.review_card import review_value
from ui.review.standing_words import file_line, standing_words
from ui.shared.cards import ACTIONS, PAST, masks_all, person, row_view, unseen_words
from ui.text import ago, count, counted, show

if TYPE_CHECKING:
    from reft_studio.audit.decision import Decision
    from reft_studio.studio.review import ReviewProgress
    from reft_studio.studio.studio import Studio
    from ui.shared.row_table import ServerFunction

RECENT = 6
FOUND = 20
MOST_MARKS = 200
REASON = 1200
"""Characters of a reason that the page sends."""
STANCES = ("", "overrule", "differ")
NOT_READ = "Its text was not shown, so the row counts as decided, not as read."
ORDERS = (("borderline", "Near the line first"), ("highest", "Highest score first"), ("random", "At random"), ("sample", "Random sample"))


class Disputed(SpecError):
    """Somebody decided the row otherwise, and this decision does not say what to do about it."""


@dataclass(frozen=True)
class CheckSaved:
    """What stands of a decision on a check, in place of an entry of the log; `seen`: its text was on the screen, so it counts."""

    row_id: int
    action: Action
    seen: bool


@dataclass(frozen=True)
class ReviewMessage:
    """A message of the review widget, checked; `n` tells it which answer is which, `next` is the row that it shows meanwhile.

    `seen`: the whole text of the row was on the screen since it was opened; masked, cut or still on its way, it was not.
    """

    n: int
    dataset: str
    by: str = ""
    row: int | None = None
    action: Action | None = None
    reason: str = ""
    stance: str = ""
    next: int | None = None
    seen: bool = False

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> ReviewMessage:
        """Raises SpecError if a field is not what the widget sends."""
        action, stance = values.get("action"), str(values.get("stance") or "")
        if action is not None and action not in get_args(Action):
            raise SpecError(f"There is no decision '{show(action, 20)}'. Choose one of: {', '.join(get_args(Action))}.")
        if stance not in STANCES:
            raise SpecError("A decision against another one either overrules it or stands beside it.")
        row, following = values.get("row"), values.get("next")
        return cls(
            int(values["n"]),
            str(values["dataset"]),
            str(values.get("by") or ""),
            None if row is None else int(row),
            action,
            str(values.get("reason", ""))[:REASON],
            stance,
            None if following is None else int(following),
            values.get("seen") is True,
        )


def decide(studio: Studio, request: ReviewMessage) -> tuple[Decision | CheckSaved, str]:
    """Save one decision: the entry, and the sentence that is said once it is on disk.

    Raises Disputed where another person's opinion differs and the request takes no stance on it.
    """
    if request.row is None or request.action is None:
        raise SpecError("A decision needs a row and an action.")
    by = studio.reviewers.reviewer(request.by)
    if request.row < 0:
        return _decide_check(studio, request, by)
    if not request.stance:
        other = studio.audit.disputed(request.dataset, request.row, request.action, by=by)
        if other is not None:
            what = f"{person(other.by)} {PAST[other.action]} this row {ago(other.at)}"
            raise Disputed(f"{what}. Overrule it with a reason, or let both opinions stand.")
    overrule = request.stance == "overrule"
    entry = studio.audit.decide(request.dataset, request.row, request.action, request.reason, by=by, overrule=overrule, seen=request.seen)
    _leave(studio, request, by)
    return entry, f"Saved: {_told(entry)}." if entry.seen else f"Saved: {_told(entry)}. {NOT_READ}"


def _leave(studio: Studio, request: ReviewMessage, by: str) -> None:
    """Remember the row that is shown next; a check is none of the dataset's."""
    if request.next is not None and request.next >= 0:
        studio.reviewers.leave_at(request.dataset, by, request.next)


def _decide_check(studio: Studio, request: ReviewMessage, by: str) -> tuple[CheckSaved, str]:
    """Save what a person makes of a known harmful prompt, and only then say that it was one."""
    assert request.row is not None and request.action is not None, "checked before"
    told = studio.audit.decide_check(request.dataset, request.row, request.action, by=by, seen=request.seen)
    _leave(studio, request, by)
    row = f"row {count(told.check.shown)}"
    saved = CheckSaved(request.row, told.action, told.revealed)
    if not told.revealed:
        return saved, f"Saved: {row}, {ACTIONS[told.action].lower()}. {NOT_READ}"
    was = f"{row} was a check, a known harmful prompt that is not in the file"
    if not told.stands:
        return saved, f"This {was}. Its first decision stands: {ACTIONS[told.action].lower()}."
    return saved, f"Saved: {was}. " + ("You found it." if told.found else "It counts as overlooked.")


def undo(studio: Studio, request: ReviewMessage) -> tuple[Decision | None, str]:
    """Take back this person's last step."""
    entry = studio.audit.undo(request.dataset, by=studio.reviewers.reviewer(request.by))
    return entry, f"Undone: {_told(entry)}." if entry else "There is nothing to undo."


def redo(studio: Studio, request: ReviewMessage) -> tuple[Decision | None, str]:
    """Bring back what was undone last."""
    entry = studio.audit.redo(request.dataset, by=studio.reviewers.reviewer(request.by))
    return entry, f"Done again: {_told(entry)}." if entry else "There is nothing to do again."


def receipt(
    studio: Studio, values: Mapping[str, Any], act: Callable[[Studio, ReviewMessage], tuple[Decision | CheckSaved | None, str]]
) -> str:
    """Do what a message asks and say how it ended, as JSON; never an exception, since the widget waits for its answer."""
    try:
        request = ReviewMessage.read(values)
        entry, text = act(studio, request)
        reply = {
            "ok": True,
            "text": text,
            "row": entry.row_id if entry else None,
            "action": entry.action if entry else None,
            "seen": entry.seen if entry else None,
            "check": isinstance(entry, CheckSaved) and entry.seen,
            **news(studio, request.dataset),
        }
    except Exception as exc:  # the edge of the app: what is ours is told, the rest goes to the log
        reply = {"ok": False, "disputed": isinstance(exc, Disputed), "error": message_for(exc)}
    return json.dumps({"n": values.get("n"), **reply})


def news(studio: Studio, dataset: str) -> dict[str, Any]:
    """What every answer carries: the end of the log, how far the review is, the latest decisions."""
    return {"head": head(studio, dataset), "progress": progress_view(studio, dataset), "recent": recent(studio, dataset)}


def head(studio: Studio, dataset: str) -> str:
    """The end of the log as a word: another one says that something was decided."""
    seq, digest = studio.log.head(dataset)
    return f"{seq}-{digest[:8]}"


def batch_value(studio: Studio, ask: AddressFilter | None = None, *, turn: int = 0, placed: bool = True) -> str:
    """The next batch of the dataset in work; empty without one, or if it is the frozen result of an audit.

    It begins with the row asked for, else (if `placed`) with the row that this person had on the screen last.
    """
    state = studio.state()
    if state.dataset is None or state.dataset.frozen_from is not None:
        return ""
    ask = ask or AddressFilter()
    dataset, by = state.dataset.id, studio.reviewers.reviewer(ask.by)
    habits, note = studio.reviewers.habits(by), ask.note
    try:
        batch = studio.review_queue.batch(dataset, order=ask.order, row_filter=ask.row_filter(), size=habits.size, by=by)
    except SpecError as exc:  # e.g. an address with an order or a filter that this dataset does not allow
        ask, note = AddressFilter(by=ask.by, row=ask.row), f"{exc} Rows near the line come first instead."
        batch = studio.review_queue.batch(dataset, size=habits.size, by=by)
    usual = placed and not ask.query and ask.order == "borderline"
    start = ask.row if ask.row is not None else studio.reviewers.place(dataset, by) if usual else None
    return review_value(
        dataset,
        state.threshold,
        batch,
        held=held_by(studio, dataset, [item.row_id for item in batch.items]),
        **news(studio, dataset),
        start=start,
        query=ask.query,
        words=filter_words(ask.row_filter()),
        orders=orders(studio, dataset),
        me=by,
        known=bool(ask.by.strip()),
        opened=studio.reviewers.opened(by),
        habits=asdict(habits),
        approvals=studio.audit.approvals(dataset),
        checks=studio.audit.checks,
        note=note,
        turn=turn,
    )


def orders(studio: Studio, dataset: str) -> list[tuple[str, str]]:
    """Orders that the dataset allows."""
    sets = len(studio.scores.every(dataset))
    if not sets:
        return [("random", "At random")]
    known = list(ORDERS)
    if sets > 1:
        known.append(("disagreement", "Where two scorers disagree"))
    if studio.audit.approvals(dataset):
        known.append(("approval", "Waiting for a second person"))
    return known


def held_by(studio: Studio, dataset: str, rows: list[int]) -> dict[str, dict[str, Any]]:
    """The decisions that hold for these few rows: by whom, what, and whether the text was shown."""
    found = studio.log.current_of(dataset, rows[:MOST_MARKS])
    return {str(row): {"action": entry.action, "by": person(entry.decided_by), "seen": entry.seen} for row, entry in found.items()}


def progress_view(studio: Studio, dataset: str) -> dict[str, str]:
    """How far the review is, and what can be said of the rows below and above the line, and of the people who agree."""
    progress, scored = studio.audit.review_progress(dataset), studio.audit.audited(dataset)[1] is not None
    kinds = [(progress.keep, "keep"), (progress.remove, "remove"), (progress.relabel, "relabel"), (progress.unsure, "unsure")]
    split = ", ".join(f"{count(n)} {name}" for n, name in kinds if n)
    text = f"{counted(progress.decided, 'row')} decided in all" + (f": {split}" if split else "") + _reading(progress)
    if progress.conflicts:
        text += f". {counted(progress.conflicts, 'row')} in dispute"
    if progress.flagged:
        text += f". {count(progress.flagged_open)} of {count(progress.flagged)} flagged rows are open"
    standing = studio.audit.standing(dataset) if scored else None
    people = studio.audit.agreement(dataset)
    return {
        "text": text,
        **standing_words(standing, studio.audit.readers(dataset) if scored else ()),
        "file": file_line(studio.audit.sample(dataset)) if scored else "",
        "people": people.sentence if len(people.people) > 1 else "",
    }


def recent(studio: Studio, dataset: str) -> list[dict[str, Any]]:
    """The latest steps of the log, newest first; rows that were decided together are one of them."""
    entries = studio.log.history(dataset, limit=RECENT)
    steps = [list(together) for _, together in groupby(entries, key=lambda one: (one.kind, one.at, one.decided_by, one.action))]
    return [
        {
            "row": step[0].row_id,
            "action": step[0].action,
            "what": ("many: " if len(step) > 1 else "") + _done(step[0]),
            "by": person(step[0].decided_by),
            "when": ago(step[0].at),
        }
        for step in steps
    ]


def _reading(progress: ReviewProgress) -> str:
    """How many of the decided rows were read, and how many decided without their text being shown."""
    if not progress.decided:
        return ""
    old = f", {count(progress.unrecorded)} decided before that was recorded" if progress.unrecorded else ""
    return f". {count(progress.read)} read, {count(progress.unseen)} decided unseen{old}"


def _done(entry: Decision) -> str:
    if entry.kind != "undo":
        return ACTIONS[entry.action].lower() + unseen_words(entry)
    return "undone" if entry.action == "clear" else f"undone, {ACTIONS[entry.action].lower()}"


def find_server(studio: Studio) -> ServerFunction:
    """`srv_find`: {dataset, search, mask} -> the first rows that hold these words."""

    @answer
    def srv_find(request: dict[str, Any]) -> dict[str, Any]:
        dataset, words = str(request["dataset"]), str(request.get("search", ""))[:200]
        _, score, threshold = studio.audit.audited(dataset)
        line = 1.0 if threshold is None else threshold
        page = studio.rows.page(dataset, score.key if score else None, threshold, RowFilter(search=words), limit=FOUND)
        hidden, everything = bool(request.get("mask", True)), masks_all(studio)
        return {"rows": [row_view(row, line, masked=hidden, everything=everything) for row in page.rows], "total": page.total}

    return srv_find


def pulse_server(studio: Studio) -> ServerFunction:
    """`srv_pulse`: {dataset, head, rows} -> {head}, and what is new if the log has gone on since `head`."""

    @answer
    def srv_pulse(request: dict[str, Any]) -> dict[str, Any]:
        dataset = str(request["dataset"])
        now = head(studio, dataset)
        if request.get("head") == now:
            return {"head": now}
        rows = [int(row) for row in list(request.get("rows") or [])[:MOST_MARKS]]
        return {"held": held_by(studio, dataset, rows), **news(studio, dataset)}

    return srv_pulse


def keep_habits(studio: Studio, values: Mapping[str, Any]) -> Habits:
    """Change how a person reviews, and whether this dataset asks for a second person."""
    by = studio.reviewers.reviewer(values.get("by"))
    if "approvals" in values:
        studio.audit.set_approvals(str(values["dataset"]), bool(values["approvals"]), by=by)
    if "checks" in values:
        studio.audit.set_checks(int(values["checks"]))
    changes = {name: values[name] for name in ("reveal", "nudge", "size") if name in values}
    for name in ("nudge", "size"):
        if name in changes:
            changes[name] = int(changes[name])
    return studio.reviewers.keep_habits(by, **changes)


def _told(entry: Decision) -> str:
    return f"row {count(entry.row_id)}, {ACTIONS[entry.action].lower()}"
