"""A dataset of ten rows with row ids that have gaps, and its scores."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from reft_studio.audit.decision import GENESIS, Action, Decision, entry_hash
from reft_studio.data.dataset import Dataset, Row, write_dataset
from reft_studio.scoring.scores import ScoreSet, write_scores
from reft_studio.workspace import Workspace

Decide = Callable[[int, Action], Decision]


@pytest.fixture
def dataset(workspace: Workspace) -> Dataset:
    """Rows 0, 2, 4 … 18: as after quarantining every second line of an upload."""
    rows: list[Row] = [
        {
            "row_id": 2 * number,
            "prompt": f"prompt {number}",
            "response": f"answer {number}",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": f"prompt {number}"},
                {"role": "assistant", "content": f"answer {number}"},
            ],
            "origin": "sums",
            "category": "größe" if number == 3 else None,
            "known_harmful": number > 6,
        }
        for number in range(10)
    ]
    return write_dataset(workspace, rows, name="upload", role="user")


@pytest.fixture
def scores(workspace: Workspace, dataset: Dataset) -> ScoreSet:
    """-0.4, -0.3 … 0.5; at threshold 0.3 rows 14, 16 and 18 are flagged."""
    values = np.arange(-4, 6, dtype=np.float32) / 10
    facts = {"key": "k1", "scorer": "refusal_similarity", "teacher": "lab", "threshold": 0.3, "info": {}}
    return write_scores(workspace, dataset, values, **facts)  # type: ignore[arg-type]


@pytest.fixture
def decide(dataset: Dataset) -> Decide:
    """Decisions with a valid chain, as the log makes them."""
    made: list[Decision] = []

    def add(row_id: int, action: Action) -> Decision:
        values = {
            "seq": len(made) + 1,
            "dataset": dataset.id,
            "row_id": row_id,
            "action": action,
            "reason": "",
            "decided_by": "human:me",
            "at": "2026-01-01T00:00:00.000+00:00",
            "score": None,
            "threshold": None,
            "previous": made[-1].hash if made else GENESIS,
            "kind": "decide",
            "step": len(made) + 1,
        }
        made.append(Decision(hash=entry_hash(values), **values))  # type: ignore[arg-type]
        return made[-1]

    return add
