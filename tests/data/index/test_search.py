"""Search on rows that can be read: the index and the scan must find the same, and nothing that is typed may be an error."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reft_studio.data.dataset import Dataset, write_dataset
from reft_studio.data.index import search as module
from reft_studio.data.index.search import build, indexed, search
from reft_studio.errors import PrerequisiteError, SpecError
from reft_studio.progress import Silent
from reft_studio.workspace import Workspace

TEXTS = [
    ("How do I bake bread?", "Mix flour and water."),
    ("how to STEAL a car", "No."),
    ("stealing keys is wrong", "It's: to be told."),
    ("Straße und Café", "naïve"),
    ("どうやって鍵を開ける", "家の鍵"),
    ("a AND b OR NOT c", "NEAR(x y) col:term *"),
    ("row 7", "100% sure_thing"),
    ("", "only an answer about bread"),
]
TYPED = [
    "bread",
    "BREAD",
    "steal",
    "steal car",
    "ste",
    "st",
    "to",
    '"how to"',
    '"to how"',
    '"bake bread" flour',
    "it's",
    "AND",
    "a AND b",
    "NEAR(x y)",
    "col:term",
    "*",
    "100%",
    "sure_thing",
    "鍵",
    "straße",
    "café",
    "nothing of this",
    "7",
    "?",
]


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Dataset]:
    """The same rows without an index and with one."""
    made = []
    for name in ("scanned", "indexed"):
        workspace = Workspace.open(Path(tmp_path_factory.mktemp(name)))
        rows: list[Any] = [{"prompt": prompt, "response": response} for prompt, response in TEXTS]
        made.append(write_dataset(workspace, rows, name=name, role="user"))
    build(made[1], Silent())
    return made[0], made[1]


def places(dataset: Dataset, text: str) -> list[int]:
    return search(dataset, text).positions.tolist()


@pytest.mark.parametrize("text", TYPED)
def test_index_and_scan_find_the_same_rows(datasets: tuple[Dataset, Dataset], text: str) -> None:
    assert places(datasets[0], text) == places(datasets[1], text)


@pytest.mark.parametrize("which", [0, 1])
def test_a_word_finds_itself_in_any_case_and_longer_ones_that_begin_with_it(datasets: tuple[Dataset, Dataset], which: int) -> None:
    dataset = datasets[which]
    assert places(dataset, "bread") == [0, 7]
    assert places(dataset, "steal") == [1, 2]
    assert places(dataset, "st") == []
    assert places(dataset, "how to") == [1]
    assert places(dataset, '"do i"') == [0]
    assert places(dataset, '"i do"') == []
    assert places(dataset, "car steal") == [1]
    assert places(dataset, "鍵") == [4]
    assert places(dataset, "a and b or not c") == [5]
    assert search(dataset, "bread").exact


def test_the_source_is_told(datasets: tuple[Dataset, Dataset]) -> None:
    assert [search(dataset, "bread").source for dataset in datasets] == ["scan", "index"]
    assert search(datasets[1], "鍵を").source == "scan"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=40) | st.text(alphabet="\"*:^()-+{}[]ANDORNOTEab \\'\0\ud83d\ude00_%;", max_size=40))
def test_nothing_that_is_typed_is_an_error(datasets: tuple[Dataset, Dataset], text: str) -> None:
    for dataset in datasets:
        assert len(search(dataset, text).positions) <= len(TEXTS)


@pytest.mark.parametrize(
    "text", ['"', '""', "(((", '"unclosed', "prompt: bread", "-bread", "^how", "a" * 500, "x " * 250, "\ud800", "rowid:1"]
)
def test_signs_of_the_query_language_are_words(datasets: tuple[Dataset, Dataset], text: str) -> None:
    search(datasets[1], text)


def test_as_many_words_as_fit_are_all_asked_for(datasets: tuple[Dataset, Dataset]) -> None:
    many = " ".join(f"{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(166))
    for dataset in datasets:
        assert places(dataset, many) == [] and places(dataset, "how " * 125) == [0, 1]


def test_a_text_that_is_too_long_is_refused(datasets: tuple[Dataset, Dataset]) -> None:
    with pytest.raises(SpecError, match="At most 500"):
        search(datasets[0], "x" * 501)


def test_a_damaged_index_or_one_of_other_rows_is_left_aside(datasets: tuple[Dataset, Dataset], tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path)
    dataset = write_dataset(workspace, [{"prompt": "bread", "response": "b"}], name="one", role="user")
    (dataset.folder / module.FILE).write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    assert search(dataset, "bread").source == "scan" and places(dataset, "bread") == [0]
    (dataset.folder / module.FILE).write_bytes((datasets[1].folder / module.FILE).read_bytes())
    assert search(dataset, "bread").source == "scan" and places(dataset, "bread") == [0]


def test_a_stopped_build_leaves_nothing(datasets: tuple[Dataset, Dataset], monkeypatch: pytest.MonkeyPatch) -> None:
    class Stopped(Exception):
        """Somebody pressed cancel."""

    class Cancelled(Silent):
        def progress(self, done: int, total: int, **metrics: float) -> None:
            raise Stopped

    with pytest.raises(Stopped):
        build(datasets[0], Cancelled())
    assert not indexed(datasets[0]) and not list(datasets[0].folder.glob("*.tmp-*"))


def test_a_full_disk_is_told(datasets: tuple[Dataset, Dataset], monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(Silent):
        def progress(self, done: int, total: int, **metrics: float) -> None:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error

    with pytest.raises(PrerequisiteError, match="disk"):
        build(datasets[0], Full())
    assert not indexed(datasets[0])


def test_a_search_stops_at_its_time_limit_and_says_so(datasets: tuple[Dataset, Dataset], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMIT_S", -1.0)
    assert not search(datasets[0], "bread").exact
