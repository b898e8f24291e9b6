"""Extracts the texts of rows and scores a dataset by a function of texts: in shards, each stored once finished."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from reft_studio import fingerprint
from reft_studio.data.dataset import Dataset
from reft_studio.progress import Progress
from reft_studio.scoring.prepared import Prepared
from reft_studio.scoring.scorer import Scorer
from reft_studio.scoring.scores import ScoreSet
from reft_studio.scoring.shards import NO_ANSWER, user_turns
from reft_studio.scoring.work import Scored, load_shard, save_shard, work_folder
from reft_studio.workspace import Workspace

ROWS = 32_768
"""Maximum rows per shard: a row group of the dataset ends a shard too."""
_USER = '"role":"user"'


@dataclass(frozen=True)
class RowTexts:
    """Texts of some rows: text i belongs to row rows[i]; `reasons`, per row, says why it has no text, or 0."""

    texts: pa.Array
    rows: NDArray[np.int64]
    reasons: NDArray[np.uint8]


def prompts(batch: pa.RecordBatch) -> RowTexts:
    """The user turns of each row. Single-turn rows, the majority, are handled without parsing them one by one."""
    prompt, messages = batch.column("prompt"), batch.column("messages")
    not_blank = pc.greater(pc.binary_length(pc.utf8_trim_whitespace(prompt)), 0)
    single = pc.fill_null(pc.and_(not_blank, pc.equal(pc.count_substring(messages, _USER), 1)), False).to_numpy(zero_copy_only=False)
    others, reasons = np.flatnonzero(~single), np.zeros(len(batch), dtype=np.uint8)
    turns, of_row = list[str](), list[int]()
    for index, row in zip(others.tolist(), batch.select(["prompt", "messages"]).take(pa.array(others)).to_pylist(), strict=True):
        turns_of, reasons[index] = user_turns(row)
        turns += turns_of
        of_row += [index] * len(turns_of)
    texts = pa.concat_arrays([prompt.filter(pa.array(single)), pa.array(turns, pa.string())])
    return RowTexts(texts, np.concatenate([np.flatnonzero(single), np.array(of_row, dtype=np.int64)]), reasons)


def responses(batch: pa.RecordBatch) -> RowTexts:
    """The response of each row; a row without one has no text."""
    response = batch.column("response")
    answered = pc.fill_null(pc.greater(pc.binary_length(pc.utf8_trim_whitespace(response)), 0), False)
    present = answered.to_numpy(zero_copy_only=False)
    return RowTexts(response.filter(answered), np.flatnonzero(present), np.where(present, 0, NO_ANSWER).astype(np.uint8))


def joined_text(turns: Sequence[str], response: str = "") -> str:
    """User turns and response as one text."""
    return "\n".join([*turns, *([response] if response.strip() else [])])


def whole_rows(batch: pa.RecordBatch) -> RowTexts:
    """Each row as one text: user turns and response. A row needs either."""
    said, answered = prompts(batch), responses(batch)
    parts = [list[str]() for _ in range(len(batch))]
    for texts_of in (said, answered):
        for row, text in zip(texts_of.rows.tolist(), texts_of.texts.to_pylist(), strict=True):
            parts[row].append(text)
    present = np.array([bool(part) for part in parts], dtype=bool)
    texts = pa.array([joined_text(part) for part in parts if part], pa.string())
    return RowTexts(texts, np.flatnonzero(present), np.where(present, 0, said.reasons).astype(np.uint8))


def score_texts(
    scorer: Scorer,
    workspace: Workspace,
    dataset: Dataset,
    prepared: Prepared,
    progress: Progress,
    *,
    read: Callable[[pa.RecordBatch], RowTexts],
    columns: Sequence[str],
    function: Callable[[pa.Array], NDArray[np.float32]],
    size: int = ROWS,
) -> ScoreSet:
    """Score a dataset by its texts; a row with several gets the highest. An interrupted run resumes.

    `size`: maximum rows per shard.
    """
    if (ready := scorer.stored(workspace, dataset, prepared)) is not None:
        progress.progress(dataset.rows, dataset.rows)
        return ready
    started = time.perf_counter()
    key = fingerprint.of_value(scorer.content(prepared))[: fingerprint.SHORT]
    with work_folder(workspace, f"{dataset.id}-{key}") as folder:
        result = Scored.empty(dataset.rows)
        for number, batch in enumerate(dataset.batches(list(columns), size=size)):
            final = folder / f"{number:05}.npz"
            shard = load_shard(final)
            if shard is None or shard.rows != len(batch):
                shard = _scored(read(batch), function)
                save_shard(final, shard)
            result.take(shard)
            progress.progress(result.rows, dataset.rows)
        info: dict[str, Any] = {"seconds": round(time.perf_counter() - started, 3)}
        return scorer.store(workspace, dataset, prepared, result, info)


def _scored(of_rows: RowTexts, function: Callable[[pa.Array], NDArray[np.float32]]) -> Scored:
    scores = np.full(len(of_rows.reasons), -np.inf, dtype=np.float32)
    np.maximum.at(scores, of_rows.rows, function(of_rows.texts))
    scores[np.isinf(scores)] = np.nan
    return Scored(scores, of_rows.reasons, len(scores))
