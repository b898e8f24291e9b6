"""The filter in the browser and on the server must be one: each reads what the other writes into an address."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlencode

import pytest

from reft_studio.studio.row_filter import RowFilter

Run = Callable[..., Any]
FILTERS = [
    RowFilter(),
    RowFilter(side="flagged", low=-0.25, high=0.5, order="-score"),
    RowFilter(search="two words & ü", facets=(("origin", "a: b&c"), ("length", "51-200")), decided="conflict"),
    RowFilter(sql="SELECT row_id FROM rows WHERE prompt LIKE '%a=b%'", other=("key", 0.125), change="dropped", order="file"),
]


@pytest.mark.parametrize("wanted", FILTERS)
def test_the_browser_reads_and_writes_the_filter_as_the_server_does(run_js: Run, wanted: RowFilter) -> None:
    address = urlencode(wanted.to_query(), doseq=True)
    assert RowFilter.from_query(run_js("row_filter", "toQuery(fromSearch(data))", address)) == wanted
    href = run_js("row_filter", "withFilter('http://x/filter?t=0.1&side=kept&label=a:b&sql=x', fromSearch(data))", address)
    query = parse_qs(href.partition("?")[2])
    assert RowFilter.from_query(query) == wanted and query["t"] == ["0.1"]


def test_a_change_puts_a_label_in_place_of_those_of_its_facet(run_js: Run) -> None:
    start = "patched(NO_FILTER, { facet: ['origin', 'a'] })"
    assert run_js("row_filter", f"patched({start}, {{ facet: ['origin', 'b'] }}).facets") == [["origin", "b"]]
    assert run_js("row_filter", f"patched({start}, {{ facet: ['origin', null] }}).facets") == []
    assert run_js("row_filter", "NO_FILTER.facets") == []
    off = "patched(patched(NO_FILTER, { other: ['k', 0.1], change: 'added', bogus: 1 }), { other: null })"
    assert run_js("row_filter", off) == run_js("row_filter", "NO_FILTER")


def test_every_part_of_a_filter_is_a_chip_that_takes_it_off(run_js: Run) -> None:
    full = RowFilter(
        low=0.1, search="w", facets=(("origin", "a"), ("origin", "b")), decided="open", sql="SELECT 1", other=("k", 0.2), change="added"
    )
    program = """(() => {
      let filter = fromSearch(data), texts = [];
      for (let chips; (chips = chipsOf(filter, (name) => name, (score) => String(score))).length;) {
        texts.push(chips[0].text);
        filter = patched(filter, chips[0].off);
      }
      return { texts, query: toQuery(filter) };
    })()"""
    found = run_js("row_filter", program, urlencode(full.to_query(), doseq=True))
    assert found == {
        "texts": ["from 0.1", "a", "b", "nobody decided", "only flagged there, line there at 0.2", "w", "SELECT 1"],
        "query": {},
    }


@pytest.mark.parametrize("text", ["side=left&low=9&high=x&order=random()&label=x&other=a:b&change=q", "other=:0.1&low=nan", "%%%&&&=&low="])
def test_nonsense_in_an_address_is_no_filter(run_js: Run, text: str) -> None:
    assert run_js("row_filter", "toQuery(fromSearch(data))", text) == {}
