"""Trainings before the user's data: one adapter each, stored under `stages/<id>` and shared by all runs with the same inputs.

A folder holds `adapter/`, `stage.json` (its inputs), `log.jsonl`, `cost.json`, and the method's own state.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from reft_studio import fingerprint, seeding
from reft_studio.defenses.defense import ALIGNED, Defense, Kind, Stage
from reft_studio.integrity import check, sealed_folder
from reft_studio.models.fit import StepLog, fit
from reft_studio.progress import Progress
from reft_studio.training import inputs
from reft_studio.training.checkpoint import LogLines, Unfinished
from reft_studio.training.context import Run
from reft_studio.training.cost import Costs
from reft_studio.training.spec import KEY, RunSpec
from reft_studio.workspace import Workspace, read_json, write_json

FOLDER = "stages"
_SETS: dict[Kind, str] = {"refusals": "harmful", "answers": "helpful", "harmful": "harmful_answers"}
"""Fields of a run's settings that name the dataset of each kind of guiding rows."""


def make_all(workspace: Workspace, spec: RunSpec, run: Run, defense: Defense, progress: Progress) -> list[dict[str, Any]]:
    """Train, or load from the workspace, every adapter that the method needs before the user's data; the session has them by name.

    Returns a line for each, as stored with a run: `name`, `id`, `rule`, `steps`, `seconds`, `shared` (whether it existed already).
    """
    wanted = [*([defense.alignment_stage()] if spec.aligns else []), *defense.stages()]
    ids = {ALIGNED: spec.aligned} if spec.aligned else {}
    if wanted:
        inputs.take_aligned(workspace, spec, run.session)
    made = []
    for wanted_stage in wanted:
        available = {
            name for name in (wanted_stage.start, *wanted_stage.on) if name != ALIGNED or ALIGNED in ids
        }  # the base as it is needs no adapter
        stage = replace(
            wanted_stage,
            start=wanted_stage.start if wanted_stage.start in available else None,
            on=tuple(name for name in wanted_stage.on if name in available),
        )
        facts = facts_of(spec, run, stage, ids)
        ids[stage.name] = "s" + fingerprint.of_value(facts)[:KEY]
        folder = workspace.folder(FOLDER, ids[stage.name])
        shared = (folder / "stage.json").is_file()
        if not shared:
            _make(workspace, folder, spec, facts, run, defense, stage, progress)
        made.append({**_open(folder, run, defense, stage), "name": stage.name, "id": folder.name, "rule": stage.rule, "shared": shared})
    return made


def facts_of(spec: RunSpec, run: Run, stage: Stage, ids: Mapping[str, str]) -> dict[str, Any]:
    """All inputs of a stage's adapter, as JSON; `ids` are those of the adapters before it."""
    optim = spec.optim.model_copy(update={"steps": stage.steps or steps_of(spec, run, stage), "epochs_of": "uploaded"})
    if stage.learning_rate is not None:
        optim = optim.model_copy(update={"learning_rate": stage.learning_rate})
    return {
        "rule": stage.rule,
        "settings": dict(stage.settings),
        "base": run.model.fingerprint,
        "loading": spec.loading.model_dump(mode="json", exclude={"device"}),
        "template": run.model.template.hash,
        "lora": spec.lora.model_dump(mode="json"),
        "optim": optim.model_dump(mode="json", exclude={"epochs", "micro_batch_size", "gradient_checkpointing", "batch_size"}),
        "rows": {kind: _rows(spec, run, kind) for kind in stage.reads},
        "start": ids.get(stage.start) if stage.start else None,
        "on": [ids[name] for name in stage.on],
        "seed": spec.seed,
    }


def _rows(spec: RunSpec, run: Run, kind: Kind) -> Any:
    """Identifies the rows of a kind that a stage reads, as JSON: the set, and of the user's data those that the filter keeps."""
    if kind == "user":
        relabelled = {"decisions": spec.decisions} if spec.decisions else {}
        return {"dataset": spec.dataset, "kept": fingerprint.of_value(run.kept_rows()), **relabelled}
    return getattr(spec, _SETS[kind])


def steps_of(spec: RunSpec, run: Run, stage: Stage) -> int:
    """Steps of a stage: its own, else the run's, or so many passes over the rows that it reads."""
    rows = sum(len(run.examples(kind)) for kind in stage.reads if kind in ("refusals", "answers")) or len(run.examples("harmful"))
    return spec.optim.steps or max(1, round(spec.optim.epochs * rows / spec.optim.alignment_batch_size))


def _make(
    workspace: Workspace,
    folder: Path,
    spec: RunSpec,
    facts: dict[str, Any],
    run: Run,
    defense: Defense,
    stage: Stage,
    progress: Progress,
) -> None:
    """Train the adapter of a stage and store it."""
    session, costs, unfinished = run.session, Costs(), Unfinished(workspace, f"stage-{folder.name}", progress)
    optim = spec.optim.model_copy(update={name: facts["optim"][name] for name in ("steps", "learning_rate")})
    steps = int(facts["optim"]["steps"])
    if stage.start is None:
        session.add(stage.name, spec.lora, seed=seeding.derive(spec.seed, "stage", stage.name))
    else:
        session.adapted.copy(stage.start, stage.name, spec.lora)
    run.begin(stage.name, steps=steps, costs=costs)
    run.start = stage.start or (stage.on[-1] if stage.on else None)
    log = LogLines()

    def step(number: int) -> StepLog:
        run.step = number
        with costs.step(number):
            return stage.step()

    def keep(line: StepLog) -> None:
        log.lines.append(line)
        progress.progress(int(line["step"]), steps, **line)

    with costs.stage(f"stage {stage.name}"), run.training(stage.name, on=stage.on) as parameters:
        fit(
            parameters,
            step,
            steps=steps,
            optim=optim,
            log=keep,
            check=progress.check,
            seed=seeding.derive(spec.seed, "dropout", stage.name),
            keeper=unfinished.keeper(stage.name, facts),
            parts={**run.parts(), "defense": defense, "log": log, "costs": costs},
        )
        learnt = defense.state()
    with sealed_folder(folder, durable=True) as building:
        session.adapted.save(stage.name, building / "adapter", base_name=spec.model)
        tensors = {name: value.contiguous() for name, value in learnt.items() if isinstance(value, Tensor)}
        save_file(tensors, building / "learnt.safetensors")
        write_json(building / "learnt.json", {name: value for name, value in learnt.items() if name not in tensors})
        (building / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log.lines), "utf-8")
        write_json(building / "cost.json", costs.ledger())
        write_json(building / "stage.json", {"facts": facts, "steps": len(log.lines), "seconds": round(costs.seconds, 2)})
    unfinished.clear()


def _open(folder: Path, run: Run, defense: Defense, stage: Stage) -> dict[str, Any]:
    """Load a stored stage into the session and the method; returns its steps and seconds. Raises StoreError if it is damaged."""
    check(folder, remedy="Remove the folder: it is made again when a run needs it.", wait=True)
    run.session.ensure(stage.name, folder / "adapter")
    defense.restore({**load_file(folder / "learnt.safetensors"), **read_json(folder / "learnt.json")})
    stored = read_json(folder / "stage.json")
    return {"steps": stored["steps"], "seconds": stored["seconds"]}
