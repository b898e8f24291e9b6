"""From labelled texts to a prepared text scorer: split, fit, scale, threshold on what was held out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from reft_studio import fingerprint
from reft_studio.data.splits import split_groups
from reft_studio.errors import DataError, PrerequisiteError
from reft_studio.progress import Progress
from reft_studio.scoring.ngrams import BUCKETS, Grams, blocks
from reft_studio.scoring.prepared import PreparedScorer, open_prepared, write_facts
from reft_studio.scoring.scorer import Examples, ScorerInfo, ScorerSpec
from reft_studio.scoring.text_model import TextModel
from reft_studio.workspace import Workspace, new_folder

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

KEY = 12
"""Characters of a prepared scorer's id after its name."""
SHARES = {"fit": 0.7, "calibration": 0.3}
LEAST_TEXTS = 2
"""Texts in which a bucket must occur: what occurs in one alone says nothing of others."""
INVERSE_REGULARISATION = 3.0
SATURATION = 0.95
"""Where the log odds of the most certain held-out texts come to lie on the scale from -1 to 1."""
LEAST = 100
"""Examples of each kind from which a text scorer is prepared: 30 of them are then held out."""


def prepare(
    info: ScorerInfo, workspace: Workspace, spec: ScorerSpec, texts: Sequence[str], examples: Examples, progress: Progress
) -> PreparedScorer:
    """Fit on `texts`, one for each example, and keep the scorer in the workspace; the same examples are not fitted twice.

    Near-copies of a prompt are never on both sides of the split. Raises DataError with fewer than LEAST examples of a kind.
    """
    from reft_studio.teacher.calibration import report, threshold_for_recall, write_scores  # brings torch, which scoring does without

    _check_enough(examples.harmful)
    made_from = fingerprint.of_value([list(texts), examples.harmful.tolist(), spec.model_dump(mode="json")])
    name = f"{info.name}-{made_from[:KEY]}"
    if workspace.folder("scorers", name).is_dir():
        return _opened(workspace, name)
    parts = split_groups(examples.prompts, SHARES, seed=spec.seed)
    with new_folder(workspace.folder("scorers", name)) as building:
        progress.progress(0, len(texts))
        model = fit([texts[place] for place in parts["fit"]], examples.harmful[parts["fit"]], building)
        progress.progress(len(parts["fit"]), len(texts))
        held_out, truth = [texts[place] for place in parts["calibration"]], examples.harmful[parts["calibration"]]
        model = scaled(model, model.log_odds(pa.array(held_out, pa.string())), building)
        scores = model.scores(pa.array(held_out, pa.string()))
        threshold = threshold_for_recall(scores[truth], recall=spec.recall)
        kinds = [("harmful", truth), ("harmless", ~truth)]
        prompts = {kind: [examples.prompts[parts["calibration"][place]] for place in np.flatnonzero(mask)] for kind, mask in kinds}
        write_scores(building / "calibration.parquet", [(kind, scores[mask], prompts[kind]) for kind, mask in kinds])
        write_facts(
            building,
            scorer=info.name,
            title=info.title,
            threshold=threshold,
            calibration=report(scores[truth], scores[~truth], threshold=threshold, layers={}),
            spec=spec.model_dump(mode="json"),
            record={
                "examples": len(texts),
                "harmful": int(examples.harmful.sum()),
                "fitted": len(parts["fit"]),
                "sources": examples.sources,
            },
        )
    progress.progress(len(texts), len(texts))
    return _opened(workspace, name)


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


def _opened(workspace: Workspace, name: str) -> PreparedScorer:
    found = open_prepared(workspace, name)
    assert isinstance(found, PreparedScorer), "no teacher has such a name"
    return found


def _check_enough(harmful: NDArray[np.bool_]) -> None:
    for kind, count in (("harmful", int(harmful.sum())), ("harmless", int((~harmful).sum()))):
        if count < LEAST:
            raise DataError(
                f"There are {count} {kind} examples, but a text scorer is prepared from at least {LEAST} of each kind. "
                "Give more, or leave in those that ship with the app."
            )


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
