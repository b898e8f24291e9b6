"""Cards and progress of a review on five rows; row ids have gaps, so positions and ids cannot be mixed up unseen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from reft_studio.data.dataset import Dataset, write_dataset
from reft_studio.errors import DataError
from reft_studio.scoring.scores import write_scores
from reft_studio.studio.studio import Studio
from reft_studio.workspace import Workspace
from ui.shared.cards import card_view

IDS = [1, 2, 4, 8, 16]
VALUES = [0.9, 0.1, -0.2, -0.8, float("nan")]


def rows() -> list[Any]:
    chat = [{"role": "user", "content": "first"}, {"role": "assistant", "content": "a"}]
    chat += [{"role": "user", "content": "question 4"}, {"role": "assistant", "content": "answer 4"}]
    plain = [{"row_id": at, "prompt": f"question {at}", "response": f"answer {at}"} for at in IDS]
    plain[2]["messages"] = chat
    return plain


def make(workspace: Workspace, *, scored: bool = True) -> Dataset:
    dataset = write_dataset(workspace, rows(), name="five rows", role="user")
    if scored:
        values = np.array(VALUES, dtype=np.float32)
        write_scores(workspace, dataset, values, key="k", scorer="refusal_feature", teacher="lab", threshold=0.0, info={})
    return dataset


def test_a_card_holds_the_row_of_its_id_and_how_it_stands(studio: Studio, workspace: Workspace) -> None:
    dataset = make(workspace)
    card = studio.audit.card(dataset.id, 2)
    assert (card.prompt, card.response) == ("question 2", "answer 2") and card.score == pytest.approx(0.1)
    assert (card.effective, card.percentile, card.threshold) == ("remove", 50.0, 0.0), "two of four scored rows lie below"
    assert card.why.startswith("The similarity of the prompt to the refusal feature is +0.100, at or above the threshold +0.000")
    assert "below the threshold" in studio.audit.card(dataset.id, 8).why and studio.audit.card(dataset.id, 8).percentile == 0.0


def test_a_card_shows_the_whole_chat(studio: Studio, workspace: Workspace) -> None:
    assert [turn["content"] for turn in studio.audit.card(make(workspace).id, 4).messages] == ["first", "a", "question 4", "answer 4"]


def test_a_row_without_a_score_waits_for_a_person(studio: Studio, workspace: Workspace) -> None:
    card = studio.audit.card(make(workspace).id, 16)
    assert (card.score, card.percentile, card.effective) == (None, None, "undecided")
    assert card.why == "No score: only a person can decide this row."


def test_a_card_says_that_its_row_was_cut_and_why_another_has_no_score(studio: Studio, workspace: Workspace) -> None:
    dataset, values = write_dataset(workspace, rows(), name="five rows", role="user"), np.array(VALUES, dtype=np.float32)
    cut, reasons = np.array(IDS) == 2, np.where(np.isnan(values), 1, 0).astype(np.uint8)
    facts: dict[str, Any] = {"key": "k", "scorer": "refusal_feature", "teacher": "lab", "threshold": 0.0}
    told = {"truncated": 1, "cut_at": 488}
    score = write_scores(
        workspace, dataset, values, **facts, info=told, reasons=reasons, names={1: "the chat template refuses the row"}, cut=cut
    )
    assert score.cut_sentence == "1 row was cut at 488 tokens: the middle of a longer prompt was not read."
    cards = {row: card_view(studio.audit.card(dataset.id, row), 0.0, masked=False, reveal=True) for row in (2, 4, 16)}
    assert [(cards[row]["shortened"], cards[row]["shortened_at"]) for row in (2, 4)] == [(True, 488), (False, 488)]
    assert cards[16]["reason"] == "the chat template refuses the row" and cards[2]["reason"] == ""


def test_a_row_that_does_not_exist_is_named(studio: Studio, workspace: Workspace) -> None:
    with pytest.raises(DataError, match="no row 3"):
        studio.audit.card(make(workspace).id, 3)


def test_many_decisions_are_refused_whole_if_one_row_does_not_exist(studio: Studio, workspace: Workspace) -> None:
    dataset = make(workspace)
    with pytest.raises(DataError, match="no row 3"):
        studio.audit.decide_many(dataset.id, [1, 2, 3], "keep")
    assert studio.log.current(dataset.id) == {}
    assert studio.audit.decide_many(dataset.id, [1, 2], "keep") == 2


def test_a_persons_word_is_the_reason_shown_and_undo_gives_the_threshold_back(studio: Studio, workspace: Workspace) -> None:
    dataset = make(workspace)
    studio.settings.set("reviewer", "Ada")
    studio.audit.decide(dataset.id, 1, "keep", "a quotation", seen=True)
    card = studio.audit.card(dataset.id, 1)
    assert (card.effective, card.why) == ("keep", "Ada decided: keep (a quotation)")
    assert [entry.action for entry in card.history] == ["keep"]
    studio.audit.undo(dataset.id)
    assert studio.audit.card(dataset.id, 1).effective == "remove" and "similarity" in studio.audit.card(dataset.id, 1).why


def test_progress_counts_what_the_threshold_does_and_what_people_changed(studio: Studio, workspace: Workspace) -> None:
    dataset = make(workspace)
    before = studio.audit.review_progress(dataset.id)
    assert (before.rows, before.flagged, before.decided, before.undecided, before.removed_in_effect, before.overruled) == (5, 2, 0, 1, 2, 0)
    for row_id, action in ((1, "remove"), (2, "keep"), (4, "unsure"), (8, "remove"), (16, "relabel")):
        studio.audit.decide(dataset.id, row_id, action, seen=True)  # type: ignore[arg-type]
    after = studio.audit.review_progress(dataset.id)
    assert (after.decided, after.keep, after.remove, after.relabel, after.unsure) == (5, 1, 2, 1, 1)
    assert (after.undecided, after.removed_in_effect) == (1, 2), "row 4 is unsure; rows 1 and 8 are removed"
    assert (before.flagged_open, after.flagged_open) == (2, 0), "both flagged rows were decided by a person"
    assert after.overruled == 2, "2 and 8 are no longer what the threshold said; 1 agrees, 4 is unsure, 16 had no score"
    assert (after.read, after.unseen, after.unrecorded) == (5, 0, 0)
    studio.audit.decide_many(dataset.id, [2, 8], "remove")
    assert studio.audit.review_progress(dataset.id).unseen == 2, "many at once is no reading"


def test_progress_moves_with_the_threshold(studio: Studio, workspace: Workspace) -> None:
    dataset = make(workspace)
    studio.choose(dataset=dataset.id, threshold=-0.5)
    assert studio.audit.review_progress(dataset.id).flagged == 3


def test_without_scores_every_row_waits_and_is_read_in_some_order(studio: Studio, workspace: Workspace) -> None:
    dataset = make(workspace, scored=False)
    assert {item.row_id for item in studio.review_queue.batch(dataset.id).items} == set(IDS)
    studio.audit.decide(dataset.id, 4, "keep", seen=True)
    studio.audit.decide(dataset.id, 8, "unsure", seen=True)
    progress = studio.audit.review_progress(dataset.id)
    assert (progress.flagged, progress.decided, progress.undecided, progress.assurance) == (0, 2, 4, None)


def test_the_next_rows_to_read_are_those_nobody_decided(studio: Studio, workspace: Workspace) -> None:
    dataset = make(workspace)
    assert {item.row_id for item in studio.review_queue.batch(dataset.id).items} == set(IDS)
    studio.audit.decide(dataset.id, 2, "keep", seen=True)
    items = studio.review_queue.batch(dataset.id).items
    assert {item.row_id for item in items} == {1, 4, 8, 16}
    assert items[-1].row_id == 16 and items[-1].why == "unscored"


def test_a_decision_is_disputed_by_what_another_person_thinks_unless_somebody_settled_it(studio: Studio, workspace: Workspace) -> None:
    dataset = make(workspace).id
    assert studio.audit.disputed(dataset, 1, "remove", by="Ana") is None, "nobody decided it"
    studio.audit.decide(dataset, 1, "keep", by="Ana")
    assert studio.audit.disputed(dataset, 1, "remove", by="Ana") is None, "one's own"
    assert studio.audit.disputed(dataset, 1, "keep", by="Ben") is None, "the same"
    other = studio.audit.disputed(dataset, 1, "remove", by="Ben")
    assert other is not None and (other.by, other.action) == ("human:Ana", "keep")
    studio.audit.decide(dataset, 1, "remove", "quoted out of context", by="Ben", overrule=True)
    assert studio.audit.disputed(dataset, 1, "remove", by="Cem") is None
