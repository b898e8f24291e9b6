"""Times a few steps of a run; only the time is kept."""

from __future__ import annotations

import statistics
import time
from typing import Any

from reft_studio.data.dataset import open_dataset
from reft_studio.defenses import DEFENSES
from reft_studio.errors import TrainingError
from reft_studio.models.fit import peak_memory
from reft_studio.models.session import Session
from reft_studio.progress import Progress
from reft_studio.training import inputs, run
from reft_studio.training.context import Run
from reft_studio.training.cost import Costs
from reft_studio.training.probe_key import FOLDER, probe_key
from reft_studio.training.spec import RunSpec
from reft_studio.workspace import Workspace, write_json

STEPS = 3
"""Timed steps, after one warm-up step that allocates memory and fills caches."""
_ROWS_FOR = 4


def probe(workspace: Workspace, spec: RunSpec, session: Session, progress: Progress) -> dict[str, Any]:
    """Run the first steps of a run on its first rows and store the seconds per step; leaves no run, and does not filter.

    Raises TrainingError if no row can be trained on.
    """
    optim = spec.optim.model_copy(update={"steps": 1 + STEPS})
    # a step takes as long from any weights: none are aligned for this
    short = spec.model_copy(update={"optim": optim, **({"start": "base"} if spec.aligns else {})})
    user = open_dataset(workspace, spec.dataset)
    positions = list(range(min(user.rows, _ROWS_FOR * spec.optim.batch_size)))
    alignment = inputs.alignment_data(workspace, short, session, {}, progress=progress, costs=Costs())
    context = Run(short, session, positions, alignment, warn=progress.warn)
    defense = DEFENSES.get(spec.method)(DEFENSES.get(spec.method).Config(**spec.method_config), context)
    rows = list(inputs.answered_rows(session, user, positions).values())
    if not rows:
        raise TrainingError(f"None of the first {len(positions):,} rows of '{user.name}' has a response, so no step can be timed.")
    for name in defense.discarded_adapters():  # nor are stages made
        session.add(name, spec.lora, seed=0)
    context.start = inputs.start_student(workspace, short, session)
    watch = _StepTimer(progress)
    run.finetune(short, context, defense, rows, watch)
    timing = {"seconds": statistics.median(watch.seconds[1:]), "steps": STEPS, "memory_mb": peak_memory(session.model.device)}
    folder = workspace.folder("cache", FOLDER)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / f"{probe_key(spec)}.json", timing)
    return timing


class _StepTimer:
    """Progress that records how long each step took."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._last = progress, time.perf_counter()
        self.seconds: list[float] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._progress, name)

    def progress(self, done: int, total: int, **numbers: Any) -> None:
        now = time.perf_counter()
        self.seconds.append(now - self._last)
        self._last = now
        self._progress.progress(done, total)
