"""The row table in a browser: scrolling, ordering, filters as chips and links, questions in SQL, masks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from reft_studio.data.dataset import write_dataset
from reft_studio.scoring.scores import write_scores
from reft_studio.studio.row_query import RowFilter
from reft_studio.studio.studio import Studio
from tests.ui.scored import Scored, in_work, kept_page

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

pytestmark = pytest.mark.browser
expect = pytest.importorskip("playwright.sync_api").expect
MANY = 300_000
"""Rows that are taller together than a browser allows an element to be."""
HARMFUL_TEXT = "enter a house unseen"


@pytest.fixture(scope="module")
def audit(studio: Studio) -> Iterator[Scored]:
    with in_work(studio, "rows test", seed=3) as audit:
        yield audit


@pytest.fixture(scope="module")
def shared(context: BrowserContext, audit: Scored) -> Iterator[Page]:
    with kept_page(context) as page:
        yield page


def opened(page: Page, query: str = "") -> Page:
    page.goto(f"/filter{query}")
    page.locator(".rt-foot").filter(has_text="ow").wait_for()
    return page


def foot(page: Page, text: str) -> None:
    expect(page.locator(".rt-foot")).to_contain_text(text)


def ids(page: Page) -> list[int]:
    return [int(text.replace(",", "")) for text in page.locator(".rt-row:visible .rt-id").all_inner_texts()]


def query_of(page: Page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


def test_heads_order_the_rows_by_score_both_ways_by_the_line_and_by_the_file(shared: Page, audit: Scored) -> None:
    page = opened(shared, "?side=all")
    by_score = np.argsort(-np.where(np.isnan(audit.scores), -9, audit.scores), kind="stable")
    foot(page, "of 240")
    assert ids(page)[:3] == by_score[:3].tolist()
    head = page.get_by_role("columnheader", name="Score")
    expect(head).to_have_attribute("aria-sort", "descending")
    head.get_by_role("button").click()
    expect(head).to_have_attribute("aria-sort", "ascending")
    lowest = np.flatnonzero(audit.scores == np.nanmin(audit.scores))
    expect(page.locator(".rt-id").first).to_have_text(str(lowest[-1]))
    head.get_by_role("button").click()
    expect(page.get_by_role("tab", name="Borderline")).to_have_attribute("aria-selected", "true")
    page.get_by_role("columnheader", name="Row").get_by_role("button").click()
    expect(page.locator(".rt-id").first).to_have_text("0")
    assert ids(page)[:4] == [0, 1, 2, 3] and query_of(page)["order"] == ["file"]


def test_filters_are_chips_that_come_off_and_a_link_brings_them_back(shared: Page, audit: Scored, studio: Studio) -> None:
    page = opened(shared, "?side=all")
    page.get_by_role("button", name="Filter", exact=True).click()
    expect(page.locator(".rt-facet")).to_have_value("origin")
    page.locator(".rt-label").select_option(label=f"mix ({int(audit.harmful.sum())})")
    foot(page, f"of {int(audit.harmful.sum())}")
    page.locator(".rt-low").fill("0.4")
    page.locator(".rt-low").blur()
    wanted = RowFilter(low=0.4, facets=(("origin", "mix"),))
    total = studio.rows.count(audit.dataset, audit.key, 0.0, wanted)
    foot(page, f"of {total}")
    assert page.locator(".rt-chip b").all_inner_texts() == ["from 0.400", "mix"]
    assert RowFilter.from_query(query_of(page)) == wanted
    page.reload()
    foot(page, f"of {total}")
    assert page.locator(".rt-chip b").all_inner_texts() == ["from 0.400", "mix"]
    page.locator(".rt-chip").first.click()
    foot(page, f"of {int(audit.harmful.sum())}")
    page.locator(".rt-chip").click()
    foot(page, "of 240")
    assert query_of(page) == {"side": ["all"]}


def test_a_decision_is_a_filter_and_all_filters_come_off_at_once(shared: Page, audit: Scored, studio: Studio) -> None:
    studio.log.decide(audit.dataset, 7, "keep", reason="", by="human:ana", score=0.1, threshold=0.0)
    page = opened(shared, "?side=all&decided=keep&label=origin%3Atask&low=-1.000")
    foot(page, "of 1" if not audit.harmful[7] else "0 rows")
    page.get_by_role("button", name="Clear all").click()
    foot(page, "of 240")
    expect(page.locator(".rt-chips")).to_be_hidden()


def test_a_bar_of_the_histogram_narrows_the_rows(shared: Page, audit: Scored) -> None:
    page = opened(shared)
    page.evaluate("window.rs.emit('rs:filter', {low: 0.3, high: 0.6})")
    inside = int(((audit.scores >= 0.2995) & (audit.scores < 0.6005)).sum())
    foot(page, f"of {inside}")
    expect(page.locator(".rt-chip b")).to_have_text("0.300 to 0.600")
    page.evaluate("window.rs.emit('rs:filter', {low: null, high: null})")
    foot(page, "of 240")


def test_what_was_typed_is_kept_when_another_list_is_chosen_at_once(shared: Page, audit: Scored) -> None:
    page = opened(shared, "?side=all")
    page.keyboard.press("/")
    page.keyboard.type("kind review")
    page.locator("[data-side=kept]").click()
    expect(page.locator(".rt-chip b")).to_have_text("kind review")
    expect(page.get_by_role("tab", name="Kept")).to_have_attribute("aria-selected", "true")
    page.locator(".rt-search input").press("Escape")
    expect(page.locator(".rt-chips")).to_be_hidden()


def test_a_question_in_sql_answers_and_becomes_a_filter(shared: Page, audit: Scored) -> None:
    page = opened(shared, "?side=all")
    page.get_by_role("button", name="SQL", exact=True).click()
    expect(page.locator(".rt-tables")).to_contain_text("known_harmful")
    page.locator(".rt-sql textarea").fill("SELECT row_id, score, prompt FROM rows JOIN scores USING (row_id) WHERE row_id IN (3, 9, 5)")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".rt-told")).to_contain_text("3 rows")
    expect(page.locator(".rt-answer tbody tr")).to_have_count(3)
    page.get_by_role("button", name="Show these rows").click()
    foot(page, "of 3")
    assert sorted(ids(page)) == [3, 5, 9]
    page.reload()
    foot(page, "of 3")
    page.locator(".rt-chip").click()
    foot(page, "of 240")


def test_texts_in_an_answer_are_masked_until_they_are_revealed(shared: Page, audit: Scored) -> None:
    page = opened(shared, "?side=all")
    page.get_by_role("button", name="SQL", exact=True).click()
    page.locator(".rt-sql textarea").fill("SELECT prompt FROM rows WHERE known_harmful LIMIT 3")
    page.get_by_role("button", name="Run").click()
    expect(page.locator(".rt-answer tbody tr")).to_have_count(3)
    assert HARMFUL_TEXT not in page.content()
    expect(page.get_by_role("button", name="Show these rows")).to_be_disabled()
    page.locator(".rt-bare").click()
    expect(page.locator(".rt-answer td").first).to_contain_text(HARMFUL_TEXT)


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("DROP VIEW rows", "Only one"),
        ("SELECT * FROM read_text('x')", "cannot be answered"),
        ("SELEC", "syntax error"),
        ("", "no question"),
    ],
)
def test_a_question_that_is_refused_says_why_in_its_place(shared: Page, audit: Scored, query: str, told: str) -> None:
    page = shared if "/filter" in shared.url else opened(shared)
    if not page.locator(".rt-sql").is_visible():
        page.get_by_role("button", name="SQL", exact=True).click()
    page.locator(".rt-sql textarea").fill(query)
    page.get_by_role("button", name="Run").click()
    expect(page.locator(".rt-told")).to_contain_text(told)
    expect(page.locator(".rt-told")).to_have_attribute("data-kind", "error")


def test_an_opened_row_is_in_the_address_and_opens_again(shared: Page, audit: Scored) -> None:
    page = opened(shared, "?side=all&order=file")
    page.locator(".rt-row").nth(2).click()
    expect(page.locator(".rt-detail h3")).to_have_text("Row 2")
    assert query_of(page)["row"] == ["2"]
    page.reload()
    expect(page.locator(".rt-detail h3")).to_have_text("Row 2")
    page.locator(".rt-close").click()
    assert "row" not in query_of(page)


def test_the_opened_row_follows_the_line(shared: Page, audit: Scored) -> None:
    page = opened(shared, "?side=kept&order=score")
    page.locator(".rt-row").first.click()
    card = page.locator(".rt-card")
    expect(card).to_contain_text("the filter keeps it")
    page.locator(".th-number").fill("-1")
    expect(card).to_contain_text("line at \u22121.000")
    expect(card).to_contain_text("the filter flags it")
    page.locator(".rt-close").click()


def test_nonsense_in_the_address_is_left_aside(shared: Page, audit: Scored) -> None:
    page = opened(shared, "?side=left&low=9&order=random()&label=x&other=a:b&row=1;2&decided=%3Cimg%20src=x%3E")
    foot(page, "of 240")
    expect(page.locator(".rt-chips")).to_be_hidden()
    page.goto("/filter?side=all&label=origin%3Anowhere")
    expect(page.locator(".rt-none")).to_contain_text("No row of this dataset")
    page.locator(".rt-chip").click()
    foot(page, "of 240")


def test_many_rows_scroll_by_bar_wheel_and_keys(page: Page, studio: Studio, audit: Scored) -> None:
    rows: Any = ({"prompt": f"p {number}", "response": "r", "origin": "task"} for number in range(MANY))
    dataset = write_dataset(studio.workspace, rows, name="many", role="user")
    values = np.linspace(1, -1, MANY, dtype=np.float32)
    write_scores(studio.workspace, dataset, values, key="k", scorer="s", teacher="for-tests", threshold=0.0, info={})
    studio.choose(dataset=dataset.id)
    try:
        opened(page, "?side=all&order=file")
        foot(page, f"of {MANY:,}")
        box = page.locator(".rt-scroll")
        box.evaluate("(node) => { node.scrollTop = (node.scrollHeight - node.clientHeight) / 2 }")
        expect(page.locator(".rt-id").first).to_have_text(re.compile("^149,9"))
        middle = ids(page)
        assert middle == list(range(middle[0], middle[0] + len(middle)))
        box.hover()
        page.mouse.wheel(0, 102)
        expect(page.locator(".rt-id").first).to_have_text(f"{middle[0] + 3:,}")
        page.get_by_role("grid").focus()
        page.keyboard.press("End")
        foot(page, f"to {MANY:,} of {MANY:,}")
        expect(page.locator(".rt-row[aria-selected=true] .rt-id")).to_have_text(f"{MANY - 1:,}")
        page.keyboard.press("Home")
        foot(page, "Rows 1 to")
        page.keyboard.press("PageDown")
        expect(page.locator(".rt-row[aria-selected=true]")).to_be_visible()
        page.locator(".rt-search input").fill("77777")
        expect(page.locator(".rt-note")).to_contain_text("no search index")
        foot(page, "of 1")
        page.get_by_role("button", name="Make the search index").click()
        expect(page.locator("#filter-status")).to_contain_text("queued")
        expect(page.locator(".rt-note")).to_be_hidden(timeout=120_000)  # once the job has ended, the page searches again by itself
        assert studio.rows.search_state(dataset.id) == "index"
        foot(page, "of 1")
    finally:
        studio.choose(dataset=audit.dataset)
