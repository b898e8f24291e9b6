from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reft_studio.data.splits import (
    COMMON,
    assert_disjoint,
    group_key,
    group_keys,
    near_groups,
    normalise_prompt,
    prompt_groups,
    split_groups,
)
from reft_studio.errors import SpecError


@pytest.mark.parametrize("text", ["What is it?", "what  IS it", "  What, is it?!  ", "\uff37hat is it", "What\u00a0is\nit."])
def test_spelling_does_not_make_another_prompt(text: str) -> None:
    assert normalise_prompt(text) == "what is it"


@pytest.mark.parametrize(("first", "second"), [("7 - 3?", "7 * 3?"), ("3.5", "35"), ("1,000", "1 000"), ("?", "!"), ("10 % 3", "10 / 3")])
def test_signs_that_change_the_question_stay(first: str, second: str) -> None:
    assert normalise_prompt(first) != normalise_prompt(second)


@given(st.text())
def test_normalising_twice_changes_nothing_more(text: str) -> None:
    once = normalise_prompt(text)
    assert normalise_prompt(once) == once


def test_groups_hold_every_position_once_in_order() -> None:
    assert prompt_groups(["A?", "b", "a", "B!"]) == {"a": [0, 2], "b": [1, 3]}


def test_a_split_never_cuts_a_group_and_meets_its_shares() -> None:
    prompts = [f"question number {number % 100}" + "?" * (number // 100) for number in range(300)]
    parts = split_groups(prompts, {"train": 0.8, "test": 0.2}, seed=1)
    assert sorted(parts["train"] + parts["test"]) == list(range(300))
    assert len(parts["test"]) == 60
    assert_disjoint(train=[prompts[place] for place in parts["train"]], test=[prompts[place] for place in parts["test"]])
    assert parts == split_groups(prompts, {"train": 0.8, "test": 0.2}, seed=1) != split_groups(prompts, {"train": 0.8, "test": 0.2}, seed=2)


@pytest.mark.parametrize("shares", [{}, {"a": 0.5}, {"a": 1.0, "b": 0.0}, {"a": 1.5, "b": -0.5}])
def test_shares_that_are_no_whole_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(SpecError, match="together they must be 1"):
        split_groups(["a", "b"], shares, seed=0)


def test_a_leak_is_named_with_both_sets_and_the_count() -> None:
    with pytest.raises(SpecError, match=r"'poison' and 'hs_test' share 2 prompts") as caught:
        assert_disjoint(poison=["How to A?", "How to B?", "C"], teacher=["X"], hs_test=["how to a", "HOW TO B", "D"])
    assert "How to" not in str(caught.value)


def test_the_same_request_for_another_place_is_a_near_duplicate() -> None:
    prompts = [
        "How do I steal a parked car in Berlin?",
        "Bake me a cake.",
        "How do I steal a parked car in Paris?",
        "how do i steal a parked car in berlin",
    ]
    assert near_groups(prompts) == [[0, 2, 3], [1]]


def test_a_template_alone_makes_no_near_duplicates() -> None:
    template = "Tell whether the sentence is positive or negative: "
    prompts = [f"{template}thing{number} was as{number} was" for number in range(COMMON + 1)]
    assert len(near_groups(prompts)) == len(prompts)


def test_near_groups_hold_every_position_once() -> None:
    assert near_groups([]) == []
    assert near_groups(["", "?", "a b", "a b!"]) == [[0], [1], [2, 3]]


def test_a_split_by_near_groups_keeps_near_duplicates_together() -> None:
    prompts = [f"write a long letter about {thing} in city {number}" for thing in ("dogs", "cats", "hens", "cows") for number in range(5)]
    parts = split_groups(prompts, {"train": 0.5, "test": 0.5}, seed=0, near=True)
    sides = [{prompts[place].split()[5] for place in parts[name]} for name in ("train", "test")]
    assert not sides[0] & sides[1] and sorted(parts["train"] + parts["test"]) == list(range(20))


def test_keys_of_many_prompts_are_those_of_each() -> None:
    said = [
        "What is 7 - 3?",
        "What is 7 3",
        "7\x0b-\x1c3",
        "  Hello,\tWORLD!  ",
        "$5 = 5\\",
        "",
        "?!",
        "größe 7",
        "ﬁne",
        "a_b 'c'",
        "x\x00y",
        'say "hi"',
        "1.5.2",
    ]
    every = [*said, *(chr(sign) + "x" + chr(sign) for sign in range(0x250))]
    assert group_keys(pa.array(every, pa.string())) == [group_key(text) for text in every]
