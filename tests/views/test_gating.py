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
from reft_studio.data.dataset import Dataset, write_dataset
from reft_studio.errors import SpecError
from reft_studio.scoring.scores import write_scores
from reft_studio.store import records
from reft_studio.store.decisions import DecisionLog
from reft_studio.views.auditing import Audit
from reft_studio.views.gating import gate
from reft_studio.workspace import Workspace


@pytest.fixture
def audit(tmp_path: Path) -> Audit:
    workspace = Workspace.open(tmp_path / "workspace")
    return Audit(workspace, DecisionLog(workspace))


@pytest.fixture
def dataset(audit: Audit) -> Dataset:
    """Forty rows; the last two are flagged."""
    made = write_dataset(audit.workspace, [{"prompt": f"p{at}", "response": "r"} for at in range(40)], name="forty", role="user")
    values = np.where(np.arange(40) < 38, -0.5, 0.5).astype(np.float32)
    write_scores(audit.workspace, made, values, key="k", scorer="s", teacher="lab", threshold=0.0, info={})
    return made


def test_flagged_rows_wait_for_a_person(audit: Audit, dataset: Dataset) -> None:
    assert gate(audit, dataset.id).reasons == ["2 flagged rows were not decided by a person"]
    audit.decide_many(dataset.id, [38, 39], "remove")
    assert gate(audit, dataset.id).passed
    audit.set_approvals(dataset.id, True)
    assert gate(audit, dataset.id).reasons == ["2 flagged rows were not decided by a person, or lack a second name"]


def test_people_who_differ_shut_it(audit: Audit, dataset: Dataset) -> None:
    for row in (38, 39):
        audit.decide(dataset.id, row, "remove", by="Ana", seen=True)
    audit.decide(dataset.id, 38, "keep", by="Tom", seen=True)
    assert gate(audit, dataset.id).reasons == ["two people differ on 1 rows"]
    audit.decide(dataset.id, 38, "remove", "it is a recipe", by="Tom", overrule=True, seen=True)
    assert gate(audit, dataset.id).passed


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


def test_an_override_is_recorded_with_what_it_overrides(audit: Audit, dataset: Dataset) -> None:
    passed = gate(audit, dataset.id, override="a trial", by="Ana")
    assert passed.passed and passed.overridden == "a trial"
    (record,) = records.of_kind(audit.workspace, dataset.id, "override")
    assert record.by == "human:Ana" and record.content()["against"] == ["2 flagged rows were not decided by a person"]
    with pytest.raises(SpecError, match="needs a reason"):
        gate(audit, dataset.id, override=" ")


def test_a_frozen_dataset_passes_by_what_its_audit_knew_and_never_once_it_was_changed(audit: Audit, dataset: Dataset) -> None:
    frozen = audit.freeze(dataset.id)
    assert gate(audit, frozen.id).reasons == ["2 flagged rows were not decided by a person"]
    audit.decide_many(dataset.id, [38, 39], "remove")
    assert gate(audit, frozen.id).passed
    record = frozen.folder / AUDIT
    record.write_text(record.read_text("utf-8").replace('"outcome": "remove"', '"outcome": "keep"', 1))
    changed = gate(audit, frozen.id, override="never mind")
    assert not changed.passed and changed.reasons == ["the frozen data or its record was changed"]


def test_a_frozen_row_that_is_decided_otherwise_later_shuts_it(audit: Audit, dataset: Dataset) -> None:
    audit.decide_many(dataset.id, [38, 39], "keep")
    audit.decide(dataset.id, 5, "relabel", seen=True)
    frozen = audit.freeze(dataset.id)
    audit.decide(dataset.id, 7, "keep", seen=True)  # as it is anyway
    assert gate(audit, frozen.id).passed
    audit.decide(dataset.id, 38, "remove", seen=True)
    audit.decide(dataset.id, 3, "relabel", seen=True)
    assert gate(audit, frozen.id).reasons == ["2 of its rows were decided otherwise since it was frozen: freeze it again"]
    assert gate(audit, audit.freeze(dataset.id).id).passed


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
        (4, "marked unsure"),
        (39, "the score is at or above the threshold"),
    ]
    assert lines[0]["comment"] == "=how to" and lines[1]["decided_by"] == "human:Ana" and "p39" not in json.dumps(lines)
    table = list(csv.DictReader(io.StringIO((tmp_path / "clean.removed.csv").read_text("utf-8-sig"))))
    assert [row["row_id"] for row in table] == ["3", "4", "39"] and table[0]["comment"] == "'=how to"
    frozen = audit.freeze(dataset.id, allow_undecided=True)
    audit.export(frozen.id, tmp_path / "again.jsonl")
    assert (tmp_path / "again.removed.jsonl").read_text("utf-8") == (tmp_path / "clean.removed.jsonl").read_text("utf-8")
