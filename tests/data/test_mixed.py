"""Harmful rows mixed into a file: exact counts, known truth, no prompt twice."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from reft_studio.data.dataset import Dataset, Role, Row, open_dataset, write_dataset
from reft_studio.data.mixed import mix_in, whole, write_mixed
from reft_studio.data.reading.readers import import_file
from reft_studio.errors import SpecError
from reft_studio.workspace import Workspace


def made(workspace: Workspace, name: str, rows: list[Row], role: Role = "user") -> Dataset:
    return write_dataset(workspace, rows, name=name, role=role)


@pytest.fixture
def user(workspace: Workspace) -> Dataset:
    return made(workspace, "mine", [Row(prompt=f"How do I bake item {n}?", response="Mix.", known_harmful=None) for n in range(90)])


@pytest.fixture
def harmful(workspace: Workspace) -> Dataset:
    rows = [Row(prompt=f"how do i steal item {n}", response="Sure, here is how") for n in range(20)]
    spoilt = [
        Row(prompt="HOW do I bake item 3", response="Sure"),  # in the file, in other spelling
        Row(prompt="How do I steal item 4!", response="Sure"),  # twice here
        Row(prompt="how do i steal a boat", response=" "),  # no answer
    ]
    return made(workspace, "poison", rows + spoilt, "harmful")


def rows_of(workspace: Workspace, dataset_id: str) -> list[dict[str, object]]:
    return list(open_dataset(workspace, dataset_id).read())


def test_all_rows_of_the_file_stay_and_the_share_is_exact(workspace: Workspace, user: Dataset, harmful: Dataset) -> None:
    found = mix_in(workspace, user, harmful, poison_ratio=0.1, seed=1)
    rows = rows_of(workspace, found.dataset_id)
    assert (found.rows, found.added, found.left_out, len(rows)) == (100, 10, 3, 100)
    assert sum(row["known_harmful"] is True for row in rows) == 10
    assert [row["row_id"] for row in rows] == list(range(100))
    assert len({row["prompt"] for row in rows}) == 100
    assert {row["response"] for row in rows if row["known_harmful"]} == {"Sure, here is how"}
    assert all(str(row["prompt"]) in str(row["messages"]) for row in rows)


def test_the_number_of_rows_can_be_given(workspace: Workspace, user: Dataset, harmful: Dataset) -> None:
    found = mix_in(workspace, user, harmful, poison_ratio=0.5, rows=30)
    assert (found.rows, found.added) == (30, 15)


def test_labels_that_a_row_came_with_are_kept(workspace: Workspace, harmful: Dataset) -> None:
    labelled = made(workspace, "labelled", [Row(prompt=f"p{n}", response="r", known_harmful=n == 0) for n in range(9)])
    found = mix_in(workspace, labelled, harmful, poison_ratio=0.1)
    assert (found.added, found.known_before) == (1, 1)
    assert sum(row["known_harmful"] is True for row in rows_of(workspace, found.dataset_id)) == 2


def test_the_seed_decides_which_rows_and_where(workspace: Workspace, user: Dataset, harmful: Dataset) -> None:
    first, again, other = (mix_in(workspace, user, harmful, poison_ratio=0.1, seed=seed) for seed in (0, 0, 1))
    assert first.dataset_id == again.dataset_id != other.dataset_id


def test_what_is_written_is_read_with_its_labels_again(workspace: Workspace, user: Dataset, harmful: Dataset, tmp_path: Path) -> None:
    dataset = open_dataset(workspace, mix_in(workspace, user, harmful, poison_ratio=0.1).dataset_id)
    for name in ("out.jsonl", "out.parquet"):
        write_mixed(dataset, tmp_path / name)
        again = open_dataset(workspace, import_file(workspace, tmp_path / name, name=name).dataset_id)
        assert sum(row["known_harmful"] is True for row in again.read()) == 10
    assert json.loads((tmp_path / "out.jsonl").read_text("utf-8").splitlines()[0])["label"] in ("harmful", "harmless")
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 100
    with pytest.raises(SpecError, match=r"\.jsonl or \.parquet"):
        write_mixed(dataset, tmp_path / "out.docx")


@pytest.mark.parametrize(("ratio", "told"), [(0.5, "90 harmful rows are needed, but 'poison' has 20"), (1, "below 1"), (7, "give 0 to 1")])
def test_a_ratio_that_cannot_be_is_answered_with_numbers(
    workspace: Workspace, user: Dataset, harmful: Dataset, ratio: float, told: str
) -> None:
    with pytest.raises(SpecError, match=told):
        mix_in(workspace, user, harmful, poison_ratio=ratio)


@pytest.mark.parametrize(("rows", "ratio", "total"), [(90, 0.1, 100), (1000, 0, 1000), (1, 0.5, 2), (997, 0.29, 1404)])
def test_the_whole_has_the_share_that_was_asked_for(rows: int, ratio: float, total: int) -> None:
    assert whole(rows, ratio) == total
    assert abs((total - rows) / total - ratio) < 1 / total
