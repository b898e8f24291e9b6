"""JSON documents: an array of rows, alone or in an object; columns one after another; objects over several lines."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, cast

from reft_studio.data.formats.export import Export
from reft_studio.data.formats.format import DataFile, Format
from reft_studio.data.formats.head import FileHead
from reft_studio.data.formats.json_stream import Element, Outline, elements, lists_beside, outline, text_errors
from reft_studio.data.formats.json_text import JsonText, add_quickly, beyond_unicode, has_controls, json_bytes
from reft_studio.data.formats.layout import FileLayout
from reft_studio.data.formats.piece_reader import PieceReader
from reft_studio.data.formats.pieces import Cut, Piece, of_elements, of_records
from reft_studio.data.rows.record import RawRecord
from reft_studio.data.rows.row_columns import PieceRows, RowColumns
from reft_studio.errors import DataError

MAX_COLUMNAR_BYTES = 256 << 20
"""JSON that holds one column after the other cannot be streamed; above this it must be converted."""
LOOKED_THROUGH = 64 << 20
"""Bytes of a JSON document that is looked through for lists beside its rows."""
_BREAKS = re.compile(r"\s*[\r\n]+\s*")
_LINE_BREAKS = re.compile(r"[\r\n]+")


class JsonDocument(Format):
    """What `know` finds is where the rows are: an `Outline`."""

    name = "json"
    label = "JSON"
    endings = (".json",)
    family = "jsonl"

    def sniff(self, head: FileHead) -> FileLayout | None:
        return head.layout(self.name) if head.filled and head.filled[0].startswith(("[", "{")) else None

    def know(self, file: DataFile) -> Outline:
        return outline(file.path, file.layout.encoding, file.layout.bom)

    def records(self, file: DataFile, *, columns: Sequence[str] | None = None) -> Iterator[RawRecord]:
        if _outline(file).kind == "columns":
            yield from _columns(file)
            return
        reader = JsonText()
        for row_id, element in enumerate(_elements(file)):
            yield _record(row_id, element, reader, file.layout)

    def cut(self, file: DataFile, columns: Sequence[str]) -> Iterator[Cut]:
        if _outline(file).kind == "columns":
            return of_records(self.records(file))
        return of_elements(_elements(file))

    def read(self, piece: Piece, reader: PieceReader) -> PieceRows:
        columns, slow = RowColumns(), JsonText()
        for number, element in enumerate(Element(*words) for words in piece.words):
            text = b"" if element.damage else element.text.encode("utf-8", "replace")
            plain = not element.damage and not beyond_unicode(element.text)
            if not plain or not add_quickly(text, number, reader.fast, columns, controls=has_controls(text)):
                reader.slowly(_record(number, element, slow, reader.file.layout), columns)
        return columns.part(ids=len(piece.words), lines=len(piece.words))

    def notes(self, file: DataFile) -> list[tuple[str, str]]:
        where = _outline(file)
        if where.kind == "objects":
            return [("objects one after another, which are no JSON document together", "The cleaned file has one object on each line.")]
        if where.kind == "wrapped" and file.path.stat().st_size <= LOOKED_THROUGH:
            others = lists_beside(file.path, file.layout.encoding, file.layout.bom, where.key)
            if others:
                named = ", ".join(f"'{name[:40]}'" for name in others[:5])
                hint = f"Only the rows under '{where.key}' are read. To read those under {named}, save them as a file of their own."
                return [("other lists beside the rows are not read", hint)]
        return []

    def cleaned(self, file: DataFile) -> str:
        kinds = {
            "array": "a JSON array",
            "wrapped": "a JSON object with its rows as in the upload",
            "columns": "a JSON object of columns",
            "objects": "JSON Lines",
        }
        return kinds[_outline(file).kind]

    def export(self, export: Export) -> None:
        """The list as it stands in the upload, without the elements that are not kept."""
        kind = _outline(export.file).kind
        {"columns": _export_columns, "objects": _export_objects}.get(kind, _export_list)(export)

    def append(self, file: DataFile, first: DataFile, out: BinaryIO) -> None:
        if _outline(file).kind == "columns":
            raise DataError(
                f"{file.path.name} holds one column after another, which cannot be joined with other files. Import the parts one by one."
            )
        for element in _elements(file):
            # only what ends a line of a file: other separators are text
            out.write(_LINE_BREAKS.sub(" ", element.text).encode("utf-8", text_errors("utf-8")) + b"\n")


FORMAT = JsonDocument()


def _outline(file: DataFile) -> Outline:
    return cast(Outline, file.known)


def _elements(file: DataFile) -> Iterator[Element]:
    return elements(file.path, file.layout.encoding, file.layout.bom, _outline(file))


def _record(row_id: int, element: Element, reader: JsonText, layout: FileLayout) -> RawRecord:
    """The record that an element of a JSON document is."""
    raw = element.text.encode(layout.encoding, "surrogateescape" if layout.encoding == "utf-8" else "replace")
    if element.damage:
        return RawRecord(
            row_id, row_id + 1, None, raw, len(raw), element.damage, "Check that the file is whole and every quote and bracket is closed."
        )
    if not element.text.isascii() and any("\udc80" <= sign <= "\udcff" for sign in element.text):
        return RawRecord(row_id, row_id + 1, None, raw, len(raw), f"bytes that are not valid {layout.encoding}", "Save the file as UTF-8.")
    value, error, hint, warnings = reader.read(element.text)
    return RawRecord(row_id, row_id + 1, value, raw, len(raw), error, hint, warnings)


def _loaded(file: DataFile) -> dict[str, Any]:
    """A JSON document that holds columns, read whole. Raises DataError if it is too large or broken."""
    path = file.path
    size = path.stat().st_size
    if size > MAX_COLUMNAR_BYTES:
        raise DataError(
            f"{path.name} holds its columns one after another and has {size >> 20} MiB, but such a file is read whole and may have "
            f"{MAX_COLUMNAR_BYTES >> 20} MiB. Save it as JSON Lines (pandas: to_json(orient='records', lines=True))."
        )
    text = path.read_bytes()[file.layout.bom :].decode(file.layout.encoding, "replace")
    value, error, hint, _ = JsonText().read(text)
    if error or not isinstance(value, dict):
        raise DataError(f"{path.name}: {error or 'not an object of columns'}. {hint} Save it as JSON Lines.")
    return value


def _columns(file: DataFile) -> Iterator[RawRecord]:
    columns = _loaded(file)
    named = {name: cells if isinstance(cells, dict) else dict(enumerate(cells)) for name, cells in columns.items()}
    first = next(iter(named.values()), {})
    size = file.path.stat().st_size // max(1, len(first))
    for row_id, key in enumerate(first):
        yield RawRecord(row_id, row_id + 1, {name: cells.get(key) for name, cells in named.items()}, b"", size)


def _export_list(export: Export) -> None:
    encoding = export.file.layout.encoding
    errors, written, place = text_errors(encoding), False, 0
    with export.file.path.open("rb") as binary:
        export.out.write(binary.read(export.file.layout.bom))
        text = io.TextIOWrapper(binary, encoding, errors, newline="")
        for row_id, element in enumerate(_elements(export.file)):
            gap, row = text.read(element.start - place), text.read(element.length)
            place = element.start + element.length
            if row_id == 0:  # what stands before the first row stays, whichever row is first now
                export.out.write(gap.rstrip(", \t\r\n").encode(encoding, errors) + _space(gap, encoding))
            if row_id in export.kept:
                export.out.write(_one_comma(gap).encode(encoding, errors) if written else b"")
                export.out.write(_element(row_id, row, export))
                written = True
        tail = text.read()
    if not (end := tail.lstrip(" \t\r\n,")).startswith("]"):
        tail = "]}" if _outline(export.file).kind == "wrapped" else "]"  # the upload was cut off
    else:
        tail = tail[: len(tail) - len(end)].replace(",", "") + end
    export.out.write(tail.encode(encoding, errors))


def _one_comma(gap: str) -> str:
    """What stands between two elements of a list, with exactly one comma."""
    return gap if gap.count(",") == 1 else "," + gap.replace(",", "")


def _space(gap: str, encoding: str) -> bytes:
    """The blank part at the end of a gap, without commas."""
    return gap[len(gap.rstrip(", \t\r\n")) :].replace(",", "").encode(encoding)


def _export_objects(export: Export) -> None:
    """Objects one after another, which are no JSON together, as JSON Lines."""
    encoding = export.file.layout.encoding
    export.bom()
    for row_id, element in enumerate(_elements(export.file)):
        if row_id in export.kept:
            # line breaks inside a string are escapes in JSON: those that are left stand between its parts
            text = element.text if row_id in export.responses else _BREAKS.sub(" ", element.text)
            export.out.write(_element(row_id, text, export) + "\n".encode(encoding))


def _element(row_id: int, text: str, export: Export) -> bytes:
    encoding = export.file.layout.encoding
    if row_id not in export.responses:
        return text.encode(encoding, text_errors(encoding))
    return json_bytes(export.answered(JsonText().read(text)[0], row_id), encoding)


def _export_columns(export: Export) -> None:
    """Columns without the rows that are not kept; written anew, since rows are not separate in the file."""
    columns = _loaded(export.file)
    first = next(iter(columns.values()))
    keys = list(first) if isinstance(first, dict) else list(range(len(first)))
    rows = {}
    for row_id, key in enumerate(keys):
        if row_id in export.kept:
            row = {name: cells.get(key) if isinstance(cells, dict) else cells[key] for name, cells in columns.items()}
            rows[key] = export.answered(row, row_id) if row_id in export.responses else row
    chosen = {
        name: {key: row[name] for key, row in rows.items()} if isinstance(cells, dict) else [row[name] for row in rows.values()]
        for name, cells in columns.items()
    }
    export.out.write(json_bytes(chosen, export.file.layout.encoding))
