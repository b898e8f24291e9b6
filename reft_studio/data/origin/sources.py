"""Where rows can come from besides an upload: a file or a folder of this machine, also one of `save_to_disk`, or Parquet in parts.

What is found is brought into one file, which is then read like an upload. Nothing here runs code that comes with data.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from reft_studio.data.formats import FORMATS, by_ending, endings
from reft_studio.data.formats.arrow_rows import count_rows
from reft_studio.data.formats.arrow_types import storable
from reft_studio.data.formats.format import Format
from reft_studio.data.formats.parquet_rows import ParquetBatch
from reft_studio.data.formats.shards import enough_of, join
from reft_studio.errors import DataError

FILE = "file"
"""The kind of a table whose file is read as it is, or whose files are joined as text; any other kind is a columnar format."""
Place = Literal["file", "folder", "hub"]
NOT_ROWS = re.compile(
    r"dataset_info|dataset_dict|state|dataset_infos|config|package|tokenizer\w*|special_tokens_map|croissant|manifest\w*|truth\w*"
)
"""Names of JSON files that describe something and hold no rows."""
SHARD = re.compile(r"^(?P<name>.*?)[-_.]?\d{1,6}[-_]of[-_](?P<all>\d{1,6})$|^(?P<part>part[-_.]?|)\d{3,6}(?:[-_.].*)?$")
"""One of the parts of a table: `train-00000-of-00003`, `part-00000`, `0001`."""
MOST_FILES, DEPTH = 2000, 4
ARROW, PARQUET, TEXT = "arrow", "parquet", "jsonl"
"""Formats of what `save_to_disk` writes, of columnar files that were joined, and of a text without an ending of its own."""
BATCH_BYTES = 512 << 20
HEAD = 400
"""Rows of a table that are looked at before it is imported."""


@dataclass(frozen=True)
class SourceTable:
    """One table of a source: a split, or a file. `files` are paths on this machine, or names in the repository.

    `kind`: `FILE`, or the name of the columnar format of its files.
    """

    name: str
    kind: str
    files: tuple[str, ...]
    size: int
    """Bytes of the files."""
    rows: int | None = None

    @property
    def ending(self) -> str:
        """Of the file that its files are joined into."""
        found = by_ending(self.files[0])
        family = PARQUET if self.kind != FILE else found.family if found else TEXT
        return FORMATS.get(family).endings[0]

    def check_whole(self) -> None:
        """Raise DataError if the names of its files say that there are more of them: `train-00000-of-00003` is one of three."""
        counts = {int(found["all"]) for file in self.files if (found := SHARD.fullmatch(PurePosixPath(file).stem)) and found["all"]}
        if len(self.files) > 1 and counts and counts != {len(self.files)}:
            raise DataError(
                f"'{self.name}' is not whole: its files say that there are {max(counts)}, but {len(self.files)} are there. "
                "Copy the missing ones, or give the path of a single file."
            )


@dataclass(frozen=True)
class DataSource:
    """What stands at a place. `revision` is the commit, of a repository."""

    text: str
    place: Place
    title: str
    parts: tuple[SourceTable, ...]
    revision: str | None = None

    def part(self, name: str) -> SourceTable:
        """The part with this name. Raises DataError, with the names there are."""
        for part in self.parts:
            if part.name == name:
                part.check_whole()
                return part
        raise DataError(f"'{self.title}' has no part '{name[:60]}'. It has: {', '.join(part.name for part in self.parts[:12])}.")


def local(text: str) -> DataSource:
    """Look at a file or folder of this machine. Raises DataError if it is not there or holds no rows."""
    if "://" in text:
        raise DataError("Addresses of the web are not read. Download the file and give its path, or a dataset of the hub: org/name.")
    path = Path(os.path.abspath(Path(text).expanduser()))  # a relative name would be taken for a file of the hub later on
    try:
        if path.is_file():
            part = SourceTable(path.name, _kind([path.name]), (str(path),), path.stat().st_size)
            return DataSource(text, "file", path.name, (part,))
        if not path.is_dir():
            raise DataError(
                f"There is no file or folder {str(path)[:200]} on this machine. Give its whole path, or a dataset of the hub: org/name."
            )
        return DataSource(text, "folder", path.name or str(path), _parts_of_folder(path))
    except OSError as exc:
        raise DataError(f"{path.name[:100] or path} cannot be read ({exc.strerror}). Check who may read it.") from exc


def _parts_of_folder(folder: Path) -> tuple[SourceTable, ...]:
    if (folder / "state.json").is_file() or (folder / "dataset_info.json").is_file():
        return (_saved(folder, folder.name),)
    if (folder / "dataset_dict.json").is_file():
        splits = _object(folder / "dataset_dict.json").get("splits")
        names = [str(name) for name in splits] if isinstance(splits, list) else []
        saved = [_saved(folder / PurePosixPath(name).name, name) for name in names]
        if saved:
            return tuple(saved)
    found: list[tuple[str, int]] = []
    for path in _walk(folder, DEPTH, set()):
        found.append((path.relative_to(folder).as_posix(), path.stat().st_size))
        if len(found) > MOST_FILES:
            raise DataError(f"{folder.name or folder} holds more than {MOST_FILES} files. Give the folder of one dataset, or a file in it.")
    parts = tables(found)
    if not parts:
        raise DataError(
            f"{folder.name or folder} holds no dataset: no {', '.join(endings())} file and nothing from save_to_disk. Give one that does."
        )
    return tuple(SourceTable(part.name, part.kind, tuple(str(folder / name) for name in part.files), part.size) for part in parts)


def _walk(folder: Path, depth: int, seen: set[Path]) -> Iterator[Path]:
    """Files of a folder and those in it, each folder once: links may lead round in a circle."""
    if folder.resolve() in seen:
        return
    seen.add(folder.resolve())
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir() and depth > 1:
            yield from _walk(path, depth - 1, seen)
        elif path.is_file():
            yield path


def _saved(folder: Path, name: str) -> SourceTable:
    """A folder of `Dataset.save_to_disk`: only the files its state names, since caches of earlier steps lie beside them."""
    state = _object(folder / "state.json") if (folder / "state.json").is_file() else {}
    listed = state.get("_data_files")
    names = [PurePosixPath(str(file["filename"])).name for file in listed or () if isinstance(file, dict) and file.get("filename")]
    files = [folder / found for found in names] or sorted(
        path for path in folder.glob(f"*{FORMATS.get(ARROW).endings[0]}") if not path.name.startswith("cache-")
    )
    missing = [file.name for file in files if not file.is_file()]
    if missing or not files:
        raise DataError(
            f"{folder.name} is not whole: it was written by save_to_disk, but {missing[0] if missing else 'its .arrow file'} is missing. "
            "Copy the whole folder again."
        )
    rows = sum(count_rows(file) for file in files)
    return SourceTable(name, ARROW, tuple(map(str, files)), sum(file.stat().st_size for file in files), rows)


def _object(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as exc:
        raise DataError(f"{path.parent.name}/{path.name} is not valid JSON. Copy the folder again.") from exc
    return found if isinstance(found, dict) else {}


def tables(files: Iterable[tuple[str, int]]) -> list[SourceTable]:
    """The tables among files (name with folders, bytes): numbered parts of one table belong together, any other file is one."""
    groups: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for name, size in files:
        path = PurePosixPath(name)
        found, described = by_ending(name), path.suffix.lower() == ".json" and NOT_ROWS.fullmatch(path.stem.lower())
        if found is not None and not described and not path.name.startswith("cache-"):
            groups.setdefault((_table_of(path, found), found.family), []).append((name, size))
    names = [table for table, _ in groups]
    parts = []
    for (table, family), members in groups.items():
        if len(members) == 1 and not FORMATS.get(family).numbered:
            table = members[0][0]
        elif names.count(table) > 1:
            table += FORMATS.get(family).endings[0]
        within = tuple(sorted(name for name, _ in members))
        parts.append(SourceTable(table, _kind(within), within, sum(size for _, size in members)))
    return sorted(parts, key=lambda part: (not re.search(r"\btrain", part.name), part.name))


def _table_of(path: PurePosixPath, found: Format) -> str:
    """The table a file belongs to: `data/train-00000-of-00002.parquet` to `train`, `train/0001.jsonl` to `train`."""
    shard = SHARD.fullmatch(path.stem)
    year = not found.numbered and re.fullmatch(r"[1-9]\d*", path.stem)  # 2021.csv is a table of its own
    if shard is None or year:
        return str(path)
    folders = [folder for folder in path.parent.parts if folder != "data"]
    return "/".join([*folders, *([shard["name"]] if shard["name"] else [])]) or "all"


def _kind(names: Sequence[str]) -> str:
    """A single file is read as it is; only several are joined."""
    found = by_ending(names[0])
    return found.name if found is not None and found.columnar and len(names) > 1 else FILE


def head(files: Sequence[Path], kind: str, target: Path) -> Path:
    """A file to look at: the file itself, or the first rows of a table that is in several files, written to `target`."""
    if len(files) == 1 and kind == FILE:
        return files[0]
    target.parent.mkdir(parents=True, exist_ok=True)
    if kind == FILE:
        return join(enough_of(files), target, lambda _done, _all: None)
    left = HEAD
    batches = []
    for batch in islice(_batches(files, kind), 64):
        batches.append(batch.slice(0, left))
        left -= batches[-1].num_rows
        if left <= 0:
            break
    if not batches:
        raise DataError(f"{files[0].name} has no row. Choose another part.")
    pq.write_table(pa.Table.from_batches(batches), target)
    return target


def gather(files: Sequence[Path], kind: str, target: Path, step: Callable[[int, int], None]) -> Path:
    """The whole table as one file: itself if it is one, else written to `target`: text as text, other parts as Parquet.

    `step` gets files begun of all, and may raise to cancel. Raises DataError if parts do not have the same columns.
    """
    if len(files) == 1 and kind == FILE:
        return files[0]
    if kind == FILE:
        return join(files, target, step)
    writer: pq.ParquetWriter | None = None
    done = 0
    try:
        for place, file in enumerate(files):
            step(place, len(files))
            for batch in _batches([file], kind):
                writer = writer or pq.ParquetWriter(target, batch.schema.remove_metadata(), compression="zstd")
                writer.write_batch(_like(batch, writer.schema, file.name))
                done += batch.num_rows
                step(place, len(files))
    finally:
        if writer is not None:
            writer.close()
    if not done:
        raise DataError(f"{files[0].name} and its other parts have no row. Choose another part.")
    step(len(files), len(files))
    return target


def _like(batch: pa.RecordBatch, schema: pa.Schema, name: str) -> pa.RecordBatch:
    """The batch with these columns. Raises DataError if it has others."""
    if set(batch.schema.names) != set(schema.names):
        odd = sorted(set(batch.schema.names) ^ set(schema.names))
        raise DataError(f"{name} has other columns than the parts before it ({', '.join(odd[:6])}). Import the parts one by one.")
    try:
        return pa.RecordBatch.from_arrays([batch.column(column.name).cast(column.type) for column in schema], schema=schema)
    except pa.ArrowException as exc:
        raise DataError(f"{name} has a column of another type than the parts before it. Import the parts one by one.") from exc


def _batches(files: Sequence[Path], kind: str) -> Iterator[pa.RecordBatch]:
    for path in files:
        yield from (_plain(found, path) for found in FORMATS.get(kind).batches(path))


def _plain(found: ParquetBatch, path: Path) -> pa.RecordBatch:
    """A batch as Parquet holds it, which it may only become after it was measured."""
    if int(found.sizes.sum()) > BATCH_BYTES:
        raise DataError(f"{path.name} has rows too large to join with other parts. Import it by itself.")
    return storable(found.batch)
