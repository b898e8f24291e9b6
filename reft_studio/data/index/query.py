"""Rows by id from the row store; profiles by DuckDB in memory, locked to that dataset's one file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from reft_studio.data.dataset import Dataset
from reft_studio.data.index.rowstore import COLUMNS, Ids, damaged, row_store
from reft_studio.errors import PrerequisiteError

LISTED = 50
"""Origins and categories named in a profile; the rest is counted under OTHER."""
OTHER = "(other)"
MEMORY = "2GB"


@dataclass(frozen=True)
class RowPage:
    """Rows `offset` to `offset + len(rows)` of `total` that fit."""

    total: int
    offset: int
    rows: list[dict[str, Any]]


@dataclass(frozen=True)
class Lengths:
    """Characters of a text column: quantiles by name, and counts in bins [0, 1), [1, 2), [2, 4), … between neighbouring `edges`."""

    quantiles: dict[str, int]
    edges: list[int]
    counts: list[int]


@dataclass(frozen=True)
class Profile:
    """A dataset in numbers."""

    rows: int
    duplicates: int
    """Rows that repeat an earlier one exactly."""
    multi_turn: int
    empty_responses: int
    known_harmful: int
    known_harmless: int
    origins: dict[str, int]
    categories: dict[str, int]
    prompt_chars: Lengths
    response_chars: Lengths


def rows_by_id(dataset: Dataset, ids: Sequence[int] | Ids, *, messages: bool = False) -> list[dict[str, Any]]:
    """The rows with these ids, in the order of `ids`; an id that is not there is left out. `messages` adds the whole chat, as JSON."""
    wanted = np.asarray(ids, dtype=np.int64)
    if not len(wanted):
        return []
    store = row_store(dataset)
    places = store.positions(wanted)
    return store.take(places[places >= 0], [*COLUMNS, "messages"] if messages else COLUMNS)


@contextmanager
def _engine(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database in memory with the view `data` over one file, which can touch nothing else on the machine.

    An own one for each question: they are asked from several threads, and opening takes some milliseconds.
    """
    quoted = str(path).replace("'", "''")
    with duckdb.connect(":memory:", config={"memory_limit": MEMORY, "threads": "2", "temp_directory": ""}) as engine:
        try:
            engine.execute(f"SET allowed_paths=['{quoted}']")
            engine.execute("SET enable_external_access=false")
            engine.execute("SET lock_configuration=true")
            engine.execute(f"CREATE VIEW data AS SELECT * FROM read_parquet('{quoted}')")
            yield engine
        except duckdb.OutOfMemoryException as exc:
            raise PrerequisiteError(
                f"The question needs more than {MEMORY} of memory. Ask for less: a longer search text, or one origin."
            ) from exc
        except duckdb.Error as exc:
            raise damaged(path) from exc


def profile(dataset: Dataset) -> Profile:
    """Count what a dataset holds; takes about a second for a million rows."""
    # in JSON text every quote inside a string is escaped, so this cannot come from what somebody wrote
    turn = '"role": ?"user"'
    totals = f"""
        SELECT count(*), count(*) - count(DISTINCT hash(prompt, response, messages)),
            count(*) FILTER (regexp_matches(messages, '{turn}.*{turn}', 's')),
            count(*) FILTER (trim(response) = ''), count(*) FILTER (known_harmful), count(*) FILTER (NOT known_harmful)
        FROM data"""
    with _engine(dataset.path) as engine:
        rows, duplicates, multi_turn, empty, harmful, harmless = engine.execute(totals).fetchone() or (0,) * 6
        return Profile(
            rows=rows,
            duplicates=duplicates,
            multi_turn=multi_turn,
            empty_responses=empty,
            known_harmful=harmful,
            known_harmless=harmless,
            origins=_tally(engine, "origin"),
            categories=_tally(engine, "category"),
            prompt_chars=_lengths(engine, "prompt"),
            response_chars=_lengths(engine, "response"),
        )


def _tally(engine: duckdb.DuckDBPyConnection, column: str) -> dict[str, int]:
    found = engine.execute(
        f"SELECT {column}, count(*) FROM data WHERE coalesce({column}, '') <> '' GROUP BY 1 ORDER BY 2 DESC, 1"
    ).fetchall()
    tally = dict(found[:LISTED])
    if rest := sum(count for _, count in found[LISTED:]):
        tally[OTHER] = rest
    return tally


def _lengths(engine: duckdb.DuckDBPyConnection, column: str) -> Lengths:
    shares = {"min": 0.0, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95, "p99": 0.99, "max": 1.0}
    marks = engine.execute(f"SELECT quantile_disc(length({column}), {list(shares.values())}) FROM data").fetchone()
    bins = dict(
        engine.execute(
            f"SELECT CASE WHEN length({column}) = 0 THEN 0 ELSE 1 + floor(log2(length({column})))::INT END AS bin, count(*) "
            "FROM data GROUP BY 1"
        ).fetchall()
    )
    last = max(bins, default=0)
    quantiles = {name: int(mark) for name, mark in zip(shares, marks[0] or [0] * len(shares), strict=True)} if marks else {}
    return Lengths(quantiles, [0] + [2**power for power in range(last + 1)], [int(bins.get(number, 0)) for number in range(last + 1)])
