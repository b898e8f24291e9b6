"""Rows that say nearly the same: MinHash over three-word sequences, in array operations, memory bounded by a scratch file.

Broder, On the resemblance and containment of documents (1997); banding as in Leskovec, Rajaraman and Ullman, Mining of Massive
Datasets, chapter 3. Two texts are nearly the same if they share at least `SIMILAR` of their three-word sequences (Jaccard), as estimated
from 64 hashes, which has a standard error of about 0.05 there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

SIMILAR = 0.8
HASHES = 64
BANDS = 16
"""Rows that agree in the four hashes of one band are compared: 99.98 % of pairs at a similarity of 0.8."""
PAIRS = 1 << 18
"""Pairs compared at once."""
SEED = 20250607

_WIDE = "([\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\u0e00-\u0e7f])"
"""Signs of scripts that put no space between words: each counts as a word."""

Numbers = npt.NDArray[np.uint64]
Positions = npt.NDArray[np.int64]


class Signatures:
    """One MinHash signature for each text, in the order of `add`, kept in a file of 128 bytes a text."""

    def __init__(self, path: Path, rows: int) -> None:
        random = np.random.default_rng(SEED)
        self._bands: np.memmap[Any, np.dtype[np.uint64]] = np.memmap(path, np.uint64, "w+", shape=(BANDS, max(rows, 1)))
        self._steps = random.integers(1 << 32, 1 << 63, HASHES, np.uint64) * np.uint64(2) + np.uint64(1)
        self._weights = random.integers(1 << 32, 1 << 63, 3, np.uint64) * np.uint64(2) + np.uint64(1)
        self.rows = 0

    def add(self, texts: pa.Array) -> None:
        """Take the next texts; a few thousand at a time keep the work inside the processor's cache."""
        if not len(texts):
            return
        values, starts = _sequences(texts, self._weights)
        signs = np.empty((len(texts), HASHES), np.uint16)
        product = np.empty_like(values)
        for place, step in enumerate(self._steps):
            np.multiply(values, step, out=product)
            # not the highest bits: of the least of many numbers these are all zero
            signs[:, place] = (np.minimum.reduceat(product, starts) >> np.uint64(24)).astype(np.uint16)
        end = self.rows + len(texts)
        self._bands[:, self.rows : end] = signs.view(np.uint64).T
        self.rows = end

    def earlier(self, among: Positions, step: Callable[[int, int], None]) -> Positions:
        """For each text of `among` (ascending) the first that is nearly the same, or its own position. `step` gets bands done of all."""
        first = np.arange(len(among))
        for band in range(BANDS):
            step(band, BANDS)
            for left, right in _candidates(np.asarray(self._bands[band, : self.rows][among])):
                useful = left < first[right]
                left, right = left[useful], right[useful]
                alike = self._alike(among[left], among[right])
                np.minimum.at(first, right[alike], left[alike])
        step(BANDS, BANDS)
        return among[_roots(first)]

    def _alike(self, left: Positions, right: Positions) -> npt.NDArray[np.bool_]:
        """Whether the signatures of pairs agree often enough."""
        agreed = np.zeros(len(left), np.int64)
        for band in range(BANDS):
            column = self._bands[band]
            same = column[left].view(np.uint16) == column[right].view(np.uint16)
            agreed += same.reshape(-1, HASHES // BANDS).sum(axis=1)
        return agreed >= SIMILAR * HASHES


def _candidates(keys: Numbers) -> Iterator[tuple[Positions, Positions]]:
    """Pairs (earlier, later) with equal keys: each with the first of its group, and with its neighbour; never all with all."""
    order = np.argsort(keys, kind="stable")
    same = np.flatnonzero(keys[order[1:]] == keys[order[:-1]]) + 1  # places in `order` that continue a group
    if not len(same):
        return
    opens = np.ones(len(order), np.bool_)
    opens[same] = False
    heads = np.maximum.accumulate(np.where(opens, np.arange(len(order)), 0))
    for start in range(0, len(same), PAIRS):
        part = same[start : start + PAIRS]
        yield order[heads[part]], order[part]
        yield order[part - 1], order[part]


def _roots(first: Positions) -> Positions:
    """Follow each link to the end: a text like one that is like the first belongs to the first."""
    while True:
        further = first[first]
        if np.array_equal(further, first):
            return first
        first = further


def _sequences(texts: pa.Array, weights: Numbers) -> tuple[Numbers, Positions]:
    """Numbers of the three-word sequences of all texts, one after the other, and where each text begins. A text has at least one."""
    hashes, counts = _words(texts)
    rows = len(counts)
    # two empty words behind each text, so that sequences begin at every word and none runs into the next text
    starts = np.zeros(rows + 1, np.int64)
    np.cumsum(counts + 2, out=starts[1:])
    padded = np.zeros(starts[-1] + 2, np.uint64)
    padded[np.arange(len(hashes)) + 2 * np.repeat(np.arange(rows), counts)] = hashes
    values = padded[:-2] * weights[0] + padded[1:-1] * weights[1] + padded[2:] * weights[2]
    values ^= values >> np.uint64(32)
    values *= np.uint64(0x9E3779B97F4A7C15)
    values ^= values >> np.uint64(29)
    begin = starts[:-1]
    for back in (1, 2):  # sequences of the empty words alone: again the text's first, which changes no minimum
        values[starts[1:] - back] = values[begin]
    return values, begin


def _words(texts: pa.Array) -> tuple[Numbers, Positions]:
    """A number for each word (any case), and the number of words of each text."""
    plain = pc.utf8_lower(texts)
    if not pc.all(pc.string_is_ascii(plain), min_count=0).as_py():
        plain = pc.if_else(pc.string_is_ascii(plain), plain, pc.replace_substring_regex(plain, _WIDE, r" \1 "))
    split = pc.utf8_split_whitespace(pc.utf8_trim_whitespace(plain))
    counts = pc.list_value_length(split).to_numpy(zero_copy_only=False).astype(np.int64)
    coded = pc.list_flatten(split).dictionary_encode()
    table = text_hashes(coded.dictionary)
    codes = coded.indices.to_numpy(zero_copy_only=False)
    return (table[codes] if len(codes) else np.zeros(0, np.uint64)), counts


def text_hashes(texts: pa.Array) -> Numbers:
    """A number for each whole text: equal texts have equal ones, and different ones do not (but for one pair in 10^19)."""
    from pandas.util import hash_array  # takes most of a second, which the app's start shall not

    return np.asarray(hash_array(texts.to_numpy(zero_copy_only=False), categorize=False))


def first_equal(hashes: Numbers) -> Positions:
    """For each place the first one that holds the same number."""
    order = np.argsort(hashes, kind="stable")
    opens = np.ones(len(order), np.bool_)
    opens[1:] = hashes[order[1:]] != hashes[order[:-1]]
    heads = np.maximum.accumulate(np.where(opens, np.arange(len(order)), 0))
    first = np.empty(len(order), np.int64)
    first[order] = order[heads]
    return first
