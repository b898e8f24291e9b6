"""The texts of rows, and the scoring of a dataset by a function of texts: in shards of rows, each kept once it is done."""

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
"""Rows of one shard, at most: a row group of the dataset ends a shard too."""
_USER = '"role":"user"'


@dataclass(frozen=True)
class RowTexts:
    """Texts of some rows. text i belongs to row rows[i]; `reasons`, per row, says why it has no text, or 0."""

    texts: pa.Array
    rows: NDArray[np.int64]
    reasons: NDArray[np.uint8]


def prompts(batch: pa.RecordBatch) -> RowTexts:
    """What the user says in each row, turn by turn. Rows of one turn, which most are, are not looked into one by one."""
    prompt, messages = batch.column("prompt"), batch.column("messages")
    said = pc.greater(pc.binary_length(pc.utf8_trim_whitespace(prompt)), 0)
    single = pc.fill_null(pc.and_(said, pc.equal(pc.count_substring(messages, _USER), 1)), False).to_numpy(zero_copy_only=False)
    rest, reasons = np.flatnonzero(~single), np.zeros(len(batch), dtype=np.uint8)
    turns, of_row = list[str](), list[int]()
    for place, row in zip(rest.tolist(), batch.select(["prompt", "messages"]).take(pa.array(rest)).to_pylist(), strict=True):
        spoken, reasons[place] = user_turns(row)
        turns += spoken
        of_row += [place] * len(spoken)
    texts = pa.concat_arrays([prompt.filter(pa.array(single)), pa.array(turns, pa.string())])
    return RowTexts(texts, np.concatenate([np.flatnonzero(single), np.array(of_row, dtype=np.int64)]), reasons)


def answers(batch: pa.RecordBatch) -> RowTexts:
    """The response of each row; a row without one has no text."""
    response = batch.column("response")
    answered = pc.fill_null(pc.greater(pc.binary_length(pc.utf8_trim_whitespace(response)), 0), False)
    there = answered.to_numpy(zero_copy_only=False)
    return RowTexts(response.filter(answered), np.flatnonzero(there), np.where(there, 0, NO_ANSWER).astype(np.uint8))


def one_text(turns: Sequence[str], response: str = "") -> str:
    """What is said in a row, as one text."""
    return "\n".join([*turns, *([response] if response.strip() else [])])


def whole_rows(batch: pa.RecordBatch) -> RowTexts:
    """All that is read of each row as one text: what the user says, turn by turn, and the response. A row needs either."""
    said, answered = prompts(batch), answers(batch)
    parts = [list[str]() for _ in range(len(batch))]
    for some in (said, answered):
        for row, text in zip(some.rows.tolist(), some.texts.to_pylist(), strict=True):
            parts[row].append(text)
    there = np.array([bool(one) for one in parts], dtype=bool)
    texts = pa.array([one_text(one) for one in parts if one], pa.string())
    return RowTexts(texts, np.flatnonzero(there), np.where(there, 0, said.reasons).astype(np.uint8))


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
    """Score a dataset by its texts; a row with several gets the highest. A run that was interrupted goes on where it stopped.

    `size`: rows of one shard, at most.
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


def _scored(found: RowTexts, function: Callable[[pa.Array], NDArray[np.float32]]) -> Scored:
    scores = np.full(len(found.reasons), -np.inf, dtype=np.float32)
    np.maximum.at(scores, found.rows, function(found.texts))
    scores[np.isinf(scores)] = np.nan
    return Scored(scores, found.reasons, len(scores))
