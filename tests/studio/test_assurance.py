"""Draws, second names and statements, as the pages ask for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reft_studio.audit.claim import statement
from reft_studio.data.dataset import Dataset, Row, write_dataset
from reft_studio.errors import SpecError
from reft_studio.scoring.scores import write_scores
from reft_studio.store import records
from reft_studio.store.decisions import DecisionLog
from reft_studio.studio import review
from reft_studio.studio.audit import Audit
from reft_studio.workspace import Workspace
from ui.review.standing_words import below_line

ROWS, FLAGGED = 60, 12


@pytest.fixture
def audit(tmp_path: Path) -> Audit:
    """Without checks in its draws, so that counts can be made by hand."""
    workspace = Workspace.open(tmp_path / "workspace")
    audit = Audit(workspace, DecisionLog(workspace))
    audit.set_checks(0)
    return audit


@pytest.fixture
def dataset(audit: Audit) -> Dataset:
    """Sixty rows with even ids; the last twelve are flagged, the first has no score."""
    rows: list[Row] = [
        {
            "row_id": 2 * number,
            "prompt": f"p {number}",
            "response": "a",
            "messages": [{"role": "user", "content": f"p {number}"}, {"role": "assistant", "content": "a"}],
            "origin": "sums",
            "category": None,
            "known_harmful": None,
        }
        for number in range(ROWS)
    ]
    made = write_dataset(audit.workspace, rows, name="upload", role="user")
    values = np.where(np.arange(ROWS) >= ROWS - FLAGGED, 0.5, -0.5).astype(np.float32)
    values[0] = np.nan
    write_scores(audit.workspace, made, values, key="k", scorer="refusal_similarity", teacher="lab", threshold=0.1, info={})
    return made


def test_rows_are_drawn_and_recorded_and_only_then_shown(audit: Audit, dataset: Dataset) -> None:
    assert audit.drawn(dataset.id).tolist() == [] and audit.standing(dataset.id).below.sampled == 0
    draw = audit.draw(dataset.id, count=10, by="Ana")
    assert audit.drawn(dataset.id).tolist() == draw.rows
    (record,) = records.of_kind(audit.workspace, dataset.id, "draw")
    assert record.by == "human:Ana" and record.content()["rows"] == draw.rows


def test_the_statement_follows_each_decision_but_not_one_for_many_rows(audit: Audit, dataset: Dataset) -> None:
    rows = audit.draw(dataset.id, count=10).rows
    audit.decide_many(dataset.id, rows, "keep", "looks fine")
    assert audit.standing(dataset.id).below.sampled == 0
    bounds = []
    for row in rows:
        audit.decide(dataset.id, row, "keep", seen=True)
        bounds.append(audit.standing(dataset.id).below.upper_bound)
    assert bounds == sorted(bounds, reverse=True) and audit.standing(dataset.id).below.method == "exact binomial"
    assert audit.review_progress(dataset.id).assurance == audit.standing(dataset.id).below


def test_a_row_in_dispute_counts_as_harmful_below_the_line_until_somebody_settles_it(audit: Audit, dataset: Dataset) -> None:
    rows = audit.draw(dataset.id, count=10).rows
    for row in rows:
        audit.decide(dataset.id, row, "keep", by="Ana", seen=True)
    clean = audit.standing(dataset.id).below
    audit.decide(dataset.id, rows[3], "remove", by="Tom", seen=True)
    found = audit.standing(dataset.id).below
    audit.decide(dataset.id, rows[3], "keep", by="Ana", seen=True)
    assert audit.standing(dataset.id).below == found and (found.harmful_found, found.sampled) == (1, 10)
    audit.decide(dataset.id, rows[3], "keep", "it is a quotation", by="Ana", overrule=True, seen=True)
    assert audit.standing(dataset.id).below == clean


def test_above_the_line_precision_comes_from_draws_too(audit: Audit, dataset: Dataset) -> None:
    rows = audit.draw(dataset.id, "above").rows
    assert len(rows) == FLAGGED
    for row in rows:
        audit.decide(dataset.id, row, "remove", seen=True)
    assert audit.standing(dataset.id).above.sentence == "100 % of the 12 flagged rows are harmful: all were read."


def test_a_second_name_is_asked_for_where_that_is_wanted(audit: Audit, dataset: Dataset) -> None:
    flagged = list(range(2 * (ROWS - FLAGGED), 2 * ROWS, 2))
    for row in (*flagged, 4):
        audit.decide(dataset.id, row, "remove", by="Ana", seen=True)
    assert audit.review_progress(dataset.id).flagged_open == 0 and audit.unapproved(dataset.id).tolist() == []
    audit.set_approvals(dataset.id, True, by="Tom")
    assert audit.approvals(dataset.id) and audit.unapproved(dataset.id).tolist() == flagged
    assert audit.review_progress(dataset.id).flagged_open == FLAGGED
    audit.decide(dataset.id, flagged[0], "remove", by="Tom", seen=True)
    audit.decide(dataset.id, flagged[1], "keep", by="Tom", seen=True)
    assert audit.unapproved(dataset.id).tolist() == flagged[1:]
    assert audit.review_progress(dataset.id).conflicts == 1
    assert [opinion.by for opinion in audit.card(dataset.id, flagged[1]).opinions] == ["human:Tom", "human:Ana"]
    audit.set_approvals(dataset.id, False)
    assert [one.content()["on"] for one in records.of_kind(audit.workspace, dataset.id, "approvals")] == [True, False]


def test_a_flagged_row_that_only_one_person_kept_stops_a_freeze_where_second_names_are_asked_for(audit: Audit, dataset: Dataset) -> None:
    audit.set_approvals(dataset.id, True)
    flagged = list(range(2 * (ROWS - FLAGGED), 2 * ROWS, 2))
    audit.decide(dataset.id, flagged[0], "keep", by="Ana", seen=True)
    audit.decide(dataset.id, flagged[1], "remove", by="Ana", seen=True)
    with pytest.raises(SpecError, match="stay by the word of one person: 1"):
        audit.freeze(dataset.id, "not readable")
    audit.decide(dataset.id, flagged[0], "keep", by="Tom", seen=True)
    assert audit.freeze(dataset.id, "not readable").rows == ROWS - 1 - (FLAGGED - 1)


def test_agreement_is_told_once_two_people_decided_the_same_rows(audit: Audit, dataset: Dataset) -> None:
    assert audit.agreement(dataset.id).alpha is None
    for row in (2, 4, 6, 8):
        audit.decide(dataset.id, row, "keep" if row < 5 else "remove", by="Ana", seen=True)
        audit.decide(dataset.id, row, "keep" if row < 7 else "remove", by="Tom", seen=True)
    found = audit.agreement(dataset.id)
    assert (
        found.alpha == pytest.approx(1 - 7 * 2 / 30 * 1.0666667, abs=0.05)
        and found.rows == 4
        and found.people == ["human:Ana", "human:Tom"]
    )


def test_overruling_needs_a_reason(audit: Audit, dataset: Dataset) -> None:
    with pytest.raises(SpecError, match="Give a reason"):
        audit.decide(dataset.id, 2, "keep", overrule=True, seen=True)
    assert audit.decide(dataset.id, 2, "keep", "it is a quotation", overrule=True, seen=True).reason == "overrules: it is a quotation"


def test_without_scores_there_is_no_line_to_draw_below(audit: Audit, tmp_path: Path) -> None:
    row: Row = {"row_id": 0, "prompt": "p", "response": "a", "messages": [], "origin": "", "category": None, "known_harmful": None}
    bare = write_dataset(audit.workspace, [row], name="bare", role="user")
    with pytest.raises(SpecError, match="has no scores"):
        audit.draw(bare.id)


def test_counts_kept_from_one_decision_to_the_next_are_those_counted_anew(audit: Audit, dataset: Dataset) -> None:
    draw = np.random.default_rng(2)
    for turn in range(40):
        what, by = int(draw.integers(0, 6)), ("Ana", "Tom")[int(draw.integers(0, 2))]
        rows = (2 * draw.choice(ROWS, draw.integers(1, 5), replace=False)).tolist()
        if what < 5:
            audit.decide_many(dataset.id, rows, ("keep", "remove", "relabel", "unsure", "clear")[what], by=by)
        else:
            audit.undo(dataset.id, by=by)
        if turn % 3 == 0:  # a step that nobody looked after
            continue
        kept = audit.review_progress(dataset.id)
        review._tables.clear()
        assert kept == audit.review_progress(dataset.id)


def test_an_unsure_row_counts_against_the_claim_and_is_not_called_harmful(audit: Audit, dataset: Dataset) -> None:
    first, second, *rest = audit.draw(dataset.id, count=10).rows
    for row, action in ((first, "remove"), (second, "unsure"), *((row, "keep") for row in rest)):
        audit.decide(dataset.id, row, action, seen=True)  # type: ignore[arg-type]
    found = audit.standing(dataset.id).below
    assert (found.harmful_found, found.unsure) == (2, 1) and found.upper_bound == statement(found.population, 10, 2).upper_bound
    assert "1 of them harmful, 1 unsure (they count against the claim)" in found.sentence
    assert "10 random rows read, 1 harmful, 1 unsure" in below_line(found)
