from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from reft_studio.data.dataset import open_dataset
from reft_studio.errors import SpecError
from reft_studio.jobs.job import JobState
from reft_studio.studio.row_filter import RowFilter
from reft_studio.studio.studio import Studio
from reft_studio.workspace import Workspace
from tests.ui.scored import Scored, scored
from ui.review import bulk_panel, freeze_panel, panel
from ui.review.ask import AddressFilter
from ui.shared.cards import card_server


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return Studio(Workspace.open(tmp_path))


@pytest.fixture
def audit(studio: Studio) -> Scored:
    return scored(studio, "review")


def receipt(studio: Studio, act: Any, **values: Any) -> Any:
    return json.loads(panel.receipt(studio, values, act))


def test_a_receipt_names_the_message_it_answers_and_what_was_saved(studio: Studio, audit: Scored) -> None:
    reply = receipt(studio, panel.decide, n=7, dataset=audit.dataset, row=3, action="remove", reason="r" * 5000)
    assert (reply["n"], reply["ok"], reply["row"], reply["action"]) == (7, True, 3, "remove")
    assert reply["text"] == f"Saved: row 3, remove. {panel.NOT_READ}"
    assert reply["progress"]["text"].startswith("1 row decided in all: 1 remove. 0 read, 1 decided unseen")
    assert len(studio.log.current(audit.dataset)[3].reason) == panel.REASON


def test_a_decision_is_a_reading_only_if_the_page_showed_the_whole_text(studio: Studio, audit: Scored) -> None:
    for row, sent in ((3, {"seen": True}), (4, {"seen": False}), (5, {}), (6, {"seen": "true"})):
        reply = receipt(studio, panel.decide, n=row, dataset=audit.dataset, row=row, action="keep", **sent)
        assert reply["seen"] is (row == 3) and (panel.NOT_READ in reply["text"]) is (row != 3)
    assert reply["progress"]["text"].startswith("4 rows decided in all: 4 keep. 1 read, 3 decided unseen")
    assert studio.log.read_singly(audit.dataset, [3, 4, 5, 6]).row_ids.tolist() == [3]
    cards = {row: card_server(studio)({"dataset": audit.dataset, "row": row, "by": "me"})["card"] for row in (3, 4)}
    assert (cards[3]["seen"], cards[4]["seen"]) == (True, False)
    assert (cards[3]["history"][0]["what"], cards[4]["history"][0]["what"]) == ("Keep", "Keep, unseen")


def test_a_check_looks_like_a_row_and_is_told_to_be_one_after_the_decision_only(studio: Studio, audit: Scored) -> None:
    studio.audit.set_checks(12)
    check = studio.audit.draw(audit.dataset, count=40).checks[0]
    card = card_server(studio)({"dataset": audit.dataset, "row": check.id, "by": "me", "mask": False})["card"]
    real = card_server(studio)({"dataset": audit.dataset, "row": check.shown, "by": "me", "mask": False})["card"]
    assert card.keys() == real.keys() and "check" not in json.dumps(card)
    assert all(card[name] == real[name] for name in card.keys() - {"texts"}) and card["texts"] != real["texts"]
    items = json.loads(panel.batch_value(studio, AddressFilter(by="me")))["queue"]
    assert {tuple(item) for item in items} == {("row", "shown", "why", "score", "held")}
    sent = {"n": 1, "dataset": audit.dataset, "row": check.id}
    unseen = receipt(studio, panel.decide, **sent, action="remove", seen=False)
    assert unseen["check"] is False and "check" not in unseen["text"]
    found = receipt(studio, panel.decide, **sent, action="keep", seen=True, next=-2)
    assert (found["check"], found["row"], found["action"]) == (True, check.id, "keep")
    assert found["text"].endswith("It counts as overlooked.") and "not in the file" in found["text"]
    again = receipt(studio, panel.decide, **sent, action="remove", seen=True)
    assert (again["action"], again["text"].split(". ")[1]) == ("keep", "Its first decision stands: keep.")
    assert studio.log.history(audit.dataset) == [] and again["recent"] == []


@pytest.mark.parametrize(
    "values",
    [
        {"row": 3, "action": "burn"},
        {"row": 10**6, "action": "keep"},
        {"row": "x", "action": "keep"},
        {"action": "keep"},
        {"row": 3, "action": "keep", "dataset": "../x"},
    ],
)
def test_a_bad_message_gets_an_answer_and_saves_nothing(studio: Studio, audit: Scored, values: dict[str, Any]) -> None:
    reply = receipt(studio, panel.decide, **{"n": 1, "dataset": audit.dataset, **values})
    assert reply["ok"] is False
    assert reply["error"]
    assert studio.log.history(audit.dataset) == []


def test_undo_with_nothing_to_undo_says_so(studio: Studio, audit: Scored) -> None:
    reply = receipt(studio, panel.undo, n=1, dataset=audit.dataset)
    assert (reply["ok"], reply["row"], reply["text"]) == (True, None, "There is nothing to undo.")


def test_a_batch_holds_no_text_of_a_row(studio: Studio, audit: Scored) -> None:
    value = panel.batch_value(studio)
    assert "enter a house" not in value
    assert len(json.loads(value)["queue"]) == 50


def test_a_frozen_dataset_is_not_reviewed_again(studio: Studio, audit: Scored) -> None:
    freeze_panel.freeze_now(studio, "not readable", "me")
    assert panel.batch_value(studio) == ""


def test_freezing_needs_a_reason_for_undecided_rows_and_records_it(studio: Studio, audit: Scored) -> None:
    with pytest.raises(SpecError, match="1 row is undecided"):
        freeze_panel.freeze_now(studio, "  ", "me")
    assert "1 undecided row left out" in freeze_panel.freeze_now(studio, "not readable", "me")
    frozen = open_dataset(studio.workspace, str(studio.settings.get("dataset")))
    assert frozen.manifest["lineage"]["left_out_reason"] == "not readable"
    assert studio.log.history(audit.dataset) == [], "nobody decided that row"


def test_the_preview_says_who_would_be_overruled(studio: Studio, audit: Scored) -> None:
    flagged = [int(row) for row in (audit.scores >= 0).nonzero()[0]]
    studio.audit.decide(audit.dataset, flagged[0], "keep", seen=True)
    wanted = bulk_panel.chosen_filter("flagged", bulk_panel.ANY, "", AddressFilter())
    careful, firm = (studio.audit.select_rows(audit.dataset, wanted, overrule=over) for over in (False, True))
    n = len(flagged)
    text = bulk_panel.preview_sentence(careful, "remove", False)
    assert text == f"{n - 1} rows of {n} matching rows would be marked Remove. 1 row that a person decided would stay so."
    assert "1 earlier decision would be replaced" in bulk_panel.preview_sentence(firm, "remove", True)


def test_a_filter_of_the_address_can_be_narrowed_for_a_bulk_decision() -> None:
    ask = AddressFilter(query="side=flagged&label=origin%3Amix&search=house")
    narrowed = bulk_panel.chosen_filter(bulk_panel.LINKED, "task", "", ask)
    assert narrowed == RowFilter(side="flagged", facets=(("origin", "mix"), ("origin", "task")), search="house")
    assert bulk_panel.chosen_filter("all", "task", " x ", ask) == RowFilter(facets=(("origin", "task"),), search="x")


def test_an_address_that_cannot_be_understood_says_so_and_opens_the_usual_queue() -> None:
    ask = AddressFilter.of_browser(json.dumps({"by": "Ana", "search": "?queue=best&side=upper&row=12"}))
    assert (ask.by, ask.order, ask.query, ask.row) == ("Ana", "borderline", "", 12)
    assert "Choose one of" in ask.note
    assert AddressFilter.of_browser("no json") == AddressFilter()


def test_another_persons_decision_needs_a_stance(studio: Studio, audit: Scored) -> None:
    studio.audit.decide(audit.dataset, 3, "remove", by="Ana", seen=True)
    asked = {"n": 1, "dataset": audit.dataset, "row": 3, "action": "keep", "by": "Ben"}
    refused = receipt(studio, panel.decide, **asked)
    assert (refused["ok"], refused["disputed"]) == (False, True)
    assert "Ana removed this row just now" in refused["error"]
    assert receipt(studio, panel.decide, **{**asked, "action": "remove"})["ok"]
    assert receipt(studio, panel.undo, n=2, dataset=audit.dataset, by="Ben")["row"] == 3
    assert receipt(studio, panel.decide, **asked, stance="differ")["ok"]
    assert studio.log.conflicts(audit.dataset).tolist() == [3]
    assert not receipt(studio, panel.decide, **asked, stance="overrule")["ok"]
    assert receipt(studio, panel.decide, **asked, stance="overrule", reason="read twice")["ok"]
    assert studio.log.conflicts(audit.dataset).tolist() == []


def test_a_pulse_tells_what_others_decided_and_nothing_while_nobody_did(studio: Studio, audit: Scored) -> None:
    pulse = panel.pulse_server(studio)
    before = pulse({"dataset": audit.dataset, "head": "", "rows": [3, 4]})
    assert pulse({"dataset": audit.dataset, "head": before["head"], "rows": [3, 4]}).keys() == {"ok", "head"}
    studio.audit.decide(audit.dataset, 3, "remove", by="Ana", seen=True)
    after = pulse({"dataset": audit.dataset, "head": before["head"], "rows": [3, 4]})
    assert after["held"] == {"3": {"action": "remove", "by": "Ana", "seen": True}}
    assert "1 row decided" in after["progress"]["text"]


def test_the_row_shown_next_is_where_this_person_goes_on(studio: Studio, audit: Scored) -> None:
    receipt(studio, panel.decide, n=1, dataset=audit.dataset, row=3, action="keep", by="Ana", next=9)
    assert json.loads(panel.batch_value(studio, AddressFilter(by="Ana")))["start"] == 9
    assert json.loads(panel.batch_value(studio, AddressFilter(by="Ben")))["start"] is None
    assert json.loads(panel.batch_value(studio, AddressFilter(by="Ana", row=5)))["start"] == 5


def test_the_plan_counts_what_freezing_does(studio: Studio, audit: Scored) -> None:
    plan = freeze_panel.plan_view(studio.audit.review_progress(audit.dataset))
    facts = {fact["label"]: fact["value"] for fact in plan["kpis"]}
    freeze_panel.freeze_now(studio, "not readable", "me")
    frozen = studio.state().dataset
    assert frozen is not None
    assert facts["rows stay"] == str(frozen.rows)
    assert facts["undecided"] == "1"


def test_a_large_dataset_is_frozen_and_exported_by_jobs(studio: Studio, audit: Scored, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reft_studio.studio.audit.LARGE", 0)
    assert "as a job" in freeze_panel.freeze_now(studio, "not readable", "Ana")
    *_, line = freeze_panel.make_cleaned(studio, audit.dataset)
    assert "by a job" in line["text"]
    assert sorted(job.kind for job in studio.jobs.list()) == ["export", "freeze"]
    assert studio.audit.exported(audit.dataset) is None
    state = studio.state()
    assert state.dataset is not None and state.dataset.id == audit.dataset


def test_rows_decided_together_are_one_of_the_latest_decisions(studio: Studio, audit: Scored) -> None:
    studio.audit.decide(audit.dataset, 1, "keep", by="Ana", seen=True)
    studio.audit.decide_many(audit.dataset, [3, 4, 5, 6], "remove", by="Ben")
    assert [(one["what"], one["by"]) for one in panel.recent(studio, audit.dataset)] == [
        ("many: remove, unseen", "Ben"),
        ("keep", "Ana"),
    ]
    studio.audit.undo(audit.dataset, by="Ana")
    assert panel.recent(studio, audit.dataset)[0]["what"] == "undone"


def test_the_line_follows_the_newest_job_and_says_when_it_failed(studio: Studio, audit: Scored, monkeypatch: pytest.MonkeyPatch) -> None:
    assert freeze_panel.job_line(studio, audit.dataset) is None
    studio.audit.start_export(audit.dataset)
    assert freeze_panel.job_line(studio, audit.dataset) is None, "it waits or goes on"
    (queued,) = studio.jobs.list()
    ends: tuple[tuple[JobState, str, str], ...] = (("done", "quiet", ""), ("failed", "error", "The disk is full. Nothing was written."))
    for state, kind, words in ends:
        ended = dataclasses.replace(queued, state=state, message="The disk is full.")
        monkeypatch.setattr(studio.jobs, "list", lambda ended=ended: [ended])
        line = freeze_panel.job_line(studio, audit.dataset)
        assert line is not None and line["kind"] == kind and words in line["text"]


def test_habits_that_cannot_be_are_refused_and_a_second_person_is_recorded(studio: Studio, audit: Scored) -> None:
    panel.keep_habits(studio, {"by": "Ana", "dataset": audit.dataset, "reveal": "hold", "nudge": "5", "size": 20, "approvals": True})
    assert studio.audit.approvals(audit.dataset)
    value = json.loads(panel.batch_value(studio, AddressFilter(by="Ana")))
    assert (value["habits"]["reveal"], len(value["queue"]), value["approvals"]) == ("hold", 20, True)
    assert "approval" in [name for name, _ in value["orders"]]
    with pytest.raises(SpecError, match="break after 9999"):
        panel.keep_habits(studio, {"by": "Ana", "nudge": 9999})


def test_what_a_card_tells_of_others_is_seen_from_ones_own_side(studio: Studio, audit: Scored) -> None:
    studio.audit.decide(audit.dataset, 3, "keep", by="Ana", seen=True)
    studio.audit.decide(audit.dataset, 3, "remove", "looks odd", by="Ben", seen=True)
    card = card_server(studio)
    seen = {name: card({"dataset": audit.dataset, "row": 3, "by": name})["card"] for name in ("Ana", "Ben", "Cleo")}
    assert [seen["Ana"]["other"]["by"], seen["Ben"]["other"]["by"], seen["Cleo"]["other"]["by"]] == ["Ben", "Ana", "Ben"]
    assert all(view["conflict"] for view in seen.values())
    assert [one["mine"] for one in seen["Ben"]["opinions"]] == [True, False]
