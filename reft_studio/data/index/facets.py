"""What a row is, as one small code for each row: origin, category, truth, length, turns, and what an inspection found.

Codes are memory-mapped NumPy arrays kept in the dataset's folder, so that slices, filters and counts of ten million rows are array
operations and no Python object stands for a row.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from reft_studio.data.dataset import Dataset
from reft_studio.errors import PrerequisiteError, SpecError, StoreError
from reft_studio.integrity import damages, seal
from reft_studio.workspace import read_json, write_atomic, write_json

NONE = "(none)"
OTHER = "(other)"
MAX_LABELS = 200
LABEL_CHARS = 120
TRUTHS = ["harmful", "harmless", "unknown"]
LENGTHS = ["up to 50", "51-200", "201-500", "501-1,000", "1,001-4,000", "4,001-16,000", "over 16,000"]
LENGTH_ENDS = (50, 200, 500, 1000, 4000, 16000)
"""Last number of characters of each band but the open one."""
TURNS = ["1", "2", "3 or more"]
TITLES = {
    "origin": "Origin",
    "category": "Category",
    "truth": "Label in the file",
    "length": "Prompt characters",
    "turns": "User turns",
    "language": "Language",
    "repeats": "Repeats",
    "tokens": "Tokens",
}
"""Facets in the order in which they are shown; the last three exist after an inspection."""
BATCH = 1 << 16

Codes = npt.NDArray[np.uint8]

_COMPUTING = threading.Lock()


@dataclass(frozen=True)
class Facet:
    """One code for each row, by position: row `i` has the label `labels[codes[i]]`. A label may have no row."""

    name: str
    title: str
    labels: list[str]
    codes: Codes
    """Shape (rows,), memory-mapped and read-only."""

    def counts(self) -> npt.NDArray[np.int64]:
        """Rows of each label."""
        return np.bincount(self.codes, minlength=len(self.labels))

    def code(self, label: str) -> int | None:
        """The code of a label, None if no row can have it."""
        return self.labels.index(label) if label in self.labels else None


def facet_names(dataset: Dataset) -> list[str]:
    """Names that `facet` answers now, in the order in which they are shown."""
    return [name for name in TITLES if name in _COMPUTED or _files(dataset, name)[1].is_file()]


def facet(dataset: Dataset, name: str) -> Facet | None:
    """One facet of a dataset; None if it needs an inspection that was not made yet.

    The first call reads the rows (about a second for a million), later ones open a file. Raises SpecError for an unknown name.
    """
    if name not in TITLES:
        raise SpecError(f"'{name[:40]}' is no facet of a row. Choose one of: {', '.join(TITLES)}.")
    if (kept := _kept(dataset, name)) is not None or name not in _COMPUTED:
        return kept
    with _COMPUTING:  # two pages that ask at once shall not both read the rows
        if (kept := _kept(dataset, name)) is None:
            labels, codes = _COMPUTED[name](dataset)
            try:
                keep_facet(dataset, name, labels, codes)
                kept = _kept(dataset, name)
            except PrerequisiteError:  # a full disk, or a folder that is not ours: looking at rows goes on, and counts them again
                kept = Facet(name, TITLES[name], labels, codes.astype(np.uint8, copy=False))
    return kept


def keep_facet(dataset: Dataset, name: str, labels: list[str], codes: Codes) -> None:
    """Write a facet beside the rows. Raises SpecError if it does not fit the dataset."""
    if len(codes) != dataset.rows or len(labels) > MAX_LABELS or (len(codes) and int(codes.max()) >= len(labels)):
        raise SpecError(f"The facet '{name}' has {len(codes):,} codes and {len(labels)} labels for {dataset.rows:,} rows.")
    if not dataset.path.is_file():
        raise StoreError(f"'{dataset.name}' was deleted while it was looked at.")  # and must not come back as half a folder
    array, about = _files(dataset, name)
    buffer = io.BytesIO()
    np.save(buffer, codes.astype(np.uint8, copy=False), allow_pickle=False)
    write_atomic(array, buffer.getvalue())
    write_json(about, {"name": name, "labels": labels, "rows": len(codes)})
    seal(array.parent, (array.name, about.name), sums=f"{name}.sha256")


def facet_file(dataset: Dataset, name: str) -> Path:
    """Where the codes of a facet are kept, as NumPy's own file."""
    return _files(dataset, name)[0]


def _files(dataset: Dataset, name: str) -> tuple[Path, Path]:
    folder = dataset.folder / "facets"
    return folder / f"{name}.npy", folder / f"{name}.json"


def _kept(dataset: Dataset, name: str) -> Facet | None:
    """The facet as it was written; None if there is none, or if its files are damaged."""
    array, about = _files(dataset, name)
    if damages(array.parent, sums=f"{name}.sha256"):
        return None
    try:
        stamp = (array.stat().st_mtime_ns, about.stat().st_mtime_ns)
    except FileNotFoundError:
        return None
    found = _opened(array, about, name, stamp)
    return found if found is not None and len(found.codes) == dataset.rows else None


@lru_cache(maxsize=256)
def _opened(array: Path, about: Path, name: str, _stamp: tuple[int, int]) -> Facet | None:
    try:
        labels = read_json(about)["labels"]
        codes = np.load(array, mmap_mode="r", allow_pickle=False)
    except (StoreError, KeyError, TypeError, ValueError, EOFError, OSError):
        return None  # made again from the rows
    if codes.dtype != np.uint8 or codes.ndim != 1 or (len(codes) and int(codes.max()) >= len(labels)):
        return None
    return Facet(name, TITLES[name], labels, codes)


def _columns(dataset: Dataset, column: str) -> Iterator[pa.Array]:
    for batch in dataset.batches([column], size=BATCH):
        yield batch.column(0)


def _filled(codes: Iterator[pa.Array], rows: int) -> Codes:
    """Arrays of small numbers, one after the other, as codes."""
    out = np.empty(rows, np.uint8)
    at = 0
    for part in codes:
        out[at : at + len(part)] = part.to_numpy(zero_copy_only=False)
        at += len(part)
    return out


def _named(dataset: Dataset, column: str) -> tuple[list[str], Codes]:
    """The most frequent values of a text column as labels; what is left is (other), and no value is (none)."""
    tally = _tally(dataset, column)
    full = tally.num_rows > MAX_LABELS - 1
    values = tally["value"].slice(0, MAX_LABELS - 2 if full else None).combine_chunks()
    labels: list[str] = []
    for text in values.to_pylist():
        labels.append(_free(text[:LABEL_CHARS], labels))
    labels += [OTHER] if full else []
    rest = len(labels) - 1
    empty = len(labels)

    def code(part: pa.Array) -> pa.Array:
        found = pc.fill_null(pc.index_in(part, value_set=values), rest)
        return pc.if_else(pc.fill_null(pc.equal(part, ""), True), empty, found)

    codes = _filled((code(part) for part in _columns(dataset, column)), dataset.rows)
    return [*labels, NONE], codes


def _free(label: str, taken: list[str]) -> str:
    """The label itself, or with a number if a longer one was cut to the same text."""
    number, name = 2, label
    while name in taken or name in (OTHER, NONE):
        name, number = f"{label} ({number})", number + 1
    return name


def _tally(dataset: Dataset, column: str) -> pa.Table:
    """Distinct filled values with their number of rows, most frequent first; memory follows the distinct values."""
    parts: list[pa.Table] = []
    merged = 0
    for part in _columns(dataset, column):
        counted = pc.value_counts(pc.drop_null(part))
        fresh = pa.table({"value": counted.field("values").cast(pa.string()), "n": counted.field("counts").cast(pa.int64())})
        parts.append(fresh.filter(pc.not_equal(fresh["value"], "")))
        if (
            sum(part.num_rows for part in parts) > 2 * merged + BATCH
        ):  # seldom, so that a file of distinct values is not merged again and again
            parts = [_summed(parts)]
            merged = parts[0].num_rows
    return _summed(parts).sort_by([("n", "descending"), ("value", "ascending")])


def _summed(parts: list[pa.Table]) -> pa.Table:
    return pa.concat_tables(parts).group_by("value").aggregate([("n", "sum")]).rename_columns(["value", "n"])


def _truth(dataset: Dataset) -> tuple[list[str], Codes]:
    parts = (pc.if_else(pc.is_null(part), 2, pc.if_else(pc.fill_null(part, False), 0, 1)) for part in _columns(dataset, "known_harmful"))
    return list(TRUTHS), _filled(parts, dataset.rows)


def _length(dataset: Dataset) -> tuple[list[str], Codes]:
    out = np.empty(dataset.rows, np.uint8)
    at = 0
    for part in _columns(dataset, "prompt"):
        out[at : at + len(part)] = banded(pc.utf8_length(part).to_numpy(zero_copy_only=False), LENGTH_ENDS)
        at += len(part)
    return list(LENGTHS), out


def banded(numbers: npt.NDArray[np.int_] | npt.NDArray[np.int32], ends: tuple[int, ...]) -> Codes:
    """For each number the first band whose last number it does not exceed; above all it is in the open one."""
    return np.searchsorted(np.array(ends), numbers, side="left").astype(np.uint8)


def _turns(dataset: Dataset) -> tuple[list[str], Codes]:
    out = np.empty(dataset.rows, np.uint8)
    at = 0
    for part in _columns(dataset, "messages"):
        # in JSON text every quote inside a string is escaped, so neither spelling can come from what somebody wrote
        spaced, close = pc.count_substring(part, '"role": "user"'), pc.count_substring(part, '"role":"user"')
        users = pc.fill_null(pc.add(spaced, close), 1).to_numpy(zero_copy_only=False)
        out[at : at + len(part)] = np.clip(users - 1, 0, len(TURNS) - 1)
        at += len(part)
    return list(TURNS), out


_COMPUTED: dict[str, Callable[[Dataset], tuple[list[str], Codes]]] = {
    "origin": lambda dataset: _named(dataset, "origin"),
    "category": lambda dataset: _named(dataset, "category"),
    "truth": _truth,
    "length": _length,
    "turns": _turns,
}
