"""Why was it flagged: the panel that explains one row, and what its server answers. Text is masked here, never in the browser."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr

from reft_studio.audit.policy import is_flagged
from ui.events import answer
from ui.shared.cards import FULL, HARMFUL, masks_all
from ui.text import mask, number, show
from ui.widgets import widget

if TYPE_CHECKING:
    from reft_studio.scoring.explanation import Explanation, Neighbour, TokenCosine
    from reft_studio.studio.explain import Asked, RowFacts, Verdict
    from reft_studio.studio.studio import Studio
    from ui.shared.row_table import ServerFunction

BLOCK, LONGEST = "\u25ae", 24
"""What stands for a masked character, and characters of a token that are shown."""
NEIGHBOUR = 400
"""Characters shown of a calibration prompt."""
UNREAD = {
    "prompt": "The score comes from the prompt alone: the filter has not read this answer, and would not notice a harmful one.",
    "nothing": "The score comes from neither prompt nor answer.",
    "label": "The score comes from the label of the file, not from this answer.",
}
"""What a scorer that does not read answers leaves unseen, by what it reads."""
_SEEN = re.compile(r"\S")


def draw_why(studio: Studio, *, folded: bool = False, elem_id: str = "why") -> gr.HTML:
    """The panel, hidden until it has a `why_value`; `folded`: it asks the teacher only once a person opens it (key W).

    It follows the browser event `rs:why` {dataset, row, open, revealed}; a row of null empties it.
    """
    served = [facts_server(studio), model_server(studio)]
    return widget("why", scripts=("dom", "threshold_math"), elem_id=elem_id, server_functions=served, folded=folded)


def why_value(studio: Studio) -> str:
    """What the panel explains: the dataset in work with the scores and threshold in use, as JSON; empty without scores."""
    state = studio.state()
    if state.dataset is None or state.score is None or state.score.dataset != state.dataset.id:
        return ""
    return json.dumps({"dataset": state.dataset.id, "key": state.score.key, "threshold": state.threshold})


def facts_server(studio: Studio) -> ServerFunction:
    """`srv_why`: {dataset, row, key, t, mask, reveal} -> {why}: what is stored of the row; no model is asked."""

    @answer
    def srv_why(request: dict[str, Any]) -> dict[str, Any]:
        facts, threshold, hide, sensitive = _row(studio, request)
        return {"why": facts_view(facts, threshold, hide=hide, sensitive=sensitive)}

    return srv_why


def model_server(studio: Studio) -> ServerFunction:
    """`srv_why_inside`: the same request, and `near` to reveal neighbours -> {inside}: tokens, layers, neighbours, from the teacher."""

    @answer
    def srv_why_inside(request: dict[str, Any]) -> dict[str, Any]:
        facts, _, hide, _ = _row(studio, request)
        asked = studio.explain.asked(str(request["dataset"]), facts.row_id, facts.key)
        # other texts than the row's own: revealing the row is no wish to read these too
        shown = not bool(request.get("mask", True)) or bool(request.get("near", False))
        return {"inside": inside_view(asked, hide=hide, hide_harmful=not shown, hide_harmless=not shown and masks_all(studio))}

    return srv_why_inside


def _row(studio: Studio, request: dict[str, Any]) -> tuple[RowFacts, float, bool, bool]:
    """The row, the threshold it is held against, whether its text is hidden, and whether it would be by default."""
    key = request.get("key")
    facts = studio.explain.facts(str(request["dataset"]), int(request["row"]), str(key) if key else None)
    given = request.get("t")
    threshold = facts.threshold if given is None else min(1.0, max(-1.0, float(given)))
    held = studio.log.current_of(str(request["dataset"]), [facts.row_id]).get(facts.row_id)
    harmful = is_flagged(facts.score, threshold) or facts.known_harmful is True or (held is not None and held.action in HARMFUL)
    sensitive = bool(request.get("mask", True)) and (harmful or masks_all(studio))
    return facts, threshold, sensitive and not bool(request.get("reveal", False)), sensitive


def facts_view(facts: RowFacts, threshold: float, *, hide: bool, sensitive: bool) -> dict[str, Any]:
    """The stored part for the browser. `masked`: its text is hidden; `revealed`: it was asked for."""
    return {
        "row": facts.row_id,
        "score": facts.score,
        "threshold": threshold,
        "teacher": show(facts.teacher, 80),
        "layer": facts.layer,
        "measure": facts.measure,
        "reason": show(facts.reason or "", 120),
        "masked": hide,
        "revealed": sensitive and not hide,
        "response": {"text": mask(facts.response) if hide else show(facts.response, FULL), "note": UNREAD.get(facts.reads or "", "")},
        "verdicts": [verdict_view(one) for one in facts.verdicts],
        "duplicates": facts.duplicates,
        "more": facts.more,
        "near": facts.near,
        "lacks": show(facts.lacks, 400),
        "ready": facts.ready,
    }


def verdict_view(verdict: Verdict) -> dict[str, Any]:
    """One other set of scores, in words."""
    if verdict.flagged is None:
        return {"title": show(verdict.title, 80), "flagged": None, "text": "could not score it"}
    side = "flags it" if verdict.flagged else "keeps it"
    return {
        "title": show(verdict.title, 80),
        "flagged": verdict.flagged,
        "text": f"{side}: {number(verdict.score)} against its line at {number(verdict.threshold)}",
    }


def inside_view(asked: Asked, *, hide: bool, hide_harmful: bool, hide_harmless: bool) -> dict[str, Any]:
    """The teacher's part for the browser; calibration prompts of the harmful kind are masked like any harmful text."""
    inside = asked.inside
    return {
        "score": inside.score,
        "layer": asked.layer,
        "turn": _turn(inside),
        "tokens": tokens_view(inside.tokens, hide=hide),
        "cut": inside.cut,
        "after": len(inside.tokens) // 2 if inside.cut else None,
        "truncated": inside.truncated,
        "layers": [{"layer": one.layer, "cosine": one.cosine, "harmful": one.harmful, "harmless": one.harmless} for one in asked.layers],
        "harmful": [_neighbour(one, hide=hide_harmful) for one in inside.neighbours.get("harmful", [])],
        "harmless": [_neighbour(one, hide=hide_harmless) for one in inside.neighbours.get("harmless", [])],
    }


def tokens_view(tokens: Sequence[TokenCosine], *, hide: bool) -> list[dict[str, Any]]:
    """Tokens with their numbers; where the text is hidden, blocks stand for what the user wrote, the template stays."""
    return [
        {
            "text": _SEEN.sub(BLOCK, token.text[:LONGEST]) if hide and token.own else show(token.text[:LONGEST], LONGEST),
            "cosine": token.cosine,
            "effect": token.effect,
            "own": token.own,
        }
        for token in tokens
    ]


def _turn(inside: Explanation) -> str:
    return f"The user speaks {inside.turns} times; turn {inside.turn + 1} has the highest score and is shown." if inside.turns > 1 else ""


def _neighbour(one: Neighbour, *, hide: bool) -> dict[str, Any]:
    return {"text": mask(one.prompt) if hide else show(one.prompt, NEIGHBOUR), "masked": hide, "cosine": one.cosine, "score": one.score}
