"""A scorer is announced as what it is on its held-out prompts."""

from __future__ import annotations

import pytest

from reft_studio.scoring.level import level_of


@pytest.mark.parametrize(
    ("auroc", "recall", "alarms", "word", "said"),
    [
        (0.99, 97, 3, "good", "97 % of its held-out harmful and 3 % of its held-out harmless"),
        (0.904, 97, 36, "weak", "36 % of its held-out harmless"),
        (0.95, 80, 1, "weak", "80 % of its held-out harmful"),
        (0.887, 97, 67, "unusable", "flags 67 % of harmless prompts. Do not use this line"),
        (0.9, 30, 1, "unusable", "misses 70 % of harmful prompts"),
        (0.55, 97, 20, "unusable", "hardly apart (AUROC 0.550)"),
    ],
)
def test_the_level_names_what_is_wrong(auroc: float, recall: float, alarms: float, word: str, said: str) -> None:
    found = level_of({"auroc": auroc, "recall": recall, "false_positive_rate": alarms})
    assert found.word == word and said in found.sentence


def test_a_scorer_without_held_out_prompts_is_of_unknown_level() -> None:
    assert level_of({}).word == "unknown"
