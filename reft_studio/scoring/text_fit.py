"""From labelled texts to a prepared text scorer: split, fit, scale, threshold on what was held out."""

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
"""Texts in which a bucket must occur: what occurs in one alone says nothing of others."""
INVERSE_REGULARISATION = 3.0
SATURATION = 0.95
"""Where the log odds of the most certain held-out texts come to lie on the scale from -1 to 1."""


def prepare(
    info: ScorerInfo, workspace: Workspace, spec: ScorerSpec, texts: Sequence[str], examples: Examples, progress: Progress
) -> PreparedScorer:
    """Fit on `texts`, one for each example, and keep the scorer in the workspace; the same examples are not fitted twice."""
    name = id_of(spec, list(texts), examples.harmful.tolist())
    if workspace.folder("scorers", name).is_dir():
        return opened(workspace, name)
    fitted, held_out = split(texts, examples.harmful, seed=spec.seed)
    held_out = examples.calibrating(held_out)
    with sealed_folder(workspace.folder("scorers", name)) as building:
        progress.progress(0, len(texts))
        model = fit([texts[place] for place in fitted], examples.harmful[fitted], building)
        progress.progress(len(fitted), len(texts))
        rest = pa.array([texts[place] for place in held_out], pa.string())
        model = scaled(model, model.log_odds(rest), building)
        calibrate(building, spec, examples, texts, held_out, model.scores(rest), title=titled(info, examples))
    progress.progress(len(texts), len(texts))
    return opened(workspace, name)


def titled(info: ScorerInfo, examples: Examples) -> str:
    """The scorer's title; one that learned from people's decisions says from how many."""
    learned = [(name, count) for name, count in examples.sources.items() if name.startswith(DECISIONS) and count]
    return ", with ".join([info.title, *(f"{count:,} {name}" for name, count in learned)])


def fit(texts: Sequence[str], harmful: NDArray[np.bool_], folder: Path) -> TextModel:
    """Fit a model, keep it in `folder`, and give back what was kept; harmful and harmless texts weigh the same in all.

    Raises PrerequisiteError if scikit-learn is not installed.
    """
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as exc:
        raise PrerequisiteError("Fitting a text scorer needs scikit-learn, which is not installed. Run the set-up again.") from exc
    found = list(blocks(pa.array(texts, pa.string())))
    families = [_matrix([block.words() for block in found]), _matrix([list(block.runs()) for block in found])]
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
    """The model with the scale at which the most certain one in a hundred of these log odds lies at SATURATION."""
    scale = float(np.quantile(np.abs(log_odds), 0.99) / np.arctanh(SATURATION)) or 1.0
    found = TextModel(model.table, model.intercept, scale)
    found.save(folder)
    return found


def _matrix(blocks_of_grams: list[list[Grams]]) -> csr_matrix:
    """(texts, BUCKETS) occurrences of one family of features."""
    from scipy.sparse import csr_matrix, vstack

    parts = []
    for family in blocks_of_grams:
        rows, columns = (np.concatenate(some) for some in zip(*(one.by_text() for one in family), strict=True))
        parts.append(csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(family[0].starts), BUCKETS)))
    return vstack(parts, format="csr")


def _normed(counts: csr_matrix, idf: NDArray[np.float64]) -> csr_matrix:
    """Occurrences times idf, over the root of the sum of idf² over all occurrences of the text."""
    from scipy.sparse import diags

    norms = np.sqrt(counts @ (idf**2))
    return diags(1 / np.where(norms > 0, norms, 1)) @ counts @ diags(idf)
