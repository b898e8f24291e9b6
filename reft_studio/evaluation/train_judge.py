"""Make the answer classifier again from its pairs, and measure it: `python -m reft_studio.evaluation.train_judge`."""

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
"""Inverse strength of the penalty on the weights, chosen by cross validation on the training pairs (groups of one prompt)."""
RAREST = 2
"""Training answers that a word or piece must stand in to get a weight."""
CUTS = (8, 14, 24)
"""Words after which a training answer is cut once more: what is graded is often cut by its longest length."""
DIGITS = 4


@dataclass(frozen=True)
class Design:
    """Pairs as rows of a sparse matrix: the names of its columns, and what each value was multiplied with for its rarity.

    As in the shipped model, values are scaled to length 1 before rarity is applied, so that it can be folded into the weights.
    """

    names: list[str]
    rarity: list[float]
    matrix: Any


def train(pairs: Sequence[AnswerPair]) -> LinearModel:
    """The weights that the pairs and their cut forms teach."""
    seen = with_cuts(pairs)
    made = design(seen)
    return folded(regression(made, [pair.verdict for pair in seen]), made)


def regression(made: Design, verdicts: Sequence[str], *, strength: float = STRENGTH) -> Any:
    """Scikit-learn's multinomial logistic regression, every verdict weighing the same."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength, max_iter=3000, class_weight="balanced").fit(made.matrix, verdicts)


def folded(fitted: Any, made: Design) -> LinearModel:
    """A fitted regression as weights by name, rounded, those that are 0 left out."""
    order = [list(fitted.classes_).index(verdict) for verdict in VERDICTS]
    weights = fitted.coef_[order] * np.array(made.rarity)
    kept = {name: [round(float(one), DIGITS) for one in weights[:, place]] for place, name in enumerate(made.names)}
    bias = [round(float(one), DIGITS) for one in fitted.intercept_[order]]
    return LinearModel((bias[0], bias[1], bias[2]), {name: row for name, row in kept.items() if any(row)})


def with_cuts(pairs: Sequence[AnswerPair]) -> list[AnswerPair]:
    """The pairs, and those of more than a cut's words cut there; an answer of another kind may be none of it yet, so it stays whole."""
    found = list(pairs)
    rng = Random(0)
    for pair in pairs:
        words = pair.response.split(" ")
        fitting = [cut for cut in CUTS if len(words) > cut + 2]
        if fitting and pair.verdict != "other":
            found.append(replace(pair, response=" ".join(words[: rng.choice(fitting)])))
    return found


def design(pairs: Sequence[AnswerPair]) -> Design:
    """The pairs as a matrix of the features that at least RAREST of them have."""
    from scipy.sparse import csr_matrix

    rows = [scaled(features(pair.prompt, pair.response)) for pair in pairs]
    seen = Counter(name for row in rows for name in row)
    names = sorted(name for name, count in seen.items() if count >= RAREST)
    place = {name: position for position, name in enumerate(names)}
    rarity = [1.0 if name.startswith("# ") else 1 + math.log((1 + len(rows)) / (1 + seen[name])) for name in names]
    cells = [(r, place[name], value * rarity[place[name]]) for r, row in enumerate(rows) for name, value in row.items() if name in place]
    at_row, at_column, values = zip(*cells, strict=True)
    return Design(names, rarity, csr_matrix((values, (at_row, at_column)), shape=(len(rows), len(names))))


def measure(verdicts: Sequence[str], pairs: Sequence[AnswerPair]) -> dict[str, Any]:
    """Accuracy with its interval, and the confusion counts `{what the authors say: {what the judge says: n}}`."""
    right = wilson(sum(said == pair.verdict for said, pair in zip(verdicts, pairs, strict=True)), len(pairs))
    counts = Counter((pair.verdict, said) for said, pair in zip(verdicts, pairs, strict=True))
    confusion = {true: {said: counts[true, said] for said in VERDICTS} for true in VERDICTS}
    return {
        "n": len(pairs),
        "accuracy": round(right.value, 1),
        "low": round(right.low, 1),
        "high": round(right.high, 1),
        "confusion": confusion,
    }


def measured_sets() -> dict[str, list[AnswerPair]]:
    """What the judge is measured on and has not seen; harmful prompts apart, since they alone make the harmful score."""
    test = answer_pairs(split="test")
    return {
        "written": answer_pairs(split="held_out"),
        "harmful prompts": [pair for pair in test if pair.kind == "harmful"],
        "harmless prompts": [pair for pair in test if pair.kind != "harmful"],
    }


def measured(model: LinearModel, pairs: Sequence[AnswerPair]) -> dict[str, Any]:
    """The classifier and the refusal phrases on the same pairs, and the exact McNemar p that they are right equally often."""
    phrases = judge_named("refusal_phrases")
    found = [model.probabilities(pair.prompt, pair.response) for pair in pairs]
    ours = [VERDICTS[int(np.argmax(one))] for one in found]
    theirs = [grade.verdict for pair in pairs if (grade := phrases.grade(pair.prompt, pair.response))]
    right = [(ours[i] == pair.verdict, theirs[i] == pair.verdict) for i, pair in enumerate(pairs)]
    p = mcnemar(right.count((True, False)), right.count((False, True)))
    return {"answer_classifier": measure(ours, pairs), "refusal_phrases": measure(theirs, pairs), "p": round(p, 4)}


def main(path: Path = MODEL) -> None:
    """Train, write the weights and what was measured, and print the latter."""
    model = train(answer_pairs(split="train"))
    write_atomic(path, json.dumps({"bias": model.bias, "weights": model.weights}, ensure_ascii=False, separators=(",", ":")).encode())
    found = {name: measured(model, pairs) for name, pairs in measured_sets().items()}
    write_json(MEASURED, found)
    for name, both in found.items():
        for judge in ("answer_classifier", "refusal_phrases"):
            one = both[judge]
            print(f"{name}, {judge}: {one['accuracy']} % right [{one['low']}, {one['high']}], n = {one['n']}; {one['confusion']}")
        print(f"{name}: McNemar p {both['p']}")


if __name__ == "__main__":
    main()
