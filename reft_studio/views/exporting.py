"""The cleaned file: which rows of an upload are kept, and which of them get another answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from reft_studio.audit.policy import REFUSAL, effective
from reft_studio.data.dataset import Dataset, open_dataset
from reft_studio.scoring.scores import ScoreSet
from reft_studio.store.decisions import Decision
from reft_studio.workspace import Workspace


@dataclass(frozen=True)
class Cleaned:
    """The dataset as uploaded, the ids of the rows to write, and new answers by row id (relabelled rows)."""

    upload: Dataset
    kept: set[int]
    responses: dict[int, str]


def cleaned(
    workspace: Workspace, dataset: Dataset, score: ScoreSet | None, threshold: float | None, decisions: Mapping[int, Decision]
) -> Cleaned:
    """What an export writes. A frozen dataset is what its audit made it; else decisions and threshold hold, undecided rows stay out."""
    if lineage := dataset.manifest.get("lineage"):
        upload = open_dataset(workspace, lineage["source"])
        frozen = {row["row_id"]: row["response"] for row in dataset.read(["row_id", "response"])}
        changed = {
            row["row_id"] for row in upload.read(["row_id", "response"]) if frozen.get(row["row_id"], row["response"]) != row["response"]
        }
        return Cleaned(upload, set(frozen), {row_id: frozen[row_id] for row_id in changed})
    values = dict(zip(score.row_ids().tolist(), score.scores().tolist(), strict=True)) if score else {}
    kept = set()
    for row_id in dataset.table(["row_id"]).column(0).to_pylist():
        value, human = values.get(row_id), decisions.get(row_id)
        if score is None and human is None:
            kept.add(row_id)  # nobody has judged this dataset: the file is copied
        elif effective(None if value is None or np.isnan(value) else value, threshold or 0.0, human) == "keep":
            kept.add(row_id)
    return Cleaned(dataset, kept, {row_id: REFUSAL for row_id, decision in decisions.items() if decision.action == "relabel"})
