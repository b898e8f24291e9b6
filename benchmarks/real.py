"""Work on the real model that set-up brings, raced against the loop that is usually written with transformers."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.race import Measured, race
from benchmarks.scene import padded
from reft_studio.data.dataset import Row, write_dataset
from reft_studio.errors import PrerequisiteError
from reft_studio.models import shelf
from reft_studio.models.batching import Stream, collate
from reft_studio.models.session import Session
from reft_studio.models.spec import OptimSpec
from reft_studio.progress import Silent
from reft_studio.scoring import refusal_similarity
from reft_studio.seeding import generator
from reft_studio.tasks.shipped_texts import alignment
from reft_studio.teacher.loop import train
from reft_studio.teacher.material import Material
from reft_studio.teacher.quick import calibration_prompts, quick_spec
from reft_studio.teacher.spec import TeacherSpec
from reft_studio.teacher.teacher import REAL, TeacherInfo, open_teacher
from reft_studio.teacher.training import prepare_teacher
from reft_studio.workspace import Workspace

ROUNDS = 2
ROWS = 300
STEPS = 3
USUAL = "plain transformers loop, batch 8, padded, all states, head; no adapter"


def scoring_real() -> Measured:
    """The shipped teacher on prompts that ship, beside the plain loop over the untouched model."""
    with _one_thread(), tempfile.TemporaryDirectory() as place, torch.no_grad():
        workspace, session, teacher = Workspace.open(Path(place)), _session(), _teacher(Path(place))
        rows: list[Row] = [{"prompt": one.prompt, "response": "", "known_harmful": None} for one in calibration_prompts()[:: 900 // ROWS]]
        dataset = write_dataset(workspace, rows, name="shipped prompts", role="benchmark")
        ids = [session.encoder.prompt_ids([{"role": "user", "content": row["prompt"]}]) for row in rows]

        def ours() -> None:
            for kind in ("scores", "cache"):
                shutil.rmtree(workspace.folder(kind), ignore_errors=True)
            refusal_similarity.score(workspace, dataset, teacher, session, Silent())

        length = sum(map(len, ids)) / len(ids)
        about = f"{len(rows)} prompts that ship, {length:.0f} tokens each, block {teacher.layer} of {session.model.layers}"
        found = race("scoring_real", about, ours, USUAL, lambda: _usual(session, ids), target=1 / 6, rounds=ROUNDS, clock=time.process_time)
        note = (
            f"{1000 * len(rows) / found.ours:.0f} rows a second of one thread; the plain loop {1000 * len(rows) / found.anchor_value:.0f}."
        )
        return replace(found, note=note)


def quick_teacher() -> Measured:
    """A whole quick teacher, layer, reading, threshold and map, beside one plain pass over its prompts."""
    with _one_thread(), tempfile.TemporaryDirectory() as place:
        workspace, session = Workspace.open(Path(place)), _session()
        spec = quick_spec(workspace, model=REAL)
        ids = [session.encoder.prompt_ids([{"role": "user", "content": one.prompt}]) for one in calibration_prompts()]

        def ours() -> None:
            shutil.rmtree(workspace.folder("teachers"), ignore_errors=True)
            prepare_teacher(workspace, spec, session, Silent())

        about = f"a quick teacher from the {len(ids)} prompts that ship"
        return race("quick_teacher", about, ours, USUAL, lambda: _usual(session, ids), target=1.5, rounds=ROUNDS, clock=time.process_time)


def teacher_step() -> Measured:
    """A training step of a teacher, cross entropy and regulariser, beside cross entropy on the same rows padded to the longest."""
    with _one_thread(), tempfile.TemporaryDirectory() as place:
        workspace, session = Workspace.open(Path(place)), _session()
        own = alignment()
        parts = {
            "harmful": own.harmful,
            "helpful": own.helpful,
            "calibration_harmful": own.calibration_harmful,
            "calibration_harmless": own.calibration_harmless,
        }
        sets = {name: write_dataset(workspace, rows, name=name, role="benchmark").id for name, rows in parts.items()}
        optim = OptimSpec(steps=STEPS, batch_size=16, alignment_batch_size=16, learning_rate=1e-4)
        spec = TeacherSpec.checked(model=REAL, **sets, layer=session.model.layers // 2, reading="centred", margin=0.5, optim=optim)
        material = Material(workspace, spec, session, Silent())
        session.add("raced", spec.lora, seed=0)
        streams = [Stream(rows, size=8, rng=generator(0, "raced")) for rows in (material.harmful, material.helpful)]
        drawn = [[*next(streams[0]), *next(streams[1])] for _ in range(STEPS)]

        def usual() -> None:
            with session.adapted.active("raced", train=True):
                for examples in drawn:
                    batch = collate(examples, pad_id=session.model.pad_id, device=session.model.device)
                    answer = session.model.base(input_ids=batch.input_ids, attention_mask=batch.attention_mask, labels=batch.labels)
                    answer.loss.backward()

        def ours() -> None:
            train(material, spec, spec.layer or 1, 1.0, Silent())

        about = f"{STEPS} steps of 8 refusals and 8 answers, with regulariser and the first value of the refusal feature"
        anchor = "plain transformers loss on the same rows, padded; no regulariser, no optimizer"
        return race("teacher_step", about, ours, anchor, usual, target=1.0, rounds=ROUNDS, clock=time.process_time)


def _usual(session: Session, ids: Sequence[Sequence[int]]) -> None:
    with torch.no_grad(), session.adapted.active(None):
        for start in range(0, len(ids), 8):
            session.model.base(**padded(ids[start : start + 8], session.model.pad_id), output_hidden_states=True)


def _session() -> Session:
    if shelf.find(REAL) is None:
        raise PrerequisiteError(f"This benchmark runs on {REAL}, which is not on this machine. Add it: python launch.py model add {REAL}")
    return Session.open(REAL)


def _teacher(folder: Path) -> TeacherInfo:
    return open_teacher(Workspace.open(folder), REAL)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Two threads on a busy machine mostly wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
