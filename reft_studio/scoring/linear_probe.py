"""A linear probe: logistic regression on a teacher's hidden states, instead of the difference of two means."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from reft_studio import fingerprint
from reft_studio.data.dataset import Dataset
from reft_studio.errors import StoreError
from reft_studio.progress import Progress
from reft_studio.scoring.prepared import Prepared, PreparedScorer
from reft_studio.scoring.preparing import SATURATION
from reft_studio.scoring.prompt_states import Labelled, prepare_prompt_states, score_prompt_states, shipped_prompts
from reft_studio.scoring.scorer import Examples, Scorer, ScorerInfo, ScorerSpec
from reft_studio.scoring.scores import ScoreSet
from reft_studio.workspace import Workspace

FILE = "probe.npz"
VERSION = 2
"""Version of the fit; 1 was a linear discriminant."""
STRENGTH = 0.01
"""Inverse of the penalty on the weights: a few prompts say little about hundreds of dimensions."""


class LinearProbe(Scorer):
    """Log odds of harm, linear in the state at the last prompt token."""

    info: ClassVar[ScorerInfo] = ScorerInfo(
        name="linear_probe",
        title="Linear probe",
        reads="prompt",
        misses="Harmful answers to harmless prompts, prompts unlike the ones it was fitted on, and languages its model does not read.",
        needs="model",
        cost="as long as the model takes to read the prompts",
        measure="probe score (log odds of harm, scaled)",
    )

    def shipped(self) -> Examples:
        return shipped_prompts()

    def prepare(self, workspace: Workspace, spec: ScorerSpec, examples: Examples, progress: Progress) -> PreparedScorer:
        """Fit on states of the spec's teacher, at its layer. Raises SpecError if none is named."""
        return prepare_prompt_states(self, workspace, spec, examples, progress, version=VERSION, fit=_fit)

    def content(self, prepared: Prepared) -> dict[str, Any]:
        states = {name: value for name, value in prepared.spec["states"].items() if name != "feature"}  # older ones have it
        return {**states, "probe": fingerprint.of_file(prepared.folder / FILE)}

    def score(self, workspace: Workspace, dataset: Dataset, prepared: Prepared, progress: Progress) -> ScoreSet:
        """The highest score of a row's user turns, batched as a teacher scores them."""
        if (ready := self.stored(workspace, dataset, prepared)) is not None:
            return ready
        import torch

        weight, intercept, scale = _load(prepared.folder)
        direction = torch.from_numpy(weight)

        def similarity(states: torch.Tensor) -> torch.Tensor:
            return torch.tanh((states @ direction + intercept) / scale)

        return score_prompt_states(self, workspace, dataset, prepared, progress, similarity=similarity)


def _fit(building: Path, fitted: Labelled, held_out: Labelled) -> NDArray[np.float32]:
    weight, intercept = _logistic(*fitted)
    odds = held_out[0] @ weight + intercept
    scale = float(np.quantile(np.abs(odds), 0.99) / np.arctanh(SATURATION)) or 1.0
    np.savez(building / FILE, weight=weight.astype(np.float32), scalars=np.array([intercept, scale]))
    return np.asarray(np.tanh(odds / scale), dtype=np.float32)


def _logistic(features: NDArray[np.float32], harmful: NDArray[np.bool_]) -> tuple[NDArray[np.float64], float]:
    """Weights and intercept of the log odds, from standardised features; both kinds weighted equally."""
    from sklearn.linear_model import LogisticRegression

    mean, spread = features.mean(0, dtype=np.float64), features.std(0, dtype=np.float64)
    spread[spread == 0] = 1
    model = LogisticRegression(C=STRENGTH, class_weight="balanced", max_iter=1000).fit((features - mean) / spread, harmful)
    weight = model.coef_[0] / spread
    return weight, float(model.intercept_[0] - weight @ mean)


def _load(folder: Path) -> tuple[NDArray[np.float32], float, float]:
    try:
        with np.load(folder / FILE, allow_pickle=False) as parts:
            intercept, scale = parts["scalars"].tolist()
            return parts["weight"], intercept, scale
    except (OSError, EOFError, BadZipFile, ValueError, KeyError) as exc:
        raise StoreError(f"{folder.name}/{FILE} is missing or damaged. Prepare the scorer again.") from exc
