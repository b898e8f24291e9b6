"""The log of decisions: what holds, undo and redo, and that no change to it goes unseen."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from reft_studio.errors import SpecError, StoreError
from reft_studio.store.decisions import Action, DecisionLog
from reft_studio.workspace import Workspace

ME, ANNA = "human:me", "human:anna"


def holding(log: DecisionLog, dataset: str = "d") -> dict[int, Action]:
    return {row_id: decision.action for row_id, decision in log.current(dataset).items()}


# --- deciding -----------------------------------------------------------------------------------------------------------------------


def test_the_newest_decision_of_a_row_holds(log: DecisionLog) -> None:
    log.decide("d", 3, "keep")
    log.decide("d", 3, "remove", reason="how-to", by=ANNA, score=0.5, threshold=0.3)
    found = log.current("d")[3]
    assert (found.action, found.reason, found.decided_by, found.score, found.threshold) == ("remove", "how-to", ANNA, 0.5, 0.3)
    assert log.counts("d") == {"keep": 0, "remove": 1, "relabel": 0, "unsure": 0}


def test_datasets_do_not_mix(log: DecisionLog) -> None:
    log.decide("a", 1, "keep")
    log.decide("b", 1, "remove")
    assert (holding(log, "a"), holding(log, "b"), holding(log, "c")) == ({1: "keep"}, {1: "remove"}, {})
    assert log.undo("c", ME) is None


def test_a_cleared_row_is_not_decided(log: DecisionLog) -> None:
    log.decide("d", 1, "keep")
    log.decide("d", 1, "clear")
    assert holding(log) == {} and sum(log.counts("d").values()) == 0


def test_many_rows_at_once_count_once_each(log: DecisionLog) -> None:
    made = log.decide_many("d", [5, 6, 5], "relabel", scores={5: 0.1, 6: float("nan")})
    assert [(decision.row_id, decision.score) for decision in made] == [(5, 0.1), (6, None)]
    assert log.counts("d")["relabel"] == 2


def test_what_held_at_an_earlier_entry_can_still_be_asked(log: DecisionLog) -> None:
    log.decide("d", 1, "remove", by="human:Ana")
    log.decide_many("d", [1, 2], "keep", by="human:Ana")
    then = log.decided("d")
    before = log.current_of("d", [1, 2])
    log.undo("d", "human:Ana")
    log.decide("d", 2, "unsure", by="human:Tom")
    assert {row: made.action for row, made in log.current_of("d", [1, 2]).items()} == {1: "remove", 2: "unsure"}
    assert log.current_of("d", [1, 2], until=then.seq) == before
    assert {row: made.action for row, made in before.items()} == {1: "keep", 2: "keep"}


def test_the_history_of_a_row_is_whole_and_newest_first(log: DecisionLog) -> None:
    log.decide("d", 1, "keep")
    log.decide("d", 2, "keep")
    log.decide("d", 1, "unsure")
    log.undo("d", ME)
    assert [(entry.kind, entry.action) for entry in log.history("d", 1)] == [("undo", "keep"), ("decide", "unsure"), ("decide", "keep")]
    assert [entry.seq for entry in log.history("d", limit=2)] == [4, 3]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("d", [1], "delete"), r"There is no decision 'delete'\. Choose one of: keep, remove, relabel, unsure, clear"),
        (("d", [], "keep"), "No row was chosen"),
        (("d", [1, -2], "keep"), "Row -2 does not exist"),
    ],
)
def test_what_cannot_be_decided_is_refused_with_a_reason(log: DecisionLog, arguments: tuple[str, list[int], Action], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        log.decide_many(*arguments)
    assert [*log.entries()] == []


def test_a_reason_has_an_end_and_a_decision_has_a_name(log: DecisionLog) -> None:
    with pytest.raises(SpecError, match="2001 characters; at most 2000"):
        log.decide("d", 1, "keep", reason="x" * 2001)
    with pytest.raises(SpecError, match="needs a name"):
        log.decide("d", 1, "keep", by=" ")


# --- undo and redo ------------------------------------------------------------------------------------------------------------------


def test_undo_gives_back_the_earlier_decision_with_its_author_and_reason(log: DecisionLog) -> None:
    log.decide("d", 1, "keep", reason="fine", by=ANNA, score=0.2)
    log.decide("d", 1, "remove")
    undone = log.undo("d", ME)
    assert undone is not None and (undone.kind, undone.action, undone.decided_by) == ("undo", "keep", ME)
    found = log.current("d")[1]
    assert (found.action, found.reason, found.decided_by, found.score) == ("keep", "fine", ANNA, 0.2)


def test_one_undo_takes_back_a_whole_bulk_decision(log: DecisionLog) -> None:
    log.decide("d", 2, "keep")
    log.decide_many("d", [1, 2, 3], "remove")
    log.undo("d", ME)
    assert holding(log) == {2: "keep"}
    log.redo("d", ME)
    assert holding(log) == {1: "remove", 2: "remove", 3: "remove"}


def test_undo_leaves_what_another_person_decided_since(log: DecisionLog) -> None:
    log.decide("d", 1, "keep")
    log.decide("d", 1, "remove", by=ANNA)
    log.undo("d", ME)
    assert holding(log) == {1: "remove"}
    log.undo("d", ANNA)
    assert holding(log) == {}
    log.redo("d", ME)
    assert holding(log) == {1: "keep"}


def test_a_new_decision_ends_redo(log: DecisionLog) -> None:
    log.decide("d", 1, "keep")
    log.undo("d", ME)
    log.decide("d", 2, "keep")
    assert log.redo("d", ME) is None
    assert holding(log) == {2: "keep"}


class UndoLaws(RuleBasedStateMachine):
    """Against the plainest model: for each person a list of steps and one of undone steps; newest active step wins."""

    make: Callable[[], DecisionLog]

    def __init__(self) -> None:
        super().__init__()
        self.log = type(self).make()
        self.steps: list[tuple[str, frozenset[int], Action]] = []
        self.active: list[bool] = []
        self.undone: dict[str, list[int]] = {ME: [], ANNA: []}

    @rule(
        by=st.sampled_from([ME, ANNA]),
        rows=st.frozensets(st.integers(0, 3), min_size=1),
        action=st.sampled_from(["keep", "remove", "relabel", "unsure", "clear"]),
    )
    def decide(self, by: str, rows: frozenset[int], action: Action) -> None:
        self.log.decide_many("d", rows, action, by=by)
        self.steps.append((by, rows, action))
        self.active.append(True)
        self.undone[by].clear()

    @rule(by=st.sampled_from([ME, ANNA]))
    def undo(self, by: str) -> None:
        mine = [number for number, (author, _, _) in enumerate(self.steps) if author == by and self.active[number]]
        assert (self.log.undo("d", by) is None) == (not mine)
        if mine:
            self.active[mine[-1]] = False
            self.undone[by].append(mine[-1])

    @rule(by=st.sampled_from([ME, ANNA]))
    def redo(self, by: str) -> None:
        assert (self.log.redo("d", by) is None) == (not self.undone[by])
        if self.undone[by]:
            self.active[self.undone[by].pop()] = True

    @invariant()
    def the_newest_active_step_of_each_row_holds(self) -> None:
        expected: dict[int, Action] = {}
        for (_, rows, action), active in zip(self.steps, self.active, strict=True):
            expected |= dict.fromkeys(rows, action) if active else {}
        expected = {row_id: action for row_id, action in expected.items() if action != "clear"}
        assert holding(self.log) == expected
        assert sum(self.log.counts("d").values()) == len(expected)

    @invariant()
    def the_newest_entry_of_a_row_says_what_holds(self) -> None:
        newest = {entry.row_id: entry.action for entry in self.log.entries("d")}
        assert {row_id: action for row_id, action in newest.items() if action != "clear"} == holding(self.log)

    def teardown(self) -> None:
        assert self.log.verify().ok


def test_laws_of_undo_and_redo(tmp_path: Path) -> None:
    made: list[Path] = []

    def make() -> DecisionLog:
        made.append(tmp_path / str(len(made)))
        return DecisionLog(Workspace.open(made[-1]))

    UndoLaws.make = staticmethod(make)
    checks = settings(deadline=None, max_examples=12, stateful_step_count=12, suppress_health_check=[*HealthCheck])
    run_state_machine_as_test(UndoLaws, settings=checks)


# --- tampering ----------------------------------------------------------------------------------------------------------------------


def tamper(workspace: Workspace, *statements: str) -> None:
    """Change the file behind the app's back, the guards against it removed."""
    raw = sqlite3.connect(workspace.database)
    raw.execute("DROP TRIGGER decisions_never_change")
    raw.execute("DROP TRIGGER decisions_never_go")
    for statement in statements:
        raw.execute(statement)
    raw.commit()
    raw.close()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten entries: eight of dataset d, two of e, interleaved."""
    log = DecisionLog(Workspace.open(tmp_path_factory.mktemp("prepared")))
    for row_id in range(8):
        log.decide("d", row_id, "keep", reason=f"r{row_id}", score=row_id / 10, threshold=0.3)
        if row_id in (2, 5):
            log.decide("e", row_id, "remove")
    return log.workspace.database


@pytest.fixture
def ten(log: DecisionLog, prepared: Path) -> DecisionLog:
    shutil.copyfile(prepared, log.workspace.database)
    return log


def test_an_untouched_log_is_whole(ten: DecisionLog) -> None:
    report = ten.verify()
    assert (report.ok, report.entries, report.first_bad, report.reason) == (True, 10, None, "")
    assert report.heads == {name: ten.head(name)[1] for name in ("d", "e")}


@pytest.mark.parametrize(
    "change",
    [
        "dataset = 'e'",
        "row_id = 99",
        "action = 'remove'",
        "reason = 'other'",
        "decided_by = 'human:eve'",
        "at = '2020-01-01T00:00:00+00:00'",
        "score = 0.39",
        "score = NULL",
        "threshold = 0.31",
        "previous = hash",
        "hash = previous",
        "kind = 'undo'",
        "step = 1",
        "seen = 1",
        "seen = NULL",
        "seen = 2",
        "reason = CAST('r4' AS BLOB)",
    ],
)
def test_a_change_to_any_field_is_found_at_its_entry(ten: DecisionLog, change: str) -> None:
    tamper(ten.workspace, f"UPDATE decisions SET {change} WHERE seq = 6")
    report = ten.verify()
    assert not report.ok and report.first_bad is not None and report.first_bad in (6, 7)


@pytest.mark.parametrize("seq", [1, 4, 6, 10])
def test_a_missing_entry_is_found(ten: DecisionLog, seq: int) -> None:
    tamper(ten.workspace, f"DELETE FROM decisions WHERE seq = {seq}")
    report = ten.verify()
    assert not report.ok
    tail = "The newest decisions are missing from the end of the log."
    assert report.reason == (f"Decision {seq} is missing; the next one is {seq + 1}." if seq < 10 else tail)


def test_a_whole_dataset_taken_out_is_found(ten: DecisionLog) -> None:
    tamper(ten.workspace, "DELETE FROM decisions WHERE dataset = 'e'", "DELETE FROM chain_heads WHERE dataset = 'e'")
    assert not ten.verify().ok


def test_swapped_entries_are_found(ten: DecisionLog) -> None:
    tamper(
        ten.workspace,
        "UPDATE decisions SET seq = 100 WHERE seq = 1",
        "UPDATE decisions SET seq = 1 WHERE seq = 2",
        "UPDATE decisions SET seq = 2 WHERE seq = 100",
    )
    assert ten.verify().first_bad == 1


def test_a_log_rewritten_as_a_whole_is_found_by_a_hash_noted_elsewhere(ten: DecisionLog, tmp_path: Path) -> None:
    noted = [entry.hash for entry in ten.entries("d")][-1]
    assert ten.verify([noted]).ok
    forged = DecisionLog(Workspace.open(tmp_path / "forged"))
    for row_id in range(8):
        forged.decide("d", row_id, "remove")
    assert forged.verify().ok
    report = forged.verify([noted])
    assert not report.ok and "not in the log" in report.reason


def test_the_database_itself_refuses_to_change_or_delete(ten: DecisionLog) -> None:
    raw = sqlite3.connect(ten.workspace.database)
    for statement in (
        "UPDATE decisions SET action = 'keep'",
        "DELETE FROM decisions",
        "INSERT OR REPLACE INTO decisions SELECT * FROM decisions",
    ):
        with pytest.raises(sqlite3.IntegrityError):
            raw.execute("PRAGMA recursive_triggers=ON")
            raw.execute(statement)
    raw.close()
    assert ten.verify().ok


def test_new_decisions_after_a_cut_do_not_hide_it(ten: DecisionLog) -> None:
    tamper(ten.workspace, "DELETE FROM decisions WHERE seq > 8")
    ten.decide("d", 1, "keep")
    assert ten.verify().first_bad == 9


def test_flipped_bits_of_the_file_never_pass_with_a_changed_value(ten: DecisionLog) -> None:
    """SQLite has no checksums: a flipped bit must raise, be found, or lie where nothing is read."""
    before = [*ten.entries()]
    whole = ten.workspace.database.read_bytes()
    bits = random.Random(0)
    unseen = 0
    for _ in range(150):
        at = bits.randrange(len(whole))
        damaged = bytearray(whole)
        damaged[at] ^= 1 << bits.randrange(8)
        for suffix in ("-wal", "-shm"):
            Path(f"{ten.workspace.database}{suffix}").unlink(missing_ok=True)
        ten.workspace.database.write_bytes(bytes(damaged))
        try:
            report = ten.verify()
            unseen += report.ok and [*ten.entries()] != before
        except StoreError:
            continue
    assert unseen == 0
