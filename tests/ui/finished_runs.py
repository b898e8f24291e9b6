"""A workspace with finished, evaluated runs, written by the engine's own writers; only the training log and the answers are made up."""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from reft_studio.evaluation.evaluate import evaluate
from reft_studio.evaluation.suite import Suite, lab_suite
from reft_studio.jobs.context import WorkerContext
from reft_studio.jobs.process import Process
from reft_studio.jobs.queue import JobQueue
from reft_studio.jobs.status import Status, prepare, write_status
from reft_studio.models.spec import PRESETS, OptimSpec
from reft_studio.store.connection import transaction
from reft_studio.tasks import lab_data
from reft_studio.training.run_folder import checkpoint_folder
from reft_studio.training.spec import RunSpec
from reft_studio.workspace import Workspace, new_folder, write_json

SIZES = {"harmful": 30, "harmless": 30, "task": 20}
REFUSES = {"sft": (0.1, 0.02), "ref_teacher": (0.95, 0.08), "aligned_sft": (0.3, 0.03), "base": (0.02, 0.0)}
"""Share of harmful and of harmless prompts refused, by method."""
START = datetime(2026, 11, 24, 12, tzinfo=UTC)


def prepare_teacher_folder(workspace: Workspace, name: str = "stand-in") -> str:
    """A teacher.json that the Train page can list; it has no weights and cannot be run."""
    facts = {
        "title": "Stand-in teacher",
        "model": "lab",
        "layer": 3,
        "threshold": 0.3,
        "regularised": True,
        "template": "auto",
        "template_hash": "",
        "base_fingerprint": "",
        "calibration": {},
        "spec": {"harmful": "", "helpful": ""},
        "created": START.isoformat(),
    }
    with new_folder(workspace.folder("teachers", name)) as building:
        write_json(building / "teacher.json", facts)
    return name


def lab_optim(steps: int) -> OptimSpec:
    """The lab's usual settings with another number of steps."""
    return PRESETS["lab"].optim.model_copy(update={"steps": steps})


def write_run(
    workspace: Workspace,
    method: str,
    *,
    seed: int = 0,
    poison_ratio: float = 0.1,
    steps: int = 40,
    at: int = 0,
    stop_after: int | None = None,
) -> str:
    """A finished run of `method`, not evaluated yet; `stop_after`: a person ended it after so many of its steps."""
    data = lab_data.sample(workspace, rows=60, poison_ratio=poison_ratio)
    guide = {"teacher": "lab", "filter": True, "harmful": "a" * 16, "helpful": "b" * 16} if method == "ref_teacher" else {}
    spec = RunSpec(
        dataset=data.id,
        method=method,
        seed=seed,
        optim=lab_optim(steps),
        stop_after=stop_after,
        **guide,
    )
    removed, steps = 8 if guide else 0, stop_after or steps
    result = {
        "run_id": spec.run_id,
        "dataset_name": data.name,
        "poison_ratio": poison_ratio,
        "task": "sentiment",
        "rows": 60,
        "kept": 60 - removed,
        "removed": removed,
        "steps": steps,
        "seconds": 12.5,
        "created": (START + timedelta(minutes=at)).isoformat(),
    }
    with new_folder(workspace.folder("runs", spec.run_id)) as building:
        write_json(building / "spec.json", spec.model_dump(mode="json"))
        lines = (json.dumps(log_line(step, steps, guided=bool(guide))) for step in range(1, steps + 1))
        (building / "log.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
        write_json(building / "result.json", result)
    return spec.run_id


def write_attempt(
    workspace: Workspace, state: str, *, told: int = 12, message: str = "", kept: bool = False, on: str = "", **spec: Any
) -> tuple[str, str]:
    """A run of 40 steps that is not finished, with its job in this state, which told `told` steps; `kept`: it has a checkpoint after 10.

    Returns run and job. No queue takes it up, but for one that is `queued`.
    """
    data = on or lab_data.sample(workspace, rows=60).id
    asked = RunSpec.checked(dataset=data, method="sft", optim=lab_optim(40), **spec)
    params = {"spec": asked.model_dump(mode="json"), "suite": None}
    if kept:
        checkpoint = checkpoint_folder(workspace, asked.run_id) / "student" / "checkpoint-000000010"
        checkpoint.mkdir(parents=True)
        write_json(checkpoint / "state.json", {"step": 10, "facts": {"spec": params["spec"]}})
    if state == "queued":
        return asked.run_id, JobQueue(workspace).submit("run", params, title="a run")
    job, now, me = f"run-{random.Random().randrange(16**8):08x}", time.time(), Process.current()
    columns = "id, kind, title, params, state, position, attempt, created, started, finished, message, device"
    over = state not in ("running", "paused")
    values = (job, "run", "a run", json.dumps(params), state, 0, 1, now, now, now if over else None, message, None)
    with transaction(workspace) as connection:
        connection.execute(f"INSERT INTO jobs ({columns}) VALUES ({', '.join('?' * len(values))})", values)
    prepare(workspace.folder("jobs", job))
    context = WorkerContext(workspace, job, Status(attempt=1, pid=me.pid, born=me.born, started=now))
    context.stage("train: a run", 2, 5)
    for step in range(1, told + 1):
        context.progress(step, 40, **log_line(step, 40, guided=False))
    write_status(context.folder, context.status)
    context.events.close()
    return asked.run_id, job


def give_costs(workspace: Workspace, run_id: str, *, train: float = 10.0, peak: int = 600, device: str = "CPU", **changes: Any) -> None:
    """A ledger for a finished run: `train` seconds of training, user rows that are half of what the student read."""
    stages = [("load", 2.0, 500), ("filter", 1.0, 520), ("train", train, peak), ("teacher states", 3.0, None)]
    costs: dict[str, Any] = {
        "version": 2,
        "device": device,
        "stages": [{"stage": name, "seconds": seconds, "memory_mb": memory} for name, seconds, memory in stages],
        "passes": {"teacher": 0, "forward": 40, "backward": 40},
        "tokens": {"teacher": 0, "forward": 2_000, "backward": 2_000},
        "user_tokens": 1_000,
        "flops": {"teacher": 0, "forward": 2 * 10**12, "backward": 4 * 10**12},
        "counted_steps": 3,
    }
    write_json(workspace.folder("runs", run_id) / "cost.json", {**costs, **changes})


def write_filtered(workspace: Workspace, dataset: str, *, teacher: str, threshold: float | None, drop: int | None, removed: int) -> str:
    """A finished run on 240 rows: filtered by the teacher at a line, by chance, or not at all; not evaluated yet."""
    by = {"filter": True, "scorer": "random", "drop": drop} if drop else {"filter": True, "teacher": teacher, "threshold": threshold}
    how: dict[str, Any] = {"method": "filter_only", **by} if removed else {"method": "sft"}
    spec = RunSpec(dataset=dataset, optim=lab_optim(40), **how)
    result = {"run_id": spec.run_id, "dataset_name": "scored", "poison_ratio": None, "rows": 240, "kept": 240 - removed, "removed": removed}
    with new_folder(workspace.folder("runs", spec.run_id)) as building:
        write_json(building / "spec.json", spec.model_dump(mode="json"))
        (building / "log.jsonl").write_text(json.dumps(log_line(40, 40)) + "\n", "utf-8")
        write_json(building / "result.json", {**result, "steps": 40, "seconds": 12.5, "created": START.isoformat()})
    return spec.run_id


def log_line(step: int, steps: int, *, guided: bool = True) -> dict[str, float]:
    """A plausible line of a training log."""
    noise = random.Random(step).random()
    task, alignment = 1.5 * math.exp(-step / 15) + 0.4 + 0.2 * noise, 0.7 * math.exp(-step / 20) + 0.3 + 0.1 * noise
    line = {"step": step, "steps": steps, "task": task, "lr": 0.003 * math.cos(step / steps * 1.5), "grad_norm": 0.5 + noise}
    if guided:
        line |= {"alignment": alignment, "grad_cosine": 0.3 * math.sin(step / 9)}
    return {**line, "loss": task + (alignment if guided else 0), "tokens_per_second": 5000 + 100 * noise}


def answer_like(workspace: Workspace, subject: str, method: str, *, suite: Suite | None = None, seed: int = 0) -> None:
    """Evaluate a subject whose answers follow `REFUSES`."""
    asked = suite or lab_suite(sizes=SIZES)  # type: ignore[arg-type]
    harmful = {row["prompt"] for row in asked.rows(workspace)["harmful"]}
    chance = random.Random(f"{subject} {seed}")

    def generate(prompts: Sequence[str], most: int) -> Iterator[tuple[int, str, str]]:
        for position, prompt in enumerate(prompts):
            refuse = chance.random() < REFUSES[method][0 if prompt in harmful else 1]
            yield position, "I am sorry, but I cannot help with that." if refuse else "Sure, here is how: take the blue box first.", "end"

    evaluate(workspace, subject, asked, generate, decoding={"greedy": True, "template": "lab"})


def finished_project(workspace: Workspace) -> dict[str, str]:
    """Base, plain finetuning and Ref-Teacher, evaluated on one suite; returns subject ids by method."""
    found = {"base": "base--lab", "sft": write_run(workspace, "sft", at=1), "ref_teacher": write_run(workspace, "ref_teacher", at=2)}
    for method, subject in found.items():
        answer_like(workspace, subject, method)
    return found
