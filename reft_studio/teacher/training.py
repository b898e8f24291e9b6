"""Prepare a teacher: finetune the base on alignment data while its refusal feature pulls the kinds apart."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from reft_studio import seeding
from reft_studio.data.dataset import Dataset, open_dataset
from reft_studio.data.splits import assert_disjoint
from reft_studio.models.batching import IGNORE, Batch, Example, collate, endless, join
from reft_studio.models.features import captured, last_prompt_features
from reft_studio.models.fit import StepLog, backward, fit
from reft_studio.models.loading import LoadedModel
from reft_studio.models.session import Session
from reft_studio.models.supervised import supervise
from reft_studio.progress import Progress
from reft_studio.teacher import calibration
from reft_studio.teacher.pool import KINDS
from reft_studio.teacher.refusal_feature import RefusalFeature, regulariser
from reft_studio.teacher.spec import TeacherSpec
from reft_studio.teacher.teacher import TeacherInfo, open_teacher
from reft_studio.workspace import Workspace, new_folder, write_json

ADAPTER = "teacher"
SETS = ("harmful", "helpful", *(f"{part}_{kind}" for part in ("calibration", "selection") for kind in KINDS))
START = 256
"""Prompts of each kind that give the refusal feature its first value."""


def prepare_teacher(
    workspace: Workspace, spec: TeacherSpec, session: Session, progress: Progress, *, pooled: dict[str, Any] | None = None
) -> TeacherInfo:
    """Train, recompute the refusal feature exactly, calibrate, and store under `teachers/<spec.id>`.

    `pooled` says how the sets came to be, for the record. A teacher of the same spec is not made twice. Raises SpecError
    if calibration prompts are also training prompts.
    """
    folder = workspace.folder("teachers", spec.id)
    if (folder / "teacher.json").is_file():
        return open_teacher(workspace, spec.id)
    work = _Preparation(workspace, spec, session, progress)
    layer, aurocs = work.choose_layer()
    started = time.perf_counter()
    log = work.train(layer)
    feature = work.exact_feature(layer)
    scores = work.held_out_scores(feature)
    facts = {**work.calibrated(feature, scores, aurocs), "pooled": pooled}
    with new_folder(folder) as building:
        session.adapted.save(ADAPTER, building / "adapter", base_name=spec.model)
        feature.save(building / "refusal_feature.safetensors")
        work.write_scores(building / "calibration.parquet", scores)
        (building / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log), "utf-8")
        write_json(building / "teacher.json", {**facts, "calibration": {**facts["calibration"], "seconds": time.perf_counter() - started}})
    return open_teacher(workspace, spec.id)


class _Preparation:
    """The stages of `prepare_teacher`, sharing tokenised data."""

    def __init__(self, workspace: Workspace, spec: TeacherSpec, session: Session, progress: Progress) -> None:
        self.spec, self.session, self.progress = spec, session, progress
        names = [name for name in SETS if getattr(spec, name) is not None]
        data: dict[str, Dataset] = {name: open_dataset(workspace, getattr(spec, name)) for name in names}
        self.prompts = {name: [row["prompt"] for row in data[name].read(["prompt"])] for name in names}
        assert_disjoint(**self.prompts)
        self.fingerprints = {name: data[name].fingerprint for name in names}
        self.harmful = session.encoder.answered(data["harmful"].read(), name=data["harmful"].name)
        self.helpful = [_trainable(example) for example in session.encoder.examples(data["helpful"].read())]
        self.held_out = [self._encoded(f"calibration_{kind}") for kind in KINDS]
        self.selection = [self._encoded(f"selection_{kind}") if f"selection_{kind}" in names else None for kind in KINDS]

    def choose_layer(self) -> tuple[int, dict[int, float]]:
        """The layer asked for, or the best of the sweep on the base; with the AUROC of each layer tried."""
        layers = calibration.candidate_layers(self.session.model.layers)
        with self.session.adapted.active(None) as backbone:
            training = tuple(
                self._features(backbone, [row.ids[: row.prompt] for row in rows], layers) for rows in (self.harmful, self.helpful)
            )
            deciding = [own or held for own, held in zip(self.selection, self.held_out, strict=True)]
            held_out = tuple(self._features(backbone, prompts, layers) for prompts in deciding)
        aurocs = calibration.separation(training, held_out, layers)  # type: ignore[arg-type]
        return self.spec.layer or calibration.best_layer(aurocs, self.session.model.layers), aurocs

    def train(self, layer: int) -> list[StepLog]:
        """Joint cross entropy on both kinds plus λ times the regulariser, with a running refusal feature."""
        spec, model, adapted = self.spec, self.session.model, self.session.adapted
        self.session.add(ADAPTER, spec.lora, seed=seeding.derive(spec.seed, "adapter"))
        streams = [self._stream(rows, name) for rows, name in ((self.harmful, "harmful"), (self.helpful, "helpful"))]
        direction = self._first_direction(layer)
        log: list[StepLog] = []
        steps = spec.optim.steps or max(1, round(spec.optim.epochs * 2 * len(self.harmful) / spec.optim.batch_size))
        with adapted.active(ADAPTER, train=True) as backbone:
            parameters = adapted.parameters(ADAPTER)

            def step(_number: int) -> StepLog:
                nonlocal direction
                batches = [collate(next(stream), pad_id=model.pad_id, device=model.device) for stream in streams]
                with captured(model, [layer]) as found:
                    supervised = _joint_cross_entropy(model, backbone, batches)
                states = _at_last_prompt(found[layer], batches)
                direction = _moved(direction, states, spec.momentum)
                losses = {"supervised": supervised}
                if spec.regularisation > 0:
                    losses["regulariser"] = spec.regularisation * regulariser(direction, *states)
                logged = backward(losses, parameters)
                return {**logged, "tokens": float(sum(batch.tokens for batch in batches))}

            def keep(line: StepLog) -> None:
                log.append(line)
                self.progress.progress(int(line["step"]), steps, **line)

            seed = seeding.derive(spec.seed, "dropout")
            fit(parameters, step, steps=steps, optim=spec.optim, log=keep, check=self.progress.check, seed=seed)
        return log

    def exact_feature(self, layer: int) -> RefusalFeature:
        """The refusal feature of the finished teacher over all training prompts, in eval mode."""
        with self.session.adapted.active(ADAPTER) as backbone:
            kinds = [
                self._features(backbone, [row.ids[: row.prompt] for row in rows], [layer])[:, 0] for rows in (self.harmful, self.helpful)
            ]
        return RefusalFeature.between(*kinds, layer=layer)

    def held_out_scores(self, feature: RefusalFeature) -> list[NDArray[np.float32]]:
        """Cosines of the held-out prompts, harmful and harmless."""
        with self.session.adapted.active(ADAPTER) as backbone:
            return [calibration.similarities(feature, self._features(backbone, ids, [feature.layer])[:, 0]) for ids in self.held_out]

    def calibrated(self, feature: RefusalFeature, scores: list[NDArray[np.float32]], aurocs: dict[int, float]) -> dict[str, Any]:
        """Everything teacher.json holds."""
        harmful, harmless = scores
        threshold = calibration.threshold_for_recall(harmful, recall=self.spec.recall)
        model = self.session.model
        return {
            "title": f"{'Teacher' if self.spec.regularisation > 0 else 'Aligned weights'} for {self.spec.model}, seed {self.spec.seed}",
            "model": self.spec.model,
            "layer": feature.layer,
            "threshold": threshold,
            "regularised": self.spec.regularisation > 0,
            "template": model.template.name,
            "template_hash": model.template.hash,
            "base_fingerprint": model.fingerprint,
            "calibration": {**calibration.report(harmful, harmless, threshold=threshold, layers=aurocs), "data": self.fingerprints},
            "spec": self.spec.model_dump(mode="json"),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }

    def write_scores(self, path: Path, scores: list[NDArray[np.float32]]) -> None:
        """The held-out scores beside the teacher, for rules that choose a threshold."""
        calibration.write_scores(path, list(zip(KINDS, scores, [self.prompts[f"calibration_{kind}"] for kind in KINDS], strict=True)))

    def _encoded(self, name: str) -> list[list[int]]:
        return [self.session.encoder.prompt_ids([{"role": "user", "content": prompt}]) for prompt in self.prompts[name]]

    def _first_direction(self, layer: int) -> Tensor:
        with self.session.adapted.active(None) as backbone:
            kinds = [
                self._features(backbone, [row.ids[: row.prompt] for row in rows[:START]], [layer])[:, 0]
                for rows in (self.harmful, self.helpful)
            ]
        return RefusalFeature.between(*kinds, layer=layer).direction.to(self.session.model.device)

    def _features(self, backbone: nn.Module, prompts: list[list[int]], layers: list[int]) -> Tensor:
        self.progress.check()
        return last_prompt_features(self.session.model, backbone, prompts, layers=layers)

    def _stream(self, rows: list[Example], name: str) -> Iterator[list[Example]]:
        return endless(rows, size=max(1, self.spec.optim.batch_size // 2), rng=seeding.generator(self.spec.seed, "teacher", name))


def _at_last_prompt(states: Tensor, batches: list[Batch]) -> tuple[Tensor, Tensor]:
    """(n, t, d_model) of the joined batches -> last prompt features of the first and of the second batch."""
    last = torch.cat([batch.last_prompt for batch in batches])
    picked = states[torch.arange(len(last), device=states.device), last].float()
    return picked[: len(batches[0])], picked[len(batches[0]) :]


def _moved(direction: Tensor, states: tuple[Tensor, Tensor], momentum: float) -> Tensor:
    """R ← μ·R + (1 − μ)·(mean harmful − mean harmless of this batch); the update is not in the gradient."""
    batch = (states[0].mean(0) - states[1].mean(0)).detach()
    return momentum * direction + (1 - momentum) * batch


def _trainable(example: Example) -> Example:
    """An example without a response must not teach to fall silent: only its prompt stays, without the end of text."""
    return example if example.answered else Example(example.ids[: example.prompt], example.prompt, example.index)


def _joint_cross_entropy(model: LoadedModel, backbone: nn.Module, batches: list[Batch]) -> Tensor:
    """½ [CE(harmful, refusals) + CE(harmless, answers)]; a batch without any answer has no term."""
    if all(bool((batch.labels != IGNORE).any()) for batch in batches):
        harmful, helpful = supervise(model, backbone, batches)
        return 0.5 * (harmful.cross_entropy() + helpful.cross_entropy())
    return 0.5 * supervise(model, backbone, [join(batches, pad_id=model.pad_id)])[0].cross_entropy()
