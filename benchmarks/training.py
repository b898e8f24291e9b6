"""Guided finetuning raced against plain finetuning, and against TRL's trainers."""

from __future__ import annotations

import importlib
import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks import peers
from benchmarks.clock import one_thread
from benchmarks.guided import ABOUT, Ours, model_folder
from benchmarks.race import Measured, race
from reft_studio import seeding
from reft_studio.data.dataset import Row
from reft_studio.lab import sets
from reft_studio.models.batching import Stream, collate
from reft_studio.models.fit import backward
from reft_studio.models.session import Session
from reft_studio.models.spec import LoraSpec
from reft_studio.models.supervised import hidden_states, supervise

TURNS, STEPS = 3, 3
"""Turns of each side, the first of which only warms up; steps of a turn, the first of which is not counted."""
SFT, GKD = "TRL SFTTrainer, LoRA, chunked loss on supervised tokens", "TRL GKDTrainer, separate teacher, full logits"
CPU_TIME = "on a CPU: time of the process on one thread"


def guided_step_time() -> Measured:
    """A Ref-Teacher step, teacher states cached, beside plain finetuning by TRL on as many tokens; budget 1.15."""
    return _against_sft("guided_step_time", "ref_teacher", target=1.15)


def guided_first_epoch() -> Measured:
    """The same while the teacher still has to answer every row; budget 1.35."""
    return _against_sft("guided_first_epoch", "ref_teacher", target=1.35, first=True)


def plain_step_time() -> Measured:
    """Our loop without a guide beside TRL's; budget 1.05."""
    return _against_sft("plain_step_time", "sft", target=1.05)


def guided_vs_gkd_time() -> Measured:
    """A Ref-Teacher step beside a step of TRL's distillation trainer on as many tokens; budget 0.80."""
    with one_thread(), model_folder() as folder:
        ours, other = Ours(folder, "ref_teacher"), peers.gkd(folder)
        ours.answer_all()
        one, two = _medians(ours.steps, other.steps)
    note = f"{CPU_TIME}; its teacher reads all rows, ours has answered the alignment half before"
    return Measured("guided_vs_gkd_time", ABOUT, one, GKD, two, one / two, 0.80, note=note)


def guided_step_memory() -> Measured:
    """What a Ref-Teacher step needs beyond what stands in memory before the first; each side in a process of its own; budget 1.10."""
    ours, other = (_peak(side) for side in ("ref_teacher", "sft"))
    one, two = (side["peak"] - side["loaded"] for side in (ours, other))
    note = f"over the loaded model; with it {ours['peak'] - ours['before']:.0f} and {other['peak'] - other['before']:.0f} MB"
    return Measured("guided_step_memory", ABOUT, one, SFT, two, one / two, 1.10, unit="MB", note=note)


def guided_vs_gkd_memory() -> Measured:
    """The same with all weights, of which a separate teacher has twice as many; budget 0.55."""
    ours, other = (_peak(side) for side in ("ref_teacher", "gkd"))
    one, two = (side["peak"] - side["before"] for side in (ours, other))
    note = f"weights and step; the step alone {ours['peak'] - ours['loaded']:.0f} and {other['peak'] - other['loaded']:.0f} MB"
    return Measured("guided_vs_gkd_memory", ABOUT, one, GKD, two, one / two, 0.55, unit="MB", note=note)


def _against_sft(name: str, method: str, *, target: float, first: bool = False) -> Measured:
    with one_thread(), model_folder() as folder:
        ours, plain, other = Ours(folder, method), Ours(folder, "sft"), peers.sft(folder)
        if method != "sft" and not first:
            ours.answer_all()

        def turn(count: int) -> list[float]:
            if first:
                ours.forget()
            return ours.steps(count)

        sides = [turn, other.steps] if method == "sft" else [turn, other.steps, plain.steps]
        one, two, *rest = _medians(*sides)
    note = f"{CPU_TIME}; TRL's switch that spares prompt tokens the head is on, which it is not by itself on a CPU"
    if rest:
        note += f"; against our own plain step of {rest[0]:.0f} ms the ratio is {one / rest[0]:.3f}"
    return Measured(name, ABOUT, one, SFT, two, one / two, target, note=note)


def _medians(*sides: Callable[[int], list[float]]) -> list[float]:
    times: list[list[float]] = [[] for _ in sides]
    for number in range(TURNS):
        for side, kept in zip(sides, times, strict=True):
            found = side(STEPS if number else 2)
            kept += found if number else []
    return [statistics.median(kept) for kept in times]


def _peak(side: str) -> dict[str, float]:
    """Megabytes before anything is loaded, after loading and at the peak of a few steps of `side`, in a process of its own."""
    with model_folder() as folder:
        done = subprocess.run([sys.executable, "-m", __name__, side, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        peers.need_trl()  # the usual reason, in a sentence
        raise RuntimeError(f"the process of {side} failed: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _weigh(side: str, folder: Path) -> dict[str, float]:
    """Runs in the process of `_peak`: its libraries are imported first, so that only models and steps are weighed."""
    for library in ["peft", "transformers", *(["trl.trainer.sft_trainer", "trl.experimental.gkd"] if side in ("sft", "gkd") else [])]:
        importlib.import_module(library)
    torch.set_num_threads(1)
    before = _megabytes("VmRSS")
    made = {"sft": peers.sft, "gkd": peers.gkd}.get(side, lambda place: Ours(place, side))(folder)
    for value in made.weights():
        value.sum()  # a mapped file takes memory when it is read, which is no part of a step
    loaded = _megabytes("VmRSS")
    if isinstance(made, Ours):
        made.answer_all()
    Path("/proc/self/clear_refs").write_text("5")  # the peak of loading is not the peak of training
    made.steps(2)
    return {"before": before, "loaded": loaded, "peak": _megabytes("VmHWM")}


def _megabytes(what: str) -> float:
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{what}:"))


def guided_step() -> Measured:
    """A Ref-Teacher step with cached teacher states beside a plain step on the same number of rows."""
    session = Session.open("lab")
    model, adapted = session.model, session.adapted
    adapted.add("teacher", LoraSpec(), seed=1)
    adapted.add("student", LoraSpec(), seed=2)
    user = session.encoder.examples(_rows(200))
    harmful, helpful = (session.encoder.examples(_stored(rows)) for rows in sets.alignment(rows=100))
    guide = [row for pair in zip(harmful, helpful, strict=True) for row in pair]
    draw = Stream(user, size=36, rng=seeding.generator(0, "bench"))
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


if __name__ == "__main__":
    print(json.dumps(_weigh(sys.argv[1], Path(sys.argv[2]))))
