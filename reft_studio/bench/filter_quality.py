"""The refusal-feature filter beside the plainest rival, TF-IDF with logistic regression: same prompts, same split, same calibration.

Reads public sets of prompts from a folder (columns prompt, response, label); docs/filter-quality.md says which, and where they come from.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from reft_studio import seeding, stats
from reft_studio.console import Console, save_json, table
from reft_studio.data.dataset import Dataset, Row, open_dataset, write_dataset
from reft_studio.data.splits import normalise_prompt, split_groups
from reft_studio.errors import PrerequisiteError
from reft_studio.jobs import tasks
from reft_studio.models.session import Session
from reft_studio.models.spec import OptimSpec
from reft_studio.scoring.refusal_similarity import score_prompts
from reft_studio.teacher.teacher import TeacherInfo, open_teacher
from reft_studio.workspace import Workspace

HARMFUL = (
    "advbench",
    "harmbench",
    "beavertails_eval140",
    "catqa_english",
    "dangerousqa",
    "harmfulqa",
    "aart",
    "malicious_instruct",
    "tdc2023",
)
HARMLESS = ("alpaca", "dolly_3k", "sst2_train", "ag_news_train", "gsm8k_train")
UNSEEN = ("gptfuzz_questions", "stl_i_maliciousinstructions", "coconot_contrast", "stl_i_physicalsafetysafe", "alpaca_eval", "mmlu_test_2k")
"""Sets of which neither filter saw a row while it was made: two harmful ones, two that only sound so, two of other tasks."""
TEST = 500
"""Most test prompts a set: enough for an interval of about 2 points around 5 %."""
RECALL = 0.99
Scorer = Callable[[Sequence[str]], NDArray[np.float64]]


@dataclass(frozen=True)
class Split:
    """Prompts by part: what was given to both filters, and what neither saw."""

    known: dict[str, list[Row]]
    test: dict[str, list[str]]


def compare(folder: Path, *, seed: int, steps: int, json_file: Path | None) -> None:
    """Prepare both filters, measure both on the same held-out prompts, print a table. Raises PrerequisiteError without the data."""
    with tempfile.TemporaryDirectory() as scratch:
        workspace = Workspace.open(Path(scratch))
        console = Console(workspace)
        split = _split(folder, seed=seed)
        teacher = _teacher(console, split, seed=seed, steps=steps)
        untrained = _teacher(console, split, seed=seed, steps=0)
        console.done()
        results = {}
        for name, info in (("refusal feature, teacher trained", teacher), ("refusal feature, base untrained", untrained)):
            results[name] = _measured(_cosines(info), info, workspace, split)
        results["TF-IDF + logistic regression"] = _measured(_tfidf(workspace, teacher), teacher, workspace, split)
        given = {name: getattr(split, name) for name in ("known", "test")}
        counts = {part: {name: len(rows) for name, rows in sets.items()} for part, sets in given.items()}
        record = {"seed": seed, "steps": steps, "recall_asked": RECALL, "prompts": counts, "pooled": teacher.pooled, "results": results}
    print(_table(results))
    save_json(json_file, record)


def _split(folder: Path, *, seed: int) -> Split:
    """Whole prompt groups to one side; a prompt that stands in several sets belongs to the first."""
    known: dict[str, list[Row]] = {}
    test: dict[str, list[str]] = {}
    taken: set[str] = set()
    for name in (*HARMFUL, *HARMLESS):
        rows = _fresh(_read(folder, name), taken)
        parts = split_groups([row["prompt"] for row in rows], {"known": 0.7, "test": 0.3}, seed=seeding.derive(seed, name))
        known[name] = [rows[place] for place in parts["known"]]
        test[name] = [rows[place]["prompt"] for place in parts["test"]]
    for name in UNSEEN:
        test[name] = [row["prompt"] for row in _fresh(_read(folder, name), taken)]
    rng = seeding.generator(seed, "filter quality")
    return Split(known, {name: rng.sample(prompts, min(TEST, len(prompts))) for name, prompts in test.items()})


def _read(folder: Path, name: str) -> list[Row]:
    path = folder / f"{name}.parquet"
    if not path.is_file():
        raise PrerequisiteError(f"{folder} has no {name}.parquet. docs/filter-quality.md says which sets are needed, and their columns.")
    return [
        {"prompt": row["prompt"], "response": row["response"] or "", "known_harmful": row["label"] == "harmful", "origin": name}
        for row in pq.read_table(path, columns=["prompt", "response", "label"]).to_pylist()
    ]


def _fresh(rows: list[Row], taken: set[str]) -> list[Row]:
    """One row a prompt group that no set before had; `taken` grows."""
    found = []
    for row in rows:
        group = normalise_prompt(row["prompt"])
        if group not in taken:
            taken.add(group)
            found.append(row)
    return found


def _teacher(console: Console, split: Split, *, seed: int, steps: int) -> TeacherInfo:
    pools = {
        kind: [write_dataset(console.workspace, split.known[name], name=name, role="benchmark").id for name in names]
        for kind, names in (("harmful", HARMFUL), ("harmless", HARMLESS))
    }
    optim = OptimSpec(steps=steps or 1, batch_size=32, alignment_batch_size=32, learning_rate=1e-3)
    settings: dict[str, Any] = {"model": "lab", "seed": seed, "optim": optim.model_dump(), "pool": pools}
    made = tasks.prepare_teacher(console, settings if steps else {**settings, "kind": "ready"})
    return open_teacher(console.workspace, made["teacher"])


def _cosines(teacher: TeacherInfo) -> Scorer:
    session = Session.open(teacher.model, template=teacher.template, loading=teacher.loading)
    return lambda prompts: score_prompts(list(prompts), teacher, session).astype(np.float64)


def _tfidf(workspace: Workspace, teacher: TeacherInfo) -> Scorer:
    """Word and pair TF-IDF with logistic regression on the teacher's training prompts; C by AUROC on those that chose its layer."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    train, selection = ([_prompts(workspace, teacher, name) for name in names] for names in (("harmful", "helpful"), _SELECTION))
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)
    features, labels = words.fit_transform([*train[0], *train[1]]), np.repeat([1, 0], [len(train[0]), len(train[1])])
    fitted = [LogisticRegression(C=strength, max_iter=2000, class_weight="balanced").fit(features, labels) for strength in (1, 10, 100)]

    def by(model: Any) -> Scorer:
        return lambda prompts: np.asarray(model.decision_function(words.transform(prompts)))

    return by(max(fitted, key=lambda model: stats.auroc(*(by(model)(prompts) for prompts in selection))))


_SELECTION = ("selection_harmful", "selection_harmless")
_CALIBRATION = ("calibration_harmful", "calibration_harmless")


def _prompts(workspace: Workspace, teacher: TeacherInfo, name: str) -> list[str]:
    dataset: Dataset = open_dataset(workspace, teacher.spec[name])
    return [row["prompt"] for row in dataset.read(["prompt"])]


def _measured(scorer: Scorer, teacher: TeacherInfo, workspace: Workspace, split: Split) -> dict[str, Any]:
    """AUROC over all test prompts of the sets that were split; recall and false positives, set by set, at the calibrated threshold."""
    held_out = [np.sort(scorer(_prompts(workspace, teacher, name))) for name in _CALIBRATION]
    threshold = float(held_out[0][int(np.floor((1 - RECALL) * len(held_out[0]) + 1e-9))])
    scores = {name: scorer(prompts) for name, prompts in split.test.items()}
    harmful, harmless = (np.concatenate([scores[name] for name in names]) for names in (HARMFUL, HARMLESS))
    return {
        "auroc": round(stats.auroc(harmful, harmless), 4),
        "threshold": round(threshold, 4),
        "recall": asdict(_flagged(harmful, threshold)),
        "false_positive_rate": asdict(_flagged(harmless, threshold)),
        "flagged_by_set": {name: asdict(_flagged(found, threshold)) for name, found in scores.items()},
    }


def _flagged(scores: NDArray[np.float64], threshold: float) -> stats.Estimate:
    return stats.wilson(int((scores >= threshold).sum()), len(scores))


def _table(results: dict[str, dict[str, Any]]) -> str:
    rows = [
        [
            name,
            f"{found['auroc']:.3f}",
            f"{found['recall']['value']:.1f}",
            *(f"{found['flagged_by_set'][task]['value']:.1f}" for task in (*HARMLESS, *UNSEEN)),
        ]
        for name, found in results.items()
    ]
    return table(rows, ["filter", "AUROC", "recall %", *(f"{task} %" for task in (*HARMLESS, *UNSEEN))])
