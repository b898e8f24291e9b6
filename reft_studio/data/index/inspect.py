"""What a dataset is made of beyond its columns: repeats and near-repeats, languages, lengths in tokens. One pass, memory bounded."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from reft_studio.data.dataset import Dataset
from reft_studio.data.index.facets import banded, keep_facet
from reft_studio.data.index.languages import Languages
from reft_studio.data.index.near import Positions, Signatures, first_equal, text_hashes
from reft_studio.data.index.query import Lengths, Profile, profile
from reft_studio.errors import PrerequisiteError, StoreError
from reft_studio.integrity import damages, seal
from reft_studio.progress import Progress
from reft_studio.workspace import read_json, staging, write_atomic, write_json

REPEATS = ["no earlier row like it", "repeats an earlier row", "nearly repeats an earlier row"]
TOKENS = ["up to 32", "33-128", "129-512", "513-1,024", "1,025-2,048", "2,049-4,096", "over 4,096"]
TOKEN_ENDS = (32, 128, 512, 1024, 2048, 4096)
SHARES = {"median": 0.5, "p95": 0.95, "max": 1.0}
MOST_TOKENS = 1 << 20
"""Longer rows are counted as this long."""
LISTED = 20
"""Groups of repeats that are listed, largest first."""
SHORT = 40
"""Characters below which a prompt alone does not show its language, so that the response is read too."""
BATCH = 4096
VERSION = 1

Count = Callable[[Sequence[str]], npt.NDArray[np.int64]]
"""Tokens of each text."""


@dataclass(frozen=True)
class Tokenizer:
    """How tokens are counted, and what the model cuts off."""

    name: str
    """The model, for people."""
    count: Count
    limit: int | None
    """Tokens of a row that are trained at most."""


@dataclass(frozen=True)
class TokenLengths:
    """Tokens of prompt and response together, without a chat template."""

    tokenizer: str
    total: int
    limit: int | None
    over: int
    """Rows of more than `limit` tokens."""
    quantiles: dict[str, dict[str, int]]
    """By part (prompt, response, row): median, p95, max."""
    edges: list[int]
    counts: list[int]
    """Rows from each edge up to the next, the last one open."""


@dataclass(frozen=True)
class Inspection:
    """What was found."""

    rows: int
    repeated: int
    """Rows that equal an earlier one in all turns."""
    near: int
    """Rows that nearly equal an earlier one, and are not among `repeated`."""
    groups: list[tuple[int, int]]
    """The largest groups of rows that (nearly) repeat each other: position of the first, rows in all."""
    languages: dict[str, int]
    tokens: TokenLengths | None
    seconds: float
    version: int = field(default=VERSION)


def inspection(dataset: Dataset) -> Inspection | None:
    """What an earlier `inspect` found; None if there was none."""
    path = dataset.folder / "inspection.json"
    if not path.is_file() or damages(dataset.folder, sums="inspection.sha256"):
        return None
    try:
        found = read_json(path)
        tokens = TokenLengths(**found["tokens"]) if found["tokens"] else None
        groups = [(first, n) for first, n in found["groups"]]
        return Inspection(**{**found, "tokens": tokens, "groups": groups}) if found["version"] == VERSION else None
    except (StoreError, KeyError, TypeError, ValueError):
        return None  # damaged: it can be made again


def kept_profile(dataset: Dataset) -> Profile | None:
    """The dataset in numbers as counted before; None if it was not, or the file is damaged."""
    path = dataset.folder / "profile.json"
    if not path.is_file() or damages(dataset.folder, sums="profile.sha256"):
        return None
    try:
        found = read_json(path)
        lengths = {name: Lengths(**found[name]) for name in ("prompt_chars", "response_chars")}
        return Profile(**{**found, **lengths})
    except (StoreError, KeyError, TypeError):
        return None  # counted again


def keep_profile(dataset: Dataset) -> Profile:
    """Count what a dataset holds and keep it beside the rows, which never change."""
    found = profile(dataset)
    with suppress(PrerequisiteError):  # on a full disk it is counted again at the next look
        write_json(dataset.folder / "profile.json", asdict(found))
        seal(dataset.folder, ["profile.json"], sums="profile.sha256")
    return found


def repeats_of(dataset: Dataset, position: int, *, limit: int = 50) -> Positions | None:
    """Positions of the rows that repeat or nearly repeat the row at `position`, itself left out; None before an inspection."""
    path = dataset.folder / "facets" / "first.npy"
    if not path.is_file() or damages(path.parent, sums="first.sha256"):
        return None
    first = np.load(path, mmap_mode="r", allow_pickle=False)
    group = np.flatnonzero(first == first[position])
    others: Positions = group[group != position][:limit].astype(np.int64)
    return others


def inspect(dataset: Dataset, progress: Progress, *, tokenizer: Tokenizer | None = None) -> Inspection:
    """Inspect a dataset and keep the result beside its rows: `inspection.json` and the facets repeats, language, tokens."""
    begin = time.monotonic()
    if kept_profile(dataset) is None:
        keep_profile(dataset)
    with staging(dataset.folder.parent) as scratch:
        reading = _Reading(dataset, tokenizer, scratch)
        progress.stage("read every row", 1, 2)
        for batch in dataset.batches(["prompt", "response", "messages"], size=BATCH):
            progress.progress(reading.rows, dataset.rows)
            reading.add(batch)
        progress.progress(dataset.rows, dataset.rows)
        progress.stage("compare rows that look alike", 2, 2)
        first, codes = reading.repeats(progress)
    labels, spoken = reading.languages.result()
    keep_facet(dataset, "repeats", list(REPEATS), codes)
    keep_facet(dataset, "language", labels, spoken)
    _keep_first(dataset, first)
    tokens = None
    if tokenizer is not None:
        keep_facet(dataset, "tokens", list(TOKENS), reading.bands)
        tokens = reading.token_lengths(tokenizer)
    tally = np.bincount(codes, minlength=len(REPEATS))
    found = Inspection(
        rows=dataset.rows,
        repeated=int(tally[1]),
        near=int(tally[2]),
        groups=_groups(first),
        languages=dict(zip(labels, np.bincount(spoken, minlength=len(labels)).tolist(), strict=True)),
        tokens=tokens,
        seconds=round(time.monotonic() - begin, 1),
    )
    write_json(dataset.folder / "inspection.json", asdict(found))
    seal(dataset.folder, ["inspection.json"], sums="inspection.sha256")
    return found


class _Reading:
    """One pass over the rows."""

    def __init__(self, dataset: Dataset, tokenizer: Tokenizer | None, scratch: Path) -> None:
        self.rows = 0
        self.languages = Languages(dataset.rows)
        self.bands = np.zeros(dataset.rows, np.uint8)
        self._tokenizer = tokenizer
        self._signatures = Signatures(scratch / "signatures", dataset.rows)
        self._hashes = np.empty(dataset.rows, np.uint64)
        self._tallies = {part: np.zeros(MOST_TOKENS + 1, np.int64) for part in ("prompt", "response", "row")}

    def add(self, batch: Any) -> None:
        prompts, responses, messages = (batch.column(place) for place in range(3))
        end = self.rows + len(prompts)
        self._hashes[self.rows : end] = text_hashes(messages) ^ (text_hashes(responses) * np.uint64(3))
        self._signatures.add(pc.binary_join_element_wise(prompts, responses, " "))
        asked, answered = prompts.to_pylist(), responses.to_pylist()
        self.languages.add(
            [prompt if len(prompt) >= SHORT else f"{prompt} {answer}" for prompt, answer in zip(asked, answered, strict=True)]
        )
        if self._tokenizer is not None:
            numbers = {"prompt": self._tokenizer.count(asked), "response": self._tokenizer.count(answered)}
            numbers["row"] = numbers["prompt"] + numbers["response"]
            self.bands[self.rows : end] = banded(numbers["row"], TOKEN_ENDS)
            for part, found in numbers.items():
                np.add.at(self._tallies[part], np.minimum(found, MOST_TOKENS), 1)
        self.rows = end

    def repeats(self, progress: Progress) -> tuple[Positions, npt.NDArray[np.uint8]]:
        """Of each row the first one that it (nearly) repeats, by position, and its code in REPEATS."""
        first = first_equal(self._hashes)
        unique = np.flatnonzero(first == np.arange(self.rows))
        codes = (first != np.arange(self.rows)).astype(np.uint8)
        root = np.arange(self.rows)
        root[unique] = self._signatures.earlier(unique, lambda done, total: progress.progress(done, total))
        codes[root != np.arange(self.rows)] = 2
        return root[first], codes

    def token_lengths(self, tokenizer: Tokenizer) -> TokenLengths:
        whole = self._tallies["row"]
        edges = _edges(whole)
        counts = np.add.reduceat(whole, edges)
        return TokenLengths(
            tokenizer=tokenizer.name,
            total=int(whole @ np.arange(len(whole))),
            limit=tokenizer.limit,
            over=int(whole[tokenizer.limit + 1 :].sum()) if tokenizer.limit else 0,
            quantiles={part: _quantiles(tally) for part, tally in self._tallies.items()},
            edges=edges,
            counts=[int(n) for n in counts],
        )


def _edges(tally: npt.NDArray[np.int64]) -> list[int]:
    """At most 25 round edges, a step apart, that show all rows but the longest thousandth, which the last bin takes together."""
    top = int(np.searchsorted(np.cumsum(tally), 0.999 * tally.sum()))
    step = next(unit * 10**power for power in range(7) for unit in (1, 2, 5) if top // (unit * 10**power) < 24)
    return list(range(0, top + step, step))[:25]


def _quantiles(tally: npt.NDArray[np.int64]) -> dict[str, int]:
    """The least length that this share of the rows does not exceed."""
    summed = np.cumsum(tally)
    return {name: int(np.searchsorted(summed, share * summed[-1])) for name, share in SHARES.items()}


def _groups(first: Positions) -> list[tuple[int, int]]:
    sizes = np.bincount(first) if len(first) else np.zeros(0, np.int64)
    largest = np.argsort(sizes, kind="stable")[::-1][:LISTED]
    return [(int(position), int(sizes[position])) for position in largest if sizes[position] > 1]


def _keep_first(dataset: Dataset, first: Positions) -> None:
    buffer = io.BytesIO()
    np.save(buffer, first.astype(np.uint32), allow_pickle=False)
    write_atomic(dataset.folder / "facets" / "first.npy", buffer.getvalue())
    seal(dataset.folder / "facets", ["first.npy"], sums="first.sha256")
