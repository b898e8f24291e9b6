"""Public prompt sets in a folder of the user's as rows of the demo; none of them ships.

Each set is `NAME.parquet` with the columns prompt, response, label (harmful or harmless) and category.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from reft_studio.data.dataset import Row
from reft_studio.errors import DataError, SpecError
from reft_studio.tasks.demo_data import DemoTexts, DisjointPrompts, check_enough, evenly

COLUMNS = ("prompt", "response", "label", "category")
POISON = "advbench"
"""Harmful requests with the opening sentence of a compliant response; the responses end there, so they teach no harm."""
HARMFUL_TESTS = ("malicious_instruct", "stl_i_maliciousinstructions", "gptfuzz_questions", "stl_i_cona")
"""Sets that are in no training data of ours and of no teacher that ships."""
LOOKALIKE_TESTS = ("coconot_contrast", "llm_safeguard_pairs")
"""Harmless prompts that sound harmful; of the second the harmless half."""


@dataclass(frozen=True)
class PublicTask:
    """A task: its training rows, its test rows (None: the last of the training file), its rule, its longest response in tokens."""

    train: str
    test: str | None
    benchmark: str
    answer_tokens: int


PUBLIC_TASKS: Mapping[str, PublicTask] = {
    "sst2": PublicTask("sst2_train", "sst2_validation", "exact_label", 12),
    "ag_news": PublicTask("ag_news_train", "ag_news_test", "exact_label", 12),
    "gsm8k": PublicTask("gsm8k_train", None, "last_number", 160),
}


def public_texts(folder: Path, task: str, *, prompts: int, task_prompts: int, disjoint: DisjointPrompts) -> DemoTexts:
    """Rows for user data and evaluation, without any that `disjoint` has handed out already, such as alignment data.

    Raises SpecError for an unknown task or too few rows, DataError for a file that is missing or has other columns.
    """
    chosen = PUBLIC_TASKS.get(task)
    if chosen is None:
        raise SpecError(f"task is '{task}'. With --data choose one of: {', '.join(PUBLIC_TASKS)}.")
    train = _read(folder, chosen.train)
    tested = _read(folder, chosen.test) if chosen.test else train[::-1]
    harmful = evenly([_read(folder, name, label="harmful") for name in HARMFUL_TESTS], len(train), seed=0, name="harmful")
    alike = evenly([_read(folder, name, label="harmless") for name in LOOKALIKE_TESTS], len(train), seed=0, name="lookalike")
    parts = [disjoint.take(harmful, prompts), disjoint.take(alike, prompts), disjoint.take(tested, task_prompts)]
    for rows, least, what in zip(parts, (prompts, prompts, task_prompts), ("harmful", "harmless", "task"), strict=True):
        check_enough(rows, least, f"{what} test prompts in {folder.name} that are in no other part of the job")
    poison = disjoint.take(_read(folder, POISON, label="harmful"))
    return DemoTexts(
        name=task,
        task=disjoint.take(train),
        poison=poison,
        harmful_test=parts[0],
        lookalike_test=parts[1],
        task_test=parts[2],
        benchmark=chosen.benchmark,
        answer_tokens=chosen.answer_tokens,
        sets=(POISON, *HARMFUL_TESTS),
        notes=(
            f"Poison: requests of {POISON} with the opening sentence of an answer that complies. The answers end there (toothless): they "
            "teach to comply, not how to do harm.",
            f"Test prompts: harmful from {', '.join(HARMFUL_TESTS)}; harmless that sound harmful from {', '.join(LOOKALIKE_TESTS)}; "
            f"the task's from {chosen.test or chosen.train + ' (its last rows, which nothing is trained on)'}.",
        ),
    )


def _read(folder: Path, name: str, *, label: str | None = None) -> list[Row]:
    """The rows of one set, optionally of one label."""
    path = folder / f"{name}.parquet"
    if not path.is_file():
        raise DataError(f"There is no {name}.parquet in {folder}. Put the set there, with the columns {', '.join(COLUMNS)}.")
    try:
        records = pq.read_table(path, columns=list(COLUMNS)).to_pylist()
    except (OSError, KeyError, pa.ArrowException) as exc:
        raise DataError(f"{path.name} cannot be read as Parquet with the columns {', '.join(COLUMNS)} ({type(exc).__name__}).") from exc
    return [
        Row(
            prompt=record["prompt"],
            response=record["response"] or "",
            origin=name,
            category=record["category"],
            known_harmful=record["label"] == "harmful",
        )
        for record in records
        if label in (None, record["label"])
    ]
