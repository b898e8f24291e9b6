from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reft_studio.data.dataset import write_dataset
from reft_studio.studio.studio import Studio
from reft_studio.workspace import Workspace
from tests.ui.scored import HOSTILE, UNSCORED, Scored, scored
from ui.filter.rows_panel import page_server
from ui.shared.cards import FULL, card_server


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return Studio(Workspace.open(tmp_path))


@pytest.fixture
def audit(studio: Studio) -> Scored:
    return scored(studio, "cards")


def rows(studio: Studio, audit: Scored, **wanted: Any) -> Any:
    return page_server(studio)({"dataset": audit.dataset, "key": audit.key, "t": 0.0, "limit": 200, **wanted})


def card(studio: Studio, audit: Scored, row: int, **wanted: Any) -> Any:
    return card_server(studio)({"dataset": audit.dataset, "row": row, **wanted})


def test_flagged_and_known_harmful_prompts_are_masked_and_others_are_not(studio: Studio, audit: Scored) -> None:
    for row in rows(studio, audit)["rows"]:
        sensitive = bool(audit.harmful[row["row"]]) or row["flagged"]
        assert row["masked"] is sensitive
        assert ("masked (" in row["prompt"]) is sensitive


def test_what_a_person_removed_is_masked_whatever_its_score(studio: Studio, audit: Scored) -> None:
    row = int((audit.scores < 0).argmax())
    assert not audit.harmful[row] and not card(studio, audit, row)["card"]["texts"][0]["masked"]
    studio.audit.decide(audit.dataset, row, "remove")
    assert card(studio, audit, row)["card"]["texts"][0]["masked"]
    assert next(one for one in rows(studio, audit, filter={"order": "file"})["rows"] if one["row"] == row)["masked"]


def test_nothing_is_masked_when_the_mask_is_off_and_all_is_when_the_settings_say_so(studio: Studio, audit: Scored) -> None:
    assert not any(row["masked"] for row in rows(studio, audit, mask=False)["rows"])
    studio.settings.set("mask_rule", "all")
    assert all(row["masked"] for row in rows(studio, audit)["rows"])


def test_a_card_reveals_only_when_asked(studio: Studio, audit: Scored) -> None:
    row = int(audit.harmful.argmax())
    hidden, open_ = card(studio, audit, row)["card"], card(studio, audit, row, reveal=True)["card"]
    assert "enter a house" not in str(hidden)
    assert "enter a house" in open_["texts"][0]["text"]
    assert (hidden["revealed"], open_["revealed"]) == (False, True)
    assert [part["label"] for part in open_["texts"]] == ["Prompt", "Answer"]


def test_direction_marks_and_lone_surrogates_are_spelled_out(studio: Studio, audit: Scored) -> None:
    text = card(studio, audit, HOSTILE, mask=False)["card"]["texts"][0]["text"]
    assert "⟨U+202E⟩" in text
    assert "\u202e" not in text
    text.encode("utf-8")


def test_another_threshold_is_a_preview_and_changes_nothing(studio: Studio, audit: Scored) -> None:
    row = int((audit.scores > 0.3).argmax())
    assert card(studio, audit, row)["card"]["flagged"]
    assert not card(studio, audit, row, t=0.99)["card"]["flagged"]
    assert studio.state().threshold == 0.0


def test_a_row_without_a_score_is_undecided(studio: Studio, audit: Scored) -> None:
    (row,) = rows(studio, audit, filter={"side": "unscored"})["rows"]
    assert (row["row"], row["score"], row["effective"]) == (UNSCORED, None, "undecided")
    assert card(studio, audit, UNSCORED)["card"]["score"] is None


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"filter": {"side": "upper"}}, "all, flagged"),
        ({"key": "../../etc"}, "is not an id of this workspace"),
        ({"dataset": "nothing"}, "no dataset"),
        ({"t": "x"}, "ValueError"),
    ],
)
def test_bad_requests_are_answered_not_raised(studio: Studio, audit: Scored, wanted: dict[str, Any], said: str) -> None:
    reply = rows(studio, audit, **wanted)
    assert reply["ok"] is False
    assert said in reply["error"] or "scored" in reply["error"]


def test_at_most_200_rows_are_handed_out_at_once(studio: Studio, audit: Scored) -> None:
    reply = rows(studio, audit, limit=10**9, offset=-5)
    assert len(reply["rows"]) == 200
    assert reply["total"] == 240


def test_a_long_text_is_cut_until_the_whole_is_asked_for(studio: Studio) -> None:
    long = "a" * (FULL - 1) + " end"
    made = write_dataset(studio.workspace, [{"prompt": "p", "response": long}], name="long", role="user")
    for whole in (False, True):
        asked = {"dataset": made.id, "row": 0, "whole": whole}
        prompt, answer = card_server(studio)(asked)["card"]["texts"]
        assert not prompt["cut"] and answer["cut"] is not whole and answer["text"].endswith(" end") is whole
