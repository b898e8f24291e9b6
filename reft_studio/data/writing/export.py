"""Kept rows back in the format they came in, byte for byte."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from reft_studio.data.dataset import Dataset
from reft_studio.data.formats.arrow_rows import ipc_batches, writer_like
from reft_studio.data.formats.arrow_types import filtered
from reft_studio.data.formats.csv_text import line_of_cells
from reft_studio.data.formats.detect import FileLayout
from reft_studio.data.formats.json_stream import Outline, elements, outline, text_errors
from reft_studio.data.formats.lines import line_of, raw_lines
from reft_studio.data.formats.parquet_rows import BUFFER
from reft_studio.data.formats.records import JsonText, csv_header, jsonl_record, load_columns, read_records
from reft_studio.data.index.rowstore import Ids, row_store
from reft_studio.data.rows.interpret import Interpreter
from reft_studio.data.rows.mapping import Mapping as ColumnMapping
from reft_studio.data.rows.record import RawRecord
from reft_studio.data.rows.relabel import with_response
from reft_studio.data.writing.files import replacing
from reft_studio.data.writing.spreadsheet import export_csv_safe, safe_cell
from reft_studio.errors import DataError, StoreError
from reft_studio.fingerprint import of_file

_LAST_COMMA = re.compile(r",(\s*)\Z")
_BREAKS = re.compile(r"\s*[\r\n]+\s*")
STEP = 65_536
"""Rows asked about at once."""

__all__ = ["export_csv_safe", "export_kept", "named", "safe_cell"]


def export_kept(
    dataset: Dataset, keep: Callable[[int], bool] | Collection[int], target: Path, *, responses: Mapping[int, str] | None = None
) -> Path:
    """Write the rows of the upload whose id is kept to `target`, in the upload's own format, and return its path.

    JSON Lines, CSV and the elements of a JSON list are byte-identical to the upload; Parquet keeps its schema. What is no
    valid file of its kind becomes one: lines lose the comma after them, objects over several lines become JSON Lines. Rows
    that were set aside at import are not written. `responses` gives relabelled rows another answer. A dataset without
    upload becomes chat JSON Lines. If `target` is a folder, the file in it is named after the upload. Raises
    StoreError if the stored upload was changed.
    """
    wanted = keep if callable(keep) else set(keep).__contains__
    source = dataset.manifest.get("source") or {}
    target = named(dataset, target)
    if "layout" not in source:
        with replacing(target) as file:
            _write_chat(dataset, wanted, responses or {}, file)
        return target
    original = dataset.folder / "original" / source["stored"]
    if not original.is_file() or of_file(original) != source["sha256"]:
        raise StoreError(f"The stored upload of dataset {dataset.id} is missing or was changed. Import the file again.")
    layout = FileLayout(**source["layout"])
    reader = Interpreter(ColumnMapping(**source["mapping"]), dataset.role, True)
    with replacing(target) as file:
        export = _Export(original, layout, _Kept(row_store(dataset).row_ids, wanted), responses or {}, reader, file)
        {"jsonl": export.text, "csv": export.text, "json": export.json, "parquet": export.parquet, "arrow": export.arrow}[
            layout.container
        ]()
    return target


def named(dataset: Dataset, target: Path) -> Path:
    """The file that `export_kept` writes: `target`, or one in it that is named after the upload."""
    if not target.is_dir():
        return target
    name = Path((dataset.manifest.get("source") or {}).get("file", f"{dataset.name}.jsonl"))
    return target / f"{name.stem}.cleaned{name.suffix}"


def _write_chat(dataset: Dataset, keep: Callable[[int], bool], responses: Mapping[int, str], file: BinaryIO) -> None:
    reader = Interpreter(ColumnMapping(format="openai", columns={"messages": "messages"}), dataset.role, False)
    for row in dataset.read(["row_id", "messages"]):
        if keep(row["row_id"]):
            value = {"messages": json.loads(row["messages"])}
            if row["row_id"] in responses:
                value = with_response(value, reader, responses[row["row_id"]])
            file.write(_json_bytes(value, "utf-8") + b"\n")


def _one_comma(gap: str) -> str:
    """What stands between two elements of a list, with exactly one comma."""
    return gap if gap.count(",") == 1 else "," + gap.replace(",", "")


def _json_bytes(value: Any, encoding: str) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False).encode(encoding)
    except UnicodeEncodeError:  # a lone surrogate, or a sign the old encoding does not have
        return json.dumps(value).encode(encoding)


class _Kept:
    """Ids of imported rows that are wanted, one byte each. Rows that were set aside have ids too, and nobody decided about them."""

    def __init__(self, row_ids: Ids, wanted: Callable[[int], bool]) -> None:
        self.flags = np.zeros(int(row_ids.max(initial=-1)) + 1, np.bool_)
        for start in range(0, len(row_ids), STEP):
            ids = row_ids[start : start + STEP].tolist()
            self.flags[ids] = [wanted(row_id) for row_id in ids]
        self._bytes = self.flags.tobytes()

    def __contains__(self, row_id: int) -> bool:
        return row_id < len(self._bytes) and self._bytes[row_id] == 1

    def between(self, first: int, end: int) -> pa.BooleanArray:
        """Whether each row of a stretch is wanted."""
        found = np.zeros(end - first, np.bool_)
        known = self.flags[first:end]
        found[: len(known)] = known
        return pa.array(found)


@dataclass(frozen=True)
class _Export:
    """One export of an upload."""

    original: Path
    layout: FileLayout
    kept: _Kept
    responses: Mapping[int, str]
    reader: Interpreter
    file: BinaryIO

    def text(self) -> None:
        """The lines of kept rows as they stand in the upload, after its byte order mark and header."""
        header: list[str] = []
        with self.original.open("rb") as source:
            self.file.write(source.read(self.layout.bom))
        if self.layout.container == "csv":
            header, raw = csv_header(self.original, self.layout)
            self.file.write(raw)
        for record in self._records():
            if record.row_id in self.kept:
                self.file.write(self._line(record, header) if record.row_id in self.responses else self._plain(record.raw))

    def _plain(self, raw: bytes) -> bytes:
        """A line as it stands in the upload, without a comma after it."""
        if not self.layout.commas:
            return raw
        errors = text_errors(self.layout.encoding)
        return _LAST_COMMA.sub(r"\1", raw.decode(self.layout.encoding, errors)).encode(self.layout.encoding, errors)

    def _records(self) -> Iterator[RawRecord]:
        """The records; of JSON Lines only those with a new answer are understood, since the others go out as they are."""
        if self.layout.container != "jsonl":
            yield from read_records(self.original, self.layout)
            return
        reader = JsonText(commas=self.layout.commas)
        lines = raw_lines(self.original, self.layout.encoding, skip=self.layout.bom, newline=self.layout.newline)
        for row_id, (raw, _) in enumerate(lines):
            if row_id in self.responses:
                found = jsonl_record(line_of(row_id + 1, raw, self.layout.encoding), reader)
                yield from [found] if found else []
            else:
                yield RawRecord(row_id, row_id + 1, None, raw, len(raw))

    def _line(self, record: RawRecord, header: list[str]) -> bytes:
        """A relabelled line, with the line end it had."""
        text = record.raw.decode(self.layout.encoding)
        ending = text[len(text.rstrip("\r\n")) :]
        value = with_response(record.value, self.reader, self.responses[record.row_id])
        if self.layout.container == "jsonl":
            return _json_bytes(value, self.layout.encoding) + ending.encode(self.layout.encoding)
        cells = [value[name] for name in header if name in value]
        line = io.StringIO()
        if self.layout.escape:
            line.write(line_of_cells(cells, self.layout, ending))
        else:
            csv.writer(line, delimiter=self.layout.delimiter, lineterminator=ending).writerow(cells)
        try:
            return line.getvalue().encode(self.layout.encoding)
        except UnicodeEncodeError as exc:
            raise DataError(f"The new answer of row {record.row_id} has signs that {self.layout.encoding} does not have.") from exc

    def json(self) -> None:
        """The list as it stands in the upload, without the elements that are not kept."""
        where = outline(self.original, self.layout.encoding, self.layout.bom)
        if where.kind == "columns":
            self._columns()
            return
        if where.kind == "objects":
            self._objects(where)
            return
        errors, written, place = text_errors(self.layout.encoding), False, 0
        with self.original.open("rb") as binary:
            self.file.write(binary.read(self.layout.bom))
            text = io.TextIOWrapper(binary, self.layout.encoding, errors, newline="")
            for row_id, element in enumerate(elements(self.original, self.layout.encoding, self.layout.bom, where)):
                gap, row = text.read(element.start - place), text.read(element.length)
                place = element.start + element.length
                if row_id == 0:  # what stands before the first row stays, whichever row is first now
                    self.file.write(gap.rstrip(", \t\r\n").encode(self.layout.encoding, errors) + self._space(gap))
                if row_id in self.kept:
                    self.file.write(_one_comma(gap).encode(self.layout.encoding, errors) if written else b"")
                    self.file.write(self._element(row_id, row, errors))
                    written = True
            tail = text.read()
        if not (end := tail.lstrip(" \t\r\n,")).startswith("]"):
            tail = "]}" if where.kind == "wrapped" else "]"  # the upload was cut off
        else:
            tail = tail[: len(tail) - len(end)].replace(",", "") + end
        self.file.write(tail.encode(self.layout.encoding, errors))

    def _space(self, gap: str) -> bytes:
        """The blank part at the end of a gap, without commas."""
        return gap[len(gap.rstrip(", \t\r\n")) :].replace(",", "").encode(self.layout.encoding)

    def _objects(self, where: Outline) -> None:
        """Objects one after another, which are no JSON together, as JSON Lines."""
        errors = text_errors(self.layout.encoding)
        with self.original.open("rb") as binary:
            self.file.write(binary.read(self.layout.bom))
        for row_id, element in enumerate(elements(self.original, self.layout.encoding, self.layout.bom, where)):
            if row_id in self.kept:
                # line breaks inside a string are escapes in JSON: those that are left stand between its parts
                line = _BREAKS.sub(" ", element.text).encode(self.layout.encoding, errors)
                self.file.write(self._element(row_id, element.text, errors) if row_id in self.responses else line)
                self.file.write("\n".encode(self.layout.encoding))

    def _element(self, row_id: int, text: str, errors: str) -> bytes:
        if row_id not in self.responses:
            return text.encode(self.layout.encoding, errors)
        return _json_bytes(with_response(JsonText().read(text)[0], self.reader, self.responses[row_id]), self.layout.encoding)

    def _columns(self) -> None:
        """Columns without the rows that are not kept; written anew, since rows are not separate in the file."""
        columns = load_columns(self.original, self.layout)
        first = next(iter(columns.values()))
        keys = list(first) if isinstance(first, dict) else list(range(len(first)))
        rows = {}
        for row_id, key in enumerate(keys):
            if row_id in self.kept:
                row = {name: cells.get(key) if isinstance(cells, dict) else cells[key] for name, cells in columns.items()}
                rows[key] = with_response(row, self.reader, self.responses[row_id]) if row_id in self.responses else row
        chosen = {
            name: {key: row[name] for key, row in rows.items()} if isinstance(cells, dict) else [row[name] for row in rows.values()]
            for name, cells in columns.items()
        }
        self.file.write(_json_bytes(chosen, self.layout.encoding))

    def parquet(self) -> None:
        """Batch by batch, with the schema and its metadata as they were."""
        start = 0
        with (
            pq.ParquetFile(self.original, pre_buffer=False, buffer_size=BUFFER) as source,
            pq.ParquetWriter(self.file, source.schema_arrow, compression="zstd") as writer,
        ):
            for group in range(source.num_row_groups):  # one reader for all would keep some bytes of every row
                for batch in source.iter_batches(batch_size=1024, row_groups=[group]):
                    ids = range(start, start + batch.num_rows)
                    start += batch.num_rows
                    writer.write_table(self._changed(filtered(batch, self.kept.between(ids.start, ids.stop)), ids, source.schema_arrow))

    def arrow(self) -> None:
        """A stream or a file as the upload is, with its schema."""
        start = 0
        with writer_like(self.original, self.file) as writer:
            for batch in ipc_batches(self.original, names=False):
                ids = range(start, start + batch.num_rows)
                start += batch.num_rows
                writer.write_table(self._changed(filtered(batch, self.kept.between(ids.start, ids.stop)), ids, batch.schema))

    def _changed(self, kept: pa.Table, ids: range, schema: pa.Schema) -> pa.Table:
        """The kept rows among those with these ids, with their new answers."""
        if self.responses.keys().isdisjoint(ids):
            return kept
        rows = zip((row_id for row_id in ids if row_id in self.kept), kept.to_pylist(), strict=True)
        changed = [with_response(row, self.reader, self.responses[row_id]) if row_id in self.responses else row for row_id, row in rows]
        return pa.Table.from_pylist(changed, schema=schema)
