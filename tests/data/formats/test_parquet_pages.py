from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reft_studio.data.formats.parquet_pages import DICTIONARY_PAGE, longest_entry, page_header


def _longest(path: Path, column: int = 0) -> int:
    with path.open("rb") as file:
        return longest_entry(file, pq.read_metadata(path).row_group(0).column(column))


@pytest.mark.parametrize("compression", ["none", "snappy", "zstd", "gzip", "brotli", "lz4"])
@pytest.mark.parametrize("options", [{}, {"data_page_version": "2.0"}, {"write_page_checksum": True}], ids=["v1", "v2", "checksum"])
def test_the_longest_text_of_a_dictionary_is_found(compression: str, options: dict[str, Any], tmp_path: Path) -> None:
    texts = [f"{n} " * 50 for n in range(1000)] + ["x" * 5000]
    pq.write_table(pa.table({"text": texts * 2}), tmp_path / "a.parquet", compression=compression, **options)
    assert _longest(tmp_path / "a.parquet") == 5000


def test_nested_texts_have_dictionaries_too(tmp_path: Path) -> None:
    turns = [[{"role": "user", "content": "y" * 70_000}]] * 5
    pq.write_table(pa.table({"messages": turns}), tmp_path / "a.parquet")
    assert _longest(tmp_path / "a.parquet", 1) == 70_000
    assert 4 <= _longest(tmp_path / "a.parquet", 0) < 100


def test_without_dictionary_nothing_is_repeated(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a", "b"]}), tmp_path / "a.parquet", use_dictionary=False)
    assert _longest(tmp_path / "a.parquet") == 0


def test_what_cannot_be_read_is_bounded_by_its_column(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [f"{n} " * 50 for n in range(1000)]}), path)
    column = pq.read_metadata(path).row_group(0).column(0)
    content = bytearray(path.read_bytes())
    content[column.dictionary_page_offset] = 0xFF
    path.write_bytes(content)
    assert _longest(path) >= column.total_uncompressed_size


@pytest.mark.parametrize("data", [b"\x15", b"\x16\x00", b"\x15\x04\x15\x02\x15\x02\x99", b"\x15\x04\x15\x02\x15\x02\x4c\x77"])
def test_a_header_of_another_form_is_no_header(data: bytes) -> None:
    with pytest.raises((ValueError, IndexError)):
        page_header(data)
    assert page_header(b"\x15\x04\x15\x02\x15\x02\x4c\x15\x02\x15\x00\x12\x00\x00rest") == (DICTIONARY_PAGE, 1, 1, 14)
