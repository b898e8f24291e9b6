"""Guided finetuning raced against plain finetuning."""

from __future__ import annotations

import torch

from reft_studio import seeding
from reft_studio.bench.race import Measured, race
from reft_studio.data.dataset import Row
from reft_studio.lab import sets
from reft_studio.models.batching import collate, endless
from reft_studio.models.fit import backward
from reft_studio.models.session import Session
from reft_studio.models.spec import LoraSpec
from reft_studio.models.supervised import hidden_states, supervise


def guided_step() -> Measured:
    """A Ref-Teacher step with cached teacher states beside a plain step on the same number of rows."""
    session = Session.open("lab")
    model, adapted = session.model, session.adapted
    adapted.add("teacher", LoraSpec(), seed=1)
    adapted.add("student", LoraSpec(), seed=2)
    user = session.encoder.examples(_rows(200))
    harmful, helpful = (session.encoder.examples(_stored(rows)) for rows in sets.alignment(rows=100))
    guide = [row for pair in zip(harmful, helpful, strict=True) for row in pair]
    draw = endless(user, size=36, rng=seeding.generator(0, "bench"))
    batches = [(next(draw), guide[start : start + 12]) for start in range(0, 120, 12)]
    with adapted.active("teacher") as backbone:
        states = [torch.cat(hidden_states(model, backbone, collate(rows, pad_id=model.pad_id))) for _, rows in batches]
    turn = {"plain": 0, "guided": 0}

    def plain() -> None:
        rows, _ = batches[turn["plain"] % len(batches)]
        turn["plain"] += 1
        with adapted.active("student", train=True) as backbone:
            (task,) = supervise(model, backbone, [collate(rows, pad_id=model.pad_id)])
            backward({"task": task.cross_entropy()}, adapted.parameters("student"))

    def guided() -> None:
        place = turn["guided"] % len(batches)
        turn["guided"] += 1
        rows, alignment = batches[place]
        with adapted.active("student", train=True) as backbone:
            parts = [collate(rows[:24], pad_id=model.pad_id), collate(alignment, pad_id=model.pad_id)]
            task, soft = supervise(model, backbone, parts)
            backward({"task": task.cross_entropy(), "alignment": soft.distillation(states[place])}, adapted.parameters("student"))

    return race("guided_step", "24 user and 12 alignment rows, teacher cached", guided, "plain step on 36 user rows", plain, target=1.35)


def _rows(count: int) -> list[dict[str, object]]:
    return _stored(sets.user_data(rows=count))


def _stored(rows: list[Row]) -> list[dict[str, object]]:
    return [
        {**row, "messages": [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["response"]}]} for row in rows
    ]
