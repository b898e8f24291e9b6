"""Word and character n-grams of the prompt, by TF-IDF and logistic regression: first scores in seconds, without a model."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from reft_studio import fingerprint
from reft_studio.data.dataset import Dataset
from reft_studio.data.origin.own_texts import own_texts
from reft_studio.progress import Progress
from reft_studio.scoring import text_fit
from reft_studio.scoring.prepared import Prepared, PreparedScorer
from reft_studio.scoring.scorer import Examples, Scorer, ScorerInfo, ScorerSpec, Word
from reft_studio.scoring.scores import ScoreSet
from reft_studio.scoring.shards import user_turns
from reft_studio.scoring.text_model import FILE, TextModel
from reft_studio.scoring.texts import prompts, score_texts
from reft_studio.teacher.quick import calibration_prompts
from reft_studio.workspace import Workspace

VERSION = 1
"""Incremented when the same prompt would get another score from this code."""


RECALL = 0.9
"""Share of held-out harmful prompts that the default threshold flags: at 97 % it would flag a quarter of the harmless ones."""


class Tfidf(Scorer):
    """Log odds from the prompt's word and character n-grams."""

    info: ClassVar[ScorerInfo] = ScorerInfo(
        name="tfidf",
        title="Words (TF-IDF)",
        reads="prompt",
        misses="Meaning that is not in the words: harm in harmless words, harmless questions in harmful words, other languages.",
        needs="nothing",
        cost="about 100,000 rows a second",
        measure="word score (log odds of harm, scaled)",
    )

    def shipped(self) -> Examples:
        """The calibration prompts of the quick teacher, and the alignment prompts."""
        labelled = [(text.prompt, text.side == "harmful", False) for text in calibration_prompts()]
        labelled += [(text.prompt, text.harmful, text.twin) for text in own_texts()]
        prompts, harmful, twins = zip(*labelled, strict=True)
        return Examples(list(prompts), [""] * len(labelled), np.array(harmful), fit_only=np.array(twins))

    def prepare(self, workspace: Workspace, spec: ScorerSpec, examples: Examples, progress: Progress) -> PreparedScorer:
        """Fit on one part of the prompts, set the threshold on the rest; near-duplicates are never on both sides."""
        return text_fit.prepare(self.info, workspace, spec, examples.prompts, examples, progress)

    def content(self, prepared: Prepared) -> dict[str, Any]:
        return {"version": VERSION, "model": fingerprint.of_file(prepared.folder / FILE)}

    def score(self, workspace: Workspace, dataset: Dataset, prepared: Prepared, progress: Progress) -> ScoreSet:
        """The highest score of a row's user turns; editing a response changes no score."""
        model = TextModel.load(prepared.folder)
        return score_texts(
            self, workspace, dataset, prepared, progress, read=prompts, columns=("prompt", "messages"), function=model.scores
        )

    def explain(self, prepared: Prepared, row: dict[str, Any]) -> list[Word]:
        """The words of the turn that gave the score, each with its share of the log odds."""
        turns, _ = user_turns(row)
        model = TextModel.load(prepared.folder)
        return [Word(*word) for word in model.words(model.highest(turns))] if turns else []
