"""What the address of the Review page asks for: a row, an order of the queue, a filter; and the browser's reviewer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, get_args
from urllib.parse import parse_qs, urlencode

from reft_studio.audit.queue import Order
from reft_studio.errors import SpecError
from reft_studio.studio.row_filter import RowFilter
from ui.text import number, show

ADDRESS_JS = "() => JSON.stringify({by: localStorage.getItem('rs-reviewer') || '', search: location.search})"
"""`js=` of the page's load event: only the browser knows its reviewer, and Python sees one value of each parameter only."""
SIDES = {"flagged": "flagged rows", "kept": "kept rows", "unscored": "rows without a score"}
DECIDED = {
    "open": "undecided",
    "keep": "decided Keep",
    "remove": "decided Remove",
    "relabel": "decided Relabel",
    "unsure": "marked Unsure",
    "conflict": "decided differently by two people",
}
FILTER_KEYS = ("side", "low", "high", "search", "label", "decided", "sql", "other", "change")


@dataclass(frozen=True)
class AddressFilter:
    """`query` is the filter as parameters of an address, empty without one; `note` says what could not be understood."""

    by: str = ""
    order: Order = "borderline"
    query: str = ""
    row: int | None = None
    note: str = ""

    @classmethod
    def of_browser(cls, told: str) -> AddressFilter:
        """What `ADDRESS_JS` sent. A filter or order that cannot be is left out, and said so."""
        try:
            values = json.loads(told or "{}")
        except ValueError:
            values = {}
        given = parse_qs(str(values.get("search", "")).lstrip("?")[:4000])
        row = (given.get("row") or [""])[-1]
        ask = cls(by=str(values.get("by", "")), row=int(row) if row.isdecimal() and len(row) < 16 else None)
        return ask.asking(given)

    @classmethod
    def of_message(cls, values: Mapping[str, Any]) -> AddressFilter:
        """What a message of the widget carries: {by, order, query}."""
        ask = cls(by=str(values.get("by", "")))
        return ask.asking({**parse_qs(str(values.get("query", ""))[:4000]), "queue": [str(values.get("order") or "borderline")]})

    def asking(self, given: Mapping[str, list[str]]) -> AddressFilter:
        order = (given.get("queue") or ["borderline"])[-1]
        note = ""
        if order not in get_args(Order):
            order, note = "borderline", f"There is no order '{show(order, 20)}': rows near the line come first."
        filtered = {name: values for name, values in given.items() if name in FILTER_KEYS}
        if filtered and "order" in given:
            filtered["order"] = given["order"]
        try:
            query = urlencode(RowFilter.from_query(filtered).to_query(), doseq=True) if filtered else ""
        except SpecError as exc:
            query, note = "", f"{exc} The filter of the address is left out."
        return replace(self, order=order, query=query, note=note)  # type: ignore[arg-type]

    def row_filter(self) -> RowFilter | None:
        return RowFilter.from_query(parse_qs(self.query)) if self.query else None


def filter_words(row_filter: RowFilter | None) -> list[str]:
    """A filter in words, one for each thing it asks."""
    if row_filter is None:
        return []
    words = [SIDES[row_filter.side]] if row_filter.side in SIDES else []
    if row_filter.low is not None or row_filter.high is not None:
        low = -1.0 if row_filter.low is None else row_filter.low
        high = 1.0 if row_filter.high is None else row_filter.high
        words.append(f"score {number(low)} to {number(high)}")
    words += [f"{name}: {show(label, 60)}" for name, label in row_filter.facets]
    if row_filter.search.strip():
        words.append(f"holds “{show(row_filter.search.strip(), 60)}”")
    if row_filter.decided in DECIDED:
        words.append(DECIDED[row_filter.decided])
    if row_filter.sql:
        words.append("chosen by a query")
    if row_filter.other:
        change = {"added": "flagged only there", "dropped": "flagged only here"}.get(str(row_filter.change), "judged differently")
        words.append(f"against another line at {number(row_filter.other[1])}: {change}")
    return words or ["all rows"]
