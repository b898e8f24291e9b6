"""`review` on the command line: rows shown and decided one by one on a terminal, decisions taken from elsewhere, how far it has come."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, cast, get_args

from reft_studio.audit.decision import Action
from reft_studio.audit.estimates import words
from reft_studio.audit.queue import Order
from reft_studio.cli.console import show
from reft_studio.cli.verbs import estimate_facts
from reft_studio.errors import SpecError
from reft_studio.studio.review import Card, ReviewProgress
from reft_studio.studio.studio import Studio

ANSWERS: dict[str, Action | None] = {"k": "keep", "r": "remove", "l": "relabel", "u": "unsure", "s": None}
ASKED = "[k]eep, [r]emove, re[l]abel, [u]nsure, [s]kip, [q]uit? "


def review(
    studio: Studio,
    data: str,
    *,
    decisions: Sequence[str],
    read: int,
    order: str,
    threshold: float | None,
    reason: str,
    sample: int,
) -> None:
    """Set the threshold, record decisions, draw random rows, show rows to be read; then say how far the review has come.

    Decisions given as arguments are unseen: their rows' text was not printed here. Those answered while reading are seen.
    """
    wanted = [_decision(text) for text in decisions]
    for row, _ in wanted:
        studio.audit.card(data, row)  # all are known before one is recorded
    if read and not on_terminal():
        raise SpecError("--read shows rows and asks about each, so it needs a terminal. Decide with --decide what was read elsewhere.")
    if threshold is not None:
        studio.choose(dataset=data)
        studio.choose(threshold=threshold)
    for row, action in wanted:
        studio.audit.decide(data, row, action, reason)
    drawn = studio.audit.draw_sample(data, sample).rows if sample else []
    was_read = _read_rows(studio, data, read, order, reason) if read else 0
    progress = studio.audit.review_progress(data)
    text = _progress_text(progress)
    if wanted:
        text += (
            f"\n{len(wanted)} decided unseen now: the text was not printed, so it does not count as read. --read N shows N rows and asks."
        )
    text += f"\nDrawn at random, to be read in this order: {', '.join(map(str, drawn))}" if drawn else ""
    result: dict[str, Any] = {**vars(progress), "assurance": progress.assurance and vars(progress.assurance), "drawn": drawn}
    result |= {"decided_now": {"read": was_read, "unseen": len(wanted)}}
    _, scores, at = studio.audit.audited(data)
    if scores is not None and at is not None:
        estimate, line = studio.audit.estimates_at(data)
        result |= {"estimate": estimate_facts(estimate), "at_line": asdict(line)}
        text += "".join(f"\n{one}" for one in words(estimate, line, at))
    show(result, text=lambda: text)


def on_terminal() -> bool:
    """Whether a person can see what is printed and answer."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def _read_rows(studio: Studio, data: str, count: int, order: str, reason: str) -> int:
    """Print the next rows of the queue one after another and record what the reader says of each; how many rows were decided.

    Checks among them look as any other row; what they were is told after the answer.
    The queue knows its orders, and raises SpecError for another one.
    """
    items = studio.review_queue.batch(
        data, order=cast(Order, order), size=count, by=studio.audit.reviewer(None).removeprefix("human:")
    ).items
    decided = 0
    for at, item in enumerate(items, start=1):
        is_check = item.row_id < 0
        card = studio.audit.check_card(data, item.row_id) if is_check else studio.audit.card(data, item.row_id)
        print(f"\n--- {at} of {len(items)}: row {item.shown} ---\n{_text(card)}\n")
        answer = ""
        while answer not in (*ANSWERS, "q"):
            answer = input(ASKED).strip().lower()[:1]
        if answer == "q":
            break
        action = ANSWERS[answer]
        if action and is_check:
            found = studio.audit.decide_check(data, item.row_id, action, seen=True).found
            print(f"That was a check, a known harmful prompt that is not in the file: {'found' if found else 'not found'}.")
        elif action:
            studio.audit.decide(data, item.row_id, action, reason, seen=True)
            decided += 1
    return decided


def _text(card: Card) -> str:
    """The whole conversation of a row; what could move the cursor or hide a text is spelled out."""
    turns = [(str(turn.get("role", "")), turn.get("content")) for turn in card.messages]
    shown = turns if len(turns) > 2 else [("user", card.prompt), ("assistant", card.response)]
    return "\n\n".join(f"{printable(role)}: {printable(content if isinstance(content, str) else str(content))}" for role, content in shown)


def printable(text: str) -> str:
    """Text as a terminal may print it: control characters, direction marks and lone surrogates as <U+202E>."""
    return "".join(one if one.isprintable() or one in "\n\t" else f"<U+{ord(one):04X}>" for one in text)


def _progress_text(progress: ReviewProgress) -> str:
    reading = f"{progress.read} read, {progress.unseen} decided unseen"
    reading += f", {progress.unrecorded} decided before that was recorded" if progress.unrecorded else ""
    text = f"{progress.decided} rows decided by a person ({reading}), {progress.flagged} flagged, {progress.undecided} undecided, "
    return f"{text}{progress.unsure} of them unsure, {progress.removed_in_effect} would be removed."


def _decision(text: str) -> tuple[int, Action]:
    row, _, action = text.partition("=")
    if not (row.isascii() and row.isdecimal()) or action not in get_args(Action):
        raise SpecError(f"'{text}' is no decision. Write the row's number, '=', and one of: {', '.join(get_args(Action))}.")
    return int(row), cast(Action, action)
