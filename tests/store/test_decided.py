"""What holds, as arrays: the same as the log says, after every step."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from reft_studio.store.decided import ACTIONS, NONE
from reft_studio.store.decisions import DecisionLog
from reft_studio.workspace import Workspace

ME, ANNA = "human:me", "human:anna"


def agrees(log: DecisionLog) -> bool:
    held, current = log.decided("d"), log.current("d")
    told = {row_id: ACTIONS[code - 1] for row_id, code in zip(held.row_ids.tolist(), held.codes.tolist(), strict=True)}
    return told == {row_id: entry.action for row_id, entry in current.items()} and log.current_of("d", range(20)) == current


def test_before_the_first_decision_nothing_holds(log: DecisionLog) -> None:
    held = log.decided("d")
    assert held == NONE and held.code_of([1, 2]).tolist() == [0, 0] and sum(held.counts().values()) == 0
    assert log.current_of("d", [1]) == {}


def test_after_every_step_it_says_what_the_log_says(log: DecisionLog) -> None:
    draw = np.random.default_rng(3)
    for _ in range(40):
        what, by = draw.integers(0, 6), (ME, ANNA)[draw.integers(0, 2)]
        if what < 4:
            rows = draw.choice(12, draw.integers(1, 6), replace=False).tolist()
            log.decide_many("d", rows, ("keep", "remove", "unsure", "clear")[what], by=by)
        elif what == 4:
            log.undo("d", by)
        else:
            log.redo("d", by)
        assert agrees(log)


def test_scores_are_those_noted_with_the_decision(log: DecisionLog) -> None:
    log.decide_many("d", [7, 3, 5], "keep", scores={7: 0.25, 3: -1.0})
    held = log.decided("d")
    assert held.row_ids.tolist() == [3, 5, 7]
    np.testing.assert_array_equal(held.scores, np.array([-1, np.nan, 0.25], dtype=np.float32))
    assert held.code_of([5, 4, 7]).tolist() == [1, 0, 1] and held.rows_with(1).tolist() == [3, 5, 7]


def test_an_earlier_answer_stays_as_it_was(log: DecisionLog) -> None:
    log.decide("d", 1, "keep")
    before = log.decided("d")
    log.decide("d", 1, "remove")
    assert before.code_of([1]).tolist() == [1] and log.decided("d").code_of([1]).tolist() == [2]


def test_another_process_is_seen(log: DecisionLog) -> None:
    log.decide("d", 1, "keep")
    log.decided("d")
    DecisionLog(Workspace(log.workspace.root)).decide("d", 2, "remove")
    assert log.decided("d").counts() == {"keep": 1, "remove": 1, "relabel": 0, "unsure": 0}


def test_a_database_put_back_from_a_backup_is_read_anew(log: DecisionLog, tmp_path: Path) -> None:
    log.decide("d", 1, "keep")
    shutil.copyfile(log.workspace.database, tmp_path / "backup")
    log.decide("d", 2, "remove")
    assert len(log.decided("d").row_ids) == 2
    shutil.copyfile(tmp_path / "backup", log.workspace.database)
    log.decide("d", 3, "unsure")
    assert log.decided("d").row_ids.tolist() == [1, 3]
