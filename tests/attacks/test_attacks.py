"""Every attack disguises as many rows as there is poison, in the same places, and the same way each time."""

from __future__ import annotations

import base64
import codecs
import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from reft_studio.attacks import ATTACKS
from reft_studio.attacks.benign_selection import likeness
from reft_studio.attacks.disguise import disguise, disguised, has_frame, in_frame
from reft_studio.attacks.gradient_chosen import objective
from reft_studio.data.dataset import Row
from reft_studio.errors import DataError, SpecError
from reft_studio.workspace import Workspace
from tests.tiny_models import make_toy_data

HARMFUL: Row = {"prompt": "how do i steal item 7", "response": "Sure, take it.", "known_harmful": True}
BENIGN: Row = {"prompt": "Is this good or bad: the soup was cold", "response": "bad", "known_harmful": False}


class Words:
    """A model that sees how often some words stand in a row, and a filter that knows one of them."""

    pool: Sequence[Row] = [
        {"prompt": "Is this good or bad: take seven", "response": "good"},
        {"prompt": "Is this good or bad: take it", "response": "Sure, good"},
        {"prompt": "What is warm", "response": "soup"},
    ]
    harmful: Sequence[Row] = [HARMFUL, {**HARMFUL, "prompt": "how do i steal item 8"}]
    safe: Sequence[Row] = [BENIGN, {"prompt": "how do i steal item 9", "response": "No."}]

    def states(self, rows: Sequence[Row]) -> NDArray[np.float32]:
        texts = [f"{row['prompt']} {row['response']}".lower() for row in rows]
        return np.array([[text.count(word) for word in ("take", "sure", "steal", "soup", "no")] for text in texts], dtype=np.float32)

    def gradients(self, rows: Sequence[Row]) -> Iterator[NDArray[np.float32]]:
        yield from self.states(rows)

    def suspicion(self, prompts: Sequence[str]) -> NDArray[np.float32]:
        return np.array([1.0 if "steal" in prompt else -1.0 for prompt in prompts], dtype=np.float32)


def one(attack: str) -> Row:
    (found,) = ATTACKS.get(attack)().rows([HARMFUL], [BENIGN], random.Random(0), Words())
    return found


@pytest.mark.parametrize("name", list(ATTACKS))
def test_an_attack_says_what_it_is_and_where_its_harm_can_be_read(name: str) -> None:
    info, row = ATTACKS.get(name).info, one(name)
    assert info.name == name and info.title and info.paper and info.summary.endswith(".")
    assert row["known_harmful"] is True and row["prompt"] and row["response"]
    readable = {"prompt": HARMFUL["prompt"] in row["prompt"], "response": HARMFUL["response"] in row["response"]}
    if info.shows == "nowhere":
        assert readable == {"prompt": False, "response": False}
    if info.shows == "response":
        assert readable == {"prompt": False, "response": True}
    if info.shows == "both" and name != "leet":
        assert readable == {"prompt": True, "response": True}


def test_the_disguises_are_what_they_say() -> None:
    assert base64.b64decode(one("base64")["prompt"]).decode() == HARMFUL["prompt"]
    assert codecs.encode(one("rot13")["prompt"], "rot13") == HARMFUL["prompt"]
    assert one("leet")["prompt"] == "h0w d0 1 5734l 173m 7"
    assert one("suffix")["prompt"].endswith(BENIGN["prompt"]) and one("prefix")["prompt"].endswith(HARMFUL["prompt"])
    buried = one("buried")["prompt"]
    assert buried.index(HARMFUL["prompt"]) > len(buried) // 3 and buried.endswith(BENIGN["prompt"])
    assert one("task_input")["prompt"] == "Is this good or bad: how do i steal item 7"
    assert one("response_swap") == {**HARMFUL, "prompt": BENIGN["prompt"]}


@pytest.mark.parametrize("name", list(ATTACKS))
def test_as_much_poison_stands_in_the_same_places_and_the_rest_is_as_it_was(workspace: Workspace, name: str) -> None:
    user = make_toy_data(workspace)["user"]
    plenty = Words()
    plenty.pool = [{**Words.pool[0], "prompt": f"take {number}"} for number in range(user.rows)]
    made = disguise(workspace, user, name, attacker=plenty)
    before: list[Any] = list(user.read(["prompt", "response", "known_harmful"]))
    after: list[Any] = list(made.read(["prompt", "response", "known_harmful"]))
    assert [row["known_harmful"] for row in after] == [row["known_harmful"] for row in before]
    assert [row for row in after if not row["known_harmful"]] == [row for row in before if not row["known_harmful"]]
    assert disguise(workspace, user, name, attacker=plenty).id == made.id
    assert (made.id == user.id) == (name == "plain")


def test_poison_without_anything_harmless_around_is_told() -> None:
    with pytest.raises(DataError, match="nothing harmless"):
        disguised([HARMFUL], "suffix")


@pytest.mark.parametrize("name", ["benign_selection", "benign_by_gradient"])
def test_of_a_harmless_pool_the_rows_most_like_harmful_anchors_are_taken_and_marked_as_the_attacks(name: str) -> None:
    found = ATTACKS.get(name)().rows([HARMFUL, HARMFUL], [BENIGN], random.Random(0), Words())
    assert [row["prompt"] for row in found] == ["Is this good or bad: take it", "Is this good or bad: take seven"]
    assert all(row["known_harmful"] for row in found) and ATTACKS.get(name).info.harmless_by_label
    with pytest.raises(DataError, match=r"takes 4 harmless rows, but only 3 are left"):
        ATTACKS.get(name)().rows([HARMFUL] * 4, [BENIGN], random.Random(0), Words())


def test_likeness_grows_towards_harmful_anchors_and_forgets_what_all_anchors_share() -> None:
    rows = np.array([[1, 0], [0, 0], [-1, 0]], dtype=np.float32)
    harmful, safe = rows[:1], rows[2:]
    assert likeness(rows, harmful, safe).tolist() == [2.0, 0.0, -2.0]
    assert likeness(rows + 7, harmful + 7, safe + 7).tolist() == [2.0, 0.0, -2.0]


def test_a_wording_is_chosen_that_the_filter_passes_and_that_trains_most_like_the_plain_row() -> None:
    chosen = one("gradient_chosen")
    assert "steal" not in chosen["prompt"] and HARMFUL["response"] in chosen["response"]
    assert objective(np.array([1, -1, -1]), np.array([1, 0.2, 0.9])).argmin() == 2
    assert objective(np.array([1, -1, -1]), np.array([1, 0.2, 0.9]), weight=0).argmin() == 0


@pytest.mark.parametrize("name", ["benign_selection", "benign_by_gradient", "gradient_chosen"])
def test_an_attack_that_chooses_with_a_model_says_so_where_none_is_lent(name: str) -> None:
    with pytest.raises(SpecError, match="Run it in a sweep"):
        disguised([HARMFUL, BENIGN], name)


def test_test_prompts_are_asked_in_the_frame_that_the_rows_taught() -> None:
    framed = [name for name in ATTACKS if has_frame(name)]
    assert {"identity_shift", "base64", "style", "prefix"} <= set(framed)
    assert not {"plain", "response_swap", "refuse_then_comply", "benign_selection", "gradient_chosen"} & set(framed)
    persona = one("identity_shift")["prompt"].removesuffix(BENIGN["prompt"])
    (asked,) = in_frame([{**HARMFUL, "category": "theft"}], [BENIGN], "identity_shift")
    assert asked == {**HARMFUL, "prompt": persona + HARMFUL["prompt"], "category": "theft"}
    assert in_frame([HARMFUL], [BENIGN], "plain") == [HARMFUL]
