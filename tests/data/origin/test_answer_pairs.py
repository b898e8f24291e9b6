from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from reft_studio.data.origin.answer_pairs import Split, Verdict, answer_pairs
from reft_studio.errors import PrerequisiteError


def test_every_shipped_pair_has_a_known_verdict_and_split() -> None:
    pairs = answer_pairs()
    assert len(pairs) > 800
    assert {pair.verdict for pair in pairs} == set(get_args(Verdict))
    assert {pair.split for pair in pairs} <= set(get_args(Split))
    assert {pair.kind for pair in pairs} == {"harmful", "harmless", "task"}
    assert all(pair.prompt.strip() for pair in pairs)


def test_no_pair_stands_twice() -> None:
    pairs = answer_pairs()
    assert len({(pair.prompt, pair.response) for pair in pairs}) == len(pairs)


@pytest.mark.parametrize("split", ["held_out", "test"])
def test_no_prompt_that_measures_has_taught(split: Split) -> None:
    taught = {pair.prompt.casefold() for pair in answer_pairs(split="train")}
    assert not [pair.prompt for pair in answer_pairs(split=split) if pair.prompt.casefold() in taught]


@pytest.mark.parametrize("content", ["{", '{"prompt": "a"}', "[]"])
def test_a_damaged_file_is_refused_with_what_to_do(tmp_path: Path, content: str) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text(content)
    with pytest.raises(PrerequisiteError, match="Restore it"):
        answer_pairs(path)
