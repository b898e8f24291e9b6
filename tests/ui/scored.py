"""A scored dataset for browser tests: few rows, known truth, one hostile text, one row without a score."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from reft_studio.data.dataset import Row, write_dataset
from reft_studio.scoring.scores import write_scores
from reft_studio.studio.studio import Studio
from reft_studio.workspace import write_json

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

ROWS, UNSCORED, HOSTILE = 240, 17, 5
CALIBRATION = "calibration.parquet"
ATTACK = (
    '\u202e \ud800 <img src=x onerror="window.__attacked=1"> ${window.__attacked=2} {{value}} '
    "</textarea><script>window.__attacked=3</script>"
)
TEACHER = {
    "title": "Teacher for tests",
    "model": "tiny",
    "layer": 3,
    "threshold": 0.0,
    "regularised": True,
    "template": "chat",
    "template_hash": "x",
    "base_fingerprint": "y",
    "calibration": {"auroc": 0.99, "recall": 97.0, "false_positive_rate": 2.0, "harmful": 200, "harmless": 200},
    "spec": {},
    "created": "2026-01-01T00:00:00+00:00",
}


@dataclass(frozen=True)
class Scored:
    """Ids, and the numbers to compare the page with."""

    dataset: str
    key: str
    scores: np.ndarray
    harmful: np.ndarray


def scored(studio: Studio, name: str, *, seed: int = 0, info: dict[str, object] | None = None) -> Scored:
    """Write the dataset and its scores, and make it the one in work. The same seed and name give the same dataset."""
    draw = np.random.default_rng(seed)
    harmful = draw.random(ROWS) < 0.2
    values = np.clip(draw.normal(np.where(harmful, 0.5, -0.4), 0.25), -1, 1).astype(np.float32)
    values[UNSCORED] = np.nan
    values[HOSTILE], harmful[HOSTILE] = -0.001, False
    dataset = write_dataset(studio.workspace, [_row(name, at, bool(harmful[at])) for at in range(ROWS)], name=name, role="user")
    folder = studio.workspace.folder("teachers", "for-tests")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "teacher.json", TEACHER)
    kinds, places = np.repeat(["harmful", "harmless"], 120), np.tile(np.arange(120), 2)
    held_out = {"kind": kinds, "score": (places / 300 + np.where(kinds == "harmful", 0.2, -0.6)).astype(np.float32)}
    pq.write_table(
        pa.table({**held_out, "group": [f"{kind}{place}" for kind, place in zip(kinds, places, strict=True)]}), folder / CALIBRATION
    )
    facts = {"scorer": "refusal_similarity", "teacher": "for-tests", "threshold": 0.0, "info": info or {}}
    write_scores(studio.workspace, dataset, values, key="k1", **facts)  # type: ignore[arg-type]
    studio.choose(dataset=dataset.id)
    return Scored(dataset.id, "k1", values, harmful)


@contextmanager
def in_work(studio: Studio, name: str, *, seed: int = 0) -> Iterator[Scored]:
    """A scored dataset as the one in work; afterwards the one before is it again."""
    before = studio.settings.get("dataset")
    yield scored(studio, name, seed=seed)
    studio.settings.set("dataset", before)


@contextmanager
def kept_page(context: BrowserContext) -> Iterator[Page]:
    """One page for many tests, since opening it is what takes time; at the end no script may have failed."""
    faults: list[str] = []
    page = context.new_page()
    page.on("pageerror", lambda error: faults.append(str(error)))
    yield page
    page.close()
    assert not faults, faults


def _row(name: str, at: int, harmful: bool) -> Row:
    text = ATTACK if at == HOSTILE else f"{'How would one enter a house unseen' if harmful else 'Is this review kind or not'}, {name} {at}?"
    return {
        "prompt": text,
        "response": "A placeholder without content." if harmful else "It is mixed.",
        "origin": "mix" if harmful else "task",
        "category": "theft" if harmful else None,
        "known_harmful": harmful,
    }
