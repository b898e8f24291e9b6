"""Kept rows back in the format they came in, byte for byte, and tables that a spreadsheet opens without running them."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from reft_studio.data.dataset import Dataset
from reft_studio.data.detect import Layout
from reft_studio.data.json_stream import elements, outline, text_errors
from reft_studio.data.records import csv_header, load_columns, read_records
from reft_studio.errors import PrerequisiteError, StoreError
from reft_studio.fingerprint import of_file

Keep = Callable[[int], bool]
_FORMULA = re.compile(r"[\s\u200b\ufeff]*[=+\-@|%\uff1d\uff0b\uff0d\uff20\t\r\n]|[\t\r\n]")


def export_kept(dataset: Dataset, keep: Callable[[int], bool] | Collection[int], target: Path) -> Path:
    """Write the rows of the upload whose id is kept to `target`, in the upload's own format.

    JSON Lines, CSV and elements of a JSON list are byte-identical to the upload; Parquet keeps its schema. Rows that
    were set aside at import are not written. A dataset without upload becomes chat JSON Lines. If `target` is a
    folder, the file in it is named after the upload. Raises StoreError if the stored upload was changed.
    """
    wanted = keep if callable(keep) else set(keep).__contains__
    source = dataset.manifest.get("source") or {}
    original = dataset.folder / "original" / str(source.get("stored", ""))
    if target.is_dir():
        name = Path(source.get("file", f"{dataset.name}.jsonl"))
        target = target / f"{name.stem}.cleaned{name.suffix}"
    if "layout" not in source:
        with _replacing(target) as file:
            _write_chat(dataset, wanted, file)
        return target
    if not original.is_file() or of_file(original) != source["sha256"]:
        raise StoreError(f"The stored upload of dataset {dataset.id} is missing or was changed. Import the file again.")
    layout = Layout(**source["layout"])
    # rows that were set aside have ids too, and nobody decided about them
    imported = {row["row_id"] for row in dataset.read(["row_id"]) if wanted(row["row_id"])}
    with _replacing(target) as file:
        _WRITERS[layout.container](original, layout, imported.__contains__, file)
    return target


@contextmanager
def _replacing(target: Path) -> Iterator[BinaryIO]:
    """A file that takes the target's place when it is complete, and is gone otherwise."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{target.name}.tmp-{uuid.uuid4().hex[:8]}")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as exc:
        raise PrerequisiteError(
            f"Writing {target.name} failed ({exc.strerror}). Nothing was changed. Free some space and try again."
        ) from exc
    finally:
        temporary.unlink(missing_ok=True)


def _write_chat(dataset: Dataset, keep: Keep, file: BinaryIO) -> None:
    for row in dataset.read(["row_id", "messages"]):
        if keep(row["row_id"]):
            file.write(f'{{"messages": {row["messages"]}}}\n'.encode())


def _write_text(original: Path, layout: Layout, keep: Keep, file: BinaryIO) -> None:
    """The lines of kept rows as they stand in the upload, after its byte order mark and header."""
    file.write(_beginning(original, layout.bom))
    if layout.container == "csv":
        file.write(csv_header(original, layout)[1])
    for record in read_records(original, layout):
        if keep(record.row_id):
            file.write(record.raw)


def _beginning(original: Path, length: int) -> bytes:
    with original.open("rb") as source:
        return source.read(length)


def _write_json(original: Path, layout: Layout, keep: Keep, file: BinaryIO) -> None:
    where = outline(original, layout.encoding, layout.bom)
    if where.kind == "columns":
        _write_columns(original, layout, keep, file)
        return
    errors = text_errors(layout.encoding)

    def write(text: str) -> None:
        file.write(text.encode(layout.encoding, errors))

    file.write(_beginning(original, layout.bom))
    with original.open("rb") as binary:
        binary.seek(layout.bom)
        text = io.TextIOWrapper(binary, layout.encoding, errors, newline="")
        place, prefix, written = 0, None, False
        for row_id, element in enumerate(elements(original, layout.encoding, layout.bom, where)):
            gap = text.read(element.start - place)
            row = text.read(len(element.text))
            place = element.start + len(element.text)
            if prefix is None:
                prefix = gap
                write(prefix)
            if keep(row_id):
                # what stood before the first row still does; every other row keeps the comma before it
                write(row if not written else gap + row)
                written = True
        tail = text.read()
    if where.kind != "objects" and not tail.lstrip(" \t\r\n,").startswith("]"):
        tail = "]}" if where.kind == "wrapped" else "]"  # the upload was cut off
    write(tail)


def _write_columns(original: Path, layout: Layout, keep: Keep, file: BinaryIO) -> None:
    """Columns without the rows that are not kept; written anew, since they are not separate in the file."""
    columns = load_columns(original, layout)
    first = next(iter(columns.values()))
    keys = list(first) if isinstance(first, dict) else list(range(len(first)))
    kept = [key for row_id, key in enumerate(keys) if keep(row_id)]
    chosen = {
        name: {key: cells[key] for key in kept if key in cells} if isinstance(cells, dict) else [cells[key] for key in kept]
        for name, cells in columns.items()
    }
    file.write(json.dumps(chosen, ensure_ascii=False).encode(layout.encoding))


def _write_parquet(original: Path, layout: Layout, keep: Keep, file: BinaryIO) -> None:
    """Row group by row group, with the schema and its metadata as they were."""
    start = 0
    with pq.ParquetFile(original) as source, pq.ParquetWriter(file, source.schema_arrow, compression="zstd") as writer:
        for batch in source.iter_batches(batch_size=4096):
            mask = pa.array([keep(start + place) for place in range(batch.num_rows)], pa.bool_())
            start += batch.num_rows
            writer.write_batch(batch.filter(mask))


_WRITERS = {"jsonl": _write_text, "csv": _write_text, "json": _write_json, "parquet": _write_parquet}


def safe_cell(value: Any) -> Any:
    """A cell that no spreadsheet runs: a text that begins like a formula gets an apostrophe in front; numbers stay."""
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def export_csv_safe(rows: Iterable[Mapping[str, Any]], target: Path, *, columns: Sequence[str] | None = None) -> Path:
    """Write rows as CSV for a spreadsheet: UTF-8 with byte order mark, every cell quoted, formulas neutralised."""
    iterator = iter(rows)
    first = next(iterator, None)
    names = list(columns) if columns is not None else list(first or {})
    with _replacing(target) as file, io.TextIOWrapper(file, "utf-8-sig", errors="replace", newline="") as text:
        writer = csv.writer(text, quoting=csv.QUOTE_ALL)
        writer.writerow([safe_cell(name) for name in names])
        for row in [first] if first is not None else []:
            writer.writerow([safe_cell(row.get(name)) for name in names])
        for row in iterator:
            writer.writerow([safe_cell(row.get(name)) for name in names])
        text.flush()
        text.detach()
    return target
