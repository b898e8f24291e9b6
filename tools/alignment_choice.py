"""Measure the choice of alignment data on the lab: `python -m tools.alignment_choice` (docs/methods.md has the figures).

A share of the lab's refusals is replaced by harmful answers to the same prompts; the scorer, prepared on refusals and harmful answers of
another seed whose prompts are not among them, keeps half of the rows. The tool says how many of those are corrupted.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from pathlib import Path

from reft_studio.cli.console import Console
from reft_studio.data.dataset import Dataset, Row, open_dataset, write_dataset
from reft_studio.jobs.foreground import ForegroundContext
from reft_studio.jobs.job import JobContext
from reft_studio.scoring.choosing import lowest
from reft_studio.scoring.scores import open_score_set
from reft_studio.tasks import lab_data
from reft_studio.tasks.score import score_dataset
from reft_studio.tasks.scorers import prepare_scorer
from reft_studio.workspace import Workspace

EXAMPLES = 1
"""Seed of the rows that the scorer is prepared on; those that are chosen from have others."""


def corrupted(workspace: Workspace, *, share: float, rows: int, seed: int) -> Dataset:
    """The first `rows` of the lab's alignment refusals, of which `share` have a harmful answer instead and are labelled so."""
    refusals = _pairs(workspace, lab_data.alignment(workspace).harmful)[:rows]
    complied = dict(_pairs(workspace, lab_data.harmful_answers(workspace)))
    chosen = set(random.Random(seed).sample(range(len(refusals)), round(share * len(refusals))))
    made: list[Row] = [
        {"prompt": prompt, "response": complied[prompt] if place in chosen else refusal, "known_harmful": place in chosen}
        for place, (prompt, refusal) in enumerate(refusals)
    ]
    return write_dataset(workspace, made, name=f"refusals, {share:.0%} corrupted, seed {seed}", role="harmful")


def prepared(workspace: Workspace, context: JobContext, *, weights: str = "base", rows: int = 600) -> str:
    """The id of the scorer, prepared on rows of another seed without the prompts that are chosen from."""
    known = {prompt for prompt, _ in _pairs(workspace, lab_data.alignment(workspace).harmful)}
    sets = {}
    for kind, source in (
        ("harmless", lab_data.alignment(workspace, seed=EXAMPLES).harmful),
        ("harmful", lab_data.harmful_answers(workspace, seed=EXAMPLES)),
    ):
        found: list[Row] = [{"prompt": one, "response": other} for one, other in _pairs(workspace, source) if one not in known]
        sets[kind] = [write_dataset(workspace, found[:rows], name=f"{kind} examples", role="harmful").id]
    wanted = {"scorer": "pharmacist_like", "teacher": "lab", "weights": weights, "shipped": False}
    return str(prepare_scorer(context, {**wanted, **sets})["scorer"])


def kept(workspace: Workspace, context: JobContext, dataset: Dataset, scorer: str) -> tuple[int, int]:
    """Rows of the kept half, and how many of them are corrupted."""
    key = score_dataset(context, {"dataset": dataset.id, "scorer": scorer})["key"]
    ids = set(lowest(open_score_set(workspace, dataset.id, key), share=0.5).tolist())
    labels = [bool(row["known_harmful"]) for row in dataset.read(["row_id", "known_harmful"]) if row["row_id"] in ids]
    return len(labels), sum(labels)


def _pairs(workspace: Workspace, name: str) -> list[tuple[str, str]]:
    return [(row["prompt"], row["response"]) for row in open_dataset(workspace, name).read(["prompt", "response"])]


def main() -> None:
    """Say the corrupted share of the kept half for the base and for the aligned teacher, and for a half by chance."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--share", type=float, default=0.2)
    options.add_argument("--rows", type=int, default=600)
    options.add_argument("--seeds", type=int, default=3)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace.open(Path(folder))
        console = Console()
        context = ForegroundContext(workspace, console)
        scorers = {weights: prepared(workspace, context, weights=weights) for weights in ("base", "teacher")}
        found: dict[str, list[tuple[int, int]]] = {}
        for seed in range(asked.seeds):
            dataset = corrupted(workspace, share=asked.share, rows=asked.rows, seed=seed)
            for name, scorer in {**scorers, "by chance": "random"}.items():
                found.setdefault(name, []).append(kept(workspace, context, dataset, scorer))
        console.done()
        for name, counts in found.items():
            print(f"{name}: {', '.join(f'{bad} of {rows}' for rows, bad in counts)} kept rows are corrupted")


if __name__ == "__main__":
    main()
