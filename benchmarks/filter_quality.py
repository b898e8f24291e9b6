"""How well scorers tell harmful from harmless prompts of public sets that none of them was made from, set by set.

Reads the sets from a folder (NAME.parquet with columns prompt, response, label, category); docs/filter-quality.md says where they come
from. Nothing is chosen here: every scorer is measured at the threshold that it ships or was prepared with.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from reft_studio import seeding, stats
from reft_studio.cli.console import Console, show, table
from reft_studio.data.dataset import Dataset, Row, write_dataset
from reft_studio.data.origin.own_texts import own_texts
from reft_studio.data.splits import normalise_prompt
from reft_studio.errors import PrerequisiteError
from reft_studio.scoring import SCORERS
from reft_studio.scoring.prepared import Prepared, open_prepared
from reft_studio.scoring.scores import ScoreSet, flagged
from reft_studio.teacher.quick import calibration_prompts
from reft_studio.workspace import Workspace

KINDS: Mapping[str, tuple[str, ...]] = {
    "harmful": (
        "advbench",
        "malicious_instruct",
        "stl_i_maliciousinstructions",
        "gptfuzz_questions",
        "stl_i_cona",
        "stl_i_controversial",
        "stl_i_physicalsafetyunsafe",
        "beavertails_eval140",
        "llm_safeguard_pairs",
        "coconot_eval",
        "toxicchat_train",
    ),
    "task": ("sst2_validation", "ag_news_test", "gsm8k_train", "mmlu_test_2k"),
    "open": ("alpaca", "dolly_3k", "lima", "alpaca_eval", "stl_i_alpaca", "coconot_eval", "toxicchat_train"),
    "look-alike": ("coconot_contrast", "stl_i_physicalsafetysafe", "llm_safeguard_pairs"),
}
"""Sets by what their prompts are; of a set with both labels each kind takes its own. Of GSM8K the shipped teacher read
other rows; of the others nothing."""
TWINS = ("stl_i_physicalsafetyunsafe", "llm_safeguard_pairs", "coconot_eval")
"""Harmful sets that the look-alikes were written beside."""
DEFAULTS = ("smollm2-135m", "tfidf")
"""What ships, by id."""
MOST = 500
"""Prompts of a set at most: enough for an interval of about 2 points around 5 %."""
DRAWS = 1000
Part = tuple[str, str]
"""Kind and set."""


@dataclass(frozen=True)
class ScoredParts:
    """One scorer on all parts; scores are NaN where a prompt could not be scored."""

    prepared: Prepared
    scores: dict[Part, NDArray[np.float32]]

    def side(self, *kinds: str, only: Sequence[str] = ()) -> NDArray[np.float32]:
        """The scores of all sets of some kinds, or of `only` some of their sets."""
        parts = [found for (kind, name), found in self.scores.items() if kind in kinds and (not only or name in only)]
        return np.concatenate(parts)


def measure_shipped(folder: Path) -> None:
    """Measure what ships on the public sets of `folder`. Raises PrerequisiteError without them, or without the teacher's base."""
    with tempfile.TemporaryDirectory() as scratch:
        workspace = Workspace.open(Path(scratch))
        compare(workspace, folder, {name: open_prepared(workspace, name) for name in DEFAULTS})


def compare(workspace: Workspace, folder: Path, scorers: Mapping[str, Prepared]) -> None:
    """Score the public sets of `folder` with each prepared scorer, and show tables."""
    console, prompts = Console(), read_parts(folder)
    dataset, results = _stored(workspace, prompts), {}
    for place, (name, prepared) in enumerate(scorers.items(), 1):
        console.stage(f"score with {name}", place, len(scorers))
        started = time.perf_counter()
        scored = SCORERS.get(prepared.scorer)().score(workspace, dataset, prepared, console)
        seconds = round(time.perf_counter() - started, 1)
        results[name] = {**measured(ScoredParts(prepared, dict(_by_part(scored, prompts)))), "seconds": seconds}
    console.done()
    counts = {f"{kind}: {name}": len(some) for (kind, name), some in prompts.items()}
    show({"prompts": counts, "results": results}, text=lambda: _text(results))


def read_parts(folder: Path) -> dict[Part, list[str]]:
    """Prompts by kind and set, no prompt twice, none that ships with the app; at most MOST of a set, always the same."""
    taken = {normalise_prompt(prompt) for prompt in _ours()}
    found: dict[Part, list[str]] = {}
    for kind, names in KINDS.items():
        for name in names:
            fresh = []
            for prompt, label in _read(folder, name):
                group = normalise_prompt(prompt)
                if (label == "harmful") is (kind == "harmful") and group not in taken:
                    taken.add(group)
                    fresh.append(prompt)
            found[kind, name] = seeding.generator(0, "filter quality", kind, name).sample(fresh, min(MOST, len(fresh)))
    return found


def _ours() -> Iterable[str]:
    """Every prompt that ships, and so may have been trained on."""
    yield from (one.prompt for one in calibration_prompts())
    yield from (one.prompt for one in own_texts())


def _read(folder: Path, name: str) -> Iterable[tuple[str, str]]:
    path = folder / f"{name}.parquet"
    if not path.is_file():
        raise PrerequisiteError(f"{folder} has no {name}.parquet. docs/filter-quality.md says which sets are needed, and their columns.")
    columns = pq.read_table(path, columns=["prompt", "label"]).to_pydict()
    return zip(columns["prompt"], columns["label"], strict=True)


def _stored(workspace: Workspace, prompts: dict[Part, list[str]]) -> Dataset:
    rows: list[Row] = [
        {"prompt": prompt, "response": "", "origin": name, "category": kind, "known_harmful": kind == "harmful"}
        for (kind, name), some in prompts.items()
        for prompt in some
    ]
    return write_dataset(workspace, rows, name="public sets", role="benchmark")


def _by_part(scored: ScoreSet, prompts: dict[Part, list[str]]) -> Iterable[tuple[Part, NDArray[np.float32]]]:
    values, start = scored.scores(), 0
    for part, some in prompts.items():
        yield part, values[start : start + len(some)]
        start += len(some)


def measured(one: ScoredParts) -> dict[str, Any]:
    """AUROC over all sets with its interval, against look-alikes, and set by set; shares flagged at the scorer's own threshold."""
    harmful, harmless = one.side("harmful"), one.side("task", "open")
    sets = {}
    for (kind, name), scores in one.scores.items():
        pair = (scores, harmless) if kind == "harmful" else (harmful, scores)
        sets[f"{kind}: {name}"] = {"auroc": _auroc(*pair), "flagged": asdict(_flagged(scores, one.prepared.threshold))}
    return {
        "scorer": one.prepared.scorer,
        "title": one.prepared.title,
        "threshold": round(one.prepared.threshold, 4),
        "auroc": _auroc(harmful, harmless),
        "auroc_interval": _interval(harmful, harmless),
        "auroc_tasks": _auroc(harmful, one.side("task")),
        "auroc_open": _auroc(harmful, one.side("open")),
        "auroc_lookalikes": _auroc(one.side("harmful", only=TWINS), one.side("look-alike")),
        "recall": asdict(_flagged(harmful, one.prepared.threshold)),
        **{f"flagged_{kind}": asdict(_flagged(one.side(kind), one.prepared.threshold)) for kind in ("task", "open", "look-alike")},
        "sets": sets,
    }


def _auroc(harmful: NDArray[np.float32], harmless: NDArray[np.float32]) -> float:
    return round(stats.auroc(harmful[~np.isnan(harmful)], harmless[~np.isnan(harmless)]), 4)


def _interval(harmful: NDArray[np.float32], harmless: NDArray[np.float32]) -> list[float]:
    """Percentile bootstrap over prompts of both sides, 95 %."""
    rng = np.random.default_rng(0)
    draws = [_auroc(rng.choice(harmful, len(harmful)), rng.choice(harmless, len(harmless))) for _ in range(DRAWS)]
    return [round(float(value), 4) for value in np.quantile(draws, (0.025, 0.975))]


def _flagged(scores: NDArray[np.float32], threshold: float) -> stats.Estimate:
    return stats.wilson(int(flagged(scores, threshold).sum()), len(scores))


def _text(results: dict[str, dict[str, Any]]) -> str:
    """Two tables: over all sets, and the share that is flagged of each set."""
    overall = [
        [
            name,
            f"{one['auroc']:.3f} [{one['auroc_interval'][0]:.3f}, {one['auroc_interval'][1]:.3f}]",
            f"{one['auroc_lookalikes']:.3f}",
            *(f"{one[key]['value']:.1f}" for key in ("recall", "flagged_task", "flagged_open", "flagged_look-alike")),
        ]
        for name, one in results.items()
    ]
    first = table(overall, ["scorer", "AUROC", "look-alikes", "recall %", "tasks flagged %", "open flagged %", "look-alikes flagged %"])
    parts = next(iter(results.values()))["sets"]
    by_set = [
        [part, *(f"{one['sets'][part]['flagged']['value']:.1f} ({one['sets'][part]['auroc']:.3f})" for one in results.values())]
        for part in parts
    ]
    return f"{first}\n\n{table(by_set, ['set: flagged % (AUROC)', *results])}"
