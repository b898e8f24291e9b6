"""The panel's answers: masked until revealed, token by token, and nothing that the page could not draw."""

from __future__ import annotations

import json

import pytest

from reft_studio.scoring.explanation import Explanation, Neighbour, TokenCosine
from reft_studio.studio.explain import Asked, LayerScore, RowFacts, Verdict
from reft_studio.studio.studio import Studio
from reft_studio.workspace import Workspace
from ui.shared.why_panel import BLOCK, facts_view, inside_view, model_server, tokens_view, why_value

SECRET = "enter a house unseen"
TOKENS = [TokenCosine("<bos>", 0.1, False), TokenCosine("enter", 0.2, True, 0.4), TokenCosine(" a", -0.3, True, -0.1)]
TOKENS.append(TokenCosine("<assistant>", 0.9, False))


def facts(score: float | None = 0.9, known: bool | None = None) -> RowFacts:
    return RowFacts(
        4, SECRET, "a long answer about it", known, "k", "Teacher", 2, score, 0.0, None, [], [5], False, None, "", "cosine", "prompt", True
    )


def asked(tokens: list[TokenCosine], cut: int = 0) -> Asked:
    near = {"harmful": [Neighbour(SECRET, 0.99, 0.98)], "harmless": [Neighbour("what does a judge do", 0.2, -0.9)]}
    return Asked(Explanation(1, 3, 0.9, tokens, cut, False, [0.5, 0.9], near), [LayerScore(1, 0.5, None, None)], 2)


def test_a_masked_row_shows_blocks_for_the_users_tokens_and_their_numbers() -> None:
    shown = tokens_view(TOKENS, hide=True)
    assert [one["text"] for one in shown] == ["<bos>", BLOCK * 5, f" {BLOCK}", "<assistant>"]
    assert [one["cosine"] for one in shown] == [0.1, 0.2, -0.3, 0.9] and shown[1]["effect"] == 0.4
    assert "".join(one["text"] for one in tokens_view(TOKENS, hide=False)) == "<bos>enter a<assistant>"


def test_harmful_calibration_prompts_are_masked_like_any_harmful_text() -> None:
    masked = inside_view(asked(TOKENS), hide=False, hide_harmful=True, hide_harmless=False)
    assert SECRET not in json.dumps(masked) and masked["harmless"][0]["text"] == "what does a judge do"
    shown = inside_view(asked(TOKENS), hide=False, hide_harmful=False, hide_harmless=False)
    assert shown["harmful"][0]["text"] == SECRET


def test_a_masked_row_gives_neither_its_answer_nor_its_prompt_away() -> None:
    view = facts_view(facts(), 0.0, hide=True, sensitive=True)
    assert SECRET not in json.dumps(view) and "about it" not in json.dumps(view) and view["masked"] and not view["revealed"]
    assert facts_view(facts(), 0.0, hide=False, sensitive=True)["revealed"]


def test_what_was_cut_stands_in_the_middle_and_the_turn_is_named() -> None:
    view = inside_view(asked(TOKENS, cut=40), hide=False, hide_harmful=True, hide_harmless=False)
    assert (view["cut"], view["after"]) == (40, 2) and "turn 2" in view["turn"]


def test_a_hidden_sign_in_a_token_is_spelled_out() -> None:
    assert tokens_view([TokenCosine("\u202ex", 0.1, True)], hide=False)[0]["text"] == "⟨U+202E⟩x"


@pytest.mark.parametrize(("flagged", "words"), [(True, "flags it"), (False, "keeps it"), (None, "could not score it")])
def test_other_scorers_say_what_they_would_do(flagged: bool | None, words: str) -> None:
    one = Verdict("k2", "Other", None if flagged is None else 0.5, 0.3, flagged)
    view = facts_view(RowFacts(**{**facts().__dict__, "verdicts": [one]}), 0.0, hide=False, sensitive=False)
    assert words in view["verdicts"][0]["text"]


def test_without_scores_there_is_no_panel_and_a_question_is_answered_with_words(workspace: Workspace) -> None:
    studio = Studio(workspace)
    assert why_value(studio) == ""
    reply = model_server(studio)({"dataset": "0123456789abcdef", "row": 0})
    assert not reply["ok"] and "Traceback" not in reply["error"]
