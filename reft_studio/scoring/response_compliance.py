"""Text classifier of responses: whether it complies with a harmful request, whatever the prompt says."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from reft_studio import fingerprint
from reft_studio.data.dataset import Dataset
from reft_studio.data.origin.answer_pairs import answer_pairs
from reft_studio.data.origin.own_texts import own_texts
from reft_studio.progress import Progress
from reft_studio.scoring import text_fit
from reft_studio.scoring.prepared import Prepared, PreparedScorer
from reft_studio.scoring.scorer import Examples, Scorer, ScorerInfo, ScorerSpec, Word
from reft_studio.scoring.scores import ScoreSet
from reft_studio.scoring.text_model import FILE, TextModel
from reft_studio.scoring.texts import responses, score_texts
from reft_studio.workspace import Workspace

VERSION = 1
"""Incremented when the same response would get another score from this code."""


class ResponseCompliance(Scorer):
    """Log odds, by word and character n-grams, that a response complies with a harmful request."""

    info: ClassVar[ScorerInfo] = ScorerInfo(
        name="response_compliance",
        title="Words of the answer",
        reads="response",
        misses="Harmful prompts that are refused or not answered, short answers, and harm in words that its examples lack.",
        needs="nothing",
        cost="about 100,000 rows a second",
        measure="answer score (log odds of harm, scaled)",
    )

    def shipped(self) -> Examples:
        """The judge's responses, harmful if they comply with a harmful request, and the harmless ones of the alignment data."""
        rows = [(pair.prompt, pair.response, pair.kind == "harmful" and pair.verdict == "comply") for pair in answer_pairs()]
        rows += [(row.prompt, row.response, False) for row in own_texts()]
        prompts, responses, harmful = zip(*(row for row in rows if row[1].strip()), strict=True)
        return Examples(list(prompts), list(responses), np.array(harmful))

    def prepare(self, workspace: Workspace, spec: ScorerSpec, examples: Examples, progress: Progress) -> PreparedScorer:
        """Fit on the responses to one part of the prompts, set the threshold on those to the rest."""
        return text_fit.prepare(self.info, workspace, spec, examples.responses, examples, progress)

    def content(self, prepared: Prepared) -> dict[str, Any]:
        return {"version": VERSION, "model": fingerprint.of_file(prepared.folder / FILE)}

    def score(self, workspace: Workspace, dataset: Dataset, prepared: Prepared, progress: Progress) -> ScoreSet:
        """The score of the trained response; editing a prompt changes no score, a row without a response has none."""
        model = TextModel.load(prepared.folder)
        return score_texts(self, workspace, dataset, prepared, progress, read=responses, columns=("response",), function=model.scores)

    def explain(self, prepared: Prepared, row: dict[str, Any]) -> list[Word]:
        """The words of the response, each with its share of the log odds."""
        return [Word(*word) for word in TextModel.load(prepared.folder).words(row["response"])]
