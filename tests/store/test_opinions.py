"""Several people on the same rows: what each thinks, where they differ, and who settled it."""

from __future__ import annotations

import numpy as np

from reft_studio.audit.opinion import overruling
from reft_studio.store.decided import ACTIONS
from reft_studio.store.decisions import Action, DecisionLog

ME, ANNA, TOM = "human:me", "human:anna", "human:tom"


def test_one_person_has_no_conflict(log: DecisionLog) -> None:
    log.decide("d", 1, "keep")
    log.decide("d", 1, "remove")
    assert log.conflicts("d").tolist() == [] and [one.action for one in log.opinions_of("d", [1])[1]] == ["remove"]


def test_two_people_who_differ_are_a_conflict_until_they_agree(log: DecisionLog) -> None:
    log.decide_many("d", [1, 2, 3], "keep")
    log.decide_many("d", [2, 3], "remove", by=ANNA)
    assert log.conflicts("d").tolist() == [2, 3]
    log.decide("d", 2, "remove")
    assert log.conflicts("d").tolist() == [3] and log.opinions("d").seconded().tolist() == [2]
    assert [(one.by, one.action) for one in log.opinions_of("d", [3])[3]] == [(ANNA, "remove"), (ME, "keep")]


def test_overruling_settles_a_conflict_until_somebody_differs_again(log: DecisionLog) -> None:
    log.decide("d", 1, "keep")
    log.decide("d", 1, "remove", by=ANNA)
    log.decide("d", 1, "keep", by=TOM, reason=overruling("a history question"))
    assert log.conflicts("d").tolist() == []
    log.decide("d", 1, "remove", by=ANNA)
    assert log.conflicts("d").tolist() == [1]


def test_undo_takes_an_opinion_back(log: DecisionLog) -> None:
    log.decide("d", 1, "keep")
    log.decide("d", 1, "remove", by=ANNA)
    assert log.conflicts("d").tolist() == [1]
    log.undo("d", ANNA)
    assert log.conflicts("d").tolist() == [] and [one.by for one in log.opinions_of("d", [1])[1]] == [ME]
    log.redo("d", ANNA)
    assert log.conflicts("d").tolist() == [1]


def test_step_by_step_it_is_what_a_plain_reading_of_the_log_gives(log: DecisionLog) -> None:
    draw = np.random.default_rng(5)
    for _ in range(60):
        what, by = draw.integers(0, 7), (ME, ANNA, TOM)[draw.integers(0, 3)]
        if what < 5:
            actions: tuple[Action, ...] = (*ACTIONS, "clear")
            log.decide_many("d", draw.choice(8, draw.integers(1, 5), replace=False).tolist(), actions[what], by=by)
        else:
            (log.undo if what == 5 else log.redo)("d", by)
        plain = {row: found for row, found in log.opinions_of("d", range(8)).items() if len(found) > 1}
        assert log.conflicts("d").tolist() == [row for row, found in plain.items() if len({one.action for one in found}) > 1]
        kept = log.opinions("d")
        for row, found in plain.items():
            mine = (kept.row_ids == row) & (kept.codes > 0)
            told = [(kept.people[by], ACTIONS[code - 1]) for by, code in zip(kept.by[mine], kept.codes[mine], strict=True)]
            assert told == [(one.by, one.action) for one in reversed(found)]
