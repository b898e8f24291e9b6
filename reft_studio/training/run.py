"""One run, from a spec to a finished folder: select, finetune, finish, save. An interrupted run resumes from its checkpoint."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from reft_studio import fingerprint, seeding
from reft_studio.data.dataset import Dataset, open_dataset
from reft_studio.defenses import DEFENSES
from reft_studio.defenses.defense import Defense
from reft_studio.errors import TrainingError
from reft_studio.failpoints import failpoint
from reft_studio.integrity import sealed_folder
from reft_studio.models.batching import Example, Stream
from reft_studio.models.fit import StepLog, fit
from reft_studio.models.low_rank import Layers
from reft_studio.models.session import Session
from reft_studio.models.snapshot import Keeper, NotFinite
from reft_studio.progress import Progress, StopEarly
from reft_studio.training import inputs, stages
from reft_studio.training.card import CARD, CardFacts, adapter_card
from reft_studio.training.checkpoint import LogLines, Unfinished
from reft_studio.training.context import STUDENT, AlignmentData, Run
from reft_studio.training.cost import Costs
from reft_studio.training.ledger import Ledger
from reft_studio.training.run_folder import RunInfo, open_run
from reft_studio.training.spec import RunSpec
from reft_studio.training.watch import ROWS, Observer
from reft_studio.workspace import Workspace, write_json

_NOTHING = "The training was to be stopped and saved before its first step: there is nothing to save."


def train(
    workspace: Workspace,
    spec: RunSpec,
    session: Session,
    progress: Progress,
    *,
    cache: dict[str, AlignmentData] | None = None,
    observer: Observer | None = None,
    anew: bool = False,
    costs: Costs | None = None,
) -> RunInfo:
    """Execute the run and store it under `runs/<run_id>`; a run that exists already is returned as it is.

    `cache` shares tokenised alignment data and teacher states between runs of one process. A run ended early by a person (StopEarly) is
    stored under another id, with `stop_after` as the step it ended at. `observer` watches the training without affecting it; its records
    are stored with the run. `anew`: delete the checkpoints of an earlier attempt. `costs` has what was spent on this run before, such as
    loading the model.
    """
    if (workspace.folder("runs", spec.run_id) / "result.json").is_file():
        return open_run(workspace, spec.run_id)
    costs, unfinished = costs or Costs(), Unfinished(workspace, f"run-{spec.run_id}", progress)
    if anew:
        unfinished.clear()
    user = open_dataset(workspace, spec.dataset)
    with costs.stage("filter"):
        filtered = inputs.user_rows(workspace, spec, user, session, progress)
        kept = _some(filtered.positions, user)  # before hours go into a stage
    with costs.stage("prepare"):
        alignment = inputs.alignment_data(workspace, spec, session, cache if cache is not None else {}, progress=progress, costs=costs)
    readable = lambda: list(inputs.answered_rows(session, user, kept, filtered.relabelled).values())  # noqa: E731
    run = Run(spec, session, kept, alignment, user=readable, warn=progress.warn, costs=costs)
    defense = DEFENSES.get(spec.method)(DEFENSES.get(spec.method).Config(**spec.method_config), run)
    made = stages.make_all(workspace, spec, run, defense, progress)
    run.begin()  # before any row is drawn: what is drawn must not depend on whether a stage was there already
    before = session.encoder.truncated  # what a stage read of the user's rows is cut, and counted, once
    examples = inputs.answered_rows(session, user, defense.select(), filtered.relabelled)
    truncated = session.encoder.truncated - before + (alignment.truncated if alignment is not None else 0)
    chosen = _some(list(examples), user)
    mixed = [replace(row, index=user.rows + number) for number, row in enumerate(defense.mixed(len(chosen)))]
    run.start = inputs.start_student(workspace, spec, session)
    facts = {"spec": spec.model_dump(mode="json"), "base": session.model.fingerprint, "rows": fingerprint.of_value(chosen)}
    keeper = unfinished.keeper("student", facts)
    seen, rows = observer or Observer(progress), [*examples.values(), *mixed]
    progress.tell(ROWS, rows=user.rows, kept=len(chosen))
    try:
        with costs.stage("train"):
            log = finetune(spec, run, defense, rows, progress, uploaded=user.uploaded, keeper=keeper, observer=seen)
    except NotFinite as exc:
        raise TrainingError(f"{exc}{_rows_named(user, exc.rows)}") from exc
    failpoint("training.finished")
    if len(log) < int(log[-1]["steps"]):
        spec = spec.model_copy(update={"stop_after": len(log)})
    with costs.stage("finish"):
        finish(spec, run, defense)
    extra = {"truncated": truncated, **({"mixed": len(mixed)} if mixed else {}), **({"stages": made} if made else {})}
    extra |= {"decisions": dict(filtered.decided)} if filtered.decided is not None else {}
    result = {**_result(spec, user, chosen, log, costs.seconds - costs.of("load"), session), **extra}
    _save(workspace, spec, session, chosen, log, result, seen, costs.ledger())
    unfinished.clear()
    return open_run(workspace, spec.run_id)


def _some(chosen: list[int], user: Dataset) -> list[int]:
    """The rows left to train on. Raises TrainingError if there are none."""
    if not chosen:
        raise TrainingError(
            f"The filter removed all {user.rows} rows, or none has a response, so there is nothing to train on. "
            "Raise the threshold or check the teacher."
        )
    return chosen


def _rows_named(user: Dataset, positions: Sequence[int]) -> str:
    """` Row 17 of 'name' …`: the rows with a non-finite loss."""
    if not positions:
        return " No single row of the step has such a loss by itself."
    ids = user.table(["row_id"]).column(0)
    positions = [position for position in positions if position < user.rows]
    if not positions:
        return " A row that the method mixes in has such a loss."
    named = ", ".join(str(ids[position].as_py()) for position in positions[:5])
    more = f" and {len(positions) - 5} more" if len(positions) > 5 else ""
    rows = "Row" if len(positions) == 1 else "Rows"
    return f" {rows} {named}{more} of '{user.name}' {'has' if len(positions) == 1 else 'have'} such a loss: look at them on the Data page."


def finetune(
    spec: RunSpec,
    run: Run,
    defense: Defense,
    rows: list[Example],
    progress: Progress,
    *,
    uploaded: int | None = None,
    keeper: Keeper | None = None,
    observer: Observer | None = None,
) -> list[StepLog]:
    """All optimizer steps of a run on these user rows, from the newest checkpoint of `keeper` on; returns the log, one line per step.

    `uploaded`: rows before the filter, by which passes over the data are counted; None: these are all. Raises NotFinite, with the rows that
    caused it, where a loss is not finite.
    """
    batches = Stream(rows, size=spec.optim.batch_size, rng=seeding.generator(spec.seed, "user"))
    steps, log = spec.optim.steps_for(uploaded=len(rows) if uploaded is None else uploaded, kept=len(rows)), LogLines()
    run.steps, after = steps, spec.steps_after(steps)
    costs, seen = run.costs, observer or Observer(progress)
    parts = {**run.parts(), "user": batches, "defense": defense, "log": log, "costs": costs, "seen": seen}

    def step(number: int) -> StepLog:
        failpoint("training.step")
        run.step = number
        with costs.step(number):
            return defense.finetune_step(run.user_batch(next(batches)))

    def keep(line: StepLog) -> None:
        log.lines.append(line)
        progress.progress(int(line["step"]), steps + after, **line)
        _seen(seen, line, costs, on=fresh_on(spec, run))

    try:
        with run.training(on=on_top_of(spec, run, defense)) as parameters:
            try:
                fit(
                    parameters,
                    step,
                    steps=steps,
                    after=after,
                    until=spec.stop_after,
                    optim=spec.optim,
                    log=keep,
                    check=progress.check,
                    seed=seeding.derive(spec.seed, "dropout"),
                    keeper=keeper,
                    parts=parts,
                )
            except NotFinite as exc:
                exc.rows = run.user_rows_not_finite()
                raise
            except StopEarly:
                if not log.lines:
                    raise TrainingError(_NOTHING) from None
    finally:
        if run.alignment is not None and run.alignment.cache is not None:
            run.alignment.cache.flush()
    return log.lines


def fresh_on(spec: RunSpec, run: Run) -> tuple[str, ...]:
    """The adapter that a fresh adapter is trained on top of, if any; it is part of the result."""
    return (run.start,) if run.start is not None and spec.adapters == "fresh" else ()


def on_top_of(spec: RunSpec, run: Run, defense: Defense) -> tuple[str, ...]:
    """The adapters that the student's adapter is trained on top of."""
    return (*fresh_on(spec, run), *defense.discarded_adapters())


def finish(spec: RunSpec, run: Run, defense: Defense) -> None:
    """Let the method change the trained adapter, and make it the run's only difference to the base."""
    on = on_top_of(spec, run, defense)
    layers = Layers(run.session.adapted, STUDENT, start=run.start, continued=run.start not in on)
    if type(defense).finish is not Defense.finish:
        with run.training(on=on):
            defense.finish(layers)
    layers.settle()


def _seen(observer: Observer, line: StepLog, costs: Costs, *, on: Sequence[str]) -> None:
    """Report a step to the observer and, when due, check the student on top of adapters `on`; excluded from the training and its costs."""
    observer.tell(line)
    if observer.due(line):
        with costs.aside("looks"):
            observer.check(line, on)


def _result(spec: RunSpec, user: Dataset, chosen: list[int], log: list[StepLog], seconds: float, session: Session) -> dict[str, Any]:
    truth = user.table(["known_harmful"]).column("known_harmful").to_pylist()
    kept = set(chosen)
    conflicts = [line["grad_cosine"] for line in log if "grad_cosine" in line]
    return {
        "run_id": spec.run_id,
        "method": spec.method,
        "seed": spec.seed,
        "dataset": spec.dataset,
        "dataset_name": user.name,
        "poison_ratio": _poison_ratio(user, truth),
        "task": user.manifest.get("task"),
        "rows": user.rows,
        "kept": len(chosen),
        "removed": user.rows - len(chosen),
        "removed_harmful": sum(1 for position, known in enumerate(truth) if known and position not in kept),
        "removed_harmless": sum(1 for position, known in enumerate(truth) if known is False and position not in kept),
        "removed_unknown": sum(1 for position, known in enumerate(truth) if known is None and position not in kept),
        "steps": len(log),
        "tokens": int(sum(line["tokens"] for line in log)),
        "seconds": round(seconds, 2),
        "final": log[-1],
        "gradient_cosine": sum(conflicts) / len(conflicts) if conflicts else None,
        "template_hash": session.model.template.hash,
        "loading": session.model.loading.model_dump(mode="json"),
        "base_fingerprint": session.model.fingerprint,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _poison_ratio(user: Dataset, truth: list[bool | None]) -> float | None:
    """Poison ratio, 0 to 1: the share of rows known to be harmful; None unless the upload labels every row."""
    if "poison_ratio" in user.manifest:
        return float(user.manifest["poison_ratio"])
    return None if any(known is None for known in truth) else sum(map(bool, truth)) / len(truth)


def _save(
    workspace: Workspace,
    spec: RunSpec,
    session: Session,
    chosen: list[int],
    log: list[StepLog],
    result: dict[str, Any],
    observer: Observer,
    costs: dict[str, Any],
) -> None:
    with sealed_folder(workspace.folder("runs", spec.run_id), durable=True) as building:
        session.adapted.save(STUDENT, building / "adapter", base_name=spec.model)
        write_json(building / "spec.json", spec.model_dump(mode="json"))
        _write_lines(building / "log.jsonl", log)
        np.save(building / "kept.npy", np.asarray(chosen, dtype=np.int64))
        facts = CardFacts.of(workspace, spec, result, Ledger.read(costs, len(log)))
        (building / CARD).write_text(adapter_card(facts), "utf-8")
        observer.store(building)
        write_json(building / "cost.json", costs)
        write_json(building / "result.json", result)


def _write_lines(path: Path, lines: list[StepLog]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
