"""A filter of rows as parts of a page's address."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlencode

import pytest

from reft_studio.errors import SpecError
from reft_studio.studio.row_filter import RowFilter

FULL = RowFilter(
    side="flagged",
    low=-0.25,
    high=0.5,
    search="two words & a sign",
    facets=(("origin", "task: one"), ("origin", "mix"), ("length", "51-200")),
    decided="open",
    sql="SELECT row_id FROM rows WHERE prompt LIKE '%a=b%'",
    other=("lab:key", 0.125),
    change="added",
    order="borderline",
)


@pytest.mark.parametrize("wanted", [RowFilter(), FULL, RowFilter(search="ä & ?", order="-score"), RowFilter(low=-1, high=-1)])
def test_a_filter_comes_back_from_an_address_as_it_was(wanted: RowFilter) -> None:
    assert RowFilter.from_query(parse_qs(urlencode(wanted.to_query(), doseq=True))) == wanted


def test_a_filter_that_asks_for_nothing_adds_nothing_to_the_address() -> None:
    assert RowFilter().to_query() == {}
    assert RowFilter().plain and not FULL.plain


def test_borderline_is_short_for_all_rows_in_that_order() -> None:
    assert RowFilter(side="borderline") == RowFilter(order="borderline") == RowFilter.from_query({"side": "borderline"})


def test_parameters_of_other_things_are_ignored() -> None:
    assert RowFilter.from_query({"__theme": "dark", "row": "7", "side": ["kept"]}) == RowFilter(side="kept")


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ({"side": "left"}, "flagged, kept, unscored"),
        ({"order": "random()"}, "borderline, file"),
        ({"decided": "maybe"}, "open, keep"),
        ({"change": "x"}, "added, dropped, both"),
        ({"low": "much"}, "no number"),
        ({"high": "1.5"}, "between -1 and 1"),
        ({"low": "nan"}, "between -1 and 1"),
        ({"label": "origin"}, "name:label"),
        ({"label": [f"origin:{n}" for n in range(51)]}, "At most 50"),
        ({"search": "x" * 501}, "At most 500"),
        ({"sql": "x" * 20_001}, "At most 20,000"),
        ({"other": "key:high"}, "no number"),
        ({"other": "key"}, "no number"),
    ],
)
def test_a_filter_that_cannot_be_is_refused_with_what_is_allowed(query: dict[str, Any], told: str) -> None:
    with pytest.raises(SpecError, match=told):
        RowFilter.from_query(query)
