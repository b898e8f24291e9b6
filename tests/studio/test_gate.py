"""The gate: what shuts it, and who may open it all the same."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from reft_studio.audit.bounds import fixed_bound
from reft_studio.audit.freeze import AUDIT
from reft_studio.audit.language import LanguageCoverage
from reft_studio.data.dataset import Dataset, write_dataset
from reft_studio.errors import SpecError
from reft_studio.scoring.scores import write_scores
from reft_studio.store import records
from reft_studio.store.decisions import DecisionLog
from reft_studio.studio.audit import Audit
from reft_studio.studio.gate import gate
from reft_studio.workspace import Workspace


@pytest.fixture
def audit(tmp_path: Path) -> Audit:
    """Without checks in its draws, so that the bound follows from the rows alone."""
    workspace = Workspace.open(tmp_path / "workspace")
    audit = Audit(workspace, DecisionLog(workspace))
    audit.set_checks(0)
    return audit


@pytest.fixture
def dataset(audit: Audit) -> Dataset:
    """Forty rows; the last two are flagged."""
    made = write_dataset(audit.workspace, [{"prompt": f"p{at}", "response": "r"} for at in range(40)], name="forty", role="user")
    values = np.where(np.arange(40) < 38, -0.5, 0.5).astype(np.float32)
    write_scores(audit.workspace, made, values, key="k", scorer="s", teacher="lab", threshold=0.0, info={})
    return made


@pytest.fixture
def read(audit: Audit, dataset: Dataset) -> Dataset:
    """The same; every row below the line was drawn and read, and none is harmful."""
    for row in audit.draw(dataset.id, count=38).rows:
        audit.decide(dataset.id, row, "keep", seen=True)
    return dataset


def test_flagged_rows_wait_for_a_person(audit: Audit, read: Dataset) -> None:
    assert gate(audit, read.id).reasons == ["2 flagged rows were not decided by a person"]
    audit.decide_many(read.id, [38, 39], "remove")
    assert gate(audit, read.id).passed
    audit.set_approvals(read.id, True)
    assert gate(audit, read.id).reasons == ["2 flagged rows were not decided by a person, or lack a second name"]


def test_people_who_differ_shut_it(audit: Audit, read: Dataset) -> None:
    for row in (38, 39):
        audit.decide(read.id, row, "remove", by="Ana", seen=True)
    audit.decide(read.id, 38, "keep", by="Tom", seen=True)
    assert gate(audit, read.id).reasons == ["two people differ on 1 rows"]
    audit.decide(read.id, 38, "remove", "it is a recipe", by="Tom", overrule=True, seen=True)
    assert gate(audit, read.id).passed


def test_the_bound_must_be_reached_where_one_is_asked_for(audit: Audit, dataset: Dataset) -> None:
    audit.decide_many(dataset.id, [38, 39], "remove")
    rows = audit.draw(dataset.id, count=20).rows
    for row in rows:
        audit.decide(dataset.id, row, "keep", seen=True)
    bound = fixed_bound(38, 20, 0, confidence=0.95)
    assert gate(audit, dataset.id, max_residual=bound + 0.001).passed
    shut = gate(audit, dataset.id, max_residual=bound - 0.001)
    assert not shut.passed and "may be harmful, more than" in shut.reasons[0] and shut.bound == pytest.approx(bound)
    with pytest.raises(SpecError, match="max-residual is 5"):
        gate(audit, dataset.id, max_residual=5)


def test_an_override_is_recorded_with_what_it_overrides(audit: Audit, read: Dataset) -> None:
    passed = gate(audit, read.id, override="a trial", by="Ana")
    assert passed.passed and passed.overridden == "a trial"
    (record,) = records.of_kind(audit.workspace, read.id, "override")
    assert record.by == "human:Ana" and record.content()["against"] == ["2 flagged rows were not decided by a person"]
    with pytest.raises(SpecError, match="needs a reason"):
        gate(audit, read.id, override=" ")


def test_a_frozen_dataset_passes_by_what_its_audit_knew_and_never_once_it_was_changed(audit: Audit, read: Dataset) -> None:
    frozen = audit.freeze(read.id)
    assert gate(audit, frozen.id).reasons == ["2 flagged rows were not decided by a person"]
    audit.decide_many(read.id, [38, 39], "remove")
    assert gate(audit, frozen.id).passed
    record = frozen.folder / AUDIT
    record.write_text(record.read_text("utf-8").replace('"outcome": "remove"', '"outcome": "keep"', 1))
    changed = gate(audit, frozen.id, override="never mind")
    assert not changed.passed and changed.reasons == ["the frozen data or its record was changed"]


def test_a_frozen_row_that_is_decided_otherwise_later_shuts_it(audit: Audit, read: Dataset) -> None:
    audit.decide_many(read.id, [38, 39], "keep")
    audit.decide(read.id, 5, "relabel", seen=True)
    frozen = audit.freeze(read.id)
    audit.decide(read.id, 7, "keep", seen=True)  # as it is anyway
    assert gate(audit, frozen.id).passed
    audit.decide(read.id, 38, "remove", seen=True)
    audit.decide(read.id, 3, "relabel", seen=True)
    assert gate(audit, frozen.id).reasons == ["2 of its rows were decided otherwise since it was frozen: freeze it again"]
    assert gate(audit, audit.freeze(read.id).id).passed


def test_rows_that_were_chosen_instead_of_drawn_are_found_out(audit: Audit, dataset: Dataset) -> None:
    draw = audit.draw(dataset.id, count=5)
    assert audit.verify().ok
    chosen = {**draw.as_dict(), "rows": draw.rows[::-1]}
    records.append(audit.workspace, dataset.id, "draw", "human:eve", lambda before, head: chosen)
    found = audit.verify()
    assert not found.ok and "draw 2 are not those that its seed gives" in found.reason
    assert not gate(audit, dataset.id, override="never mind").passed


def test_what_was_left_out_is_listed_with_its_reason_and_without_text(audit: Audit, dataset: Dataset, tmp_path: Path) -> None:
    audit.decide(dataset.id, 3, "remove", "=how to", seen=True)
    audit.decide(dataset.id, 4, "unsure", by="Ana", seen=True)
    audit.decide(dataset.id, 38, "keep", seen=True)
    out = audit.export(dataset.id, tmp_path / "clean.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "clean.removed.jsonl").read_text("utf-8").splitlines()]
    assert len(out.read_text("utf-8").splitlines()) == 37
    assert [(line["row_id"], line["reason"]) for line in lines] == [
        (3, "removed by a person"),
        (4, "left out, undecided: marked unsure"),
        (39, "the score is at or above the threshold"),
    ]
    assert lines[0]["comment"] == "=how to" and lines[1]["decided_by"] == "human:Ana" and "p39" not in json.dumps(lines)
    table = list(csv.DictReader(io.StringIO((tmp_path / "clean.removed.csv").read_text("utf-8-sig"))))
    assert [row["row_id"] for row in table] == ["3", "4", "39"] and table[0]["comment"] == "'=how to"
    frozen = audit.freeze(dataset.id, "not readable")
    audit.export(frozen.id, tmp_path / "again.jsonl")
    again = [json.loads(line) for line in (tmp_path / "again.removed.jsonl").read_text("utf-8").splitlines()]
    assert again == [line | ({"left_out_because": "not readable"} if line["row_id"] == 4 else {}) for line in lines]


def test_without_a_bound_it_stays_shut_unless_somebody_says_why(audit: Audit, dataset: Dataset) -> None:
    audit.decide_many(dataset.id, [38, 39], "remove")
    shut = gate(audit, dataset.id)
    assert (shut.passed, shut.failed, shut.bound) == (False, ["no_bound"], None) and "nothing can be said of unread rows" in shut.reasons[0]
    for row in audit.draw(dataset.id, count=10).rows:
        audit.decide(dataset.id, row, "keep")
    assert gate(audit, dataset.id).failed == ["no_bound"], "what was decided unseen was not read"
    passed = gate(audit, dataset.id, override="a trial", by="Ana")
    assert passed.passed and passed.overridden == "a trial" and passed.failed == ["no_bound"]
    (record,) = records.of_kind(audit.workspace, dataset.id, "override")
    assert record.content()["against"] == shut.reasons


def test_by_itself_it_allows_one_percent(audit: Audit, dataset: Dataset) -> None:
    audit.decide_many(dataset.id, [38, 39], "remove")
    for row in audit.draw(dataset.id, count=20).rows:
        audit.decide(dataset.id, row, "keep", seen=True)
    assert gate(audit, dataset.id).failed == ["bound"]
    assert gate(audit, dataset.id, max_residual=0.2).passed


def test_unsure_rows_count_against_the_bound_until_they_are_all_read(audit: Audit, dataset: Dataset) -> None:
    audit.decide_many(dataset.id, [38, 39], "remove")
    first, *rest = audit.draw(dataset.id, count=38).rows
    audit.decide(dataset.id, first, "unsure", seen=True)
    for row in rest[:-1]:
        audit.decide(dataset.id, row, "keep", seen=True)
    assert "bound" in gate(audit, dataset.id).failed
    audit.decide(dataset.id, rest[-1], "keep", seen=True)
    found = gate(audit, dataset.id)
    assert (found.failed, found.bound) == (["undecided"], 0.0), "all were read: the unsure one is not harmless, it is left out"
    assert gate(audit, audit.freeze(dataset.id, "who knows").id).passed


def test_where_people_read_every_row_no_scores_are_needed(audit: Audit) -> None:
    bare = write_dataset(audit.workspace, [{"prompt": f"p{at}", "response": "r"} for at in range(3)], name="three", role="user")
    for row in range(3):
        assert "no_bound" in gate(audit, bare.id).failed
        audit.decide(bare.id, row, "keep", seen=True)
    assert gate(audit, bare.id).passed


def test_a_teacher_that_does_not_read_the_file_shuts_it_and_an_override_notes_that(audit: Audit, read: Dataset) -> None:
    audit.decide_many(read.id, [38, 39], "remove")
    values = np.where(np.arange(40) < 38, -0.5, 0.5).astype(np.float32)
    info = {"unfamiliar_share": 0.7}
    write_scores(audit.workspace, read, values, key="k", scorer="s", teacher="lab", threshold=0.0, info=info)
    shut = gate(audit, read.id)
    assert (shut.passed, shut.failed) == (False, ["language"]) and "70%" in shut.reasons[0]
    assert gate(audit, read.id, override="all rows were read", by="Ana").passed
    (record,) = records.of_kind(audit.workspace, read.id, "override")
    assert record.content()["against"] == shut.reasons


def test_rows_in_a_language_that_no_calibration_prompt_is_in_shut_it_too(
    audit: Audit, read: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit.decide_many(read.id, [38, 39], "remove")
    monkeypatch.setattr("reft_studio.studio.scores.reading", lambda *_: LanguageCoverage(unread=0.6, languages="German"))
    shut = gate(audit, read.id)
    assert shut.failed == ["language"] and "60%" in shut.reasons[0] and "German" in shut.reasons[0]
