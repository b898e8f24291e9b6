"""Raw rows of a small file, by column name: JSONL, JSON, CSV, TSV or Parquet, optionally compressed with gzip or xz."""

from __future__ import annotations

import csv
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reft_studio.errors import DataError

_OPEN: dict[str, Callable[[Path], bytes]] = {
    ".gz": lambda path: gzip.decompress(path.read_bytes()),
    ".xz": lambda path: lzma.decompress(path.read_bytes()),
}


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Every row, in order. Raises DataError if the file is missing, of another kind or damaged."""
    if not path.is_file():
        problem = "is a folder, not a file" if path.is_dir() else "is not there"
        raise DataError(f"{path} {problem}. Give the path of the file.")
    packed = path.suffix in _OPEN
    kind = Path(path.stem).suffix if packed else path.suffix
    try:
        if kind == ".parquet" and not packed:
            import pyarrow.parquet as pq

            return [dict(row) for row in pq.read_table(path).to_pylist()]
        text = (_OPEN[path.suffix](path) if packed else path.read_bytes()).decode("utf-8-sig")
        if kind in (".csv", ".tsv"):
            return list(csv.DictReader(text.splitlines(keepends=True), delimiter="\t" if kind == ".tsv" else ","))
        if kind in (".jsonl", ".json"):
            rows = json.loads(text) if kind == ".json" else [json.loads(line) for line in text.splitlines() if line.strip()]
            if isinstance(rows, list) and all(isinstance(row, dict) for row in rows):
                return rows
            raise DataError(f"{path.name}: every row must be a JSON object with the columns as keys.")
    except (OSError, EOFError, ValueError, csv.Error, lzma.LZMAError) as exc:  # pyarrow's errors are ValueErrors or OSErrors
        raise DataError(f"{path.name} cannot be read as {kind[1:]} ({type(exc).__name__}). Save or download it again.") from exc
    raise DataError(f"{path.name} has an ending that is not read here. Use .jsonl, .json, .csv, .tsv or .parquet.")
