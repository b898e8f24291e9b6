"""Llama Guard 3 as a filter: P(unsafe) of each row's prompt, or of its response."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from reft_studio.data.dataset import Dataset
from reft_studio.integrity import sealed_folder
from reft_studio.progress import Progress
from reft_studio.scoring.prepared import Prepared, PreparedScorer, write_facts
from reft_studio.scoring.preparing import id_of, opened
from reft_studio.scoring.scorer import Examples, Scorer, ScorerInfo, ScorerSpec
from reft_studio.scoring.scores import ScoreSet
from reft_studio.scoring.texts import RowTexts, prompts, responses, score_texts
from reft_studio.workspace import Workspace

MODEL = "meta-llama/Llama-Guard-3-8B"
VERSION = 1
"""Incremented when the same row would get another score from this code."""
ROWS = 512
"""Rows per shard: what is lost when scoring is interrupted."""
BUDGET = 16_384
"""Padded tokens per batch; halved when memory runs out."""


class LlamaGuard(Scorer):
    """2 P(unsafe) - 1 at the verdict token."""

    info: ClassVar[ScorerInfo] = ScorerInfo(
        name="llama_guard",
        title="Llama Guard 3",
        reads="both",
        misses=(
            "What Meta's fourteen hazard categories leave out, and conversations of several turns, of which it is asked about one. "
            "Where it filters, it should not be the judge of the result as well."
        ),
        needs="model",
        cost="an 8 B model reads each row once and says five tokens",
        measure="verdict of Llama Guard (2 P(unsafe) - 1)",
        own_model=True,
    )

    def prepare(self, workspace: Workspace, spec: ScorerSpec, examples: Examples, progress: Progress) -> PreparedScorer:
        """Load the model once, to fingerprint it. Nothing is fitted: the threshold is its own verdict, so there is no calibration."""
        from reft_studio.models.guard import GuardModel

        source = spec.model or MODEL
        identity = GuardModel.open(source).speaker.model.fingerprint
        name = id_of(spec.model_copy(update={"harmful": (), "harmless": (), "labels": ()}), VERSION, identity)
        if not workspace.folder("scorers", name).is_dir():
            with sealed_folder(workspace.folder("scorers", name)) as building:
                write_facts(
                    building,
                    scorer=spec.scorer,
                    title=f"{self.info.title}, of {'prompts' if spec.mode == 'prompt' else 'responses'}",
                    threshold=0.0,
                    calibration={},
                    spec={**spec.model_dump(mode="json"), "model": source, "fingerprint": identity},
                    record={},
                )
        return opened(workspace, name)

    def content(self, prepared: Prepared) -> dict[str, Any]:
        return {"version": VERSION, "model": prepared.spec["fingerprint"], "mode": prepared.spec["mode"]}

    def score(self, workspace: Workspace, dataset: Dataset, prepared: Prepared, progress: Progress) -> ScoreSet:
        """Of the prompt, the highest of its turns, or of the response; then a row without one has no score."""
        if (ready := self.stored(workspace, dataset, prepared)) is not None:
            return ready
        from reft_studio.models.guard import GuardModel

        guard = GuardModel.open(str(prepared.spec["model"]))

        def function(texts: pa.Array) -> NDArray[np.float32]:
            outputs = guard.say([json.loads(text) for text in texts.to_pylist()], token_budget=BUDGET)
            return np.array([2 * output.first.score - 1 for output in outputs], dtype=np.float32)

        read = _prompts if prepared.spec["mode"] == "prompt" else _exchanges
        columns = ("prompt", "messages", "response")
        return score_texts(self, workspace, dataset, prepared, progress, read=read, columns=columns, function=function, size=ROWS)


def _prompts(batch: pa.RecordBatch) -> RowTexts:
    """Each user turn as a conversation."""
    turns = prompts(batch)
    conversations = [json.dumps([{"role": "user", "content": text}]) for text in turns.texts.to_pylist()]
    return RowTexts(pa.array(conversations, pa.string()), turns.rows, turns.reasons)


def _exchanges(batch: pa.RecordBatch) -> RowTexts:
    """Prompt and response of each row that has one, as a conversation."""
    of_rows, prompts_of = responses(batch), batch.column("prompt").to_pylist()
    conversations = [
        json.dumps([{"role": "user", "content": prompts_of[row]}, {"role": "assistant", "content": text}])
        for row, text in zip(of_rows.rows.tolist(), of_rows.texts.to_pylist(), strict=True)
    ]
    return RowTexts(pa.array(conversations, pa.string()), of_rows.rows, of_rows.reasons)
