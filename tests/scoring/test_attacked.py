"""What the app says of scorers under attack is what the committed results say, and nothing is said that was not measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from reft_studio.errors import DataError
from reft_studio.scoring import SCORERS
from reft_studio.scoring.attacked import FILE, blind_to, recalls, under_attack
from reft_studio.workspace import read_json
from tools.attacked import recalls as of_results


def test_the_file_that_ships_is_what_the_results_say() -> None:
    assert read_json(FILE) == of_results()


def test_a_scorer_of_prompts_says_what_it_cannot_see_with_what_was_measured() -> None:
    for name in SCORERS:
        reads = SCORERS.get(name).info.reads
        assert bool(blind_to(name)) == (reads == "prompt")
    told, known = blind_to("refusal_feature"), recalls("refusal_feature")
    assert "reads prompts only" in told and "On the lab" in told
    assert f"{known['plain']:.0f} % of plain poison" in told and f"{known['response_swap']:.0f} % where only the answer is harmful" in told


def test_what_was_not_measured_is_not_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reft_studio.scoring.attacked.measured", lambda: {"rows": 100, "recall": {"larf": {"plain": 93.0, "suffix": 0.5}}})
    assert "On the lab" not in blind_to("refusal_feature") and under_attack("refusal_feature") == ""
    assert under_attack("larf") == "plain 93 %, suffix 0 %; 100 rows each"


def test_results_of_two_seeds_or_of_two_sizes_are_no_table_of_recalls(tmp_path: Path) -> None:
    path, head = tmp_path / "results.csv", "filter,attack,filter_recall,filter_harmful\n"
    path.write_text(head + "tfidf,plain,94.0,100\ntfidf,style,15.0,100\nrandom,plain,10.0,100\n", "utf-8")
    assert of_results(path) == {"rows": 100, "recall": {"tfidf": {"plain": 94.0, "style": 15.0}}}
    path.write_text(head + "tfidf,plain,94.0,100\ntfidf,plain,93.0,100\n", "utf-8")
    with pytest.raises(DataError, match="twice"):
        of_results(path)
    path.write_text(head + "tfidf,plain,94.0,100\ntfidf,style,15.0,40\n", "utf-8")
    with pytest.raises(DataError, match=r"\[40, 100\] rows"):
        of_results(path)
