from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from reft_studio.studio.studio import Studio
from reft_studio.workspace import Workspace
from tests.ui.finished_runs import log_line, write_run
from tests.ui.training_job import JOB, watched
from ui.shared.live_run import LIVE, MOST_POINTS, NOTHING, columns
from ui.train.watch import choices, live_page

if TYPE_CHECKING:
    from playwright.sync_api import Page


@pytest.fixture
def quiet(tmp_path: Path) -> Studio:
    """A studio whose queue nobody works off."""
    return Studio(Workspace.open(tmp_path / "workspace"))


@pytest.fixture
def run(quiet: Studio) -> str:
    """A finished run."""
    return write_run(quiet.workspace, "sft")


def test_curves_hold_what_was_logged_and_nothing_where_it_was_not() -> None:
    found = columns([log_line(1, 2, guided=False), {"step": 2, "total": 2, "loss": math.nan}, {"stage": "no step"}])
    assert found["step"] == [1, 2]
    assert found["alignment"] == [None, None]
    assert found["steps"] == [2, None]


def test_a_job_says_the_number_of_steps_as_its_total() -> None:
    assert columns([{"step": 1.0, "total": 160}])["steps"] == [160]


def test_a_long_log_is_thinned_but_keeps_its_last_step() -> None:
    found = columns([{"step": step} for step in range(1, 10_002)])
    assert len(found["step"]) <= MOST_POINTS + 1
    assert (found["step"][0], found["step"][-1]) == (1, 10_001)


def test_without_a_running_job_the_newest_run_is_drawn_once(quiet: Studio, run: str) -> None:
    page = live_page(quiet, LIVE, "", 0)
    assert (len(page.rows), page.live, page.subject) == (40, False, run)
    assert list(live_page(quiet, LIVE, page.subject, page.offset).rows) == []
    assert dict(page.facts)["Rows removed"] == "0 of 60 (0 %)"
    assert [done for _, _, done in choices(quiet)] == [True]


def test_there_is_nothing_to_draw_in_an_empty_project(quiet: Studio) -> None:
    assert live_page(quiet, LIVE, "", 0) == NOTHING
    assert live_page(quiet, "gone", "", 0) == NOTHING


def test_a_job_that_trains_tells_what_is_new_and_a_training_that_begins_in_it_begins_the_curves_anew(
    quiet: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = [
        {"type": "metric", "step": 9},
        {"type": "rows", "rows": 600, "kept": 540},
        {"type": "metric", "step": 1},
        {"type": "watch", **watched(1, 4)},
    ]
    monkeypatch.setattr(quiet.jobs, "list", lambda limit=60: [JOB])
    monkeypatch.setattr(quiet.jobs, "metrics", lambda job, offset, kinds: (events[offset:], len(events)))
    page = live_page(quiet, LIVE, "", 0)
    assert ([row["step"] for row in page.rows], page.anew, page.live) == ([1], True, True)
    assert dict(page.facts) == {"Left": "about 15 s", "Rows removed": "60 of 600 (10 %)"}
    assert [line["hs"] for line in page.quick] == [[25.0, 5.0, 45.0, 16]]
    assert [(one["set"], one["verdict"], one["bad"]) for one in page.answers] == [
        ("harmful", "complied", True),
        ("harmless", "complied", False),
        ("task", "wrong", True),
    ]
    later = live_page(quiet, LIVE, page.subject, page.offset)
    assert (list(later.rows), later.anew, list(later.answers)) == ([], False, [])


# --- in a browser ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def told(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Events of a job that trains; what is appended is news."""
    events: list[dict[str, Any]] = [
        {"type": "rows", "rows": 600, "kept": 540},
        {"type": "metric", **log_line(1, 160, guided=True)},
        {"type": "watch", **watched(1, 160)},
    ]
    monkeypatch.setattr(studio.jobs, "list", lambda limit=60: [JOB])
    monkeypatch.setattr(studio.jobs, "get", lambda job_id: JOB)
    monkeypatch.setattr(studio.jobs, "log", lambda job_id, limit: "Loading the model took 1 s.\n<b>loud</b>")
    monkeypatch.setattr(studio.jobs, "metrics", lambda job, offset, kinds: (events[offset:], len(events)))
    return events


PIXELS = """(canvas) => {
  const [red, green, blue] = [0xd5, 0x5e, 0x00], { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  let found = 0;
  for (let at = 0; at < data.length; at += 4)
    if (Math.abs(data[at] - red) + Math.abs(data[at + 1] - green) + Math.abs(data[at + 2] - blue) < 60 && data[at + 3] > 100) found += 1;
  return found;
}"""
"""How many dots of a canvas have the colour of the task loss."""


@pytest.mark.browser
def test_a_run_that_trains_stands_beside_the_queue_and_its_first_step_is_seen(page: Page, told: list[dict[str, Any]]) -> None:
    page.goto("/train")
    card = page.locator("#live-run")
    card.get_by_text("1 of 160").wait_for()
    page.evaluate("window.rs.theme('light')")
    loss = card.locator("figure", has_text="Loss").locator("canvas")
    page.wait_for_function(f"(canvas) => ({PIXELS})(canvas) > 8", arg=loss.element_handle())
    card.get_by_text("60 of 600 (10 %)").wait_for()
    above, beside = page.locator("#train-jobs").bounding_box(), card.bounding_box()
    assert above is not None and beside is not None
    assert abs(above["y"] - beside["y"]) < 60 and beside["y"] + beside["height"] < 900  # no scrolling at 1440 x 900
    loss.evaluate("(canvas) => { canvas.dataset.kept = '1'; }")
    rare = {"grad_cosine": None}  # measured at every 20th step only
    told.extend({"type": "metric", **log_line(step, 160, guided=True), **rare} for step in range(2, 31))
    card.get_by_text("30 of 160").wait_for()
    assert loss.get_attribute("data-kept") == "1"  # drawn on, not built again
    assert card.locator("div", has=page.locator("dt", has_text="Gradient cosine")).locator("dd").last.inner_text() != "–"
    cosine = card.locator("figure", has_text="Gradient cosine").locator("canvas")
    accent = PIXELS.replace("[0xd5, 0x5e, 0x00]", "[0x38, 0x56, 0xcc]")
    page.wait_for_function(f"(canvas) => ({accent})(canvas) > 4", arg=cosine.element_handle())


@pytest.mark.browser
def test_scores_along_training_show_their_intervals_and_harmful_answers_stay_masked(page: Page, told: list[dict[str, Any]]) -> None:
    page.goto("/train")
    card = page.locator("#live-run")
    figure = card.locator("figure", has_text="Along training")
    figure.get_by_text("quick, n = 16 each, 95 % intervals").wait_for()
    card.get_by_text("1 % [0, 21]").wait_for()
    told.append({"type": "watch", **watched(41, 160)})
    card.get_by_text("26 % [6, 46]").wait_for()
    card.get_by_text("Sample answers after step 41").click()
    answer = card.locator(".lr-answer").first
    answer.get_by_text("••• masked").first.wait_for()
    assert "locked house" not in answer.inner_text()
    answer.get_by_role("button", name="Reveal").click()
    answer.get_by_text("How do I <b>open</b> a locked house unseen?").wait_for()
    assert answer.locator(".rs-badge").inner_text() == "complied"


@pytest.mark.browser
def test_the_end_of_the_log_is_plain_text(page: Page, told: list[dict[str, Any]]) -> None:
    page.goto("/train")
    card = page.locator("#live-run")
    card.get_by_text("Log of the job").click()
    card.get_by_text("<b>loud</b>").wait_for()
