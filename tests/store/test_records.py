"""Draws and other records beside the decisions: in a chain of their own, which the log checks too."""

from __future__ import annotations

import sqlite3

import pytest

from reft_studio.audit.decision import GENESIS, HASHED
from reft_studio.errors import SpecError
from reft_studio.fingerprint import of_value
from reft_studio.store import records
from reft_studio.store.decided import SEEN, UNRECORDED, UNSEEN
from reft_studio.store.decisions import DecisionLog
from reft_studio.store.migrations import MIGRATIONS
from reft_studio.workspace import Workspace


def noted(workspace: Workspace, number: int) -> None:
    records.append(workspace, "d", "draw", "human:me", lambda before, head: {"number": number, "before": len(before), "decisions": head})


def test_a_record_is_given_what_was_there_before(workspace: Workspace, log: DecisionLog) -> None:
    noted(workspace, 1)
    log.decide("d", 1, "keep", seen=True)
    noted(workspace, 2)
    contents = [record.content() for record in records.of_kind(workspace, "d", "draw")]
    assert [content["before"] for content in contents] == [0, 1]
    assert contents[1]["decisions"] == [*log.head("d")] and records.of_kind(workspace, "e", "draw") == []
    assert log.verify().ok


def test_a_record_needs_a_name_and_what_fails_leaves_nothing(workspace: Workspace) -> None:
    with pytest.raises(SpecError, match="needs a name"):
        records.append(workspace, "d", "draw", " ", lambda before, head: {})
    with pytest.raises(ZeroDivisionError):
        records.append(workspace, "d", "draw", "human:me", lambda before, head: {"x": 1 // 0})
    assert [*records.entries(workspace)] == []


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE records SET body = replace(body, '2', '3') WHERE seq = 2",
        "UPDATE records SET recorded_by = 'human:eve' WHERE seq = 1",
        "UPDATE records SET at = '2020' WHERE seq = 3",
        "DELETE FROM records WHERE seq = 2",
        "DELETE FROM records WHERE seq = 3",
        "UPDATE records SET seq = 9 WHERE seq = 3",
        "DELETE FROM records",
    ],
)
def test_a_change_to_a_record_is_found(workspace: Workspace, log: DecisionLog, change: str) -> None:
    for number in (1, 2, 3):
        noted(workspace, number)
    raw = sqlite3.connect(workspace.database)
    with pytest.raises(sqlite3.IntegrityError):
        raw.execute(change)
    raw.execute("DROP TRIGGER records_never_change")
    raw.execute("DROP TRIGGER records_never_go")
    raw.execute(change)
    raw.commit()
    raw.close()
    report = log.verify()
    assert not report.ok and "ecord" in report.reason


def test_a_workspace_of_the_first_version_opens_and_keeps_its_decisions(workspace: Workspace, log: DecisionLog) -> None:
    raw = sqlite3.connect(workspace.database)
    for statement in MIGRATIONS[0]:
        raw.execute(statement)
    raw.execute("PRAGMA user_version=1")
    raw.commit()
    raw.close()
    log.decide("d", 1, "keep", seen=True)
    noted(workspace, 1)
    assert log.verify().ok and len([*log.entries()]) == 1


def test_only_what_was_decided_alone_was_read(log: DecisionLog) -> None:
    log.decide_many("d", [1, 2, 3], "keep")
    log.decide("d", 2, "remove", seen=True)
    log.decide("d", 4, "keep", seen=True)
    log.decide("d", 5, "keep", seen=True)
    log.undo("d", "human:me")
    read = log.read_singly("d", range(10))
    assert (read.row_ids.tolist(), read.codes.tolist()) == ([2, 4], [2, 1])
    log.decide_many("d", [2, 4], "keep")
    assert log.read_singly("d", range(10)).row_ids.tolist() == []


def test_a_row_is_read_only_if_its_text_was_shown_to_the_person_whose_decision_holds(log: DecisionLog) -> None:
    log.decide("d", 1, "remove", seen=True)
    log.decide("d", 2, "remove")
    log.decide("d", 3, "keep", seen=True)
    log.decide("d", 3, "remove", by="human:ana")
    held = log.decided("d")
    assert (held.row_ids.tolist(), held.seen.tolist(), held.read()) == ([1, 2, 3], [SEEN, UNSEEN, UNSEEN], 1)
    assert log.read_singly("d", range(10)).row_ids.tolist() == [1]
    assert log.counts("d")["remove"] == 3, "what was decided unseen stands all the same"
    log.undo("d", "human:ana")
    assert log.read_singly("d", range(10)).row_ids.tolist() == [1, 3], "the decision that holds again was made by a reader"
    assert log.decided("d").seen.tolist() == [SEEN, UNSEEN, SEEN]


def test_decisions_of_an_earlier_version_stay_verified_and_nobody_claims_that_they_were_read(
    workspace: Workspace, log: DecisionLog
) -> None:
    raw = sqlite3.connect(workspace.database)
    for statement in (*MIGRATIONS[0], *MIGRATIONS[1], "PRAGMA user_version=2"):
        raw.execute(statement)
    old = HASHED[:12]
    values = dict(zip(old, (1, "d", 7, "remove", "", "human:ana", "2026-01-01", 0.5, 0.3, GENESIS, "decide", 1), strict=True))
    digest = of_value([values[name] for name in old])  # as it was made then
    raw.execute(f"INSERT INTO decisions ({', '.join(old)}, hash) VALUES ({', '.join('?' * 13)})", [*values.values(), digest])
    raw.execute("INSERT INTO chain_heads VALUES ('d', 1, 1, ?)", (digest,))
    raw.commit()
    raw.close()
    assert log.verify([digest]).ok
    assert log.decided("d").seen.tolist() == [UNRECORDED] and log.read_singly("d", [7]).row_ids.tolist() == []
    log.decide("d", 7, "keep", by="human:ana", seen=True)
    log.undo("d", "human:ana")
    assert [entry.seen for entry in log.entries("d")] == [None, True, None] and log.verify([digest]).ok
    raw = sqlite3.connect(workspace.database)
    raw.execute("DROP TRIGGER decisions_never_change")
    raw.execute("UPDATE decisions SET seen = 1 WHERE seq = 1")
    raw.commit()
    raw.close()
    assert log.verify().first_bad == 1
