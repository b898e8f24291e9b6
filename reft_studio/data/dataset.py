"""An immutable dataset: one Parquet file, a manifest, and a fingerprint of its rows. A handle, never a list."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from typing_extensions import TypedDict  # pydantic reads no other before Python 3.12

from reft_studio.data.row_files import ROWS, RowFiles
from reft_studio.errors import DataError, StoreError
from reft_studio.fingerprint import SHORT, canonical_json
from reft_studio.integrity import check, seal
from reft_studio.workspace import Workspace, read_json, staging, write_json

Role = Literal["user", "harmful", "helpful", "benchmark"]
"""`harmful`: harmful prompts with refusals; `helpful`: harmless prompts with answers (both alignment data)."""

SCHEMA = pa.schema(
    [
        ("row_id", pa.int64()),  # position in the upload, counted from 0
        ("prompt", pa.string()),  # last user turn before the last answer: what is judged
        ("response", pa.string()),  # last assistant turn: what is trained
        ("messages", pa.string()),  # JSON list of {role, content}, as uploaded
        ("origin", pa.string()),  # where the row came from, e.g. a task or set name; "" if unknown
        ("category", pa.string()),  # harm category or label, nullable
        ("known_harmful", pa.bool_()),  # ground truth where the upload has it; never read by a scorer
    ]
)
_PACKED = {"compression": "zstd", "compression_level": 1, "use_dictionary": ["origin", "category"], "write_page_index": False}
"""Texts are hardly ever repeated, so that a dictionary of them only costs time."""
_LOG = logging.getLogger(__name__)
_JSON = json.JSONEncoder(ensure_ascii=False, default=str, separators=(",", ":"))  # turns from Parquet may carry dates
_SURROGATES = re.compile("[\ud800-\udfff]")
KEPT = ("data.parquet", "audit.jsonl", "quarantine.parquet")
"""Files of a dataset that nothing else can give back."""
AGAIN = "Import the file again, or restore the folder from a backup."
BATCH = 4096
"""Rows held at once while reading or writing."""


class Row(TypedDict, total=False):
    """One row; `prompt` and `response` are required, the rest has defaults."""

    row_id: int
    prompt: str
    response: str
    messages: list[dict[str, Any]]
    origin: str
    category: str | None
    known_harmful: bool | None


@dataclass(frozen=True)
class Dataset:
    """A handle on rows in `folder`; the rows themselves are streamed."""

    folder: Path
    fingerprint: str
    name: str
    role: Role
    rows: int
    manifest: dict[str, Any] = field(repr=False, compare=False)

    @property
    def id(self) -> str:
        """The folder's name: the first 16 hex digits of the fingerprint."""
        return self.fingerprint[:SHORT]

    @property
    def path(self) -> Path:
        return self.folder / "data.parquet"

    @property
    def uploaded(self) -> int:
        """Rows before an audit took some of them out."""
        return max(self.rows, int((self.manifest.get("lineage") or {}).get("rows", 0)))

    @classmethod
    def open(cls, folder: Path) -> Dataset:
        """Open a dataset folder. Raises StoreError if it is missing or damaged."""
        if not (folder / "manifest.json").is_file():
            raise StoreError(f"There is no dataset '{folder.name}' in the workspace. Import it again.")
        check(folder, "manifest.json", remedy=AGAIN)
        manifest = read_json(folder / "manifest.json")
        try:
            return cls(folder, manifest["fingerprint"], manifest["name"], manifest["role"], manifest["rows"], manifest)
        except (KeyError, TypeError) as exc:
            raise StoreError(f"The manifest of dataset '{folder.name}' is damaged or of another version. Import it again.") from exc

    def batches(self, columns: Sequence[str] | None = None, *, size: int = BATCH) -> Iterator[pa.RecordBatch]:
        """Rows in order, at most `size` at a time, only the named columns.

        A reader for each row group: one for all of them keeps 35 bytes of every row it has passed.
        """
        wanted = list(columns) if columns is not None else None
        with pq.ParquetFile(self.path) as file:
            for group in range(file.num_row_groups):
                yield from file.iter_batches(batch_size=size, row_groups=[group], columns=wanted)

    def read(self, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
        """Rows in order as dictionaries; `messages` stays JSON text."""
        for batch in self.batches(columns):
            yield from batch.to_pylist()

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows of the named columns in memory: for numbers and small sets only."""
        return pq.read_table(self.path, columns=list(columns) if columns is not None else None)


def open_dataset(workspace: Workspace, dataset_id: str) -> Dataset:
    """The dataset with this id in the workspace. Raises StoreError if there is none, or its rows or its audit trail are damaged.

    Not looked at are the copy of its rows for random access, which is made anew (`row_store`), and the upload.
    """
    dataset = Dataset.open(workspace.folder("datasets", dataset_id))
    check(dataset.folder, *KEPT, remedy=AGAIN)
    return dataset


def list_datasets(workspace: Workspace, role: Role | None = None) -> list[Dataset]:
    """Every readable dataset of the workspace, oldest first, of one role if given; a damaged one is left out and logged."""
    opened = []
    for folder in workspace.finished("datasets"):
        try:
            opened.append(Dataset.open(folder))
        except StoreError as exc:
            _LOG.warning("dataset left out: %s", exc)
    return [dataset for dataset in opened if role is None or dataset.role == role]


def write_dataset(
    workspace: Workspace,
    rows: Iterable[Row],
    *,
    name: str,
    role: Role,
    extra: Mapping[str, Any] | None = None,
    attach: Callable[[Path], None] | None = None,
    salt: str = "",
) -> Dataset:
    """Stream `rows` into a new dataset; everything else as in `write_batches`."""
    return write_batches(workspace, _batches(rows), name=name, role=role, extra=extra, attach=attach, salt=salt)


def write_batches(
    workspace: Workspace,
    batches: Iterable[pa.RecordBatch],
    *,
    name: str,
    role: Role,
    extra: Mapping[str, Any] | None = None,
    attach: Callable[[Path], None] | None = None,
    salt: str = "",
) -> Dataset:
    """Stream batches of `SCHEMA` into a new dataset; the same rows in the same order, role and `salt` give the same id.

    `salt` keeps apart what holds the same rows but is another thing, e.g. two uploads in different formats.
    `extra` goes into the manifest (source file, lineage); it is read after the last row. `attach` is called with the
    folder before it gets its final name, to put further files in. If the workspace has these rows already, they stay
    as they are. Raises DataError if there is no row.
    """
    if role not in get_args(Role):
        raise DataError(f"role is '{role}'. Choose one of: {', '.join(get_args(Role))}.")
    digest = ColumnDigest(SCHEMA, role=role, salt=salt)
    with staging(workspace.folder("datasets")) as building:
        with RowFiles(building, SCHEMA) as files, pq.ParquetWriter(building / "data.parquet", SCHEMA, **_PACKED) as writer:
            for batch in batches:
                digest.add(batch)
                files.add(batch)
                writer.write_batch(batch)
        if files.rows == 0:
            raise DataError(f"'{name}' holds no usable row. A row needs a prompt and a response.")
        files.seal(building / "data.parquet")
        if attach is not None:
            attach(building)
        manifest = {
            "fingerprint": digest.hexdigest(),
            "fingerprint_of": COLUMNS,
            "name": name,
            "role": role,
            "rows": files.rows,
            "salt": salt,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            **(extra or {}),
        }
        write_json(building / "manifest.json", manifest)
        source = manifest.get("source") or {}
        stored = {f"original/{source['stored']}": source["sha256"]} if "stored" in source else {}
        seal(building, known=stored)
        final = workspace.folder("datasets", digest.hexdigest()[:SHORT])
        _name(building, final)
    return Dataset.open(final)


def _name(building: Path, final: Path) -> None:
    """Give a finished folder its name, unless the same rows have it already: another import may be a moment ahead."""
    try:
        if not final.exists():
            building.rename(final)
    except OSError:
        if not (final / "manifest.json").is_file():
            raise


def is_intact(dataset: Dataset) -> bool:
    """Whether the rows on disk still give the dataset's fingerprint. Reads them all, and their copy for random access."""
    try:
        if dataset.manifest.get("fingerprint_of") == COLUMNS:
            return _columns_intact(dataset)
        digest = hashlib.sha256(f"{dataset.role}\n{dataset.manifest.get('salt', '')}\n".encode())
        for record in dataset.read():
            digest.update(canonical_json(record).encode("ascii"))
    except (pa.ArrowException, OSError, KeyError):
        return False
    return digest.hexdigest() == dataset.fingerprint


def _columns_intact(dataset: Dataset) -> bool:
    for batches in (dataset.batches(), _copies(dataset)):
        digest = ColumnDigest(SCHEMA, role=dataset.role, salt=dataset.manifest.get("salt", ""))
        for batch in batches:
            digest.add(batch)
        if digest.hexdigest() != dataset.fingerprint:
            return False
    return True


def _copies(dataset: Dataset) -> Iterator[pa.RecordBatch]:
    """The rows of the copy for random access, or the rows themselves where there is none."""
    if not (dataset.folder / ROWS).is_file():
        yield from dataset.batches()
        return
    with pa.OSFile(str(dataset.folder / ROWS)) as file:  # not mapped: what is read once is not to be held
        reader = pa.ipc.open_file(file)
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number)


def _batches(rows: Iterable[Row]) -> Iterator[pa.RecordBatch]:
    count = 0
    for chunk in _chunks(rows):
        records = [full_row(row, count + offset) for offset, row in enumerate(chunk)]
        count += len(records)
        yield pa.RecordBatch.from_pylist(records, schema=SCHEMA)


def full_row(row: Row, position: int) -> dict[str, Any]:
    """A row with every column; lone surrogates (common in dumps) become U+FFFD, since Parquet holds UTF-8."""
    prompt, response = _clean(row["prompt"]), _clean(row["response"])
    messages = row.get("messages") or [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
    return {
        "row_id": row.get("row_id", position),
        "prompt": prompt,
        "response": response,
        "messages": _clean(_JSON.encode(messages)),
        "origin": _clean(row.get("origin") or ""),
        "category": None if (category := row.get("category")) is None else _clean(category),
        "known_harmful": row.get("known_harmful"),
    }


def _clean(text: str) -> str:
    return text if text.isascii() else _SURROGATES.sub("\ufffd", text)


def _chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    chunk: list[Row] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == BATCH:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


COLUMNS = "columns"
"""Value of `fingerprint_of` in the manifest of a dataset with this fingerprint; older ones have none."""


class ColumnDigest:
    """SHA-256 over role, salt and columns; it does not depend on how the rows are cut into batches.

    Of a text column the lengths and the bytes are hashed, each as one long sequence; of others the values.
    """

    def __init__(self, schema: pa.Schema, *, role: str, salt: str) -> None:
        self._head = f"{role}\n{salt}\n".encode()
        self._schema = schema
        self._lengths = {name: hashlib.sha256() for name in schema.names}
        self._bytes = {name: hashlib.sha256() for name in schema.names}

    def add(self, batch: pa.RecordBatch) -> None:
        """Hash further rows, in order."""
        for name in self._schema.names:
            column = batch.column(name)
            if pa.types.is_string(column.type):
                self._texts(name, column)
            elif pa.types.is_boolean(column.type):
                self._bytes[name].update(_booleans(column))
            else:
                self._bytes[name].update(np.ascontiguousarray(column.to_numpy(zero_copy_only=False), "<i8").tobytes())

    def _texts(self, name: str, column: pa.StringArray) -> None:
        buffers = column.buffers()
        offsets = np.frombuffer(buffers[1], np.int32, len(column) + 1, 4 * column.offset) if len(column) else np.zeros(1, np.int32)
        lengths = np.diff(offsets).astype("<i4")
        if column.null_count:
            lengths[column.is_null().to_numpy(zero_copy_only=False)] = -1
        self._lengths[name].update(lengths.tobytes())
        if buffers[2] is not None:
            self._bytes[name].update(memoryview(buffers[2])[int(offsets[0]) : int(offsets[-1])])

    def hexdigest(self) -> str:
        """64 hex digits."""
        whole = hashlib.sha256(self._head)
        for name in self._schema.names:
            whole.update(f"{name}\n{self._lengths[name].hexdigest()}\n{self._bytes[name].hexdigest()}\n".encode())
        return whole.hexdigest()


def _booleans(column: pa.BooleanArray) -> bytes:
    """One byte each: 0 false, 1 true, 2 nothing."""
    return bytes(column.cast(pa.uint8()).fill_null(2).to_numpy(zero_copy_only=False).tobytes())
