"""LARF, layer-aware representation filtering: how much closer a row's state is to unsafe rows than to safe ones (arXiv:2507.18631)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from reft_studio.data.dataset import Dataset
from reft_studio.progress import Progress
from reft_studio.scoring import whole_rows
from reft_studio.scoring.prepared import Prepared, PreparedScorer
from reft_studio.scoring.scorer import Examples, Scorer, ScorerInfo, ScorerSpec
from reft_studio.scoring.scores import ScoreSet
from reft_studio.scoring.whole_rows import Learned
from reft_studio.seeding import generator
from reft_studio.workspace import Workspace

if TYPE_CHECKING:
    from reft_studio.models.batching import Example
    from reft_studio.scoring.row_reader import RowReader

VERSION = 1
"""Incremented when the same row would get another score from this code."""
REFERENCES = 100
"""Reference rows of each kind, as in the official code."""


class Larf(Scorer):
    """Mean cosine of a row's last state to unsafe reference rows minus that to safe ones, after one layer."""

    info: ClassVar[ScorerInfo] = ScorerInfo(
        name="larf",
        title="LARF",
        reads="both",
        misses="Harm of another kind than that of its unsafe references, which fill no more than 100 rows; rows without a response.",
        needs="model",
        cost="as long as the model takes to read prompts and responses",
        measure="closeness to unsafe rows (difference of mean cosines, scaled)",
    )

    def shipped(self) -> Examples:
        return whole_rows.judged_answers()

    def prepare(self, workspace: Workspace, spec: ScorerSpec, examples: Examples, progress: Progress) -> PreparedScorer:
        """Choose up to 100 references of each kind, the layer of the spec or the one that separates best, and a threshold.

        The official code chooses the layer by scaling the weights of one after the other and counting refusals, which generates
        thousands of responses; here it is the one of highest AUROC on a third of the examples, held out from the references for this.
        """

        def learn(reader: RowReader, rows: list[Example], harmful: NDArray[np.bool_], progress: Progress) -> Learned:
            return references(reader, rows, harmful, layer=spec.layer, seed=spec.seed, progress=progress)

        return whole_rows.prepare(self, workspace, spec, examples, progress, version=VERSION, learn=learn, measure=_measure)

    def content(self, prepared: Prepared) -> dict[str, Any]:
        return whole_rows.content(prepared, version=VERSION)

    def score(self, workspace: Workspace, dataset: Dataset, prepared: Prepared, progress: Progress) -> ScoreSet:
        """From the state at the end of the row, after the response."""
        return whole_rows.score(self, workspace, dataset, prepared, progress, measure=_measure)


def references(
    reader: RowReader, rows: list[Example], harmful: NDArray[np.bool_], *, layer: int | None, seed: int, progress: Progress
) -> Learned:
    """States of the references of each kind, of unit length, and the layer."""
    from reft_studio import stats  # brings scipy
    from reft_studio.teacher.calibration import best_layer, candidate_layers

    depth = reader.model.layers
    layers = [layer] if layer is not None else candidate_layers(depth)
    states = unit(reader.states(rows, layers=layers, done=lambda done: progress.progress(done, len(rows))))
    order = list(range(len(rows)))
    generator(seed, "larf").shuffle(order)
    first, rest = order[: 2 * len(order) // 3], order[2 * len(order) // 3 :]
    slot = 0
    if len(layers) > 1:
        aurocs = {}
        for column, candidate in enumerate(layers):
            values = difference(states[rest, column], *_kinds(states[first, column], harmful[first]))
            aurocs[candidate] = stats.auroc(values[harmful[rest]], values[~harmful[rest]])
        slot = layers.index(best_layer(aurocs, depth))
    unsafe, safe = _kinds(states[order, slot], harmful[order])
    return {"layer": np.array(layers[slot]), "unsafe": unsafe, "safe": safe}


def difference(states: NDArray[np.float32], unsafe: NDArray[np.float32], safe: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n,) in -2..2: mean cosine to unsafe references minus that to safe ones. All states are of unit length."""
    return np.asarray(states @ unsafe.mean(0) - states @ safe.mean(0), dtype=np.float32)


def unit(states: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each state scaled to length 1."""
    return np.asarray(states / np.maximum(np.linalg.norm(states, axis=-1, keepdims=True), 1e-12), dtype=np.float32)


def _kinds(states: NDArray[np.float32], harmful: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return states[harmful][:REFERENCES], states[~harmful][:REFERENCES]


def _measure(reader: RowReader, learned: Learned, rows: list[Example], done: Callable[[int], None]) -> NDArray[np.float32]:
    states = unit(reader.states(rows, layers=[int(learned["layer"])], done=done)[:, 0])
    return difference(states, learned["unsafe"], learned["safe"])
