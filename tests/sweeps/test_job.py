"""A sweep as a job: what is done stays done, whatever becomes of its process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from reft_studio.jobs.process import Process
from reft_studio.jobs.queue import JobQueue
from reft_studio.sweeps import record
from reft_studio.sweeps.job import KIND
from reft_studio.sweeps.spec import SweepSpec
from reft_studio.workspace import Workspace

RECIPE = {
    "optim": {"steps": 1},
    "rows": (40,),
    "prompts": 4,
    "task_prompts": 4,
    "seeds": (0, 1),
    "variants": ({"method": "sft"}, {"method": "aligned_sft"}, {"method": "lisa", "config": {"rho": 0.5}}),
}


@pytest.mark.slow
def test_a_sweep_goes_on_after_a_kill_and_keeps_what_is_done_when_it_is_cancelled(
    workspace: Workspace, queue: JobQueue, until: Callable[..., Any], started: Callable[..., tuple[str, Process]]
) -> None:
    spec = SweepSpec.checked(**RECIPE)

    def count() -> int:
        return sum(map(record.done, record.lines(workspace, spec)))

    job, process = started(KIND, recipe=spec.model_dump(mode="json"))
    until(lambda: count() >= 1)
    process.kill()
    until(lambda: not process.alive())
    kept = [line for line in record.lines(workspace, spec) if record.done(line)]
    assert 1 <= len(kept) < 6

    until(lambda: queue.tick() or queue.get(job).attempt == 2)
    until(lambda: (queue.get(job).stage_index, queue.get(job).stage_count) > (len(kept), 6))
    seen = queue.get(job)
    assert seen.stage_count == 6 and "seed" in seen.stage and "10% poison" in seen.stage
    until(lambda: count() > len(kept))
    queue.cancel(job)
    until(lambda: queue.tick() or queue.get(job).state == "cancelled")
    after = count()
    assert len(kept) < after <= 6 and [one for one in record.lines(workspace, spec) if one in kept] == kept

    queue.retry(job)
    ended = queue.wait(job, timeout_s=120)
    assert (ended.state, ended.result) == ("done", {"sweep": spec.id, "runs": 6, "done": 6, "failed": 0})
    assert len({line["run"] for line in record.lines(workspace, spec)}) == 6
