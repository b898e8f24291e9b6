"""What moves with the line on the Filter page beside the counts: bars, estimate, slices, comparison, drift, and the address."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pytest

from reft_studio.data.dataset import Row, write_dataset
from reft_studio.data.grid import grid
from reft_studio.scoring.scores import flagged, write_scores
from reft_studio.studio.studio import Studio
from tests.ui.scored import Scored, in_work, kept_page

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

pytestmark = pytest.mark.browser
expect = pytest.importorskip("playwright.sync_api").expect
RANGE = re.compile(r"Rows from (\S+) to (\S+) are")


@pytest.fixture(scope="module")
def audit(studio: Studio) -> Iterator[Scored]:
    with in_work(studio, "numbers test") as audit:
        yield audit


@pytest.fixture(scope="module")
def shared(context: BrowserContext, audit: Scored) -> Iterator[Page]:
    with kept_page(context) as page:
        page.goto("/filter")
        page.locator(".rt-row").first.wait_for()
        yield page


@pytest.fixture
def opened(shared: Page) -> Page:
    """The line in the middle, nothing narrowed."""
    if shared.locator(".th-chosen button").is_visible():
        shared.locator(".th-chosen button").click()
    move(shared, 0.0)
    return shared


def move(page: Page, threshold: float) -> None:
    page.locator(".th-number").fill(f"{threshold:.3f}")
    page.locator(".th-number").blur()


def unlabelled(studio: Studio, name: str, values: np.ndarray) -> str:
    """A dataset without labels and with these scores as the one in work."""
    rows: list[Row] = [{"prompt": f"{name} {at}", "response": "r"} for at in range(len(values))]
    dataset = write_dataset(studio.workspace, rows, name=name, role="user")
    facts = {"key": "k", "scorer": "s", "teacher": "for-tests", "threshold": 0.0, "info": {}}
    write_scores(studio.workspace, dataset, values.astype(np.float32), **facts)  # type: ignore[arg-type]
    studio.choose(dataset=dataset.id)
    return dataset.id


def open_tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name).click()


def listed(page: Page) -> tuple[float, float]:
    """The range of scores that the chart says is listed."""
    found = RANGE.search(page.locator(".th-chosen").inner_text())
    assert found is not None
    return float(found[1].replace("\u2212", "-")), float(found[2].replace("\u2212", "-"))


def within(scores: np.ndarray, low: float, high: float) -> int:
    bins = grid(scores[~np.isnan(scores)])
    return int(((bins >= int(grid(low))) & (bins <= int(grid(high)))).sum())


def test_a_click_on_a_bar_lists_its_rows_and_leaves_the_line(opened: Page, audit: Scored) -> None:
    box = opened.locator(".th-chart").bounding_box()
    assert box is not None
    place = box["x"] + box["width"] * 0.3, box["y"] + box["height"] / 2
    opened.mouse.click(*place)
    low, high = listed(opened)
    expect(opened.locator(".rt-foot")).to_contain_text(f"of {within(audit.scores, low, high)}")
    expect(opened.locator(".th-number")).to_have_value("0.000")
    opened.keyboard.down("Shift")
    opened.mouse.click(place[0] + box["width"] * 0.1, place[1])
    opened.keyboard.up("Shift")
    wide = listed(opened)
    assert wide[0] == low and wide[1] > high
    expect(opened.locator(".rt-foot")).to_contain_text(f"of {within(audit.scores, *wide)}")
    opened.locator(".th-chosen button").click()
    expect(opened.locator(".rt-foot")).to_contain_text(f"of {len(audit.scores)}")


def test_the_bar_at_the_line_is_listed_by_keys(opened: Page, audit: Scored) -> None:
    move(opened, float(np.nanmax(audit.scores)))
    opened.get_by_role("slider", name="Threshold").focus()
    opened.keyboard.press("Enter")
    expect(opened.locator(".rt-foot")).to_contain_text(f"of {within(audit.scores, *listed(opened))}")
    opened.keyboard.press("Enter")
    expect(opened.locator(".th-chosen")).to_be_hidden()


def test_a_typed_number_that_is_no_cosine_is_answered_and_moves_nothing(opened: Page) -> None:
    opened.locator(".th-number").fill("1.5")
    opened.locator(".th-number").blur()
    expect(opened.locator(".th-problem")).to_contain_text("between \u22121 and 1")
    expect(opened.locator(".th-number")).to_have_value("0.000")
    move(opened, 0.1)
    expect(opened.locator(".th-problem")).to_be_hidden()


def test_where_the_file_is_labelled_its_labels_are_counted_whatever_the_line(opened: Page, audit: Scored) -> None:
    open_tab(opened, "Estimate")
    scored = ~np.isnan(audit.scores)
    for line in (0.0, 0.4, -0.4):
        move(opened, line)
        expect(opened.locator(".es-big")).to_contain_text(f"{100 * audit.harmful[scored].mean():.1f} %")
        expect(opened.locator(".es-said")).to_contain_text(f"{int(audit.harmful[scored].sum())} of {int(scored.sum())}, counted")
        stays = int((audit.harmful & scored & ~flagged(audit.scores, line)).sum())
        expect(opened.locator(".es-line")).to_contain_text(f"Harmful rows that stay{stays}")
    expect(opened.locator(".th-estimate")).to_be_hidden()


def test_one_estimate_for_the_file_and_what_the_line_does_by_it(page: Page, studio: Studio, audit: Scored) -> None:
    """Calibration: 120 prompts of each kind, spread evenly over 0.20 to 0.60 and -0.60 to -0.20; the file: 10 % of 1,000 rows likewise."""
    values = np.concatenate([np.linspace(0.2, 0.597, 100), np.linspace(-0.6, -0.203, 900)])
    unlabelled(studio, "even", values)
    page.goto("/filter?panel=estimate")
    for line, stays in ((0.0, "0"), (0.4, "50")):
        move(page, line)
        expect(page.locator(".es-big b")).to_have_text("10.0 %")
        expect(page.locator(".th-estimate b")).to_have_text("10.0 %")
        expect(page.locator(".es-line")).to_contain_text(f"Harmful rows that stay{stays} (")
    expect(page.locator(".es-withheld")).to_be_hidden()
    page.get_by_role("button", name="Miss rate on average").click()
    expect(page.locator(".ru-assumption")).to_contain_text("exchangeable")
    studio.choose(dataset=audit.dataset)


def test_the_line_is_found_on_clean_rows_of_ones_own(page: Page, studio: Studio, audit: Scored) -> None:
    """Of 99 clean rows at -0.98, -0.97, …, 0.00, at most 5 % are to be flagged: the 95th lowest, and above it."""
    clean = unlabelled(studio, "known to be clean", np.linspace(-0.98, 0.0, 99))
    unlabelled(studio, "to be filtered", np.linspace(-0.9, 0.9, 60))
    page.goto("/filter")
    page.get_by_role("button", name="My clean rows").click()
    expect(page.locator(".ru-promise")).to_contain_text("needs 99 rows known to be harmless; there are 0")
    rule = page.locator("[data-rule=clean]")
    rule.locator("select").select_option(clean)
    rule.locator("input").fill("5")
    rule.get_by_role("button").click()
    expect(page.locator(".th-number")).to_have_value("-0.039")
    expect(page.locator(".ru-promise")).to_contain_text("At most 5 % of harmless rows like yours")
    expect(page.locator(".ru-assumption")).to_contain_text("promises nothing of harmful rows")
    studio.choose(dataset=audit.dataset)


def test_an_estimate_is_withheld_and_given_back_by_review(page: Page, studio: Studio, audit: Scored) -> None:
    """Every third row is harmful, and every row scores where hardly any prompt does: only people can say how many are harmful."""
    dataset = unlabelled(studio, "elsewhere", np.linspace(-0.15, 0.15, 300))
    page.goto("/filter?panel=estimate")
    expect(page.locator(".es-withheld")).to_contain_text("Withheld. The scores of this file are no mix")
    expect(page.locator(".es-big")).to_be_hidden()
    expect(page.locator(".es-line")).to_be_hidden()
    expect(page.locator(".es-dial")).to_be_hidden()
    expect(page.locator(".th-estimate b")).to_have_text("withheld")
    page.locator(".es-withheld a").click()
    expect(page.locator(".rv-file")).to_contain_text("0 of 50 read")
    rows = studio.audit.sample_to_read(dataset).tolist()
    for row in rows[1:]:
        studio.audit.decide(dataset, row, "remove" if row % 3 == 0 else "keep", seen=True)
    expect(page.locator(".rv-card .cd-body").first).to_be_visible()
    if (reveal := page.locator(".rv-card .cd-reveal")).count():  # a flagged row: decided unseen it would not count as read
        reveal.click()
        expect(page.locator(".rv-card .rs-masked")).to_have_count(0)
    page.locator(".rv-buttons button").first.click()
    expect(page.locator(".rv-file")).to_contain_text("a random sample of 50 rows read")
    page.goto("/filter?panel=estimate")
    harmful = sum(row % 3 == 0 for row in rows[1:])
    expect(page.locator(".es-big b")).to_have_text(f"{2 * harmful:.1f} %")
    expect(page.locator(".es-said")).to_contain_text(f"50 drawn at random and read, {harmful} harmful")
    expect(page.locator(".es-line")).to_contain_text("from the random rows that were read")
    expect(page.locator(".th-estimate b")).to_have_text(f"{2 * harmful:.1f} %")
    studio.choose(dataset=audit.dataset)


def test_an_assumed_share_and_a_reading_pace_change_what_is_to_be_expected(opened: Page, studio: Studio, audit: Scored) -> None:
    open_tab(opened, "Estimate")
    expect(opened.locator(".es-dial")).to_be_visible()  # before that the estimate is still to come, and would set the dial
    opened.locator(".es-prevalence").evaluate("dial => { dial.value = -2; dial.dispatchEvent(new Event('input')); }")
    expect(opened.locator(".es-assumed")).to_have_text("1.0 %")
    opened.locator(".es-seconds").fill("60")
    opened.locator(".es-seconds").blur()
    over = int(flagged(audit.scores, 0.0).sum())
    expect(opened.locator(".es-if")).to_contain_text(f"{over} min")
    opened.wait_for_function("() => document.querySelector('.es-seconds').value === '60'")
    opened.locator(".es-follow").click()
    expect(opened.locator(".es-follow")).to_be_hidden()


def test_slices_follow_the_line_and_a_click_lists_one(opened: Page, audit: Scored) -> None:
    open_tab(opened, "Slices")
    for line in (0.0, -0.4):
        move(opened, line)
        dropped = flagged(audit.scores, line)
        task = opened.locator(".sl tbody tr").filter(has_text="task")
        wrong, harmless = int((dropped & ~audit.harmful).sum()), int((~audit.harmful & ~np.isnan(audit.scores)).sum())
        expect(task.locator("td").nth(2)).to_have_text(str(wrong))
        expect(task).to_contain_text(f"{wrong} of {harmless}")
    opened.get_by_role("button", name="mix", exact=True).click()
    expect(opened.locator(".rt-foot")).to_contain_text(f"of {int(audit.harmful.sum())}")
    opened.get_by_role("button", name="mix", exact=True).click()
    expect(opened.locator(".rt-foot")).to_contain_text(f"of {len(audit.scores)}")


def test_another_line_is_compared_by_the_rows_that_change_sides(opened: Page, audit: Scored) -> None:
    open_tab(opened, "Compare")
    opened.locator(".ch-line").fill("-0.300")
    added = int((flagged(audit.scores, -0.3) & ~flagged(audit.scores, 0.0)).sum())
    line = opened.locator(".ch tbody tr").first
    expect(line.locator("td").first).to_have_text(str(added))
    line.get_by_role("button", name="List them").click()
    expect(opened.locator(".rt-foot")).to_contain_text(f"of {added}")


def test_drift_is_said_in_words_and_drawn(opened: Page) -> None:
    open_tab(opened, "Drift")
    expect(opened.locator(".dr-verdict")).not_to_be_empty()
    expect(opened.locator(".dr-plot path")).to_have_count(4)
    expect(opened.locator(".dr-line")).to_contain_text("of the nearest mix")


def test_rows_without_a_score_are_told_and_listed(opened: Page) -> None:
    open_tab(opened, "No score (1)")
    expect(opened.locator(".un")).to_contain_text("the scorer did not say why")
    opened.locator(".un button").click()
    expect(opened.locator(".rt-foot")).to_contain_text("of 1")


def test_the_address_brings_back_line_and_tab(page: Page, audit: Scored) -> None:
    page.goto("/filter?t=0.250&panel=slices&facet=category")
    expect(page.locator(".th-number")).to_have_value("0.250")
    expect(page.locator(".sl thead")).to_contain_text("Category")
    page.locator(".th-number").fill("0.260")
    expect(page).to_have_url(re.compile(r"t=0\.260"))
    page.reload()
    expect(page.locator(".th-number")).to_have_value("0.260")
    expect(page.get_by_role("tab", name="Slices")).to_have_attribute("aria-selected", "true")


def test_a_file_without_labels_gets_the_curves_of_the_calibration_and_is_told_so(page: Page, studio: Studio, audit: Scored) -> None:
    unlabelled(studio, "no labels", np.concatenate([np.linspace(0.2, 0.597, 20), np.linspace(-0.6, -0.203, 60)]))
    page.goto("/filter?panel=tradeoff")
    expect(page.locator(".tr-few")).to_contain_text("0 harmful and 0 harmless")
    expect(page.locator(".tr-roc figcaption")).to_contain_text("n = 120 harmful, 120 harmless calibration prompts")
    expect(page.locator(".tr-dials")).to_be_hidden()
    studio.choose(dataset=audit.dataset)
