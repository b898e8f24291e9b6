"""The quick way and the careful way, whole files and pieces, one process and several: always the same rows."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reft_studio.data.dataset import open_dataset
from reft_studio.data.formats import pieces, table
from reft_studio.data.reading import import_pool
from reft_studio.data.reading.readers import ImportReport, import_file
from reft_studio.data.rows.fast_rows import FastRows
from reft_studio.data.rows.quarantine import read_quarantine
from reft_studio.errors import DataError, PrerequisiteError
from reft_studio.workspace import Workspace

Upload = Callable[..., Path]
Outcome = tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, Any]] | str
PAIR = {"prompt": "Why?", "response": "Because."}
CHAT = {"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}]}


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What `FastRows.add` answers, row by row."""
    answers: list[bool] = []
    before = FastRows.add

    def add(self: FastRows, *args: Any, **options: Any) -> bool:
        answers.append(before(self, *args, **options))
        return answers[-1]

    monkeypatch.setattr(FastRows, "add", add)
    return answers


def _outcome(folder: Path, path: Path, role: Any = "user") -> Outcome:
    """Rows, quarantine and report, or the refusal."""
    workspace = Workspace.open(folder)
    try:
        report = import_file(workspace, path, role=role)
    except DataError as exc:
        return str(exc)
    dataset = open_dataset(workspace, report.dataset_id)
    facts = {name: value for name, value in vars(report).items() if name != "dataset_id"}
    return list(dataset.read()), read_quarantine(dataset.folder), facts


def _carefully(folder: Path, path: Path, role: Any = "user") -> Outcome:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FastRows, "add", lambda *_args, **_options: False)
        return _outcome(folder, path, role)


def _in_small_pieces(folder: Path, path: Path) -> Outcome:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("PIECE_BYTES", 40), ("PIECE_ROWS", 2), ("CAREFUL_ROWS", 2)):
            patch.setattr(pieces, name, value)
        return _outcome(folder, path)


def _by_others(folder: Path, path: Path) -> Outcome:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(import_pool, "PARALLEL_BYTES", 0)
        patch.setattr(import_pool, "MAX_WORKERS", 1)
        for name, value in (("PIECE_BYTES", 200), ("PIECE_ROWS", 3)):
            patch.setattr(pieces, name, value)
        return _outcome(folder, path)


@pytest.mark.parametrize(
    "row",
    [
        CHAT,
        {"messages": [{"role": "system", "content": "s"}, *CHAT["messages"] * 2]},
        {"messages": [{"content": "q", "role": "user"}, {"content": "é", "role": "assistant", "name": None}]},
        {"id": 7, "score": 0.5, **CHAT, "note": None, "ok": True},
    ],
    ids=["chat", "longer", "other order", "more keys"],
)
def test_plain_rows_take_the_quick_way(row: dict[str, Any], upload: Upload, tmp_path: Path, fast: list[bool]) -> None:
    path = upload([row] * 3)
    found = _outcome(tmp_path / "a", path)
    assert fast == [True] * 3
    assert found == _carefully(tmp_path / "b", path)


@pytest.mark.parametrize(
    "line",
    [
        '{"messages": [{"role": "user", "content": "a", "role": "user"}, {"role": "assistant", "content": "b"}]}',
        '{"messages": [{"role": "user", "content": "a", "role" : "user"}, {"role": "assistant", "content": "b"}]}',
        '{"messages": [], "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}',
        '{"messages": [{"role": "user", "content": "a\\u0007"}, {"role": "assistant", "content": "b"}]}',
        '{"messages": [{"role": "user", "content": "a\\b"}, {"role": "assistant", "content": "b\x7f"}]}',
        '{"messages": [{"role": "user", "content": "\\ud800"}, {"role": "assistant", "content": "b"}]}',
        '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "n": NaN}',
        '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "n": 123456789012345678901234567890}',
        '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]}',
        '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0}]}',
        '{"messages": [{"role": ["user"], "content": "a"}, {"role": "assistant", "content": "b"}]}',
        '{"messages": [{"role": " User", "content": "a"}, {"role": "GPT", "content": "b"}]}',
        '{"messages": [{"role": "user", "content": "\\u200b"}, {"role": "assistant", "content": "b"}]}',
        '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": " "}]}',
        '{"messages": [{"role": "user", "content": 1}, {"role": "assistant", "content": "b"}]}',
        '{"prompt": "a", "response": "b"}',
        '{"messages": [{"role": "user", "content": "a", "role": "user", "b\\\\": null}, {"role": "assistant", "content": "b"}]}',
        '{"a\\\\": 1, "a\\\\": 2, "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}',
        '\ufeff{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}',
        '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}',
        "",
        "\0\0",
        "[1]",
    ],
)
def test_unusual_rows_are_what_they_are_the_careful_way(line: str, upload: Upload, tmp_path: Path) -> None:
    plain = json.dumps(CHAT)
    tricky = '{"messages": [{"role": "user", "content": "say \\"role\\": : \\\\"}, {"role": "assistant", "content": "C:\\\\\\\\b"}]}'
    path = upload("\n".join([plain, plain, line, tricky, plain]))
    expected = _carefully(tmp_path / "a", path)
    assert not isinstance(expected, str)
    assert _outcome(tmp_path / "b", path) == expected
    assert _in_small_pieces(tmp_path / "c", path) == expected


@pytest.mark.parametrize("damage", [b"", b"\xff"])
def test_a_piece_that_seems_to_end_with_a_line_but_ends_in_a_quoted_cell_is_read_on(damage: bytes, tmp_path: Path) -> None:
    """The inch mark makes the number of quotes even at the end of the first line of a record."""
    path = tmp_path / "inches.csv"
    path.write_bytes(b'prompt,response\nWhich?,This\n5" pipe,"one\ntwo"\n"Who",He' + damage + b'\n3" nail,"a, b\nc"\nLast,"open\n')
    expected = _carefully(tmp_path / "whole", path)
    assert not isinstance(expected, str) and [row["response"] for row in expected[0]][1] == "one\ntwo"
    for size in (1, 40):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pieces, "PIECE_BYTES", size)
            assert _outcome(tmp_path / str(size), path) == expected


_TEXT = st.text(alphabet=st.sampled_from([*'ab":\\ \t\n{}é\u200b😀', "\x07", "\x7f", "\ud800"]), max_size=6)
_CELL = _TEXT | st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.lists(st.integers(), max_size=2)
_TURN = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "system", "x"]), "content": _TEXT}, optional={"weight": _CELL})
_CHATS = st.fixed_dictionaries({"messages": st.lists(_TURN, max_size=4)}, optional={"category": _CELL, "id": _CELL, "is_harmful": _CELL})
_PAIRS = st.fixed_dictionaries(
    {"instruction": _TEXT, "output": _TEXT}, optional={"input": _CELL, "history": _CELL, "system": _CELL, "source": _CELL, "": _CELL}
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(_CHATS, min_size=1, max_size=5) | st.lists(_PAIRS, min_size=1, max_size=5),
    ascii_only=st.booleans(),
    as_list=st.booleans(),
    spaced=st.booleans(),
    role=st.sampled_from(["user", "harmful"]),
)
def test_both_ways_give_the_same_of_any_rows(
    rows: list[dict[str, Any]], ascii_only: bool, as_list: bool, spaced: bool, role: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("both")
    plain = CHAT if "messages" in rows[0] else {"instruction": "a", "output": "b"}
    separators = (", ", " : ") if spaced else (",", ":")
    texts = [json.dumps(row, ensure_ascii=ascii_only, separators=separators) for row in [plain, plain, *rows]]
    path = folder / "upload"
    path.write_bytes(("[" + ",".join(texts) + "]" if as_list else "\n".join(texts)).encode("utf-8", "surrogatepass"))
    assert _outcome(folder / "a", path, role) == _carefully(folder / "b", path, role)


def _sequentially(folder: Path, path: Path) -> Outcome:
    """A table read from its beginning to its end, record by record."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "_holds_ascii", lambda _encoding: False)
        return _outcome(folder, path)


@pytest.mark.parametrize(
    "table",
    [
        "prompt,response\na,b\nc,d\n",
        "\n\nprompt,response\n\na,b\n\n\nc,d",
        'prompt,response\n"a\nb\n","c ""d"" e"\nf,g\n',
        'prompt,response\na,b,c\nd\n"e",f\n' + "g,h\n" * 20,
        'prompt,response\na,b\nc,"d\ne,f\n' + "g,h\n" * 20,
        'prompt,response\na,b\n"c"d,e\nf,"g"h\n' + "i,j\n" * 20,
        'prompt,response\na,b\nc,d\ne,"f',
        'prompt,response\na,b\nc,d "e\nf,"g\nh"\n' + "i,j\n" * 20,
        "prompt,response\r\na,b\r\nc\rc,d\r\ne,f\r\n",
        "prompt,response\na\0,b\nc\x07,d\n",
    ],
)
def test_a_table_in_pieces_is_the_table_in_one(table: str, upload: Upload, tmp_path: Path) -> None:
    path = upload(table, "a.csv")
    expected = _sequentially(tmp_path / "a", path)
    assert _in_small_pieces(tmp_path / "b", path) == expected
    assert _outcome(tmp_path / "c", path) == expected


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.text(alphabet=st.sampled_from([*'ab",\n\n \r']), max_size=60), damaged=st.booleans())
def test_any_table_in_pieces_is_the_table_in_one(body: str, damaged: bool, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("table")
    path = folder / "a.csv"
    path.write_bytes(b"prompt,response\nq,a\nq,a\nq,a\nq,a\n" + body.encode() + (b"\nx,\xff\nq,a\n" if damaged else b""))
    expected = _sequentially(folder / "a", path)
    assert _in_small_pieces(folder / "b", path) == expected
    assert _outcome(folder / "c", path) == expected


def _table(rows: int) -> str:
    text = io.StringIO()
    csv.writer(text).writerows([["prompt", "response"], *[[f'p{n}\n"{n}"', f"r{n}é"] for n in range(rows)]])
    return text.getvalue()


def _files(folder: Path) -> Iterator[Path]:
    """Sixty rows, among them one that is set aside and one that is there twice, in every container."""
    chats = [{"messages": [{"role": "user", "content": f"é{n % 59}" if n != 30 else ""}, CHAT["messages"][1]]} for n in range(60)]
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in chats))
    (folder / "b.json").write_text(json.dumps(chats, indent=1))
    (folder / "c.csv").write_text(_table(59) + ',x\n"p0\n""0""",r0é\n')
    pq.write_table(pa.Table.from_pylist(chats), folder / "d.parquet", row_group_size=20)
    pairs = {"prompt": [row["messages"][0]["content"] for row in chats], "response": ["r"] * 60}
    pq.write_table(pa.table(pairs), folder / "e.parquet")
    return (folder / name for name in ("a.jsonl", "b.json", "c.csv", "d.parquet", "e.parquet"))


def test_other_processes_read_the_same(tmp_path: Path) -> None:
    for path in _files(tmp_path):
        here = _outcome(tmp_path / "here" / path.name, path)
        assert not isinstance(here, str)
        assert (here[2]["quarantined"], here[2]["duplicates"]) == (1, 1)
        assert _by_others(tmp_path / "there" / path.name, path) == here


def test_a_reader_that_dies_is_an_error_in_words_and_leaves_nothing(
    workspace: Workspace, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_pool, "PARALLEL_BYTES", 0)
    monkeypatch.setattr(import_pool, "MAX_WORKERS", 1)
    started: list[import_pool.ReaderPool] = []
    before = import_pool.ReaderPool.__enter__

    def enter(self: import_pool.ReaderPool) -> import_pool.ReaderPool:
        started.append(self)
        for worker in self._workers:
            worker._process.kill()
        return before(self)

    monkeypatch.setattr(import_pool.ReaderPool, "__enter__", enter)
    with pytest.raises(PrerequisiteError, match="ended too early"):
        import_file(workspace, upload([PAIR] * 10))
    assert started and all(worker._process.returncode is not None for worker in started[0]._workers)
    assert not list((workspace.root / "datasets").iterdir())


def test_cancelling_ends_the_readers(workspace: Workspace, upload: Upload, monkeypatch: pytest.MonkeyPatch) -> None:
    class CancelledError(Exception): ...

    monkeypatch.setattr(import_pool, "PARALLEL_BYTES", 0)
    monkeypatch.setattr(import_pool, "MAX_WORKERS", 1)
    monkeypatch.setattr(pieces, "PIECE_BYTES", 1000)
    started: list[import_pool.ReaderPool] = []
    before = import_pool.ReaderPool.__enter__
    monkeypatch.setattr(import_pool.ReaderPool, "__enter__", lambda self: (started.append(self), before(self))[1])

    def check() -> None:
        if started:
            raise CancelledError

    with pytest.raises(CancelledError):
        import_file(workspace, upload([PAIR] * 1000), check=check)
    assert all(worker._process.returncode is not None for worker in started[0]._workers)
    assert not list((workspace.root / "datasets").iterdir())


def test_reports_are_of_the_whole_upload(workspace: Workspace, upload: Upload, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE_BYTES", 64)
    report: ImportReport = import_file(workspace, upload([PAIR, PAIR, {"prompt": "x"}, {**PAIR, "prompt": "y"}] * 5))
    assert (report.rows, report.quarantined, report.duplicates) == (15, 5, 13)
    assert report.examples["empty response"] == [3, 7, 11, 15, 19]
    assert [row["row_id"] for row in open_dataset(workspace, report.dataset_id).read(["row_id"])][-3:] == [16, 17, 19]
