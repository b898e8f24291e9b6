"""Columns of every Arrow type: how many bytes of text their values take, and the values, whatever the types.

What Arrow itself cannot count, filter or turn into Python objects is read another way, or as text; nothing here raises for a type.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Sizes = npt.NDArray[np.int64]
_NOT_IN_PYTHON = (ValueError, OverflowError, KeyError, ImportError, TypeError, pa.ArrowException)
"""What Arrow raises for values that Python's types do not hold."""
WORD = 8
"""Bytes that a value is taken for which is no text: a number, a date, an interval."""


def text_bytes(column: pa.Array) -> Sizes:
    """Bytes of text of each value, from lengths alone: no value becomes a Python object."""
    kind = column.type
    for belongs, measure in _MEASURES:
        if belongs(kind):
            return measure(column)
    return np.full(len(column), WORD, np.int64)


def _numbers(column: pa.Array) -> Sizes:
    return np.asarray(pc.fill_null(pc.cast(column, pa.int64()), 0), np.int64)


def _dictionary(column: pa.DictionaryArray) -> Sizes:
    if len(column.dictionary) == 0:
        return np.zeros(len(column), np.int64)
    return np.asarray(np.where(column.is_valid(), text_bytes(column.dictionary)[_numbers(column.indices)], 0), np.int64)


def _text(column: pa.Array) -> Sizes:
    return _numbers(pc.binary_length(column))


def _view(column: pa.Array) -> Sizes:
    """Of a view type, whose every entry of 16 bytes begins with the length."""
    entries = np.frombuffer(column.buffers()[1], np.int32).reshape(-1, 4)[column.offset : column.offset + len(column), 0]
    return np.asarray(np.where(column.is_valid(), entries, 0), np.int64)


def _struct(column: pa.StructArray) -> Sizes:
    fields = np.zeros(len(column), np.int64)
    for field in column.flatten():
        fields += text_bytes(field)
    return fields


def _list(column: pa.Array) -> Sizes:
    return _summed(_numbers(pc.list_value_length(column)), column.flatten())


def _list_view(column: pa.Array) -> Sizes:
    """Of lists that may share their values, which are not written out for it."""
    total, offsets = _running(text_bytes(column.values)), np.asarray(column.offsets, np.int64)
    sizes = np.asarray(column.sizes, np.int64)
    return np.asarray(np.where(column.is_valid(), total[offsets + sizes] - total[offsets], 0), np.int64)


def _map(column: pa.MapArray) -> Sizes:
    offsets = np.asarray(column.offsets, np.int64)
    total = _running(text_bytes(column.keys)) + _running(text_bytes(column.items))
    return np.asarray(np.where(column.is_valid(), np.diff(total[offsets]), 0), np.int64)


def _summed(lengths: Sizes, values: pa.Array) -> Sizes:
    """Bytes of each list, of these lengths, whose values stand one after another."""
    ends = np.concatenate([[0], np.cumsum(lengths)])
    return np.asarray(np.diff(_running(text_bytes(values))[ends]), np.int64)


def _running(sizes: Sizes) -> Sizes:
    return np.concatenate([[0], np.cumsum(sizes)])


def _union(column: pa.UnionArray) -> Sizes:
    """The largest that any value of it can be: which child a value stands in does not matter for a limit."""
    children = [text_bytes(column.field(place)) for place in range(column.type.num_fields)]
    most = max((int(child.max(initial=WORD)) for child in children), default=WORD)
    return np.full(len(column), most, np.int64)


def _runs(column: pa.RunEndEncodedArray) -> Sizes:
    """The size of a run holds for each of its values."""
    first = column.find_physical_offset()
    count = column.find_physical_length()
    ends = np.clip(np.asarray(column.run_ends.slice(first, count), np.int64) - column.offset, 0, len(column))
    sizes = text_bytes(column.values.slice(first, count))
    return np.repeat(sizes, np.diff(np.concatenate([[0], ends])))


_MEASURES: list[tuple[Callable[[pa.DataType], bool], Callable[[Any], Sizes]]] = [
    (pa.types.is_dictionary, _dictionary),
    (lambda kind: isinstance(kind, pa.BaseExtensionType), lambda column: text_bytes(column.storage)),
    (pa.types.is_string, _text),
    (pa.types.is_large_string, _text),
    (pa.types.is_binary, _text),
    (pa.types.is_large_binary, _text),
    (pa.types.is_fixed_size_binary, lambda column: np.full(len(column), column.type.byte_width, np.int64)),
    (pa.types.is_string_view, _view),
    (pa.types.is_binary_view, _view),
    (pa.types.is_struct, _struct),
    (pa.types.is_map, _map),
    (pa.types.is_list, _list),
    (pa.types.is_large_list, _list),
    (pa.types.is_fixed_size_list, _list),
    (pa.types.is_list_view, _list_view),
    (pa.types.is_large_list_view, _list_view),
    (pa.types.is_union, _union),
    (pa.types.is_run_end_encoded, _runs),
]
"""How each type is measured. Numbers, dates, decimals and whatever is not here take a word each."""


def rows_of(batch: pa.RecordBatch) -> list[dict[str, Any]] | None:
    """The rows as objects; a column whose values Python cannot hold, such as a date in the year 500,000, is read as text.

    None if a value is damaged, such as text that is not UTF-8.
    """
    try:
        return list(batch.to_pylist())
    except _NOT_IN_PYTHON:
        columns = [_values(column) for column in batch.columns]
    if any(column is None for column in columns):
        return None
    return [dict(zip(batch.schema.names, cells, strict=True)) for cells in zip(*(column or () for column in columns), strict=True)]


def _values(column: pa.Array) -> list[Any] | None:
    """The values of a column; None if one of them is damaged."""
    try:
        return list(column.to_pylist())
    except _NOT_IN_PYTHON as exc:
        return None if isinstance(exc, UnicodeDecodeError) else _as_texts(column)


def _as_texts(column: pa.Array) -> list[Any]:
    """The values as Arrow writes them, or none where it writes none."""
    if pa.types.is_timestamp(column.type):  # a time zone nobody knows: the moments are in UTC all the same
        column = column.cast(pa.timestamp(column.type.unit))
    try:
        return list(pc.cast(column, pa.string()).to_pylist())
    except (ValueError, pa.ArrowException):
        return [None] * len(column)


def filtered(batch: pa.RecordBatch, keep: pa.BooleanArray) -> pa.Table:
    """The rows for which `keep` is true. Arrow filters most types; of the others the rows are cut out in runs."""
    try:
        return pa.Table.from_batches([batch.filter(keep)])
    except pa.ArrowNotImplementedError:
        flags = np.asarray(keep.to_numpy(zero_copy_only=False), np.int8)
        changes = np.flatnonzero(np.diff(np.concatenate([[0], flags, [0]]))).reshape(-1, 2)
        return pa.Table.from_batches([batch.slice(start, end - start) for start, end in changes.tolist()], batch.schema)


def storable(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch as Parquet can hold it: texts of a dictionary written out, what Parquet has no type for (unions, intervals) as JSON text.

    Only for a batch that was measured: a short dictionary can stand for gigabytes.
    """
    columns = [_storable(column) for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _storable(column: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        return column.dictionary_decode()
    if pa.types.is_run_end_encoded(column.type):
        return _storable(pc.run_end_decode(column))
    if not _in_parquet(column.type):
        cells = (_values(column) or [None] * len(column)) if len(column) else []
        return pa.array([None if cell is None else json.dumps(cell, default=str, ensure_ascii=False) for cell in cells], pa.string())
    return column


def _in_parquet(kind: pa.DataType) -> bool:
    if pa.types.is_union(kind) or pa.types.is_run_end_encoded(kind) or kind == pa.month_day_nano_interval():
        return False
    inner = [kind.field(place).type for place in range(kind.num_fields)]
    return all(_in_parquet(child) for child in inner)
