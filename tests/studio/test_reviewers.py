from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from reft_studio.errors import SpecError
from reft_studio.store import settings
from reft_studio.studio.reviewers import Habits, Reviewers
from reft_studio.workspace import Workspace


@pytest.fixture
def desk(tmp_path: Path) -> Reviewers:
    return Reviewers(Workspace.open(tmp_path))


def test_each_reviewer_goes_on_at_their_own_row_of_each_dataset(desk: Reviewers) -> None:
    desk.leave_at("d1", "Ana", 7)
    desk.leave_at("d1", "Ben", 9)
    desk.leave_at("d1", "Ana", 8)
    assert [desk.place("d1", "Ana"), desk.place("d1", "Ben"), desk.place("d2", "Ana")] == [8, 9, None]


def test_a_browser_without_a_name_reviews_under_the_one_of_the_settings(desk: Reviewers) -> None:
    assert desk.reviewer(None) == "me"
    settings.set(desk.workspace, "reviewer", "Ana")
    assert desk.reviewer("") == "Ana"
    assert desk.reviewer("  Ben   B. ") == "Ben B."
    with pytest.raises(SpecError, match="61 characters"):
        desk.reviewer("x" * 61)


def test_no_opened_text_is_lost_when_two_tabs_count_at_once(desk: Reviewers) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: desk.open_more("Ana", 2), range(20)))
    assert desk.opened("Ana") == 40
    assert desk.opened("Ben") == 0


def test_habits_are_each_persons_own_and_checked(desk: Reviewers) -> None:
    desk.keep_habits("Ana", reveal="hold", nudge=0)
    assert desk.habits("Ana") == Habits(reveal="hold", nudge=0, size=50)
    assert desk.habits("Ben") == Habits()
    wrong: list[dict[str, Any]] = [{"reveal": "always"}, {"nudge": -1}, {"size": 5000}]
    for changes in wrong:
        with pytest.raises(SpecError):
            desk.keep_habits("Ana", **changes)
