"""A file is looked at once: by one opening, and what was found is passed on from the preview to the import and its job."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reft_studio.data.formats.detect import detect
from reft_studio.data.formats.head import FileHead
from reft_studio.data.reading.readers import import_file, preview
from reft_studio.errors import DataError
from reft_studio.workspace import Workspace

ROWS = [{"prompt": f"Größe {n}?", "response": "a"} for n in range(50)]


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files whose format is looked for, one entry each time."""
    found: list[Path] = []
    before = FileHead.__init__

    def look(self: FileHead, path: Path, *more: Any) -> None:
        found.append(path)
        before(self, path, *more)

    monkeypatch.setattr(FileHead, "__init__", look)
    return found


@pytest.fixture
def openings(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], int]:
    """How often Python opened a file so far."""
    found: list[str] = []
    before = io.open

    def opened(file: Any, *more: Any, **options: Any) -> Any:
        found.append(str(file))
        return before(file, *more, **options)

    monkeypatch.setattr(io, "open", opened)
    return lambda path: found.count(str(path))


def files(folder: Path) -> Iterator[Path]:
    (folder / "a.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS), "utf-8")
    (folder / "b.json").write_text(json.dumps({"data": ROWS}), "utf-8")
    (folder / "c.csv").write_text("prompt,response\n" + "".join(f"{row['prompt']},a\n" for row in ROWS), "cp1252")
    pq.write_table(pa.Table.from_pylist(ROWS), folder / "d.parquet")
    with pa.OSFile(str(folder / "e.arrow"), "wb") as file, pa.ipc.new_file(file, pa.Table.from_pylist(ROWS).schema) as writer:
        writer.write_table(pa.Table.from_pylist(ROWS))
    return (folder / name for name in ("a.jsonl", "b.json", "c.csv", "d.parquet", "e.arrow"))


def test_detecting_opens_a_file_once(tmp_path: Path, openings: Callable[[Path], int]) -> None:
    for path in files(tmp_path):
        before = openings(path)
        detect(path)
        assert openings(path) - before == 1, path


def test_an_upload_is_detected_once(tmp_path: Path, workspace: Workspace, looks: list[Path]) -> None:
    for path in files(tmp_path):
        looks.clear()
        found = preview(path)
        assert import_file(workspace, found.file).rows == 50
        assert looks == [path]


def test_before_its_import_an_upload_is_opened_to_detect_it_for_its_rows_and_to_copy_it(
    tmp_path: Path, workspace: Workspace, openings: Callable[[Path], int]
) -> None:
    for path, most in zip(files(tmp_path), (4, 6, 5, 4, 2), strict=True):  # JSON and tables: also for where their rows begin
        before = openings(path)
        import_file(workspace, preview(path).file)
        assert openings(path) - before <= most, path


def test_an_upload_that_changed_since_it_was_looked_at_is_detected_again(tmp_path: Path, workspace: Workspace, looks: list[Path]) -> None:
    path = tmp_path / "a"
    path.write_text("prompt;response\na;b\n")
    found = preview(path)
    path.write_text('{"prompt": "c", "response": "d"}\n')
    report = import_file(workspace, found.file)
    assert (report.container, report.rows, looks) == ("jsonl", 1, [path, path])


def test_an_upload_that_changes_between_detection_and_copy_is_refused(
    tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    path.write_text("prompt;response\na;b\n")
    monkeypatch.setattr("reft_studio.data.reading.readers._check_room", lambda *_: path.write_text("prompt;response\na;b\nc;d\n"))
    with pytest.raises(DataError, match="changed while it was read"):
        import_file(workspace, path)
