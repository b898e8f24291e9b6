"""Benchmarks: each races two ways of doing the same work, interleaved in one run, and reports the ratio against its budget."""

from __future__ import annotations

import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from reft_studio import seeding
from reft_studio.console import save_json, table
from reft_studio.data.dataset import Row
from reft_studio.errors import SpecError
from reft_studio.lab import sets
from reft_studio.models.batching import collate, endless
from reft_studio.models.features import last_prompt_features
from reft_studio.models.fit import backward
from reft_studio.models.session import Session
from reft_studio.models.spec import LoraSpec
from reft_studio.models.supervised import hidden_states, supervise
from reft_studio.scoring.scores import flagged, histogram

ROUNDS = 7


@dataclass(frozen=True)
class Measured:
    """Medians in milliseconds; `ratio` is ours over the anchor's (or ours alone over its budget), `target` its upper limit."""

    name: str
    what: str
    ours_ms: float
    anchor: str
    anchor_ms: float
    ratio: float
    target: float

    @property
    def met(self) -> bool:
        return self.ratio <= self.target


def run_benchmarks(*, only: str | None, json_file: Path | None) -> None:
    """Run all benchmarks, or one; prints a table and writes JSON with the machine it ran on."""
    if only is not None and only not in BENCHMARKS:
        raise SpecError(f"There is no benchmark '{only}'. Choose one of: {', '.join(BENCHMARKS)}.")
    found = [measure() for name, measure in BENCHMARKS.items() if only in (None, name)]
    rows = [
        [one.name, f"{one.ours_ms:.1f}", f"{one.anchor_ms:.1f}", f"{one.ratio:.2f}", f"{one.target:.2f}", "yes" if one.met else "NO"]
        for one in found
    ]
    print(table(rows, ["benchmark", "ours ms", "anchor ms", "ratio", "target", "met"]))
    machine = {"cores": os.cpu_count(), "platform": platform.platform(), "torch": torch.__version__, "load": os.getloadavg()[0]}
    save_json(
        json_file, {"machine": machine, "threads": torch.get_num_threads(), "results": [{**asdict(one), "met": one.met} for one in found]}
    )


def scoring() -> Measured:
    """Our scoring of the lab's user data beside the usual loop: dataset order, batches of 8, every layer, the head."""
    session = Session.open("lab")
    prompts = [session.encoder.prompt_ids([{"role": "user", "content": row["prompt"]}]) for row in sets.user_data(rows=400)]

    def ours() -> None:
        with session.adapted.active(None) as backbone:
            last_prompt_features(session.model, backbone, prompts, layers=[2])

    @torch.no_grad()
    def usual() -> None:
        for start in range(0, len(prompts), 8):
            chunk = prompts[start : start + 8]
            width = max(map(len, chunk))
            ids = torch.tensor([prompt + [session.model.pad_id] * (width - len(prompt)) for prompt in chunk])
            mask = torch.tensor([[1] * len(prompt) + [0] * (width - len(prompt)) for prompt in chunk])
            session.model.base(input_ids=ids, attention_mask=mask, output_hidden_states=True)

    return _race("scoring", "400 prompts, layer 2 of the lab's model", ours, "plain loop, batch 8, all layers", usual, target=1 / 2.5)


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

    return _race("guided_step", "24 user and 12 alignment rows, teacher cached", guided, "plain step on 36 user rows", plain, target=1.35)


def threshold() -> Measured:
    """Moving the threshold over a million scores: what the page asks of the server, against its budget of 20 ms."""
    scores = np.random.default_rng(0).uniform(-1, 1, 1_000_000).astype(np.float32)
    bins = np.array(histogram(scores, [None] * len(scores)))

    def ours() -> None:
        bins[bins[:, 0] >= 1310, 1].sum()

    def usual() -> None:
        flagged(scores, 0.31).sum()

    return _race("threshold", "flagged rows of a million from the 0.001 bins", ours, "counting the scores again", usual, target=0.05)


def first_page() -> Measured:
    """From starting the process to the first page, set-up done; budget 6 s on two cores."""
    seconds = [_start_app() for _ in range(2)]
    ours = 1000 * min(seconds)
    return Measured("first_page", "process start to the first page", ours, "budget", 6000.0, ours / 6000.0, 1.0)


def _start_app() -> float:
    with socket.socket() as probe, tempfile.TemporaryDirectory() as folder:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        started = time.perf_counter()
        command = [sys.executable, "-m", "reft_studio.cli", "serve", "--no-browser", "--port", str(port), "--workspace", folder]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while time.perf_counter() - started < 60:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as page:
                        if page.status == 200 and page.read():
                            return time.perf_counter() - started
                except OSError:
                    time.sleep(0.02)
        finally:
            process.terminate()
            process.wait()
    raise SpecError("The app did not answer within 60 s.")


def _rows(count: int) -> list[dict[str, object]]:
    return _stored(sets.user_data(rows=count))


def _stored(rows: list[Row]) -> list[dict[str, object]]:
    return [
        {**row, "messages": [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["response"]}]} for row in rows
    ]


def _race(name: str, what: str, ours: Callable[[], None], anchor: str, usual: Callable[[], None], *, target: float) -> Measured:
    """Medians of ROUNDS turns each, taken in alternation so that a busy machine slows both alike."""
    times: tuple[list[float], list[float]] = ([], [])
    for work in (ours, usual):
        work()  # warm up
    for _ in range(ROUNDS):
        for work, kept in zip((ours, usual), times, strict=True):
            started = time.perf_counter()
            work()
            kept.append(1000 * (time.perf_counter() - started))
    one, two = (statistics.median(kept) for kept in times)
    return Measured(name, what, one, anchor, two, one / two, target)


BENCHMARKS: dict[str, Callable[[], Measured]] = {
    "first_page": first_page,
    "scoring": scoring,
    "guided_step": guided_step,
    "threshold": threshold,
}
