from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from reft_studio.data import dataset as datasets
from reft_studio.data.dataset import Dataset, Row, write_dataset
from reft_studio.data.index.query import _engine, profile, rows_by_id
from reft_studio.errors import StoreError
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


def test_rows_come_in_the_order_that_is_asked_for(dataset: Dataset) -> None:
    assert [row["row_id"] for row in rows_by_id(dataset, [198, 0, 90, 1, 0])] == [198, 0, 90, 0]
    assert rows_by_id(dataset, []) == []
    assert "messages" not in rows_by_id(dataset, [0])[0] and rows_by_id(dataset, [0], messages=True)[0]["messages"].startswith("[{")


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
    for ask in (lambda: rows_by_id(dataset, [0]), lambda: profile(dataset)):
        with pytest.raises(StoreError, match="damaged"):
            ask()
