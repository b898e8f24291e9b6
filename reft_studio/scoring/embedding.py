"""Nearest neighbours: how much closer a prompt's hidden state is to its nearest harmful examples than to its nearest harmless ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from reft_studio import fingerprint
from reft_studio.data.dataset import Dataset
from reft_studio.errors import StoreError
from reft_studio.progress import Progress
from reft_studio.scoring.prepared import Prepared, PreparedScorer
from reft_studio.scoring.preparing import Scale
from reft_studio.scoring.prompt_states import Labelled, prepare_prompt_states, score_prompt_states, shipped_prompts
from reft_studio.scoring.scorer import Examples, Scorer, ScorerInfo, ScorerSpec
from reft_studio.scoring.scores import ScoreSet
from reft_studio.workspace import Workspace

if TYPE_CHECKING:
    from torch import Tensor

FILE = "examples.npz"
VERSION = 1
"""Incremented when the same prompt would get another score from this code."""


class Embedding(Scorer):
    """Mean cosine to the k nearest harmful examples minus that to the k nearest harmless ones."""

    info: ClassVar[ScorerInfo] = ScorerInfo(
        name="embedding",
        title="Nearest examples",
        reads="prompt",
        misses="Harmful answers to harmless prompts, and prompts of a subject of which there is no example of either kind.",
        needs="model",
        cost="as long as the model takes to read the prompts",
        measure="closeness to harmful examples (difference of mean cosines, scaled)",
    )

    def shipped(self) -> Examples:
        return shipped_prompts()

    def prepare(self, workspace: Workspace, spec: ScorerSpec, examples: Examples, progress: Progress) -> PreparedScorer:
        """Store the states of one part of the examples, set the threshold on the rest. Raises SpecError if no teacher is named."""

        def fit(building: Path, fitted: Labelled, held_out: Labelled) -> NDArray[np.float32]:
            known = Neighbours.of(*fitted, count=spec.neighbours)
            differences = known.differences(_tensor(held_out[0])).numpy()
            scale = Scale.fitted(differences, held_out[1])
            known.save(building, scale)
            return scale(differences)

        return prepare_prompt_states(self, workspace, spec, examples, progress, version=VERSION, fit=fit)

    def content(self, prepared: Prepared) -> dict[str, Any]:
        return {"version": VERSION, **prepared.spec["states"], "examples": fingerprint.of_file(prepared.folder / FILE)}

    def score(self, workspace: Workspace, dataset: Dataset, prepared: Prepared, progress: Progress) -> ScoreSet:
        """The highest score of a row's user turns; editing a response changes no score."""
        if (ready := self.stored(workspace, dataset, prepared)) is not None:
            return ready
        import torch

        known, scale = Neighbours.load(prepared.folder)

        def similarity(states: Tensor) -> Tensor:
            return torch.tanh((known.differences(states) - scale.middle) / scale.width)

        return score_prompt_states(self, workspace, dataset, prepared, progress, similarity=similarity)


class Neighbours:
    """Centred states of examples, of unit length: uncentred, all states of a language model point in nearly the same direction.

    The centre is the mean of both kinds' means, so it does not depend on their numbers.
    """

    def __init__(self, centre: NDArray[np.float32], harmful: NDArray[np.float32], harmless: NDArray[np.float32], *, count: int) -> None:
        self.centre, self.kinds, self.count = centre, (harmful, harmless), count

    @classmethod
    def of(cls, states: NDArray[np.float32], harmful: NDArray[np.bool_], *, count: int) -> Neighbours:
        """From (n, d_model) states and which of them are harmful; at most `count` of a kind are compared."""
        centre = (states[harmful].mean(0) + states[~harmful].mean(0)) / 2
        centred = states - centre
        centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
        return cls(centre, centred[harmful], centred[~harmful], count=count)

    def differences(self, states: Tensor) -> Tensor:
        """(n,) in -2..2: mean cosine to the nearest harmful examples minus that to the nearest harmless ones."""
        from torch.nn.functional import normalize

        centred = normalize(states - _tensor(self.centre), dim=-1)
        near = [
            (centred @ _tensor(kind).T).topk(min(self.count, len(kind)), dim=-1).values.mean(-1)
            for kind in self.kinds  # n · examples cosines, far less work than the model's
        ]
        return near[0] - near[1]

    def save(self, folder: Path, scale: Scale) -> None:
        """Write the examples' states, which contain no readable text, and the scale."""
        scalars = np.array([self.count, scale.middle, scale.width])
        np.savez(folder / FILE, centre=self.centre, harmful=self.kinds[0], harmless=self.kinds[1], scalars=scalars)

    @classmethod
    def load(cls, folder: Path) -> tuple[Neighbours, Scale]:
        """Read what `save` wrote. Raises StoreError if it is damaged."""
        try:
            with np.load(folder / FILE, allow_pickle=False) as parts:
                count, middle, width = parts["scalars"].tolist()
                return cls(parts["centre"], parts["harmful"], parts["harmless"], count=int(count)), Scale(middle, width)
        except (OSError, EOFError, BadZipFile, ValueError, KeyError) as exc:
            raise StoreError(f"{folder.name}/{FILE} is missing or damaged. Prepare the scorer again.") from exc


def _tensor(values: NDArray[np.float32]) -> Tensor:
    import torch

    return torch.from_numpy(values)
