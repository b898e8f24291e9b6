"""Logistic regression on the TF-IDF of hashed n-grams: fitted with scikit-learn, stored as arrays, used without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from reft_studio.errors import StoreError
from reft_studio.scoring.ngrams import BUCKETS, Block, Grams, blocks

FILE = "model.npz"


@dataclass(frozen=True)
class TextModel:
    """Log odds that a text is harmful: `intercept` + the sum over families (words, runs) of (Σ idf·w) / √(Σ idf²).

    Sums are over every occurrence of a bucket, so both are table look-ups. Buckets unseen in fitting count in neither. `table`: (BUCKETS,)
    complex64 of idf·w and idf². `scale`: log odds that become tanh(1).
    """

    table: NDArray[np.complex64]
    intercept: float
    scale: float

    def log_odds(self, texts: pa.Array) -> NDArray[np.float32]:
        """(n,) log odds of non-null texts."""
        of_blocks = [self._of_block(block) for block in blocks(texts)]
        return np.concatenate(of_blocks) if of_blocks else np.zeros(0, dtype=np.float32)

    def scores(self, texts: pa.Array) -> NDArray[np.float32]:
        """(n,) log odds z as tanh(z / scale), in -1..1."""
        return np.asarray(np.tanh(self.log_odds(texts) / np.float32(self.scale)), dtype=np.float32)

    def highest(self, texts: Sequence[str]) -> str:
        """The text with the highest log odds."""
        return texts[int(np.argmax(self.log_odds(pa.array(texts, pa.string()))))]

    def words(self, text: str) -> list[tuple[str, float]]:
        """The folded words of a text in order, each with its share of the log odds, including that of the byte runs through it."""
        shares = [(word, share) for block in blocks(pa.array([text])) for word, share in self._by_word(block)]
        return [(word, round(share, 4)) for word, share in shares]

    def _of_block(self, block: Block) -> NDArray[np.float32]:
        words = sum((_sums(self.table, grams) for grams in block.words()), np.zeros(1, dtype=np.complex64))
        runs = sum((_sums(self.table, grams) for grams in block.runs()), np.zeros(1, dtype=np.complex64))
        return (_ratio(words) + _ratio(runs) + self.intercept).astype(np.float32)

    def _by_word(self, block: Block) -> list[tuple[str, float]]:
        first, last = block.word_bounds()
        if not len(first):
            return []
        shares, families = np.zeros(len(first)), (block.words(), list(block.runs()))
        for family, wide in zip(families, (False, True), strict=True):
            values_by_family = [self.table[grams.buckets[int(grams.starts[0]) : int(grams.ends[0])]] for grams in family]
            norm = np.sqrt(sum(float(values.imag.sum()) for values in values_by_family)) or 1.0
            for index, values in enumerate(values_by_family):
                weights = values.real / norm
                spread = _through(first, last, len(weights), index + 3) if wide else _neighbours(len(first), len(weights), index)
                shares += spread @ weights
        texts = [bytes(block.data[start:end]).decode("utf-8") for start, end in zip(first.tolist(), last.tolist(), strict=True)]
        return list(zip(texts, shares.tolist(), strict=True))

    def save(self, folder: Path) -> None:
        """Write `model.npz`: the used buckets with half-precision weights, rounded before anything is scored with them."""
        used = np.flatnonzero(self.table.imag).astype(np.uint32)
        idf, weight = np.sqrt(self.table.imag[used]), self.table.real[used]
        halves = idf.astype(np.float16), weight.astype(np.float16)
        scalars = np.array([self.intercept, self.scale])
        np.savez_compressed(folder / FILE, buckets=used, idf=halves[0], weight=halves[1], scalars=scalars)

    @classmethod
    def load(cls, folder: Path) -> TextModel:
        """Raises StoreError if the model is missing or damaged."""
        try:
            with np.load(folder / FILE, allow_pickle=False) as parts:
                table = np.zeros(BUCKETS, dtype=np.complex64)
                table[parts["buckets"]] = parts["weight"].astype(np.float32) + 1j * parts["idf"].astype(np.float32) ** 2
                intercept, scale = parts["scalars"].tolist()
        except (OSError, EOFError, BadZipFile, ValueError, KeyError, IndexError) as exc:
            raise StoreError(f"{folder.name}/{FILE} is missing or damaged. Prepare the scorer again.") from exc
        return cls(table, intercept, scale)


def _sums(table: NDArray[np.complex64], grams: Grams) -> NDArray[np.complex64]:
    """(texts,) sums of the table over the buckets of each text."""
    if not len(grams.buckets):
        return np.zeros(len(grams.starts), dtype=np.complex64)
    values = np.append(table[grams.buckets], np.complex64(0))
    edges = np.column_stack([grams.starts, grams.ends]).reshape(-1)
    sums = np.add.reduceat(values, np.minimum(edges, len(values) - 1))[::2]
    sums[grams.ends <= grams.starts] = 0  # where nothing lies between two edges, `reduceat` gives the value at the first
    return np.asarray(sums)


def _ratio(sums: NDArray[np.complex64]) -> NDArray[np.float32]:
    return np.asarray(sums.real / np.sqrt(np.where(sums.imag > 0, sums.imag, 1)))


def _neighbours(words: int, grams: int, size: int) -> NDArray[np.float64]:
    """(words, grams) shares of a single word's (place 0) or pair's (place 1) weight."""
    if size == 0:
        return np.eye(words, grams)
    return (np.eye(words, grams) + np.eye(words, grams, -1)) / 2


def _through(first: NDArray[np.int64], last: NDArray[np.int64], grams: int, length: int) -> NDArray[np.float64]:
    """(words, grams) share of each run of `length` bytes inside each word; spaces distribute theirs to the words."""
    starts = np.arange(grams)
    inside = np.minimum(last[:, None], starts + length) - np.maximum(first[:, None], starts)
    inside = np.maximum(inside, 0).astype(np.float64)
    return np.asarray(inside / np.maximum(inside.sum(axis=0), 1))
