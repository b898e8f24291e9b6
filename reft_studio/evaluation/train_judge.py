"""Train and measure the answer classifier: `python -m reft_studio.evaluation.train_judge`."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from reft_studio.data.origin.answer_pairs import AnswerPair, answer_pairs
from reft_studio.evaluation.grade import VERDICTS
from reft_studio.evaluation.judges import judge_named
from reft_studio.evaluation.judges.answer_classifier import MODEL, LinearModel, scaled
from reft_studio.evaluation.judges.answer_features import features
from reft_studio.paired import mcnemar
from reft_studio.stats import wilson
from reft_studio.workspace import write_atomic, write_json

MEASURED = MODEL.with_name("measured.json")
STRENGTH = 5.0
"""Inverse regularisation strength, chosen by cross-validation on the training pairs (grouped by prompt)."""
RAREST = 2
"""Minimum number of training responses with a word or n-gram for it to get a weight."""
CUTS = (8, 14, 24)
"""Word counts at which a training response is truncated once more: graded responses are often cut at their maximum length."""
DIGITS = 4


@dataclass(frozen=True)
class Design:
    """Pairs as rows of a sparse matrix: the names of its columns, and the rarity factor of each column.

    As in the shipped model, values are scaled to length 1 before the rarity factor, so that it can be folded into the weights.
    """

    names: list[str]
    rarity: list[float]
    matrix: Any


def train(pairs: Sequence[AnswerPair]) -> LinearModel:
    """The weights fitted on the pairs and their truncated copies."""
    extended = with_cuts(pairs)
    features_of = design(extended)
    return folded(regression(features_of, [pair.verdict for pair in extended]), features_of)


def regression(features_of: Design, verdicts: Sequence[str], *, strength: float = STRENGTH) -> Any:
    """Scikit-learn's multinomial logistic regression, every verdict with the same total weight."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength, max_iter=3000, class_weight="balanced").fit(features_of.matrix, verdicts)


def folded(fitted: Any, made: Design) -> LinearModel:
    """A fitted regression as rounded weights by name, zeros left out."""
    order = [list(fitted.classes_).index(verdict) for verdict in VERDICTS]
    weights = fitted.coef_[order] * np.array(made.rarity)
    kept = {name: [round(float(value), DIGITS) for value in weights[:, column]] for column, name in enumerate(made.names)}
    bias = [round(float(value), DIGITS) for value in fitted.intercept_[order]]
    return LinearModel((bias[0], bias[1], bias[2]), {name: row for name, row in kept.items() if any(row)})


def with_cuts(pairs: Sequence[AnswerPair]) -> list[AnswerPair]:
    """The pairs, and truncated copies of long ones; responses of the verdict other are not truncated, since the verdict may change."""
    extended = list(pairs)
    rng = Random(0)
    for pair in pairs:
        words = pair.response.split(" ")
        fitting = [cut for cut in CUTS if len(words) > cut + 2]
        if fitting and pair.verdict != "other":
            extended.append(replace(pair, response=" ".join(words[: rng.choice(fitting)])))
    return extended


def design(pairs: Sequence[AnswerPair]) -> Design:
    """The pairs as a matrix of the features that at least RAREST of them have."""
    from scipy.sparse import csr_matrix

    rows = [scaled(features(pair.prompt, pair.response)) for pair in pairs]
    seen = Counter(name for row in rows for name in row)
    names = sorted(name for name, count in seen.items() if count >= RAREST)
    column_of = {name: position for position, name in enumerate(names)}
    rarity = [1.0 if name.startswith("# ") else 1 + math.log((1 + len(rows)) / (1 + seen[name])) for name in names]
    cells = [
        (r, column_of[name], value * rarity[column_of[name]])
        for r, row in enumerate(rows)
        for name, value in row.items()
        if name in column_of
    ]
    at_row, at_column, values = zip(*cells, strict=True)
    return Design(names, rarity, csr_matrix((values, (at_row, at_column)), shape=(len(rows), len(names))))


def measure(verdicts: Sequence[str], pairs: Sequence[AnswerPair]) -> dict[str, Any]:
    """Accuracy with its interval, and the confusion counts `{author's verdict: {judge's verdict: n}}`."""
    right = wilson(sum(verdict == pair.verdict for verdict, pair in zip(verdicts, pairs, strict=True)), len(pairs))
    counts = Counter((pair.verdict, verdict) for verdict, pair in zip(verdicts, pairs, strict=True))
    confusion = {truth: {verdict: counts[truth, verdict] for verdict in VERDICTS} for truth in VERDICTS}
    return {
        "n": len(pairs),
        "accuracy": round(right.value, 1),
        "low": round(right.low, 1),
        "high": round(right.high, 1),
        "confusion": confusion,
    }


def measured_sets() -> dict[str, list[AnswerPair]]:
    """The held-out sets the judge is measured on; harmful prompts separately, since they alone determine the harmful score."""
    test = answer_pairs(split="test")
    return {
        "written": answer_pairs(split="held_out"),
        "harmful prompts": [pair for pair in test if pair.kind == "harmful"],
        "harmless prompts": [pair for pair in test if pair.kind != "harmful"],
    }


def measured(model: LinearModel, pairs: Sequence[AnswerPair]) -> dict[str, Any]:
    """The classifier and the refusal phrases on the same pairs, and the exact McNemar p of equal accuracy."""
    phrases = judge_named("refusal_phrases")
    probabilities = [model.probabilities(pair.prompt, pair.response) for pair in pairs]
    ours = [VERDICTS[int(np.argmax(row_probabilities))] for row_probabilities in probabilities]
    theirs = [grade.verdict for pair in pairs if (grade := phrases.grade(pair.prompt, pair.response))]
    right = [(ours[i] == pair.verdict, theirs[i] == pair.verdict) for i, pair in enumerate(pairs)]
    p = mcnemar(right.count((True, False)), right.count((False, True)))
    return {"answer_classifier": measure(ours, pairs), "refusal_phrases": measure(theirs, pairs), "p": round(p, 4)}


def main(path: Path = MODEL) -> None:
    """Train, write the weights and the measurements, and print the latter."""
    model = train(answer_pairs(split="train"))
    write_atomic(path, json.dumps({"bias": model.bias, "weights": model.weights}, ensure_ascii=False, separators=(",", ":")).encode())
    measurements = {name: measured(model, pairs) for name, pairs in measured_sets().items()}
    write_json(MEASURED, measurements)
    for name, both in measurements.items():
        for judge in ("answer_classifier", "refusal_phrases"):
            result = both[judge]
            print(
                f"{name}, {judge}: {result['accuracy']} % right [{result['low']}, {result['high']}], n = {result['n']}; "
                f"{result['confusion']}"
            )
        print(f"{name}: McNemar p {both['p']}")


if __name__ == "__main__":
    main()
