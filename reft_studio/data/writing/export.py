"""Kept rows back in the format they came in, byte for byte."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import BinaryIO

from reft_studio.data.dataset import Dataset
from reft_studio.data.formats.export import Export, Kept
from reft_studio.data.formats.format import DataFile
from reft_studio.data.formats.json_text import json_bytes
from reft_studio.data.formats.layout import FileLayout
from reft_studio.data.index.rowstore import row_store
from reft_studio.data.rows.interpret import Interpreter
from reft_studio.data.rows.mapping import Mapping as ColumnMapping
from reft_studio.data.rows.relabel import with_response
from reft_studio.data.writing.files import replacing
from reft_studio.data.writing.spreadsheet import export_csv_safe, safe_cell
from reft_studio.errors import StoreError
from reft_studio.fingerprint import of_file

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
    uploaded = DataFile(original, FileLayout(**source["layout"]))
    reader = Interpreter(ColumnMapping(**source["mapping"]), dataset.role, True)
    with replacing(target) as file:
        uploaded.format.export(Export(uploaded, Kept(row_store(dataset).row_ids, wanted), responses or {}, reader, file))
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
            file.write(json_bytes(value, "utf-8") + b"\n")
