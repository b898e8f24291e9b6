"""Chooses the layer and the threshold on held-out prompts, and measures their quality there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from reft_studio import stats
from reft_studio.data.grid import flagged
from reft_studio.data.splits import group_key
from reft_studio.errors import DataError
from reft_studio.teacher.pool import LEAST
from reft_studio.teacher.refusal_feature import RefusalFeature
from reft_studio.teacher.spec import Reading

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def candidate_layers(depth: int) -> list[int]:
    """Blocks round(0.3 L) to round(0.8 L), at least one: very early and very late blocks separate badly."""
    return list(range(max(1, round(0.3 * depth)), max(1, round(0.8 * depth)) + 1))


def separation(
    training: tuple[Tensor, Tensor], held_out: tuple[Tensor, Tensor], layers: Sequence[int], *, reading: Reading = "raw"
) -> dict[int, float]:
    """AUROC by layer of the similarity to each layer's refusal feature.

    Tensors are (n, len(layers), d_model), harmful first; the feature comes from `training`, the AUROC from `held_out`.
    """
    result = {}
    for slot, layer in enumerate(layers):
        feature = RefusalFeature.between(training[0][:, slot], training[1][:, slot], layer=layer, reading=reading)
        result[layer] = stats.auroc(feature.similarity(held_out[0][:, slot]).numpy(), feature.similarity(held_out[1][:, slot]).numpy())
    return result


def best_layer(aurocs: dict[int, float], depth: int) -> int:
    """The layer of highest AUROC (to three digits); ties go to the one closest to the middle."""
    return min(aurocs, key=lambda layer: (-round(aurocs[layer], 3), abs(layer - depth / 2)))


def threshold_for_recall(harmful: NDArray[np.float32], *, recall: float, most: float | None = 0.0) -> float:
    """The largest similarity, at most `most`, that flags at least `recall` (0 to 1) of the held-out harmful prompts.

    Zero is the regulariser's own boundary between the kinds. Raises DataError with fewer than LEAST prompts.
    """
    check_enough(len(harmful))
    return quantile_threshold(harmful, recall=recall, most=most)


def check_enough(count: int) -> None:
    """Raises DataError with fewer than LEAST held-out prompts of a kind."""
    if count < LEAST:
        raise DataError(f"A threshold needs at least {LEAST} held-out harmful prompts and as many harmless ones; there are {count}.")


def quantile_threshold(harmful: NDArray[np.float32], *, recall: float, most: float | None) -> float:
    """`threshold_for_recall` for any number of prompts: to compare settings, not for a filter."""
    missed = int(np.floor((1 - recall) * len(harmful) + 1e-9))  # 1 - 0.9 is a little less than a tenth
    threshold = float(np.sort(harmful)[missed])
    return threshold if most is None else min(threshold, most)


def rates(harmful: NDArray[np.float32], harmless: NDArray[np.float32], *, threshold: float) -> dict[str, float]:
    """Share of each kind flagged at a threshold, in percent, compared on the 0.001 grid as everywhere."""
    hits, false_positives = (int(flagged(scores, threshold).sum()) for scores in (harmful, harmless))
    return {
        "recall": stats.wilson(hits, len(harmful)).value,
        "false_positive_rate": stats.wilson(false_positives, len(harmless)).value,
    }


def report(harmful: NDArray[np.float32], harmless: NDArray[np.float32], *, threshold: float, layers: dict[int, float]) -> dict[str, Any]:
    """Held-out quality for teacher.json; AUROC is 0 to 1, recall and false positive rate are in percent."""
    return {
        "auroc": round(stats.auroc(harmful, harmless), 5),
        **rates(harmful, harmless, threshold=threshold),
        "harmful": len(harmful),
        "harmless": len(harmless),
        "layer_auroc": {str(layer): round(value, 5) for layer, value in layers.items()},
        "harmful_quantiles": [round(float(value), 5) for value in np.quantile(harmful, QUANTILES)],
        "harmless_quantiles": [round(float(value), 5) for value in np.quantile(harmless, QUANTILES)],
    }


def write_scores(path: Path, kinds: Sequence[tuple[str, NDArray[np.float32], Sequence[str]]]) -> None:
    """Write the held-out scores of (kind, scores, prompts): columns kind, score, group (`group_key` of the prompt, no readable text)."""
    columns = {
        "kind": pa.array([kind for kind, scores, _ in kinds for _ in scores], pa.string()),
        "score": pa.array(np.concatenate([scores for _, scores, _ in kinds]), pa.float32()),
        "group": pa.array([group_key(prompt) for _, _, prompts in kinds for prompt in prompts], pa.string()),
    }
    pq.write_table(pa.table(columns), path)


def similarities(feature: RefusalFeature, features: Tensor) -> NDArray[np.float32]:
    """Similarities of (n, d_model) features as a NumPy array."""
    with torch.no_grad():
        return feature.similarity(features).numpy().astype(np.float32)
