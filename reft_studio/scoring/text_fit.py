"""Fits a text scorer from labelled texts: split, fit, scale, threshold on the held-out ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from reft_studio.errors import PrerequisiteError
from reft_studio.integrity import sealed_folder
from reft_studio.progress import Progress
from reft_studio.scoring.ngrams import BUCKETS, Grams, blocks
from reft_studio.scoring.prepared import PreparedScorer
from reft_studio.scoring.preparing import calibrate, id_of, opened, split
from reft_studio.scoring.scorer import DECISIONS, Examples, ScorerInfo, ScorerSpec
from reft_studio.scoring.text_model import TextModel
from reft_studio.workspace import Workspace

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

LEAST_TEXTS = 2
"""Minimum number of texts with a bucket: one that occurs in a single text does not generalise."""
INVERSE_REGULARISATION = 3.0
SATURATION = 0.95
"""Score of the most certain held-out texts (99 % quantile of |log odds|), on the scale from -1 to 1."""


def prepare(
    info: ScorerInfo, workspace: Workspace, spec: ScorerSpec, texts: Sequence[str], examples: Examples, progress: Progress
) -> PreparedScorer:
    """Fit on `texts`, one per example, and store the scorer in the workspace; the same examples are not fitted twice."""
    name = id_of(spec, list(texts), examples.harmful.tolist())
    if workspace.folder("scorers", name).is_dir():
        return opened(workspace, name)
    fitted, held_out = split(texts, examples.harmful, seed=spec.seed)
    held_out = examples.calibrating(held_out)
    with sealed_folder(workspace.folder("scorers", name)) as building:
        progress.progress(0, len(texts))
        model = fit([texts[index] for index in fitted], examples.harmful[fitted], building)
        progress.progress(len(fitted), len(texts))
        rest = pa.array([texts[index] for index in held_out], pa.string())
        model = scaled(model, model.log_odds(rest), building)
        calibrate(building, spec, examples, texts, held_out, model.scores(rest), title=titled(info, examples))
    progress.progress(len(texts), len(texts))
    return opened(workspace, name)


def titled(info: ScorerInfo, examples: Examples) -> str:
    """The scorer's title, with the number of people's decisions it was fitted on, if any."""
    learned = [(name, count) for name, count in examples.sources.items() if name.startswith(DECISIONS) and count]
    return ", with ".join([info.title, *(f"{count:,} {name}" for name, count in learned)])


def fit(texts: Sequence[str], harmful: NDArray[np.bool_], folder: Path) -> TextModel:
    """Fit a model, store it in `folder`, and return it as stored; harmful and harmless texts have equal total weight.

    Raises PrerequisiteError if scikit-learn is not installed.
    """
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as exc:
        raise PrerequisiteError("Fitting a text scorer needs scikit-learn, which is not installed. Run the set-up again.") from exc
    folded = list(blocks(pa.array(texts, pa.string())))
    families = [_matrix([block.words() for block in folded]), _matrix([list(block.runs()) for block in folded])]
    counts = sum(np.bincount(matrix.indices, minlength=BUCKETS) for matrix in families)
    idf = np.where(counts >= LEAST_TEXTS, np.log((1 + len(texts)) / (1 + counts)) + 1, 0.0)
    features: Any = sum(_normed(matrix, idf) for matrix in families)
    used = np.flatnonzero(idf)
    model = LogisticRegression(C=INVERSE_REGULARISATION, class_weight="balanced", max_iter=1000)
    model.fit(features[:, used], harmful)
    table = np.zeros(BUCKETS, dtype=np.complex64)
    table[used] = idf[used] * model.coef_[0] + 1j * idf[used] ** 2
    TextModel(table, float(model.intercept_[0]), 1.0).save(folder)
    return TextModel.load(folder)


def scaled(model: TextModel, log_odds: NDArray[np.float32], folder: Path) -> TextModel:
    """The model with the scale at which the 99 % quantile of these |log odds| is SATURATION."""
    scale = float(np.quantile(np.abs(log_odds), 0.99) / np.arctanh(SATURATION)) or 1.0
    rescaled = TextModel(model.table, model.intercept, scale)
    rescaled.save(folder)
    return rescaled


def _matrix(blocks_of_grams: list[list[Grams]]) -> csr_matrix:
    """(texts, BUCKETS) counts of one family of features."""
    from scipy.sparse import csr_matrix, vstack

    parts = []
    for family in blocks_of_grams:
        rows, columns = (np.concatenate(arrays) for arrays in zip(*(grams.by_text() for grams in family), strict=True))
        parts.append(csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(family[0].starts), BUCKETS)))
    return vstack(parts, format="csr")


def _normed(counts: csr_matrix, idf: NDArray[np.float64]) -> csr_matrix:
    """Counts times idf, divided by the root of the sum of idf² over all occurrences in the text."""
    from scipy.sparse import diags

    norms = np.sqrt(counts @ (idf**2))
    return diags(1 / np.where(norms > 0, norms, 1)) @ counts @ diags(idf)
