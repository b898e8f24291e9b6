"""Rows of a dataset as the browser may see them: cleaned, cut, and masked where the text may hurt to read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reft_studio.audit.opinion import HUMAN, standing, standing_of_others
from reft_studio.audit.policy import is_flagged
from reft_studio.data.chat.content import turn_shown
from reft_studio.errors import SpecError
from reft_studio.studio.rows import NOT_REACHED, REASONS
from ui.events import answer
from ui.text import ago, mask, show

if TYPE_CHECKING:
    from reft_studio.audit.decision import Decision
    from reft_studio.audit.opinion import Opinion
    from reft_studio.studio.review import Card
    from reft_studio.studio.studio import Studio
    from ui.shared.row_table import ServerFunction

PREVIEW, FULL, WHOLE, NAME = 160, 6000, 200_000, 60
"""Characters of a prompt in a table cell, of a text in a card at first and if the whole is asked for, of an origin or category."""
UNSEEN = "unseen"
"""Said of a decision by a person to whom the row's text was not shown, or not to its end."""
MOST_ROWS = 200
"""Rows one request may ask for."""
HISTORY = 12
WAITING = REASONS[NOT_REACHED]
"""How `decided_by` begins where a person decided."""
ACTIONS = {"keep": "Keep", "remove": "Remove", "relabel": "Relabel", "unsure": "Unsure", "clear": "Back to the threshold"}
PAST = {"keep": "kept", "remove": "removed", "relabel": "relabelled", "unsure": "was unsure about", "clear": "gave back"}
HARMFUL = ("remove", "relabel")
"""Decisions that say of a row that its text is harmful."""
ROLES = {"user": "Prompt", "assistant": "Answer", "system": "System", "developer": "System", "tool": "Tool"}


def card_server(studio: Studio) -> ServerFunction:
    """`srv_card`: {dataset, row, t?, reveal, mask, whole?, by?} -> {card}; `t` previews another threshold than the one in use.

    With `by`, the card tells what each reviewer thinks of the row, seen by that one.
    """

    @answer
    def srv_card(request: dict[str, Any]) -> dict[str, Any]:
        dataset, row = str(request["dataset"]), int(request["row"])
        card = studio.audit.card(dataset, row) if row >= 0 else studio.audit.check_card(dataset, row)
        threshold = _threshold(request) if "t" in request else card.threshold
        masked, reveal = bool(request.get("mask", True)), bool(request.get("reveal", False))
        limit = WHOLE if request.get("whole") else FULL
        view = card_view(card, threshold, masked=masked, reveal=reveal, everything=masks_all(studio), limit=limit)
        if "by" in request:
            opinions = studio.log.opinions_of(dataset, [row]).get(row, [])
            view |= people_view(opinions, studio.reviewers.reviewer(request["by"]), approvals=studio.audit.approvals(dataset))
        return {"card": view}

    return srv_card


def row_view(row: Mapping[str, Any], threshold: float, *, masked: bool, everything: bool = False) -> dict[str, Any]:
    """One line of the table. A prompt is masked if it is known to be harmful, flagged, removed or relabelled by a person, or all are."""
    score, decision = row.get("score"), row.get("decision")
    over, waiting = is_flagged(score, threshold), row.get("reason") == WAITING
    hide = masked and (everything or over or row.get("known_harmful") is True or decision in HARMFUL)
    return {
        "row": row["row_id"],
        "score": score,
        "flagged": over,
        "decision": decision,
        "effective": ("waiting" if waiting else "undecided") if score is None else "remove" if over else "keep",
        "waiting": waiting,
        "origin": show(row.get("origin") or "", NAME),
        "prompt": mask(row["prompt"]) if hide else show(row["prompt"], PREVIEW),
        "masked": hide,
    }


def card_view(
    card: Card, threshold: float | None, *, masked: bool, reveal: bool, everything: bool = False, limit: int = FULL
) -> dict[str, Any]:
    """One row, each text up to `limit` characters. `reveal` shows a text that is masked by default; `revealed` says that it did.

    `seen`: whether the text was shown to the person whose decision holds; None without one, or if that was not recorded.
    """
    over = threshold is not None and is_flagged(card.score, threshold)
    decided = card.decision.action if card.decision else None
    sensitive = masked and (everything or over or card.known_harmful is True or decided in HARMFUL)
    return {
        "row": card.row_id,
        "score": card.score,
        "threshold": threshold,
        "flagged": over,
        "percentile": card.percentile,
        "reason": show(card.reason or "", NAME),
        "shortened": card.cut,
        "shortened_at": card.cut_at,
        "effective": "undecided" if card.score is None else "remove" if over else "keep",
        "decision": decided,
        "origin": show(card.origin or "", NAME),
        "category": show(card.category or "", NAME),
        "known": card.known_harmful,
        "seen": card.decision.seen if card.decision else None,
        "texts": texts(card, hide=sensitive and not reveal, limit=limit),
        "revealed": sensitive and reveal,
        "history": [history_line(entry) for entry in card.history[:HISTORY]],
    }


def people_view(opinions: Sequence[Opinion], me: str, *, approvals: bool) -> dict[str, Any]:
    """What others think of a row, whether they differ, and whether it still waits for a second person."""
    counted = standing(opinions)
    other = standing_of_others(opinions, me)
    spoken = [one for one in counted if one.action != "clear"]
    agreed = bool(spoken) and sum(one.action == spoken[0].action for one in spoken) > 1
    approval = ""
    if approvals and spoken and not agreed:
        approval = "It waits for a second person to decide the same." if spoken[0].is_by(me) else "It waits for a second person: you?"
    elif approvals and agreed:
        approval = "Two people decided the same."
    return {
        "opinions": [
            {
                "by": person(one.by),
                "action": one.action,
                "when": ago(one.at),
                "reason": show(one.reason, 300),
                "mine": one.is_by(me),
                "seen": one.seen,
            }
            for one in counted
        ],
        "conflict": len({one.action for one in spoken}) > 1,
        "other": None
        if other is None
        else {"by": person(other.by), "action": other.action, "past": PAST[other.action], "when": ago(other.at)},
        "approval": approval,
    }


def person(decided_by: str) -> str:
    """The name of who decided, as it may be shown."""
    return show(decided_by.removeprefix(HUMAN), NAME)


def texts(card: Card, *, hide: bool, limit: int = FULL) -> list[dict[str, Any]]:
    """The conversation, or prompt and answer where the row is one exchange; `cut` where a text goes on beyond the limit."""
    messages = card.messages if isinstance(card.messages, list) else json.loads(card.messages or "[]")
    pairs = [(str(turn.get("role", "")), turn_shown(turn)) for turn in messages if isinstance(turn, dict)]
    if len(pairs) <= 2 or not any(role == "user" for role, _ in pairs):
        pairs = [("user", card.prompt), ("assistant", card.response)]
    return [
        {
            "role": role if role in ROLES else "other",
            "label": ROLES.get(role) or show(role, 20) or "Text",
            "text": mask(text) if hide else show(text, limit),
            "masked": hide,
            "cut": len(text) > limit,
            "length": len(text),
        }
        for role, text in pairs
    ]


def history_line(entry: Decision) -> dict[str, str]:
    """One entry of a row's history; entries made by undo and redo say so."""
    kind = {"undo": "Undone: ", "redo": "Done again: "}.get(entry.kind, "")
    name = ACTIONS.get(entry.action, entry.action)
    return {
        "what": kind + (name.lower() if kind else name) + unseen_words(entry),
        "by": person(entry.decided_by),
        "when": ago(entry.at),
        "reason": show(entry.reason, 300),
    }


def unseen_words(entry: Decision) -> str:
    """`, unseen` where the text was not shown to the person who decided; nothing where it was, or where nobody knows."""
    return f", {UNSEEN}" if entry.seen is False and entry.action != "clear" else ""


def masks_all(studio: Studio) -> bool:
    """True if the settings ask to mask every text, not only what may be harmful."""
    return bool(studio.settings.get("mask_rule", "known") == "all")


def _threshold(request: Mapping[str, Any]) -> float:
    value = float(request["t"])
    if not -1 <= value <= 1:
        raise SpecError(f"The threshold is {value:g}, but a score lies between -1 and 1.")
    return value
