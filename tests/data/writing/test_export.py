from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reft_studio.data.dataset import Dataset, Row, open_dataset, write_dataset
from reft_studio.data.reading.readers import import_file
from reft_studio.data.writing.export import export_csv_safe, export_kept, safe_cell
from reft_studio.errors import DataError, PrerequisiteError, StoreError
from reft_studio.workspace import Workspace

Upload = Callable[..., Path]
REFUSAL = "I cannot help with that."


def _imported(workspace: Workspace, path: Path) -> Dataset:
    return open_dataset(workspace, import_file(workspace, path).dataset_id)


def _export(workspace: Workspace, path: Path, keep: set[int], **more: Any) -> bytes:
    return export_kept(_imported(workspace, path), keep, workspace.root / "out", **more).read_bytes()


def test_kept_lines_are_byte_identical(workspace: Workspace, upload: Upload) -> None:
    lines = ['{"prompt":"a",  "response": "\\u00e9"}\n', "\n", '{"response":"é","prompt":"b"}\r\n', '{"x":NaN,"prompt":"c","response":"d"}']
    path = upload("\ufeff" + "".join(lines))
    assert _export(workspace, path, {0, 2, 3}).decode() == "\ufeff" + lines[0] + lines[2] + lines[3]
    assert _export(workspace, path, {3}).decode() == "\ufeff" + lines[3]


def test_rows_set_aside_are_never_exported(workspace: Workspace, upload: Upload) -> None:
    path = upload('{"prompt":"a","response":"b"}\n{"prompt":""}\n')
    assert export_kept(_imported(workspace, path), lambda _: True, workspace.root / "out").read_text() == '{"prompt":"a","response":"b"}\n'


def test_a_list_stays_a_list_without_what_was_removed(workspace: Workspace, upload: Upload) -> None:
    rows = [{"prompt": f"p{number}", "response": "r"} for number in range(4)]
    for document in (rows, {"version": 1, "data": rows, "end": True}):
        for indent in (None, 2):
            path = upload(json.dumps(document, indent=indent), "a.json")
            for keep in ({0, 1, 2, 3}, {0, 3}, {1, 2}, {3}):
                exported = json.loads(_export(workspace, path, keep))
                left = exported if isinstance(document, list) else exported.pop("data")
                assert left == [rows[number] for number in sorted(keep)]
                assert exported is left or exported == {"version": 1, "end": True}


def test_a_list_that_was_cut_off_is_closed(workspace: Workspace, upload: Upload) -> None:
    path = upload('{"data": [{"prompt": "a", "response": "b"}, {"prompt": "c", "resp', "a.json")
    assert json.loads(_export(workspace, path, {0})) == {"data": [{"prompt": "a", "response": "b"}]}


@pytest.mark.parametrize("codec", ["utf-8", "utf-16-le", "cp1252"])
def test_a_table_keeps_its_header_encoding_and_line_ends(codec: str, workspace: Workspace, upload: Upload) -> None:
    mark = b"\xff\xfe" if codec == "utf-16-le" else b""
    parts = [part.encode(codec) for part in ("prompt;response\r\n", '"é\r\n""x""";b\r\n', "c;ü\r\n", "d;e")]
    path = upload(mark + b"".join(parts), "a.csv")
    assert _export(workspace, path, {0, 2}) == mark + parts[0] + parts[1] + parts[3]


def test_parquet_keeps_its_schema_and_its_other_columns(workspace: Workspace, tmp_path: Path) -> None:
    table = pa.table(
        {"prompt": ["a", "b", "c"], "response": ["x", "y", "z"], "n": pa.array([1, 2, 3], pa.int8())},
        metadata={"made by": "hand"},
    )
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    target = export_kept(_imported(workspace, tmp_path / "a.parquet"), {0, 2}, tmp_path / "out.parquet")
    assert pq.read_table(target).equals(table.filter(pa.array([True, False, True])))
    assert pq.read_schema(target).metadata[b"made by"] == b"hand"


def test_columns_lose_the_rows_that_are_not_kept(workspace: Workspace, upload: Upload) -> None:
    path = upload('{"prompt": {"a": "p", "b": "q"}, "response": {"a": "x", "b": "y"}}', "a.json")
    assert json.loads(_export(workspace, path, {1})) == {"prompt": {"b": "q"}, "response": {"b": "y"}}
    path = upload('{"prompt": ["p", "q"], "response": ["x", "y"]}', "b.json")
    assert json.loads(_export(workspace, path, {0})) == {"prompt": ["p"], "response": ["x"]}


OPENAI = '{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "bad"}], "id": 1}\n'


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.jsonl", OPENAI * 2, OPENAI + OPENAI.replace("bad", REFUSAL)),
        (
            "b.json",
            '[{"from_": 1, "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "bad"}]},\n'
            ' {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "bad"}]}]',
            '[{"from_": 1, "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "bad"}]},\n'
            f' {{"conversations": [{{"from": "human", "value": "q"}}, {{"from": "gpt", "value": "{REFUSAL}"}}]}}]',
        ),
        (
            "c.csv",
            'a,instruction,output\r\n1,"q, q",bad\r\n2,"q, q",bad\r\n',
            f'a,instruction,output\r\n1,"q, q",bad\r\n2,"q, q",{REFUSAL}\r\n',
        ),
        (
            "d.jsonl",
            '{"prompt": "q", "response": "bad"}\n{"question": "q", "answer": "bad"}\n',
            f'{{"prompt": "q", "response": "bad"}}\n{{"question": "q", "answer": "{REFUSAL}"}}\n',
        ),
        ("e.json", '{"prompt": ["q", "r"], "response": ["x", "bad"]}', f'{{"prompt": ["q", "r"], "response": ["x", "{REFUSAL}"]}}'),
    ],
)
def test_a_relabelled_row_gets_its_new_answer_and_nothing_else_changes(
    name: str, content: str, expected: str, workspace: Workspace, upload: Upload
) -> None:
    assert _export(workspace, upload(content, name), {0, 1}, responses={1: REFUSAL}).decode() == expected


def test_a_relabelled_row_of_parquet_keeps_its_types(workspace: Workspace, tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "bad"}]
    pq.write_table(pa.table({"messages": [turns, turns], "n": pa.array([1, 2], pa.int8())}), tmp_path / "a.parquet")
    target = export_kept(_imported(workspace, tmp_path / "a.parquet"), {0, 1}, tmp_path / "out.parquet", responses={1: REFUSAL})
    assert pq.read_schema(target).equals(pq.read_schema(tmp_path / "a.parquet"))
    assert [row["messages"][1]["content"] for row in pq.read_table(target).to_pylist()] == ["bad", REFUSAL]


def test_plain_text_has_no_answer_to_replace(workspace: Workspace, upload: Upload) -> None:
    dataset = _imported(workspace, upload('{"text": "Human: a\\n\\nAssistant: b"}\n'))
    with pytest.raises(DataError, match="no separate answer"):
        export_kept(dataset, {0}, workspace.root / "out", responses={0: REFUSAL})
    assert not (workspace.root / "out").exists()


def test_a_dataset_without_upload_becomes_chat_lines(workspace: Workspace) -> None:
    dataset = write_dataset(workspace, [Row(prompt="a", response="b"), Row(prompt="c", response="d")], name="made", role="user")
    (workspace.root / "reports").mkdir()
    target = export_kept(dataset, {1}, workspace.root / "reports", responses={1: REFUSAL})
    assert target.name == "made.cleaned.jsonl"
    assert [turn["content"] for turn in json.loads(target.read_text())["messages"]] == ["c", REFUSAL]


def test_a_folder_gets_a_file_named_after_the_upload(workspace: Workspace, upload: Upload, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    dataset = _imported(workspace, upload('{"prompt":"a","response":"b"}\n', "mine.jsonl"))
    assert export_kept(dataset, {0}, tmp_path / "folder").name == "mine.cleaned.jsonl"


def test_a_changed_upload_is_not_exported(workspace: Workspace, upload: Upload) -> None:
    dataset = _imported(workspace, upload('{"prompt":"a","response":"b"}\n'))
    (original,) = (dataset.folder / "original").iterdir()
    original.write_text('{"prompt":"a","response":"c"}\n')
    with pytest.raises(StoreError, match="was changed"):
        export_kept(dataset, {0}, workspace.root / "out")


def test_a_failed_export_leaves_the_older_file(workspace: Workspace, upload: Upload) -> None:
    dataset = _imported(workspace, upload('{"prompt":"a","response":"b"}\n'))
    target = workspace.root / "out"
    target.write_text("older")

    def fail(row_id: int) -> bool:
        raise OSError(28, "No space left on device")

    with pytest.raises(PrerequisiteError, match="No space left"), pytest.MonkeyPatch.context() as patch:
        patch.setattr("reft_studio.data.formats.json_lines.JsonLines.export", lambda *_: fail(0))
        export_kept(dataset, {0}, target)
    assert target.read_text() == "older"
    assert sorted(path.name for path in workspace.root.iterdir()) == ["datasets", "out"]


@pytest.mark.parametrize(
    "cell",
    [
        *("=1+1", "+1", "-1+1", "@SUM(1)", "\t=1", "\r=1", "\n=1", " =1", "|calc", "%0A=1", "\0=1", "\tplain", "-5"),
        *("\uff1d1", "\ufe66=1", "\uff20x", "\u2212x"),  # other widths, the minus sign of typesetting
        *("\u200b=1", "\u202e=1", "\u2066\u00ad=1", "\ufe0f=1", "\U000e0001=1", "\u3000\u2060+1", "\u200b" * 300),  # behind the invisible
    ],
)
def test_a_text_that_a_spreadsheet_would_run_is_neutralised(cell: str) -> None:
    assert safe_cell(cell) == f"'{cell}"


@pytest.mark.parametrize("cell", ["plain", "'=1", '"=1+1"', "a=b", "", -0.5, 3, None, True])
def test_other_cells_stay(cell: Any) -> None:
    assert safe_cell(cell) == cell


def test_a_table_for_spreadsheets_has_no_formula_and_keeps_its_numbers(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": "=cmd()", "score": -0.31},
        {"prompt": 'a "b"\nc', "score": None},
        {"prompt": "\ud800", "score": 1},
    ]
    target = export_csv_safe(iter(rows), tmp_path / "a.csv")
    assert target.read_bytes().startswith(b"\xef\xbb\xbf")
    with target.open(encoding="utf-8-sig", newline="") as file:
        assert list(csv.reader(file)) == [["prompt", "score"], ["'=cmd()", "-0.31"], ['a "b"\nc', ""], ["?", "1"]]
    assert export_csv_safe([], tmp_path / "b.csv", columns=["x"]).read_bytes() == b'\xef\xbb\xbf"x"\r\n'
