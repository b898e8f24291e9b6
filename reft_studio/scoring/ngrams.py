"""Hashed word and character n-grams, computed for a whole block of texts at once.

A text is folded first (NFKC, lower case, everything but letters and digits one space). Its features are words and word pairs, and
every run of 3, 4 or 5 bytes, spaces included. There is no vocabulary, so a model of these contains no text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

WORD_BITS, RUN_BITS = 19, 20
BUCKETS = (1 << WORD_BITS) + (1 << RUN_BITS)
"""Word features come first, byte runs after them."""
RUNS = (3, 4, 5)
BLOCK = 1 << 18
"""Bytes of folded text hashed together: their arrays fit in the CPU cache."""
_SPACE = 0x20
_ODD, _PAIR, _MIX = 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, np.uint64(0xD6E8FEB86659FD93)
_RUN_ODD, _RUN_MIX = np.uint32(0x01000193), np.uint32(0x9E3779B1)


@dataclass(frozen=True)
class Grams:
    """One family of features of a block: `buckets` of its texts concatenated; those of text i are starts[i] to ends[i]."""

    buckets: NDArray[np.int64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]

    def by_text(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Text and bucket of every occurrence, without those that span two texts."""
        lengths = self.ends - self.starts
        before = np.cumsum(lengths) - lengths
        indices = np.arange(int(lengths.sum())) + np.repeat(self.starts - before, lengths)
        return np.repeat(np.arange(len(lengths)), lengths), self.buckets[indices]


@dataclass(frozen=True)
class Block:
    """Folded texts as bytes; text i is [bounds[i], bounds[i + 1]) with a space before and after it."""

    data: NDArray[np.uint8]
    bounds: NDArray[np.int64]

    def words(self) -> list[Grams]:
        """Single words, and pairs of adjacent ones."""
        first, last = self.word_bounds()
        hashes = _word_hashes(self.data, first, last)
        starts, ends = (np.searchsorted(first, edge) for edge in (self.bounds[:-1], self.bounds[1:]))
        pairs = hashes[:-1] * np.uint64(_PAIR) + hashes[1:] if len(hashes) else hashes
        return [
            Grams(_word_buckets(hashes), starts, ends),
            Grams(_word_buckets(pairs), starts, np.maximum(ends - 1, starts)),
        ]

    def runs(self) -> Iterator[Grams]:
        """Runs of 3, 4 and 5 bytes, one family after the other."""
        data = self.data.astype(np.uint32)
        hashes = data
        for length in range(2, RUNS[-1] + 1):
            hashes = hashes[:-1] * _RUN_ODD + data[length - 1 :]
            if length in RUNS:
                mixed = hashes ^ (hashes >> np.uint32(15))
                mixed *= _RUN_MIX
                buckets = (mixed >> np.uint32(32 - RUN_BITS)).astype(np.int64) + (1 << WORD_BITS)
                starts = self.bounds[:-1]
                yield Grams(buckets, starts, np.maximum(self.bounds[1:] - (length - 1), starts))

    def word_bounds(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Start and end of each word."""
        inside = self.data != _SPACE
        edges = np.flatnonzero(np.diff(inside.view(np.int8), prepend=np.int8(0), append=np.int8(0)))
        return edges[::2], edges[1::2]


def blocks(texts: pa.Array) -> Iterator[Block]:
    """The folded texts in order, in blocks of about BLOCK bytes; a longer text is a block of its own."""
    folded = fold(texts)
    offsets = np.frombuffer(folded.buffers()[1], dtype=np.int64)[folded.offset : folded.offset + len(folded) + 1]
    data = np.frombuffer(folded.buffers()[2] or b"", dtype=np.uint8)
    start = 0
    while start < len(folded):
        end = max(start + 1, int(np.searchsorted(offsets, offsets[start] + BLOCK, side="right")) - 1)
        bounds = offsets[start : end + 1]
        yield Block(data[bounds[0] : bounds[-1]], bounds - bounds[0])
        start = end


def fold(texts: pa.Array) -> pa.Array:
    """Each text in lower case and NFKC, with single spaces for everything but letters and digits, and one at either end."""
    lower = pc.utf8_lower(pc.utf8_normalize(texts.cast(pa.large_string()), form="NFKC"))
    plain = pc.replace_substring_regex(lower, r"[^\pL\pM\pN]+", " ")
    nothing = pa.scalar("", pa.large_string())
    return pc.binary_join_element_wise(nothing, pc.utf8_trim(plain, " "), nothing, pa.scalar(" ", pa.large_string()))


def _word_hashes(data: NDArray[np.uint8], first: NDArray[np.int64], last: NDArray[np.int64]) -> NDArray[np.uint64]:
    """A polynomial hash of each word, from running sums, without a loop over words."""
    powers, inverse = _powers(1 << max(len(data), BLOCK).bit_length())
    sums = np.zeros(len(data) + 1, dtype=np.uint64)
    np.cumsum((data.astype(np.uint64) + np.uint64(1)) * powers[: len(data)], out=sums[1:])
    return (sums[last] - sums[first]) * inverse[first]


def _word_buckets(hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    mixed = (hashes ^ (hashes >> np.uint64(32))) * _MIX
    return (mixed >> np.uint64(64 - WORD_BITS)).astype(np.int64)


@lru_cache(maxsize=1)
def _powers(count: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Powers of an odd number modulo 2^64, and their inverses."""
    bases = np.full(count, _ODD, dtype=np.uint64), np.full(count, pow(_ODD, -1, 1 << 64), dtype=np.uint64)
    return np.cumprod(bases[0], dtype=np.uint64), np.cumprod(bases[1], dtype=np.uint64)
