"""Full-text search over prompts and responses: an SQLite FTS5 index beside the rows, and a scan of the rows until there is one.

A search text is words, all of which a row must hold, in any order and case; a word also finds longer ones that begin with it
(from three letters on). Words in double quotes must follow each other. Nothing a person types is syntax of a query language.
"""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import time
import unicodedata
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from reft_studio.admission import Admission
from reft_studio.data.dataset import Dataset
from reft_studio.data.index.rowstore import row_store
from reft_studio.errors import SpecError, StoreError
from reft_studio.integrity import damages, seal
from reft_studio.progress import Progress
from reft_studio.workspace import disk_error, staging

FILE = "search.sqlite"
_SUMS = "search.sha256"
VERSION = 1
WORTH_ROWS = 20_000
"""Rows from which an index is worth its space: fewer are scanned within a frame or two."""
LIMIT_S = 5.0
"""A search stops after this time and gives what it has found."""
SEARCHES = Admission("searches", at_once=2, waiting=8, wait_s=3.0)
MAX_TEXT = 500
PREFIX = 3
"""Letters from which a word also finds longer ones."""
BATCH = 16_384
MERGED = 2_000
"""Pages of the index put together between two looks whether the work was cancelled: some tenths of a second."""
_LOG = logging.getLogger(__name__)
_TYPED = re.compile(r'"([^"]*)"|([^\s"]+)')
_TOKEN = re.compile(r"[^\W_]+")
# Written without spaces between words: to an index a whole sentence is one word, so these are looked for in the text itself.
_SPACELESS = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
_TABLE = (
    "CREATE VIRTUAL TABLE found USING fts5(prompt, response, content='', columnsize=0, tokenize='unicode61 remove_diacritics 2')",
    "CREATE TABLE about (fingerprint TEXT, rows INTEGER)",
)
_MATCHES = "SELECT group_concat(rowid) FROM (SELECT rowid FROM found WHERE found MATCH ? AND rowid BETWEEN ? AND ? ORDER BY rowid)"
WINDOW = 1_000_000
"""Rows that one question to the index covers."""

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Found:
    """Positions of the rows that match, ascending. Not `exact`: the time limit came first, so there may be more."""

    positions: Positions
    exact: bool
    source: Literal["index", "scan"]


def search(dataset: Dataset, text: str) -> Found:
    """Rows that hold every word of `text`, by the index if there is one.

    Raises SpecError for a text of more than 500 characters, PrerequisiteError if too many search already.
    """
    if len(text) > MAX_TEXT:
        raise SpecError(f"The search text has {len(text):,} characters. At most {MAX_TEXT} are searched for.")
    with SEARCHES.turn():
        return _search(dataset, _clean(text))


def _search(dataset: Dataset, text: str) -> Found:
    phrases = phrases_of(text)
    if phrases and not _SPACELESS.search(text) and indexed(dataset):
        try:
            return _by_index(dataset, phrases)
        except (sqlite3.Error, UnicodeDecodeError) as exc:
            _LOG.warning("the search index of %s cannot be read and is left aside: %s", dataset.id, exc)
    return _by_scan(dataset, phrases, text)


def phrases_of(text: str) -> list[list[str]]:
    """The words typed, each as the tokens that must follow each other: `"how to" sort-of` are [how, to] and [sort, of]."""
    typed = [_TOKEN.findall(quoted or word) for quoted, word in _TYPED.findall(text)]
    return [list(tokens) for tokens in dict.fromkeys(tuple(tokens) for tokens in typed if tokens)]


def _clean(text: str) -> str:
    # halves of a surrogate pair, which browsers send for some signs, are put together; a lone half matches nothing
    return unicodedata.normalize("NFC", text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")).replace("\0", " ").strip()


def indexed(dataset: Dataset) -> bool:
    """Whether a finished and undamaged index lies beside the rows."""
    return _path(dataset).is_file() and not damages(dataset.folder, sums=_SUMS)


def stamp(dataset: Dataset) -> int:
    """Changes when an index is made or made anew; 0 without one."""
    try:
        return _path(dataset).stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def build(dataset: Dataset, progress: Progress) -> None:
    """Make the index, about 25 s for a million rows; there is none until it is whole, so an interrupted one is begun anew."""
    done = 0
    with staging(dataset.folder) as folder:
        path = folder / FILE
        try:
            with closing(sqlite3.connect(path, isolation_level=None)) as engine:
                for statement in ("PRAGMA journal_mode=OFF", "PRAGMA synchronous=OFF", "PRAGMA cache_size=-65536", *_TABLE):
                    engine.execute(statement)
                engine.execute("BEGIN")
                for batch in dataset.batches(["prompt", "response"], size=BATCH):
                    rows = zip(range(done, done + len(batch)), *(column.to_pylist() for column in batch.columns), strict=True)
                    engine.executemany("INSERT INTO found (rowid, prompt, response) VALUES (?, ?, ?)", rows)
                    done += len(batch)
                    progress.progress(done, dataset.rows)
                _merge(engine, progress)
                engine.execute("INSERT INTO about VALUES (?, ?)", (dataset.fingerprint, done))
                engine.execute("COMMIT")
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
                raise
            raise disk_error(_path(dataset), OSError(28, "the disk is full")) from exc
        except pa.ArrowException as exc:
            raise StoreError(f"The rows of '{dataset.name}' cannot be read: the file is damaged. Import it again.") from exc
        with path.open("rb") as file:
            os.fsync(file.fileno())
        path.replace(_path(dataset))
    seal(dataset.folder, [FILE], sums=_SUMS)


def _merge(engine: sqlite3.Connection, progress: Progress) -> None:
    """Put the pieces of the index together, bit by bit so that it can be cancelled: a search takes half the time for 3 s a million rows."""
    pages = -MERGED
    while True:
        before = engine.total_changes
        engine.execute("INSERT INTO found (found, rank) VALUES ('merge', ?)", (pages,))
        progress.check()
        if pages > 0 and engine.total_changes - before < 2:  # SQLite's own sign that nothing is left to do
            return
        pages = MERGED


def _path(dataset: Dataset) -> Path:
    return dataset.folder / FILE


def _by_index(dataset: Dataset, phrases: list[list[str]]) -> Found:
    end = time.monotonic() + LIMIT_S
    parts: list[Positions] = []
    exact = True
    with closing(sqlite3.connect(f"{_path(dataset).as_uri()}?mode=ro&immutable=1", uri=True)) as engine:
        if engine.execute("SELECT fingerprint, rows FROM about").fetchone() != (dataset.fingerprint, dataset.rows):
            raise sqlite3.DatabaseError("it was made of other rows")
        engine.execute(f"PRAGMA mmap_size={_path(dataset).stat().st_size}")  # a prefix that many words have: a third of the time
        engine.set_progress_handler(lambda: time.monotonic() > end, 20_000)
        try:
            for start in range(0, dataset.rows, WINDOW):
                asked = (_query(phrases), start, start + WINDOW - 1)
                # one text for many rows: a third of the time that a Python object for each would take
                if listed := engine.execute(_MATCHES, asked).fetchone()[0]:
                    parts.append(np.fromstring(str(listed), dtype=np.int64, sep=","))
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                raise
            exact = False
    return Found(np.concatenate(parts) if parts else np.zeros(0, np.int64), exact, "index")


def _query(phrases: list[list[str]]) -> str:
    """The words as FTS5 reads them: each is a string of its own, so none is an operator."""
    return " ".join(f'"{" ".join(tokens)}"' + ("*" if len(tokens[-1]) >= PREFIX else "") for tokens in phrases)


def _by_scan(dataset: Dataset, phrases: list[list[str]], text: str) -> Found:
    """Look at every row, within the time limit. A text without a letter or digit is looked for as it is."""
    words: list[str] = text.split() if _SPACELESS.search(text) else [] if phrases else [text]
    patterns = [] if words else [_pattern(tokens) for tokens in phrases]
    end = time.monotonic() + LIMIT_S
    parts: list[Positions] = []
    start, exact = 0, True
    for batch in _texts(dataset):
        if time.monotonic() > end:
            exact = False
            break
        parts.append(np.flatnonzero(_holds(batch, words, patterns)) + start)
        start += len(batch)
    return Found(np.concatenate(parts) if parts else np.zeros(0, np.int64), exact, "scan")


def _texts(dataset: Dataset) -> Iterator[pa.RecordBatch]:
    yield from row_store(dataset).batches(["prompt", "response"])


def _pattern(tokens: list[str]) -> str:
    """RE2 for tokens that follow each other as whole words, the last one as the beginning of a word."""
    words = r"[^\pL\pN]+".join(tokens)
    end = "" if len(tokens[-1]) >= PREFIX else r"(?:$|[^\pL\pN])"
    return rf"(?:^|[^\pL\pN]){words}{end}"


def _holds(batch: pa.RecordBatch, words: list[str], patterns: list[str]) -> npt.NDArray[np.bool_]:
    mask = np.ones(len(batch), dtype=bool)
    for test, wanted in ((pc.match_substring, words), (pc.match_substring_regex, patterns)):
        for text in wanted:
            either = pc.or_(*(test(column, text, ignore_case=True) for column in batch.columns))
            mask &= np.asarray(pc.fill_null(either, False).to_numpy(zero_copy_only=False))
            if not mask.any():
                return mask
    return mask
