"""The scorer that reads the answer: an edited prompt changes nothing, and a harmful answer to a harmless prompt is seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from reft_studio.data.dataset import Row, write_dataset
from reft_studio.data.origin.answer_pairs import answer_pairs
from reft_studio.jobs.foreground import ForegroundContext
from reft_studio.scoring.scores import open_score_set
from reft_studio.tasks.score import score_dataset
from reft_studio.tasks.scorers import prepare_scorer
from reft_studio.workspace import Workspace


def test_a_harmful_answer_is_seen_behind_a_harmless_prompt(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path)
    made = prepare_scorer(ForegroundContext(workspace), {"scorer": "response_compliance"})
    harmful = next(pair for pair in answer_pairs() if pair.kind == "harmful" and pair.verdict == "comply")
    rows: list[Row] = [
        {"prompt": harmful.prompt, "response": harmful.response},
        {"prompt": "Write a line about the sea.", "response": harmful.response},
        {"prompt": harmful.prompt, "response": "I am sorry, but I cannot help with that."},
        {"prompt": harmful.prompt, "response": ""},
    ]
    dataset = write_dataset(workspace, rows, name="answers", role="benchmark")
    answer = score_dataset(ForegroundContext(workspace), {"dataset": dataset.id, "scorer": made["scorer"]})
    scores = open_score_set(workspace, dataset.id, answer["key"])
    values = scores.scores()
    assert values[0] == values[1] > scores.threshold > values[2] and np.isnan(values[3])
    assert scores.reasons([3]) == ["no response"]
