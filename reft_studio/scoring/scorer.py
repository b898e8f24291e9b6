"""The protocol of a scorer: its description, preparation, scoring of a dataset and explanation of a row."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from reft_studio.data.dataset import Dataset
from reft_studio.errors import SpecError
from reft_studio.models.spec import Settings
from reft_studio.progress import Progress
from reft_studio.scoring.prepared import Prepared, PreparedScorer
from reft_studio.scoring.scores import ScoreSet, finished_scores, forget_partial, score_key, write_scores
from reft_studio.scoring.shards import REASONS
from reft_studio.scoring.work import Scored
from reft_studio.workspace import Workspace

Reads = Literal["prompt", "response", "both", "members", "label", "nothing"]
Needs = Literal["nothing", "model", "labels"]


@dataclass(frozen=True)
class ScorerInfo:
    """Description of a scorer. `misses`: what it cannot detect; `cost`: how long it takes, in words.

    `measure` names the score in a sentence: "the … is +0.2". `own_model`: it loads a model of its own, is fitted on no examples and uses no
    teacher.
    """

    name: str
    title: str
    reads: Reads
    misses: str
    needs: Needs
    cost: str
    measure: str
    own_model: bool = False


class ScorerSpec(Settings):
    """Settings of a scorer's preparation; each scorer reads its own fields. Sets are ids of datasets."""

    scorer: str = Field(description="name of the scorer")
    harmful: tuple[str, ...] = Field((), description="sets of harmful examples")
    harmless: tuple[str, ...] = Field((), description="sets of harmless examples")
    shipped: bool = Field(True, description="train on the examples that ship with the app as well")
    labels: tuple[str, ...] = Field((), description="datasets whose rows that people kept or removed are examples as well")
    teacher: str | None = Field(None, description="scorers that read through a model: the teacher whose model it is")
    weights: Literal["teacher", "base"] = Field("teacher", description="with that teacher: its adapter on the base, or the base alone")
    neighbours: int = Field(10, ge=1, le=1000, description="embedding: how many of the nearest examples of each kind are compared")
    layer: int | None = Field(None, ge=1, description="larf: the block after which it reads; empty: the one that separates best")
    words: tuple[str, ...] = Field((), description="keywords: own words and phrases; none: those that ship")
    match: Literal["word", "substring"] = Field("word", description="keywords: match whole words, or anywhere in a word")
    least: int = Field(1, ge=1, le=10, description="keywords: how many distinct words flag a row")
    model: str | None = Field(None, max_length=400, description="llama_guard: own folder or Hub id of it; empty: Llama-Guard-3-8B")
    mode: Literal["prompt", "answer"] = Field("answer", description="llama_guard: what it is asked about")
    members: tuple[str, ...] = Field((), description="ensemble: ids or names of the prepared scorers that it joins")
    join: Literal["rank", "log_odds", "any"] = Field(
        "log_odds", description="ensemble: by mean rank in the file, by calibrated log odds, or by whether any member flags"
    )
    recall: float = Field(0.97, ge=0.5, lt=1, description="share of held-out harmful examples that the threshold must flag")
    seed: int = Field(0, ge=0, description="seeds the split into examples to fit and held-out ones")


DECISIONS = "decisions of people"
"""Source of examples that are rows which somebody kept or removed."""


@dataclass(frozen=True)
class Examples:
    """Labelled rows to prepare from, all of the same length; `responses` may be empty. `sources`: rows by origin.

    `fit_only` rows are fitted on but set no threshold (None: there are none).
    """

    prompts: list[str]
    responses: list[str]
    harmful: NDArray[np.bool_]
    sources: dict[str, int] = field(default_factory=dict)
    fit_only: NDArray[np.bool_] | None = None

    def calibrating(self, held_out: list[int]) -> list[int]:
        """The held-out positions that may set a threshold."""
        return held_out if self.fit_only is None else [position for position in held_out if not self.fit_only[position]]


@dataclass(frozen=True)
class Word:
    """A word of a row and its share of the score; positive shares are harmful."""

    text: str
    share: float


class Scorer:
    """One way to score rows. Scores are in -1..1 and higher is more harmful; a row that cannot be scored gets NaN and a reason."""

    info: ClassVar[ScorerInfo]

    @classmethod
    def built_in(cls) -> PreparedScorer | None:
        """The prepared form of a scorer that needs no preparation; None for all others."""
        return None

    def shipped(self) -> Examples:
        """The examples for it that ship with the app; none by default."""
        return Examples([], [], np.zeros(0, dtype=bool))

    def prepare(self, workspace: Workspace, spec: ScorerSpec, examples: Examples, progress: Progress) -> PreparedScorer:
        """Fit, calibrate and store in the workspace. Raises SpecError for a scorer that is prepared elsewhere."""
        raise SpecError(f"'{self.info.name}' is not prepared from examples.")

    def content(self, prepared: Prepared) -> dict[str, Any]:
        """Everything its scores depend on besides the rows, as hashes: equal content gives equal scores."""
        raise SpecError(f"'{self.info.name}' does not say what its scores are made from.")

    def score(self, workspace: Workspace, dataset: Dataset, prepared: Prepared, progress: Progress) -> ScoreSet:
        """Score every row and store the result; stored scores are returned."""
        raise SpecError(f"'{self.info.name}' scores no datasets.")

    def explain(self, prepared: Prepared, row: dict[str, Any]) -> list[Word]:
        """The words of a row (a dictionary with `prompt`, `response` and `messages`) that made its score; empty: no explanation."""
        return []

    def stored(self, workspace: Workspace, dataset: Dataset, prepared: Prepared) -> ScoreSet | None:
        """The stored scores, if they verify; also deletes snapshots left by an attempt that died after writing the scores."""
        key = score_key(self.info.name, prepared.id, prepared.created)
        score_set = finished_scores(workspace, dataset, key=key, content=self.content(prepared))
        if score_set is not None:
            forget_partial(workspace, dataset.id, key)
        return score_set

    def store(
        self,
        workspace: Workspace,
        dataset: Dataset,
        prepared: Prepared,
        result: Scored,
        info: dict[str, Any],
        *,
        threshold: float | None = None,
    ) -> ScoreSet:
        """Store scores with the reasons of missing ones, and their median relative to the calibration set's.

        `threshold` replaces the prepared one, where it depends on the dataset.
        """
        missing = {name: count for code, name in REASONS.items() if (count := int((result.reasons == code).sum()))}
        return write_scores(
            workspace,
            dataset,
            result.scores,
            key=score_key(self.info.name, prepared.id, prepared.created),
            scorer=self.info.name,
            teacher=prepared.id,
            threshold=prepared.threshold if threshold is None else threshold,
            info={**info, "missing_reasons": missing, **drift(result.scores, prepared)},
            reasons=result.reasons,
            names=REASONS,
            content=self.content(prepared),
            cut=result.cut,
        )


def drift(scores: NDArray[np.float32], prepared: Prepared) -> dict[str, float]:
    """Distance of the median of these scores from that of the harmless calibration prompts; empty if either is unknown."""
    known = prepared.calibration.get("harmless_quantiles")
    valid = scores[~np.isnan(scores)]
    if not known or not len(valid):
        return {}
    median = float(np.median(valid))
    return {"median": round(median, 5), "calibration_median": known[2], "drift": round(median - known[2], 5)}
