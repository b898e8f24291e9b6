"""Known harmful prompts in a random draw: shown as any other row, told after the decision, and never part of the data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reft_studio.audit.checks import texts
from reft_studio.audit.claim import statement
from reft_studio.data.dataset import Dataset, Row, write_dataset
from reft_studio.errors import DataError, SpecError
from reft_studio.scoring.scores import write_scores
from reft_studio.store import records, settings
from reft_studio.store.decisions import DecisionLog
from reft_studio.studio import draws
from reft_studio.studio.audit import Audit
from reft_studio.studio.review_queue import ReviewQueue
from reft_studio.workspace import Workspace

ROWS = 400


@pytest.fixture
def audit(tmp_path: Path) -> Audit:
    workspace = Workspace.open(tmp_path / "workspace")
    return Audit(workspace, DecisionLog(workspace))


@pytest.fixture
def dataset(audit: Audit) -> Dataset:
    """Four hundred harmless rows with even ids below the line, but for the last ten."""
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
    values = np.where(np.arange(ROWS) >= ROWS - 10, 0.5, -0.5).astype(np.float32)
    write_scores(audit.workspace, made, values, key="k", scorer="refusal_similarity", teacher="lab", threshold=0.1, info={})
    return made


def read(audit: Audit, dataset: Dataset, *, overlooked: int = 0, by: str = "Ana") -> None:
    """Read a whole draw in its order: rows are kept, checks removed but for the first `overlooked` ones."""
    for one in audit.drawn(dataset.id).tolist():
        if one >= 0:
            audit.decide(dataset.id, one, "keep", by=by, seen=True)
        else:
            audit.decide_check(dataset.id, one, "keep" if overlooked > 0 else "remove", by=by, seen=True)
            overlooked -= 1


def test_a_draw_holds_checks_at_places_that_its_seed_gives_under_the_numbers_of_rows_that_were_not_drawn(
    audit: Audit, dataset: Dataset
) -> None:
    audit.set_checks(20)
    draw = audit.draw(dataset.id, count=150)
    assert (len(draw.rows), len(draw.checks)) == (150, 20)
    order = audit.drawn(dataset.id).tolist()
    assert [order[check.place] for check in draw.checks] == [check.id for check in draw.checks] == list(range(-1, -21, -1))
    assert not {check.shown for check in draw.checks} & {*draw.rows} and len({check.text for check in draw.checks}) == 20
    assert draws.dishonest(audit.workspace) is None


def test_a_check_looks_like_the_row_it_stands_for_until_it_is_decided(audit: Audit, dataset: Dataset) -> None:
    audit.set_checks(20)
    draw = audit.draw(dataset.id, count=60)
    card = audit.check_card(dataset.id, -1)
    check = draw.checks[0]
    assert (card.row_id, card.score, card.origin, card.known_harmful) == (check.shown, pytest.approx(-0.5), "sums", None)
    assert (card.prompt, card.response) == (texts()[check.text].prompt, texts()[check.text].response)
    shown = {
        item.row_id: item for item in ReviewQueue(audit.workspace, audit.log).batch(dataset.id, size=200).items if item.why == "random"
    }
    assert {shown[one].shown for one in shown if one < 0} <= {check.shown for check in draw.checks} and any(one < 0 for one in shown)
    assert all(item.score == pytest.approx(-0.5) for item in shown.values())


def test_checks_are_no_rows_of_the_data_and_their_first_seen_decision_stands(audit: Audit, dataset: Dataset) -> None:
    audit.set_checks(5)
    audit.draw(dataset.id, count=30)
    unseen = audit.decide_check(dataset.id, -1, "remove", by="Ana", seen=False)
    assert not unseen.revealed and audit.readers(dataset.id) == [] and -1 in audit.drawn(dataset.id)
    first = audit.decide_check(dataset.id, -1, "keep", by="Ana", seen=True)
    again = audit.decide_check(dataset.id, -1, "remove", by="Tom", seen=True)
    assert (first.revealed, first.found, again.found, again.stands) == (True, False, False, False)
    assert -1 not in audit.drawn(dataset.id)
    progress = audit.review_progress(dataset.id)
    assert (progress.decided, progress.rows, progress.conflicts) == (0, ROWS, 0)
    assert [record.by for record in records.of_kind(audit.workspace, dataset.id, "check")] == ["human:Ana", "human:Ana"]
    assert audit.freeze(dataset.id).rows == ROWS - 10 and audit.verify().ok
    with pytest.raises(DataError, match="no row -99"):
        audit.check_card(dataset.id, -99)


def test_the_bound_is_widened_by_what_readers_overlook(audit: Audit, dataset: Dataset) -> None:
    audit.set_checks(0)
    audit.draw(dataset.id, count=30)
    read(audit, dataset)
    perfect = audit.standing(dataset.id).below
    assert not perfect.measured and "takes for granted that readers overlook no harmful row" in perfect.sentence
    bounds = []
    for number, overlooked in enumerate((0, 4, 16)):
        audit.set_checks(20)
        use_line(audit, dataset, 0.11 + number / 1000)
        audit.draw(dataset.id, count=60)
        read(audit, dataset, overlooked=overlooked)
        found = audit.standing(dataset.id).below
        assert (found.measured, found.sampled, found.checks, found.checks_found) == (True, 60, 20, 20 - overlooked)
        bounds.append(found.upper_bound)
    assert bounds[0] < bounds[1] < bounds[2]
    assert bounds[0] > statement(found.population, 60, 0).upper_bound
    assert "found 4 of 20 known harmful prompts" in found.sentence
    everybody, ana = audit.readers(dataset.id)
    assert (everybody.by, everybody.checks, everybody.found, ana.by) == ("", 60, 40, "human:Ana")


def use_line(audit: Audit, dataset: Dataset, threshold: float) -> None:
    """Work with another line."""
    settings.set(audit.workspace, f"threshold:{dataset.id}:k", threshold)


def test_a_check_that_is_skipped_ends_the_sample(audit: Audit, dataset: Dataset) -> None:
    audit.set_checks(10)
    audit.draw(dataset.id, count=60)
    order = audit.drawn(dataset.id).tolist()
    skipped = order.index(-2)
    for one in order:
        if one >= 0:
            audit.decide(dataset.id, one, "keep", seen=True)
        elif one != -2:
            audit.decide_check(dataset.id, one, "remove", seen=True)
    found = audit.standing(dataset.id).below
    assert (found.sampled, found.checks) == (skipped - 1, 1)


def test_too_many_checks_are_refused_and_a_small_draw_has_fewer(audit: Audit, dataset: Dataset) -> None:
    with pytest.raises(SpecError, match="Choose 0 to 100"):
        audit.set_checks(101)
    assert len(audit.draw(dataset.id, count=9).checks) == 3
