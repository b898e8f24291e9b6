"""A plan is decided once: it follows from the prompts and the budget, survives on disk, and only memory may change it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from reft_studio.errors import PrerequisiteError
from reft_studio.models.prompts import TokenLists
from reft_studio.scoring.cache import digests_of
from reft_studio.scoring.journal import ScoreJournal
from reft_studio.scoring.plan import MAX_ROWS, BatchPlan, token_shares

LENGTHS = np.array([5, 9, 2, 9, 0, 3], dtype=np.int64)
UNKNOWN = np.full(6, np.nan, dtype=np.float32)
KEY = "ab" * 32


def plan(*, budget: int = 12, prefix: int = 0, known: np.ndarray = UNKNOWN, seed: int = 0) -> BatchPlan:
    lists = TokenLists.of([[seed + place] * int(length) for place, length in enumerate(LENGTHS)])
    return BatchPlan.of(digests_of(lists, KEY), LENGTHS, known, budget=budget, prefix=prefix)


def batches(one: BatchPlan) -> list[list[int]]:
    return [batch.tolist() for batch in one.batches()]


def test_batches_run_from_long_to_short_within_the_budget_of_padded_tokens() -> None:
    assert batches(plan()) == [[1], [3], [0, 5], [2]]
    assert batches(plan(budget=1000)) == [[1, 3, 0, 5, 2]]
    assert batches(plan(prefix=1, budget=16)) == [[1, 3], [0, 5, 2]]


def test_prompts_asked_for_first_run_first_the_longest_of_a_stretch_before_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reft_studio.scoring.plan.STRETCH", 1)
    lists = TokenLists.of([[place] * int(length) for place, length in enumerate(LENGTHS)])
    wanted = np.array([0.1, 0.9, 0.8, 0.2, 1.0, 0.7], dtype=np.float32)  # of lengths 5, 9, 2, 9, 0, 3: ranked 1, 2, 5 | 3, 0
    one = BatchPlan.of(digests_of(lists, KEY), LENGTHS, UNKNOWN, budget=14, prefix=0, first=wanted)
    assert batches(one) == [[1], [5, 2], [3], [0]]
    assert one.fingerprint == plan(budget=14).fingerprint  # a plan that is there is gone on with, whatever is asked for now


def test_a_prompt_longer_than_the_budget_runs_alone() -> None:
    assert batches(plan(budget=1)) == [[1], [3], [0], [5], [2]]


def test_no_batch_has_more_rows_than_the_limit() -> None:
    lengths = np.ones(2 * MAX_ROWS + 1, dtype=np.int64)
    digests = digests_of(TokenLists.of([[place] for place in range(len(lengths))]), KEY)
    one = BatchPlan.of(digests, lengths, np.full(len(lengths), np.nan, dtype=np.float32), budget=10**6, prefix=0)
    assert one.sizes.tolist() == [MAX_ROWS, MAX_ROWS, 1]


def test_what_is_known_or_has_no_token_is_not_computed() -> None:
    known = UNKNOWN.copy()
    known[[1, 2]] = 0.5
    assert batches(plan(known=known, budget=100)) == [[3, 0, 5]]
    assert batches(plan(known=np.zeros(6, dtype=np.float32))) == []


def test_the_same_prompts_give_the_same_plan_and_others_another() -> None:
    assert plan().fingerprint == plan().fingerprint
    assert len({plan().fingerprint, plan(budget=13).fingerprint, plan(seed=1).fingerprint}) == 3


def test_a_plan_comes_back_from_disk_with_its_splits(tmp_path: Path) -> None:
    one = plan(budget=1000)
    one.save(tmp_path)
    one.split(0).split(1).save_splits(tmp_path)
    back = BatchPlan.load(tmp_path)
    assert back is not None and (back.fingerprint, back.prefix, back.splits) == (one.fingerprint, 0, (0, 1))
    assert batches(back) == [[1, 3, 0], [5], [2]]
    assert np.array_equal(back.known, one.known, equal_nan=True)


@pytest.mark.parametrize("file", ["plan.npz", "splits.json"])
def test_a_damaged_plan_is_no_plan(tmp_path: Path, file: str) -> None:
    plan().save(tmp_path)
    for damage in (b"half", (tmp_path / file).read_bytes()[:-30]):
        (tmp_path / file).write_bytes(damage)
        assert BatchPlan.load(tmp_path) is None
    assert BatchPlan.load(tmp_path / "elsewhere") is None


def test_a_kill_while_a_plan_replaces_another_never_mixes_the_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan().save(tmp_path)
    other, written = plan(seed=1, budget=1000), []

    def dies(path: Path, content: bytes) -> None:
        written.append(path.name)
        raise InterruptedError

    monkeypatch.setattr("reft_studio.scoring.plan.write_atomic", dies)
    with pytest.raises(InterruptedError):
        other.save(tmp_path)
    assert written == ["plan.npz"] and BatchPlan.load(tmp_path) is None


def test_progress_counts_tokens_and_ends_at_one() -> None:
    shares = token_shares(plan().batches(), LENGTHS)
    assert shares == pytest.approx([9 / 28, 18 / 28, 26 / 28, 1.0])


# --- journal ------------------------------------------------------------------------------------------------------------------------


def values(*numbers: float) -> np.ndarray:
    return np.array(numbers, dtype=np.float32)


def test_a_journal_gives_back_the_bits_of_each_batch(tmp_path: Path) -> None:
    with ScoreJournal(tmp_path / "journal") as journal:
        journal.append(values(0.1, float("nan")))
        journal.append(values(-1.0))
    with ScoreJournal(tmp_path / "journal") as journal:
        assert [one.tobytes() for one in journal.done] == [values(0.1, float("nan")).tobytes(), values(-1.0).tobytes()]
        journal.append(values(0.5))
    with ScoreJournal(tmp_path / "journal") as journal:
        assert len(journal.done) == 3


def test_whatever_was_cut_off_is_done_again_and_nothing_else(tmp_path: Path) -> None:
    with ScoreJournal(tmp_path / "journal") as journal:
        journal.append(values(0.1, 0.2))
        journal.append(values(0.3, 0.4))
    data = (tmp_path / "journal").read_bytes()
    for size in range(len(data)):
        (tmp_path / "journal").write_bytes(data[:size])
        with ScoreJournal(tmp_path / "journal") as journal:
            assert len(journal.done) == (1 if size >= len(data) // 2 else 0)


def test_a_full_disk_is_told_and_the_journal_stays_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    with ScoreJournal(tmp_path / "journal") as journal:
        journal.append(values(0.1))
        monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:5]))
        with pytest.raises(PrerequisiteError, match="Writing journal failed"):
            journal.append(values(0.2))
        assert len(journal.done) == 1
    monkeypatch.undo()
    with ScoreJournal(tmp_path / "journal") as journal:
        assert [one.tolist() for one in journal.done] == [values(0.1).tolist()]


def test_a_batch_written_twice_or_wrongly_is_not_believed(tmp_path: Path) -> None:
    with ScoreJournal(tmp_path / "journal") as journal:
        journal.append(values(0.1))
    data = (tmp_path / "journal").read_bytes()
    for wrong in (data + data, data + data[:-1] + b"x"):
        (tmp_path / "journal").write_bytes(wrong)
        with ScoreJournal(tmp_path / "journal") as journal:
            assert [one.tolist() for one in journal.done] == [values(0.1).tolist()]
