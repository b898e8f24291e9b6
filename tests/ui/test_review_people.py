"""Reviewing with others, and coming back: names, disputes, the row in hand, revealed texts, the filter of a link."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from reft_studio.studio.studio import Studio
from tests.ui.scored import Scored, scored

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

pytestmark = pytest.mark.browser
expect = pytest.importorskip("playwright.sync_api").expect


@pytest.fixture
def audit(studio: Studio, request: pytest.FixtureRequest) -> Iterator[Scored]:
    """A dataset of its own for each test."""
    before = studio.settings.get("dataset")
    yield scored(studio, request.node.name)
    studio.settings.set("dataset", before)


@pytest.fixture(scope="module")
def desks(signed_in: Callable[..., BrowserContext]) -> Iterator[tuple[Page, Page]]:
    """Ana's and Ben's browsers."""
    contexts = [signed_in(viewport={"width": 1280, "height": 900}) for _ in range(2)]
    for context, name in zip(contexts, ("Ana", "Ben"), strict=True):
        context.set_default_timeout(20_000)
        context.add_init_script(f"localStorage.setItem('rs-reviewer', '{name}')")
    yield contexts[0].new_page(), contexts[1].new_page()
    for context in contexts:
        context.close()


@pytest.fixture
def people(desks: tuple[Page, Page], audit: Scored) -> tuple[Page, Page]:
    """Both on the Review page."""
    for page in desks:
        page.goto("/review")
    for page in desks:
        page.locator(".rv-card h3").wait_for()
    return desks


def shown(page: Page) -> int:
    return int(page.locator(".rv-card h3").inner_text().removeprefix("Row ").replace(",", ""))


def saved(page: Page) -> None:
    expect(page.locator(".rv-status")).to_contain_text("Saved")


def test_two_reviewers_see_each_other_and_settle_what_they_differ_on(people: tuple[Page, Page], studio: Studio, audit: Scored) -> None:
    ana, ben = people
    row = shown(ana)
    assert shown(ben) == row
    ana.keyboard.press("2")
    saved(ana)
    expect(ben.locator(".rv-others")).to_contain_text("Ana: Remove, just now")
    expect(ben.locator(".rv-queue i").first).to_have_text("Ana: Remove")
    ben.keyboard.press("1")
    dispute = ben.locator(".rv-dispute")
    expect(dispute).to_contain_text("Ana removed this row, just now. You chose Keep.")
    assert studio.log.history(audit.dataset, row)[0].decided_by == "human:Ana"
    dispute.get_by_role("button", name="Let both opinions stand").click()
    saved(ben)
    assert studio.log.conflicts(audit.dataset).tolist() == [row]
    expect(ben.locator(".rv-all")).to_contain_text("1 row in dispute")
    expect(ben.locator(".rv-people")).to_contain_text("alpha")
    expect(ana.locator(".rv-people")).to_contain_text("alpha")
    ana.keyboard.press("k")
    expect(ana.locator(".rv-others")).to_contain_text("You do not agree on this row.")
    ana.keyboard.press("2")
    ana.keyboard.press("Enter")  # overrule: it asks for a reason first
    expect(ana.locator(".rv-status")).to_contain_text("Give a reason")
    ana.keyboard.type("read again")
    ana.keyboard.press("Enter")
    saved(ana)
    assert studio.log.conflicts(audit.dataset).tolist() == []
    assert studio.log.history(audit.dataset, row)[0].reason == "overrules: read again"


def test_a_decision_made_a_moment_ago_is_not_overwritten_unseen(people: tuple[Page, Page], studio: Studio, audit: Scored) -> None:
    _, ben = people
    row = shown(ben)
    studio.audit.decide(audit.dataset, row, "remove", by="Ana")
    ben.keyboard.press("1")
    expect(ben.locator(".rv-dispute")).to_contain_text("Ana removed this row just now.")
    expect(ben.locator(".rv-card h3")).to_have_text(f"Row {row}")
    assert [entry.action for entry in studio.log.history(audit.dataset, row)] == ["remove"]
    ben.keyboard.press("Escape")
    expect(ben.locator(".rv-dispute")).to_be_hidden()


def test_undo_takes_back_ones_own_step_only(people: tuple[Page, Page], studio: Studio, audit: Scored) -> None:
    ana, ben = people
    mine = shown(ana)
    ana.keyboard.press("1")
    saved(ana)
    ben.keyboard.press("j")
    theirs = shown(ben)
    ben.keyboard.press("2")
    saved(ben)
    ana.keyboard.press("z")
    expect(ana.locator(".rv-status")).to_contain_text(f"Undone: row {mine}")
    assert set(studio.log.current(audit.dataset)) == {theirs}


def test_a_reload_and_another_browser_open_the_same_row(people: tuple[Page, Page], signed_in: Callable[..., BrowserContext]) -> None:
    ana, _ = people
    for key in "12j":
        ana.keyboard.press(key)
    expect(ana.locator(".rv-all")).to_contain_text("2 rows decided")
    row = shown(ana)
    ana.wait_for_url(f"**/review?*row={row}*")
    ana.reload()
    expect(ana.locator(".rv-card h3")).to_have_text(f"Row {row}")
    elsewhere = signed_in()
    elsewhere.add_init_script("localStorage.setItem('rs-reviewer', 'Ana')")
    page = elsewhere.new_page()
    page.goto("/review")
    expect(page.locator(".rv-card h3")).to_have_text(f"Row {row}")
    elsewhere.close()


def test_a_name_is_asked_for_once_and_goes_with_every_decision(page: Page, studio: Studio, audit: Scored) -> None:
    page.goto("/review")
    form = page.locator(".rv-name")
    expect(form).to_be_visible()
    form.locator("input").fill("  Cleo  C. ")
    form.get_by_role("button", name="Use this name").click()
    expect(form).to_be_hidden()
    expect(page.locator(".rv-who")).to_have_text("Reviewing as Cleo C.")
    page.locator("body").press("1")
    saved(page)
    (entry,) = studio.log.history(audit.dataset)
    assert entry.decided_by == "human:Cleo C."
    page.reload()
    expect(page.locator(".rv-who")).to_have_text("Reviewing as Cleo C.")
    expect(form).to_be_hidden()
    page.evaluate("localStorage.removeItem('rs-reviewer')")


def test_a_masked_text_shows_only_while_the_key_is_held_and_is_counted(people: tuple[Page, Page], studio: Studio, audit: Scored) -> None:
    ana, _ = people
    studio.reviewers.keep_habits("Ana", reveal="hold", nudge=2)
    before = studio.reviewers.opened("Ana")
    ana.goto(f"/review?row={int(audit.harmful.argmax())}")
    body = ana.locator(".rv-card .cd-body").first
    expect(body).to_contain_text("masked")
    for turn in (1, 2):
        ana.keyboard.down("r")
        expect(body).to_contain_text("enter a house unseen")
        ana.keyboard.up("r")
        expect(body).to_contain_text("masked")
        expect(ana.locator(".rv-opened")).to_contain_text(f"{before + turn} masked")
    button = ana.locator(".cd-reveal")
    button.hover()
    ana.mouse.down()
    expect(body).to_contain_text("enter a house unseen")
    ana.mouse.up()
    expect(body).to_contain_text("masked")
    expect(ana.locator(".rv-nudge")).to_contain_text("masked texts today")
    ana.wait_for_timeout(1200)  # the count is sent once a second
    assert studio.reviewers.opened("Ana") == before + 3
    studio.reviewers.keep_habits("Ana", reveal="toggle", nudge=40)


def test_no_text_of_a_masked_row_is_anywhere_on_the_page(people: tuple[Page, Page], audit: Scored) -> None:
    ana, _ = people
    ana.goto(f"/review?row={int(audit.harmful.argmax())}")
    expect(ana.locator(".rv-card .cd-body").first).to_contain_text("masked")
    ana.keyboard.press("2")
    saved(ana)
    assert "enter a house" not in ana.content()
    assert "enter" not in ana.url + ana.title()


def test_a_link_with_a_filter_is_the_queue_and_the_first_choice_for_bulk(people: tuple[Page, Page], studio: Studio, audit: Scored) -> None:
    ana, _ = people
    ana.goto("/review?side=flagged&label=origin:mix")
    chip = ana.locator(".rv-filter")
    chosen = (audit.scores >= 0) & audit.harmful
    expect(chip).to_contain_text(f"flagged rows, origin: mix: {int(chosen.sum())} rows")
    assert shown(ana) in chosen.nonzero()[0]
    ana.keyboard.press("b")
    ana.locator("#bulk-preview").click()
    expect(ana.locator("#bulk-status")).to_contain_text(f"{int(chosen.sum())} rows of {int(chosen.sum())} matching rows")
    chip.get_by_role("button").click()
    expect(chip).to_be_hidden()
    assert "side=" not in ana.url


def test_the_order_of_the_queue_is_changed_by_a_key_and_kept_in_the_address(people: tuple[Page, Page], audit: Scored) -> None:
    ana, _ = people
    ana.keyboard.press("o")
    highest = int((audit.scores == audit.scores[audit.scores >= -1].max()).argmax())
    expect(ana.locator(".rv-card h3")).to_have_text(f"Row {highest}")
    expect(ana.locator(".rv-queue span").first).to_have_text("high score")
    ana.wait_for_url("**/review?*queue=highest*")


def test_a_second_person_can_be_asked_for_and_their_queue_is_what_waits(people: tuple[Page, Page], studio: Studio, audit: Scored) -> None:
    ana, ben = people
    ana.keyboard.press("p")
    ana.get_by_label("A second person must agree").check()
    ana.locator(".rv-habits").get_by_role("button", name="Save").click()
    expect(ana.locator(".rv-habits")).to_be_hidden()
    flagged = int((audit.scores >= 0).argmax())
    ana.goto(f"/review?row={flagged}")
    ana.locator(".rv-card h3").wait_for()
    ana.keyboard.press("2")
    saved(ana)
    assert studio.audit.unapproved(audit.dataset).tolist() == [flagged]
    ben.goto("/review?queue=approval")
    expect(ben.locator(".rv-card h3")).to_have_text(f"Row {flagged}")
    expect(ben.locator(".rv-others")).to_contain_text("It waits for a second person: you?")
    ben.keyboard.press("2")
    saved(ben)
    assert studio.audit.unapproved(audit.dataset).tolist() == []


def test_the_statement_narrows_with_each_random_draw_that_is_read(people: tuple[Page, Page], audit: Scored) -> None:
    ana, _ = people
    risk = ana.locator(".rv-risk")
    ana.locator(".rv-queue button", has_text="random draw").first.click()
    ana.keyboard.press("1")
    saved(ana)
    expect(risk).to_contain_text("At most")
    first = risk.inner_text()
    ana.locator(".rv-queue button", has_text="random draw").nth(1).click()
    ana.keyboard.press("1")
    expect(risk).not_to_have_text(first)
    share = [float(text.split("At most ")[1].split(" %")[0]) for text in (first, risk.inner_text())]
    assert share[1] < share[0]
