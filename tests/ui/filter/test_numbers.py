"""What the Filter page's server functions answer, and what they say of a file that differs from the calibration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reft_studio.audit.drift import Distance, Drift
from reft_studio.studio.measures import Shift
from reft_studio.studio.studio import Studio
from reft_studio.workspace import Workspace
from tests.ui.scored import Scored, scored
from ui.filter import numbers
from ui.filter.panels import page_values, tabs


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return Studio(Workspace.open(tmp_path))


@pytest.fixture
def audit(studio: Studio) -> Scored:
    return scored(studio, "numbers")


def distance(value: float) -> Distance:
    return Distance(value, 0.0, 0.05, 1000, 300)


def shift(drift: Drift | None, **facts: Any) -> Shift:
    return Shift([[1900, 3]], [[100, 4]], 0, drift, **{"unfamiliar": None, "longer": None, "same_template": None, **facts})


def test_labelled_rows_that_moved_are_named_before_the_file_as_a_whole() -> None:
    moved = Drift(distance(0.01), 0.1, distance(0.4), None)
    assert "labelled rows" in numbers.verdict(moved)
    assert "no mix" in numbers.verdict(Drift(distance(0.4), 0.1, None, None))
    assert "nothing here speaks against" in numbers.verdict(Drift(distance(0.01), 0.1, None, None))
    assert "too few" in numbers.verdict(None)


def test_words_lengths_and_template_are_told_only_where_they_matter() -> None:
    assert numbers.more(shift(None, unfamiliar=0.05, longer=0.1, same_template=True)) == []
    said = numbers.more(shift(None, unfamiliar=0.62, longer=0.5, same_template=False))
    assert len(said) == 3 and "62%" in said[0] and "50%" in said[1] and "template" in said[2]


def test_the_calibration_is_sent_as_counts(studio: Studio, audit: Scored) -> None:
    reply = numbers.shift_server(studio)({"dataset": audit.dataset, "key": audit.key})
    assert reply["ok"] and sum(count for _, count in reply["shift"]["harmful"]) == 120
    assert reply["shift"]["kind"] in ("fits", "small", "shifted", "too few")
    assert reply["estimate"]["by"] == "labels" and reply["estimate"]["rate"]["low"] == reply["estimate"]["rate"]["high"]


def test_slices_come_with_cleaned_names_and_every_row(studio: Studio, audit: Scored) -> None:
    reply = numbers.slices_server(studio)({"dataset": audit.dataset, "key": audit.key, "facet": "origin"})
    assert {one["text"] for one in reply["slices"]} == {"task", "mix"}
    assert sum(one["rows"] for one in reply["slices"]) == len(audit.scores)


@pytest.mark.parametrize(
    ("wanted", "said"), [({"t": 2}, "between -1 and 1"), ({"other": "gone"}, "not been scored"), ({"other_t": "x"}, "ValueError")]
)
def test_a_comparison_that_cannot_be_is_answered_with_why(studio: Studio, audit: Scored, wanted: dict[str, Any], said: str) -> None:
    request = {"dataset": audit.dataset, "key": audit.key, "t": 0.0, "other": audit.key, "other_t": 0.1, **wanted}
    reply = numbers.changes_server(studio)(request)
    assert not reply["ok"] and said in reply["error"]


def test_the_page_has_a_value_for_every_panel_with_and_without_scores(studio: Studio, audit: Scored) -> None:
    full = page_values(studio)
    view = studio.scores.view(audit.dataset, audit.key)
    assert [name for name, _ in tabs(view, [])] == ["estimate", "slices", "tradeoff", "drift", "changes", "outcome"]
    assert len(tabs(view, [("empty prompt", 1)])) == 7
    studio.datasets.delete(audit.dataset)
    assert len(page_values(studio)) == len(full)
