"""Lines, JSON streams and CSV records: what is whole is found, whatever stands beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reft_studio.data.formats import json_stream, lines
from reft_studio.data.formats.detect import detect
from reft_studio.data.formats.format import DataFile
from reft_studio.data.formats.json_document import FORMAT as JSON
from reft_studio.data.formats.json_stream import elements, outline
from reft_studio.data.formats.json_text import JsonText
from reft_studio.data.formats.layout import FileLayout
from reft_studio.data.formats.lines import read_lines
from reft_studio.data.rows.record import RawRecord

Upload = Callable[..., Path]


def _read(path: Path) -> list[RawRecord]:
    file = detect(path)
    return list(file.format.records(file))


@pytest.mark.parametrize("codec", ["utf-8", "cp1252", "utf-16-le", "utf-16-be", "utf-32-le"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_lines_put_together_are_the_file(codec: str, newline: str, upload: Upload, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "BLOCK", 16)  # so that lines cross blocks
    text = newline.join(["alpha", "", "bête", "last"])
    path = upload(text.encode(codec))
    found = list(read_lines(path, codec, newline=newline[-1]))
    assert b"".join(line.raw for line in found) == path.read_bytes()
    assert [line.text.strip("\r\n") for line in found] == ["alpha", "", "bête", "last"]
    assert [line.number for line in found] == [1, 2, 3, 4]


@pytest.mark.parametrize("codec", ["utf-8", "utf-16-le"])
def test_a_line_that_is_too_long_is_set_aside_without_its_neighbours(codec: str, upload: Upload, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_ROW_BYTES", 100)
    monkeypatch.setattr(lines, "BLOCK", 16)
    found = list(read_lines(upload(f"a\n{'x' * 1000}\nb\n".encode(codec)), codec))
    assert [(line.number, line.text.strip(), bool(line.damage)) for line in found] == [(1, "a", False), (2, "", True), (3, "b", False)]


def test_bytes_that_are_no_text_damage_their_line_only(upload: Upload) -> None:
    found = list(read_lines(upload(b"a\n\xff\xfe\nb\n"), "utf-8"))
    assert [line.damage for line in found] == ["", "bytes that are not valid utf-8", ""]


ROWS = [{"a": 1, "text": 'quote " brace } bracket ] \\ end \\'}, {"b": [{"c": "x"}, []]}, {"d": "ünïcode \u2028"}, {}]


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("block", [1, 3, 1 << 20])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_list_is_streamed_whatever_its_layout(
    indent: int | None, block: int, ascii_only: bool, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_stream, "BLOCK", block)
    for document, kind in ((ROWS, "array"), ({"version": {"a": [1]}, "data": ROWS, "more": 1}, "wrapped")):
        path = upload(json.dumps(document, indent=indent, ensure_ascii=ascii_only))
        where = outline(path, "utf-8", 0)
        found = list(elements(path, "utf-8", 0, where))
        assert where.kind == kind
        assert [json.loads(element.text) for element in found] == ROWS
        text = path.read_text()
        assert [text[element.start : element.start + element.length] for element in found] == [element.text for element in found]


def test_objects_one_after_another_are_rows(upload: Upload) -> None:
    path = upload("\n".join(json.dumps(row, indent=2) for row in ROWS[:3]))
    assert [record.value for record in _read(path)] == ROWS[:3]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.dictionaries(st.text(max_size=3), st.recursive(st.text() | st.integers() | st.none(), st.lists, max_leaves=5), max_size=3),
        min_size=1,
    )
)
def test_any_list_of_objects_comes_back(rows: list[dict[str, object]], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_text(json.dumps(rows), "utf-8")
    assert [record.value for record in JSON.records(DataFile(path, FileLayout("json", "utf-8")))] == rows


def test_a_syntax_error_costs_one_row_of_a_list(upload: Upload) -> None:
    path = upload('[{"a": 1}, {"a": 2,}, {"a": tru}, {"a": 4}]')
    found = [(record.row_id, record.value, bool(record.error)) for record in _read(path)]
    assert found == [(0, {"a": 1}, False), (1, None, True), (2, None, True), (3, {"a": 4}, False)]


def test_a_missing_quote_costs_one_row_where_rows_begin_lines(upload: Upload) -> None:
    path = upload('[\n  {"a": "one"},\n  {"a": "two},\n  {"a": "three"},\n  {"a": "four"}\n]')
    assert [record.value for record in _read(path)] == [{"a": "one"}, None, {"a": "three"}, {"a": "four"}]


@pytest.mark.parametrize(("cut", "whole"), [(14, 1), (11, 1), (9, 0), (30, 2)])
def test_a_list_that_is_cut_off_says_so_once(cut: int, whole: int, upload: Upload) -> None:
    records = _read(upload('[{"a": 11}, {"a": 22}, {"a": 33}]'[:cut]))
    assert [record.value for record in records[:whole]] == [{"a": 11}, {"a": 22}][:whole]
    assert [bool(record.error) for record in records] == [False] * whole + [True]


def test_a_row_that_is_too_long_does_not_end_a_list(upload: Upload, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "MAX_ROW_BYTES", 200)
    monkeypatch.setattr(json_stream, "BLOCK", 64)
    long = json.dumps({"a": ['\\"}]' * 300, {"b": "x" * 999}], "c": 1})
    path = upload(f'[{{"a": 1}}, {long}, {{"a": 3}}, "{"y" * 999}", {"9" * 999}, {{"a": 6}}]')
    found = _read(path)
    assert [record.value for record in found] == [{"a": 1}, None, {"a": 3}, None, None, {"a": 6}]
    assert found[1].error.startswith("the row is longer")
    text, last = path.read_text(), list(elements(path, "utf-8", 0, outline(path, "utf-8", 0)))
    assert text[last[1].start : last[1].start + last[1].length] == long


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('{"a": 1}}', "extra data"),
        ("{'a': 1}", "expecting property name"),
        ('{"a": "x', "unterminated string"),
        ('{"a": "tab\there"}', "invalid control character"),
        ('{"a" 1}', "expecting ':' delimiter"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a": ' + "9" * 5000 + "}", "thousands of digits"),
        ("", "expecting value"),
    ],
)
def test_json_errors_are_said_in_words_without_the_text(text: str, error: str) -> None:
    value, found, hint, _ = JsonText().read(text)
    assert value is None
    assert error in found
    assert hint.endswith(".")


def test_what_json_forbids_but_files_hold_is_read_with_a_warning() -> None:
    reader = JsonText()
    assert reader.read('{"a": 1, "a": 2}')[0] == {"a": 2}
    assert "appears twice" in reader.read('{"a": 1, "a": 2}')[3][0]
    assert reader.read('{"a": NaN}') == ({"a": None}, "", "", ("NaN or Infinity, which JSON does not have, read as empty",))
    assert reader.read('{"a": 1}')[3] == ()


def test_csv_cells_may_hold_lines_quotes_and_separators(upload: Upload) -> None:
    path = upload('prompt,response\r\n"a\r\nb","c "" , d"\r\n\r\ne,f', "a.csv")
    found = _read(path)
    assert [record.value for record in found] == [{"prompt": "a\r\nb", "response": 'c " , d'}, {"prompt": "e", "response": "f"}]
    assert [(record.row_id, record.line) for record in found] == [(0, 2), (1, 5)]
    assert b"".join(record.raw for record in found) == b'"a\r\nb","c "" , d"\r\ne,f'


def test_an_open_quote_costs_one_row(upload: Upload) -> None:
    path = upload('prompt,response\na,b\n"c,d\ne,f\n"g","h"\ni,j\n"k,l\nm,n\n', "a.csv")
    found = [record.value and record.value["prompt"] for record in _read(path)]
    assert found == ["a", None, "e", "g", "i", None, "m"]


def test_a_table_needs_a_header_of_reasonable_width(upload: Upload) -> None:
    from reft_studio.errors import DataError

    with pytest.raises(DataError, match="more than 2000 columns"):
        _read(upload(",".join("abc"[n % 3] for n in range(3000)) + "\nx\n", "a.csv"))
