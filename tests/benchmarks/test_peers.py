"""The races against TRL: both sides train on the same rows, and without TRL the person is told how to get it."""

from __future__ import annotations

import sys

import pytest

from benchmarks import BENCHMARKS, guided, peers, training
from reft_studio.errors import PrerequisiteError


def test_without_trl_the_benchmark_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trl", None)
    with pytest.raises(PrerequisiteError, match=r"requirements-bench\.lock"):
        peers.need_trl()


def test_both_sides_see_the_same_rows_and_as_many_tokens_a_step() -> None:
    ours, theirs = guided.examples(16 * guided.ROWS, seed=6), peers._rows()
    assert [row.ids for row in ours] == [row["input_ids"] for row in theirs]
    assert {len(row.ids) for row in ours} == {guided.LENGTH} and {len(row.ids) - row.prompt for row in ours} == {guided.LENGTH // 2}


def test_every_race_of_the_training_table_is_registered_under_its_name() -> None:
    names = ["step_time", "first_epoch", "step_memory", "vs_gkd_time", "vs_gkd_memory"]
    for name in [*(f"guided_{name}" for name in names), "plain_step_time"]:
        assert BENCHMARKS[name] is getattr(training, name)
