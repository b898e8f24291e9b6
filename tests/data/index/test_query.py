from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pytest

from reft_studio.data import dataset as datasets
from reft_studio.data.dataset import Dataset, Row, write_dataset
from reft_studio.data.index.query import _engine, profile, rows_by_id, rows_page
from reft_studio.errors import SpecError, StoreError
from reft_studio.workspace import Workspace


@pytest.fixture
def dataset(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """100 rows with the ids 0, 2, 4, … in row groups of 16."""
    monkeypatch.setattr(datasets, "BATCH", 16)
    rows = [
        Row(row_id=2 * n, prompt=f"Question {n} 100%_x", response="yes" * (n % 3), origin="abc"[n % 3], known_harmful=n % 10 == 0)
        for n in range(100)
    ]
    return write_dataset(workspace, rows, name="it's", role="user")


def test_a_page_is_a_slice_in_order_across_row_groups(dataset: Dataset) -> None:
    page = rows_page(dataset, offset=14, limit=20)
    assert (page.total, page.offset, [row["row_id"] for row in page.rows]) == (100, 14, list(range(28, 68, 2)))
    assert set(page.rows[0]) == {"row_id", "prompt", "response", "origin", "category", "known_harmful"}
    assert rows_page(dataset, offset=95, limit=50).rows[-1]["row_id"] == 198
    assert rows_page(dataset, offset=100).rows == []


def test_search_ignores_case_and_looks_into_both_texts(dataset: Dataset) -> None:
    assert [row["row_id"] for row in rows_page(dataset, search="qUESTION 42 ").rows] == [84]
    assert rows_page(dataset, search="YESYES").total == 33


@pytest.mark.parametrize("search", ["%", "_x", "100%_x"])
def test_signs_of_sql_patterns_are_searched_as_text(search: str, dataset: Dataset) -> None:
    assert rows_page(dataset, search=search).total == 100


@pytest.mark.parametrize("search", ["' OR 1=1 --", "'); DROP VIEW data; --", "\\", "\0", "%%%%", "?", "\ud83d\ude00"])
def test_a_search_is_only_ever_a_value(search: str, dataset: Dataset) -> None:
    assert rows_page(dataset, search=search).total == 0
    assert rows_page(dataset, origin=search).total == 0
    assert rows_page(dataset).total == 100


def test_rows_come_in_the_order_that_is_asked_for(dataset: Dataset) -> None:
    assert [row["row_id"] for row in rows_by_id(dataset, [198, 0, 90, 1, 0])] == [198, 0, 90, 0]
    assert rows_by_id(dataset, []) == []
    assert "messages" not in rows_by_id(dataset, [0])[0] and rows_by_id(dataset, [0], messages=True)[0]["messages"].startswith("[{")


def test_chosen_rows_are_paged_and_filtered_in_their_own_order(dataset: Dataset) -> None:
    ids = np.arange(198, -1, -2, dtype=np.int64)
    assert [row["row_id"] for row in rows_page(dataset, ids=ids, offset=1, limit=3).rows] == [196, 194, 192]
    page = rows_page(dataset, ids=ids, origin="a", limit=3)
    assert (page.total, [row["row_id"] for row in page.rows]) == (34, [198, 192, 186])


@pytest.mark.parametrize(("offset", "limit"), [(-1, 10), (0, 0), (0, 1001)])
def test_a_page_out_of_range_is_refused(offset: int, limit: int, dataset: Dataset) -> None:
    with pytest.raises(SpecError, match="1 to 1000"):
        rows_page(dataset, offset=offset, limit=limit)


def test_an_endless_search_is_refused(dataset: Dataset) -> None:
    with pytest.raises(SpecError, match="At most 500"):
        rows_page(dataset, search="x" * 501)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM glob('/*')",
        "COPY (SELECT 1) TO '{folder}/stolen.csv'",
        "ATTACH '{folder}/other.db'",
        "SELECT * FROM read_parquet('{folder}/other.parquet')",
        "INSTALL fts",
        "SET enable_external_access=true",
        "SET memory_limit='100GB'",
    ],
)
def test_the_engine_touches_nothing_but_its_file(statement: str, dataset: Dataset, tmp_path: Path) -> None:
    with _engine(dataset.path) as engine, pytest.raises(duckdb.Error):
        engine.execute(statement.format(folder=tmp_path))
    assert not (tmp_path / "stolen.csv").exists()


def test_a_profile_counts_what_the_rows_hold(workspace: Workspace) -> None:
    turns = [{"role": role, "content": '"role": "user"'} for role in ("user", "assistant", "user", "assistant")]
    rows = [
        Row(prompt="a", response="", origin="x", category="c"),
        Row(prompt="a", response="", origin="x", category="c"),
        Row(prompt="abcd", response="r" * 9, origin="y", known_harmful=True),
        Row(prompt="ab", response="r", messages=turns, known_harmful=False),
    ]
    found = profile(write_dataset(workspace, rows, name="p", role="harmful"))
    assert (found.rows, found.duplicates, found.multi_turn, found.empty_responses) == (4, 1, 1, 2)
    assert (found.known_harmful, found.known_harmless) == (1, 1)
    assert (found.origins, found.categories) == ({"x": 2, "y": 1}, {"c": 2})
    assert (found.prompt_chars.edges, found.prompt_chars.counts) == ([0, 1, 2, 4, 8], [0, 2, 1, 1])
    assert found.response_chars.counts == [2, 1, 0, 0, 1]
    assert (found.response_chars.quantiles["min"], found.response_chars.quantiles["max"]) == (0, 9)


def test_many_origins_are_summed_up(workspace: Workspace) -> None:
    rows = [Row(prompt="a", response="b", origin=f"o{n:03}") for n in range(60)]
    assert profile(write_dataset(workspace, rows, name="p", role="user")).origins["(other)"] == 10


def test_a_damaged_file_is_said_to_be_damaged(dataset: Dataset) -> None:
    dataset.path.write_bytes(b"PAR1 damaged")
    for ask in (lambda: rows_page(dataset), lambda: rows_page(dataset, search="x"), lambda: profile(dataset)):
        with pytest.raises(StoreError, match="damaged"):
            ask()
