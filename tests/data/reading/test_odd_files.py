"""Files that are nearly what they should be: each is read as meant, or refused with what to do, and no row is lost without a word."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from reft_studio.data.dataset import open_dataset
from reft_studio.data.reading.readers import import_file, preview
from reft_studio.errors import DataError
from reft_studio.workspace import Workspace

Upload = Callable[..., Path]
PAIR = {"prompt": "Why?", "response": "So."}
ROW = json.dumps(PAIR)
ONE = [("Why?", "So.")]


def _rows(workspace: Workspace, path: Path) -> list[tuple[str, str]]:
    report = import_file(workspace, path)
    return [(row["prompt"], row["response"]) for row in open_dataset(workspace, report.dataset_id).read(["prompt", "response"])]


def _workbook() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("xl/workbook.xml", "")
    return made.getvalue()


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ("prompt\tresponse\nWhy?\tSo.\n", ONE),
        ("prompt;response\nWhy?;So.\n", ONE),
        ("prompt|response\nWhy?|So.\n", ONE),
        ("prompt,response\rWhy?,So.\r", ONE),
        ("\n\nprompt,response\nWhy?,So.\n", ONE),
        (",prompt,response\n0,Why?,So.\n", ONE),
        ("prompt,response,response\nWhy?,So.,Other.\n", ONE),
        ('prompt, response\n"Why, me?", "So, ""fine""."\n', [("Why, me?", 'So, "fine".')]),
        (f"{ROW}\r{ROW}\r", ONE * 2),
        (f"\ufeff{ROW}\n\ufeff{ROW}\n", ONE * 2),
        (f"{ROW}\n\0\0\0\n{ROW}\n", ONE * 2),
        (f"\x1e{ROW}\n\x1e{ROW}\n", ONE * 2),
        (f"{ROW}{ROW}\n{ROW}{ROW}", ONE * 4),
        *[(json.dumps({key: [PAIR, PAIR]}), ONE * 2) for key in ("data", "rows", "train", "Data", "Questions", "validation")],
        (json.dumps({"version": 1, "about": {"by": "me"}, "data": [PAIR]}, indent=1), ONE),
    ],
)
def test_what_is_meant_is_read(content: str, rows: list[tuple[str, str]], workspace: Workspace, upload: Upload) -> None:
    assert _rows(workspace, upload(content, "any.csv")) == rows


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (_workbook(), r"workbook \(Excel's .xlsx\).*save the sheet as CSV"),
        (gzip.compress(b"{}", mtime=0), "gzip archive.*Unpack it first"),
        (b"\x28\xb5\x2f\xfd\0\0", "Zstandard archive.*Unpack it first"),
        ("How do I bake bread without yeast?,Use soda.\nWhat is a haiku?,A poem.\n", "put a line with the column names above it"),
        ("Why,So\nWho,Me\n", "put a line with the column names above it"),
        (f"{PAIR}\n{PAIR}\n", "Python's own notation. Write the row with json.dumps"),
        ("[]", "has no row"),
        (json.dumps({"train": []}), "has no row"),
        ("prompt,response\n", "has no row"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
        ("<html><body>Sign in</body></html>", "Download the file itself"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_to_do(content: bytes | str, told: str, workspace: Workspace, upload: Upload) -> None:
    with pytest.raises(DataError, match=f"(?s){told}"):
        import_file(workspace, upload(content, "any.csv"))


def test_a_split_beside_the_rows_is_not_left_out_in_silence(workspace: Workspace, upload: Upload) -> None:
    path = upload(json.dumps({"train": [PAIR], "test": [PAIR, PAIR]}), "a.json")
    report = import_file(workspace, path)
    assert report.rows == 1 and "Only the rows under 'train' are read" in report.notes[0] and "'test'" in report.notes[0]
    assert [problem.severity for problem in preview(path).problems] == ["warning"]


def test_mixed_line_ends_are_named_as_such(workspace: Workspace, upload: Upload) -> None:
    report = import_file(workspace, upload("prompt,response\r\nWhy?,So.\rWho?,She.\r\nA?,B.\r\n", "a.csv"))
    assert (report.rows, report.reasons) == (1, {"a carriage return inside a row": 1})


def test_one_huge_line_costs_one_row(workspace: Workspace, upload: Upload) -> None:
    long = json.dumps({**PAIR, "response": "x" * (9 << 20)})
    report = import_file(workspace, upload(f"{ROW}\n{long}\n{ROW}\n"))
    assert (report.rows, report.reasons) == (2, {"the line is longer than 8 MiB": 1})


def test_a_preview_of_one_object_with_lists_inside_is_one_row(workspace: Workspace, upload: Upload) -> None:
    row = {"documents": [{"title": "a"}], "prompt": "Why?", "response": "So."}
    assert _rows(workspace, upload(json.dumps(row, indent=2), "a.json")) == ONE
