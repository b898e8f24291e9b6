"""Which rows a person looks at, as one value: the same for the table, for deciding many rows at once, for the queue and for links."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from reft_studio.errors import SpecError

Side = Literal["all", "flagged", "kept", "unscored", "unreached", "borderline"]
"""`unscored` rows cannot be scored; `unreached` ones have not been looked at yet. `borderline` is short for all rows in that order."""
Decisions = Literal["any", "open", "keep", "remove", "relabel", "unsure", "conflict"]
Change = Literal["added", "dropped", "both"]
Order = Literal["score", "-score", "borderline", "file"]
MAX_SEARCH, MAX_SQL, MAX_FACETS = 500, 20_000, 50
"""Characters of a search text and of a question in SQL; labels of facets in one filter."""


@dataclass(frozen=True)
class RowFilter:
    """Rows that fulfil all of this, in one order.

    `low` and `high` are scores, both counted in, compared on the 0.001 grid. Of several labels of one facet a row has one;
    it has all facets named. `sql` is a question whose column row_id names the rows. `other` is the key of another set of scores
    (or the same) with a threshold: rows that would be flagged there but are not here were `added`, the reverse `dropped`.
    Orders: `score` the highest first, `-score` the lowest first, `borderline` the nearest to the threshold first; rows without
    a score come last. `file` is the order of the upload.
    """

    side: Side = "all"
    low: float | None = None
    high: float | None = None
    search: str = ""
    facets: tuple[tuple[str, str], ...] = ()
    decided: Decisions = "any"
    sql: str | None = None
    other: tuple[str, float] | None = None
    change: Change | None = None
    order: Order = "score"

    def __post_init__(self) -> None:
        if self.side == "borderline":
            object.__setattr__(self, "side", "all")
            object.__setattr__(self, "order", "borderline")
        for name, allowed in _CHOICES.items():
            _one_of(name, getattr(self, name), allowed)
        for name in ("low", "high"):
            _score(name, getattr(self, name))
        if len(self.search) > MAX_SEARCH:
            raise SpecError(f"The search text has {len(self.search):,} characters. At most {MAX_SEARCH} are searched for.")
        if self.sql is not None and len(self.sql) > MAX_SQL:
            raise SpecError(f"The question has {len(self.sql):,} characters. At most {MAX_SQL:,} are read.")
        if len(self.facets) > MAX_FACETS:
            raise SpecError(f"The filter names {len(self.facets)} labels. At most {MAX_FACETS} can be combined.")
        if self.other is not None:
            _score("the other threshold", self.other[1])

    @property
    def plain(self) -> bool:
        """True if it takes rows by side and score only, so that they are one run of the ranked rows."""
        return not (self.search.strip() or self.facets or self.sql or self.other) and self.decided == "any"

    def without_order(self) -> RowFilter:
        """The same rows in the order of the file."""
        return replace(self, order="file")

    def to_query(self) -> dict[str, str | list[str]]:
        """As parameters of a page's address (for `urlencode(…, doseq=True)`); what is at its default is left out."""
        values: dict[str, str | list[str]] = {}
        for name in ("side", "search", "decided", "sql", "change", "order"):
            value = getattr(self, name)
            if value and value != _DEFAULTS[name]:
                values[name] = value
        for name in ("low", "high"):
            if (edge := getattr(self, name)) is not None:
                values[name] = f"{edge:.3f}"
        if self.facets:
            values["label"] = [f"{name}:{label}" for name, label in self.facets]
        if self.other:
            values["other"] = f"{self.other[0]}:{self.other[1]:.3f}"
        return values

    @classmethod
    def from_query(cls, query: Mapping[str, Any]) -> RowFilter:
        """The filter that an address or a widget describes; parameters of other things are ignored.

        Values are texts, or lists of texts (the last one counts, of `label` all). Raises SpecError where a value cannot be.
        """
        given = {name: _last(query.get(name)) for name in (*_DEFAULTS, "low", "high", "other")}
        values: dict[str, Any] = {name: given[name] for name in _DEFAULTS if given[name]}
        for name in ("low", "high"):
            if given[name]:
                values[name] = _number(name, given[name])
        if given["other"]:
            key, _, threshold = given["other"].rpartition(":")
            values["other"] = (key, _number("the other threshold", threshold))
        values["facets"] = tuple(_facet(text) for text in _all(query.get("label")))
        return cls(**values)


_CHOICES: dict[str, tuple[Any, ...]] = {
    "side": get_args(Side),
    "decided": get_args(Decisions),
    "change": (None, *get_args(Change)),
    "order": get_args(Order),
}
_DEFAULTS: dict[str, Any] = {"side": "all", "search": "", "decided": "any", "sql": None, "change": None, "order": "score"}


def _one_of(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    if value not in allowed:
        named = ", ".join(str(one) for one in allowed if one is not None)
        raise SpecError(f"The filter's {name} is '{str(value)[:40]}'. Choose one of: {named}.")


def _score(name: str, value: float | None) -> None:
    if value is not None and not -1 <= value <= 1:
        raise SpecError(f"{name} is {value:g}, but a score lies between -1 and 1.")


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as exc:
        raise SpecError(f"{name} is '{text[:40]}', which is no number. Give a score from -1 to 1.") from exc


def _all(value: Any) -> list[str]:
    if value is None:
        return []
    return [str(one) for one in value] if isinstance(value, Sequence) and not isinstance(value, str) else [str(value)]


def _last(value: Any) -> str:
    return (_all(value) or [""])[-1]


def _facet(text: str) -> tuple[str, str]:
    name, colon, label = text.partition(":")
    if not colon:
        raise SpecError(f"The label '{text[:40]}' is of no facet. Write it as name:label, such as origin:task.")
    return name, label
