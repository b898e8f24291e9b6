"""An edit of the Train page: 48 forms planned over a million scored rows, beside 20 finished runs."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.race import Measured
from reft_studio.data.dataset import SCHEMA, Dataset, write_batches
from reft_studio.integrity import sealed_folder
from reft_studio.models.spec import OptimSpec
from reft_studio.scoring.scores import write_scores
from reft_studio.studio.plans import plan_all
from reft_studio.studio.run_form import RunForm
from reft_studio.tasks.demo import METHODS
from reft_studio.teacher.teacher import open_teacher
from reft_studio.training.spec import RunSpec
from reft_studio.workspace import Workspace, write_json

ROWS, RUNS, EDITS = 1_000_000, 20, 15
SEEDS = 8
"""With the six methods of the whole job: 48 runs, the most that the page takes at once."""
BUDGET_MS = 100.0
_GROUP = 50_000


def plan() -> Measured:
    """What the page asks of the server at each edit: the plans of all chosen runs; every edit moves a setting and the threshold."""
    with tempfile.TemporaryDirectory(prefix="reft-studio-bench-") as folder:
        workspace = Workspace.open(Path(folder))
        user = write_batches(workspace, _rows(), name="a million rows", role="user", extra={"task": "topic"})
        scores = np.random.default_rng(0).uniform(-1, 1, ROWS).astype(np.float32)
        teacher = open_teacher(workspace, "lab")
        write_scores(workspace, user, scores, key="k", scorer="refusal_feature", teacher="lab", threshold=teacher.threshold, info={})
        for seed in range(RUNS):
            _finished(workspace, user, seed)
        times = [_edit(workspace, user, number) for number in range(EDITS + 1)][1:]  # the first opens the files, as opening the page does
    ours, wall = (statistics.median(column) for column in zip(*times, strict=True))
    what = f"an edit of the Train page: 48 runs planned over {ROWS:,} scored rows beside {RUNS} finished runs"
    return Measured(
        "plan",
        what,
        ours,
        "budget",
        BUDGET_MS,
        ours / BUDGET_MS,
        1.0,
        note=f"processor time of one thread; by the wall clock {wall:.0f} ms",
    )


def _edit(workspace: Workspace, user: Dataset, number: int) -> tuple[float, float]:
    """Milliseconds that the plans take after one change: of the processor, and by the wall clock, to which other work adds."""
    optim = OptimSpec(steps=None, epochs=1 + number / 10)
    forms = [
        RunForm(dataset=user.id, method=method, seed=seed, optim=optim, threshold=number / 100)
        for method in METHODS
        for seed in range(SEEDS)
    ]
    started, began = time.process_time(), time.perf_counter()
    plans = plan_all(workspace, forms)
    taken = 1000 * (time.process_time() - started), 1000 * (time.perf_counter() - began)
    if not any(one.removed for one in plans):
        raise AssertionError("no plan counted flagged rows, so the figure would say nothing")
    return taken


def _rows() -> Iterator[pa.RecordBatch]:
    """Rows that are short, and each its own."""
    for start in range(0, ROWS, _GROUP):
        numbers = range(start, start + _GROUP)
        columns: list[Any] = [list(numbers), [f"question {number}" for number in numbers], ["answer"] * _GROUP]
        columns += [["[]"] * _GROUP, ["bench"] * _GROUP, [None] * _GROUP, [None] * _GROUP]
        yield pa.RecordBatch.from_arrays(
            [pa.array(values, field.type) for values, field in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
        )


def _finished(workspace: Workspace, user: Dataset, seed: int) -> None:
    """The folder of a run as far as lists read it."""
    spec = RunSpec(dataset=user.id, method="sft", seed=1000 + seed)
    made = datetime.now(UTC).isoformat(timespec="seconds")
    result = {"run_id": spec.run_id, "dataset_name": user.name, "rows": ROWS, "kept": ROWS, "steps": 160, "seconds": 12.5, "created": made}
    with sealed_folder(workspace.folder("runs", spec.run_id)) as building:
        write_json(building / "spec.json", spec.model_dump(mode="json"))
        write_json(building / "result.json", result)
        (building / "log.jsonl").write_text("", "utf-8")
