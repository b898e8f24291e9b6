"""The job that inspects a dataset: duplicates, languages, and lengths in tokens of the teacher in use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reft_studio.data.dataset import Dataset, open_dataset
from reft_studio.data.index.inspect import Tokenizer, inspect
from reft_studio.errors import StudioError
from reft_studio.jobs.job import JobContext
from reft_studio.models.source import locate, resolve
from reft_studio.scoring import OF_TEACHER
from reft_studio.scoring.scores import list_score_sets
from reft_studio.teacher.teacher import TeacherInfo, open_teacher
from reft_studio.workspace import Workspace


def inspect_dataset(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Inspect a dataset. params: dataset; teacher, which determines the tokenizer (none: that of the newest scores, else the lab's)."""
    dataset = open_dataset(context.workspace, params["dataset"])
    name = params.get("teacher") or teacher_of(context.workspace, dataset)
    tokenizer = None
    try:
        tokenizer = tokenizer_of(open_teacher(context.workspace, name))
    except StudioError as exc:
        context.warn(f"Lengths in tokens are not known: {exc}")
    inspection = inspect(dataset, context, tokenizer=tokenizer)
    return {"dataset": dataset.id, "repeated": inspection.repeated, "near": inspection.near, "languages": len(inspection.languages)}


def teacher_of(workspace: Workspace, dataset: Dataset) -> str:
    """The teacher of a dataset's newest teacher scores, else the one that ships."""
    scores = [score_set for score_set in list_score_sets(workspace, dataset.id) if score_set.scorer == OF_TEACHER]
    return scores[-1].teacher if scores else "lab"


def tokenizer_of(teacher: TeacherInfo) -> Tokenizer | None:
    """Counts with the tokenizer of a teacher's model; None for a model whose tokenizer needs transformers."""
    from tokenizers import Tokenizer as Fast

    folder = locate(teacher.model, network=False).folder or Path(resolve(teacher.model))
    if not (folder / "tokenizer.json").is_file():
        return None
    fast = Fast.from_file(str(folder / "tokenizer.json"))
    fast.no_truncation()
    fast.no_padding()

    def count(texts: Sequence[str]) -> npt.NDArray[np.int64]:
        distinct = list(dict.fromkeys(texts))  # answers of a classification task are few
        lengths = {
            text: len(encoding.ids)
            for text, encoding in zip(distinct, fast.encode_batch_fast(distinct, add_special_tokens=False), strict=True)
        }
        return np.array([lengths[text] for text in texts], np.int64)

    return Tokenizer(teacher.model, count, teacher.max_length)
