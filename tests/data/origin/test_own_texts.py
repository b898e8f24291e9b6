"""The alignment prompts that ship: whole, answered where an answer belongs, and in twins."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from reft_studio.data.origin.own_texts import FOLDER, own_texts
from reft_studio.data.splits import normalise_prompt
from reft_studio.errors import PrerequisiteError


def test_harmless_prompts_are_answered_and_harmful_ones_are_not() -> None:
    for one in own_texts():
        assert bool(one.response) == (one.kind in ("lookalike", "open", "task")), one


def test_no_prompt_stands_twice() -> None:
    counts = Counter(normalise_prompt(one.prompt) for one in own_texts())
    assert [prompt for prompt, count in counts.items() if count > 1] == []


def test_the_pairs_are_as_many_harmful_prompts_as_harmless_twins() -> None:
    harmful, twins = ((FOLDER / f"{kind}_pairs.jsonl").read_text("utf-8").splitlines() for kind in ("harmful", "lookalike"))
    assert len(harmful) == len(twins) > 1000
    assert {json.loads(line)["kind"] for line in harmful} == {"harmful"}
    assert {json.loads(line)["kind"] for line in twins} == {"lookalike"}


@pytest.mark.parametrize(("text", "said"), [("{", "damaged"), ('{"prompt": "a"}', "damaged"), ("", "missing")])
def test_a_file_that_is_no_such_thing_is_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "harmful.jsonl").write_text(text, "utf-8")
    with pytest.raises(PrerequisiteError, match=said):
        own_texts(tmp_path)
