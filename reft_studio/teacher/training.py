"""Prepares a teacher: chooses layer and λ, trains, recomputes the refusal feature exactly, calibrates, stores it atomically."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from reft_studio.errors import SpecError
from reft_studio.integrity import seal, sealed_folder
from reft_studio.models.session import Session
from reft_studio.models.snapshot import KeeperFor
from reft_studio.progress import Progress
from reft_studio.teacher import calibration
from reft_studio.teacher.details import FILES, MAP, is_complete, separation_of
from reft_studio.teacher.loop import ADAPTER, Trained, better, measure, train
from reft_studio.teacher.material import Material
from reft_studio.teacher.pool import KINDS
from reft_studio.teacher.refusal_feature import RefusalFeature
from reft_studio.teacher.separation import States, write_details, write_map
from reft_studio.teacher.spec import Reading, TeacherSpec
from reft_studio.teacher.teacher import TeacherInfo, open_teacher
from reft_studio.workspace import Workspace, staging, write_json

__all__ = ["ADAPTER", "complete", "prepare_teacher"]
PACKAGES = ("torch", "transformers", "peft")
MOST = 1000
"""Training prompts of a kind whose states are stored after every block; the refusal feature itself uses all of them."""


def prepare_teacher(
    workspace: Workspace,
    spec: TeacherSpec,
    session: Session,
    progress: Progress,
    *,
    pooled: dict[str, Any] | None = None,
    adapter: Path | None = None,
    keepers: KeeperFor | None = None,
) -> TeacherInfo:
    """Train (unless the model is a ready teacher), compute the refusal feature, calibrate, and store under `teachers/<spec.id>`.

    `pooled` says how the sets were made, for the record. `adapter` is a folder of weights trained earlier with this spec: they are
    measured and calibrated, not trained again. `keepers` write checkpoints, from which an interrupted training resumes. A teacher of the
    same spec is not made twice; one of an older version gets the files it lacks. Raises SpecError if a prompt is in two sets, DataError
    if one is too small, TrainingError if a hidden state is not finite.
    """
    folder = workspace.folder("teachers", spec.id)
    if (folder / "teacher.json").is_file():
        ready = open_teacher(workspace, spec.id)
        if not is_complete(ready):
            complete(ready, Material(workspace, spec, session, progress))
        return ready
    work = _Preparation(spec, Material(workspace, spec, session, progress), progress, keepers)
    started = time.perf_counter()
    layer, aurocs = work.choose_layer()
    trained: Trained | None = None
    tried: list[dict[str, Any]] = []
    if adapter is not None:
        session.ensure(ADAPTER, adapter)
        trained = Trained(spec.regularisation, step=spec.optim.steps or 0)
    elif spec.kind == "trained":
        trained, tried = work.best_training(layer)
    if trained is not None:
        session.adapted.round_to_base(ADAPTER)
    measured = work.measured(layer)
    facts = work.facts(measured, aurocs, trained, tried)
    facts["calibration"]["seconds"] = round(time.perf_counter() - started, 2)
    with sealed_folder(folder, durable=True) as building:
        if trained is not None:
            session.adapted.save(ADAPTER, building / "adapter", base_name=spec.model, rounded=True)
        measured.feature.save(building / "refusal_feature.safetensors")
        kinds = list(zip(KINDS, measured.scores, measured.calibration.prompts, strict=True))
        calibration.write_scores(building / "calibration.parquet", kinds)
        log = trained.log if trained else []
        (building / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log), "utf-8")
        write_details(building, measured.training, measured.calibration, measured.feature)
        write_json(building / "teacher.json", {**facts, "pooled": pooled})
    return open_teacher(workspace, spec.id)


def complete(teacher: TeacherInfo, material: Material) -> None:
    """Add the files that an older version lacks (`details.FILES`), and the full map, to a teacher's folder, from its original prompts.

    Raises SpecError if the prompts differ from those of teacher.json, or the session holds another base.
    """
    if material.fingerprints != teacher.calibration.get("data"):
        raise SpecError(f"The prompts of '{teacher.id}' are not the ones it was prepared from, so its map cannot be made. Prepare it anew.")
    if material.session.model.fingerprint != teacher.base_fingerprint:
        raise SpecError(f"'{teacher.id}' was prepared on another base than '{material.session.model.source}'. Prepare it anew.")
    feature = RefusalFeature.load(teacher.folder / "refusal_feature.safetensors", layer=teacher.layer)
    adapter = material.session.ensure("measured", teacher.adapter)
    with staging(teacher.folder) as building:
        if not is_complete(teacher):
            every = list(range(1, material.session.model.layers + 1))
            with material.session.adapted.active(adapter) as backbone:
                training = material.features(backbone, material.training, every, most=MOST)
                held_out = material.features(backbone, material.calibration, every)
            prompts = (material.prompts["calibration_harmful"], material.prompts["calibration_harmless"])
            write_details(building, training, States(*held_out, prompts), feature)
            for name in FILES:
                (building / name).replace(teacher.folder / name)
        known = separation_of(teacher)
        assert known is not None, "it was just written"
        write_map(building, material, feature, known, adapter=adapter)
        (building / MAP).replace(teacher.folder / MAP)
    seal(teacher.folder, (*FILES, MAP))


@dataclass(frozen=True)
class ProbedTeacher:
    """A finished teacher's refusal feature and the scores of held-out prompts, from one pass over its prompts.

    `training` and `calibration` are features after every block; of the training prompts the first MOST of each kind.
    """

    feature: RefusalFeature
    scores: list[NDArray[np.float32]]
    training: tuple[Tensor, Tensor]
    calibration: States


class _Preparation:
    """The stages of `prepare_teacher`."""

    def __init__(self, spec: TeacherSpec, material: Material, progress: Progress, keepers: KeeperFor | None) -> None:
        self.spec, self.material, self.progress, self.session = spec, material, progress, material.session
        self._keepers = keepers
        least = min(len(material.prompts[f"calibration_{kind}"]) for kind in KINDS)
        calibration.check_enough(least)
        self._untouched: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None
        """Features of the base after every block, of training and selection prompts, where the base is the teacher."""

    @property
    def adapter(self) -> str | None:
        return ADAPTER if self.spec.kind == "trained" else None

    def choose_layer(self) -> tuple[int, dict[int, float]]:
        """The layer of the spec, or the best on the base by AUROC on selection prompts; with the AUROC of each layer tried.

        With reading "auto" the best reading at each layer counts.
        """
        depth = self.session.model.layers
        layers = list(range(1, depth + 1)) if self.spec.kind == "ready" else calibration.candidate_layers(depth)
        with self.session.adapted.active(None) as backbone:
            training = self.material.features(backbone, self.material.training, layers, most=MOST)
            selection = self.material.features(backbone, self.material.selection, layers)
        if self.spec.kind == "ready":
            self._untouched = training, selection
        tried = [calibration.separation(training, selection, layers, reading=reading) for reading in self.spec.readings]
        candidates = calibration.candidate_layers(depth)
        aurocs = {layer: max(by_layer[layer] for by_layer in tried) for layer in candidates}
        return self.spec.layer or calibration.best_layer(aurocs, depth), aurocs

    def best_training(self, layer: int) -> tuple[Trained, list[dict[str, Any]]]:
        """The training with the best λ, its weights in the adapter, and the metrics of every λ of a sweep."""
        weights = self.spec.weights
        if self.spec.optim.micro_batch_size is not None:
            self.progress.warn(
                "micro_batch_size splits the steps of a run, not those of a teacher, whose batches are balanced. To use less memory, lower "
                "batch_size or switch gradient_checkpointing on."
            )
        if len(weights) == 1:
            return train(self.material, self.spec, layer, weights[0], self.progress, keepers=self._keepers), []
        best: Trained | None = None
        tried: list[dict[str, Any]] = []
        best_weights: list[Tensor] = []
        for number, weight in enumerate(weights, 1):
            self.progress.stage(f"train with λ = {weight:g}", number, len(weights))
            trained = train(self.material, self.spec, layer, weight, self.progress, keepers=self._keepers)
            line = {"regularisation": weight, "step": trained.step, **measure(self.material, self.spec, layer)}
            if best is None or better(line, next(earlier for earlier in tried if earlier["regularisation"] == best.regularisation)):
                best, best_weights = trained, [value.detach().clone() for value in self.session.adapted.parameters(ADAPTER)]
            tried.append(line)
        assert best is not None, "there is at least one weight"
        with torch.no_grad():
            for value, saved in zip(self.session.adapted.parameters(ADAPTER), best_weights, strict=True):
                value.copy_(saved)
        return best, tried

    def measured(self, layer: int) -> ProbedTeacher:
        """The refusal feature of the finished teacher over all training prompts, and the held-out prompts' scores, from one pass."""
        with self.session.adapted.active(self.adapter) as backbone:
            first, held_out = self._last_states(backbone)
            rest = self.material.features(backbone, self.material.training, [layer], start=MOST)
            reading = self._reading(backbone, layer, first)
        whole = (torch.cat([part[:, layer - 1], more[:, 0]]) for part, more in zip(first, rest, strict=True))
        feature = RefusalFeature.between(*whole, layer=layer, reading=reading)
        scores = [calibration.similarities(feature, side[:, layer - 1]) for side in held_out]
        prompts = self.material.prompts
        return ProbedTeacher(feature, scores, first, States(*held_out, (prompts["calibration_harmful"], prompts["calibration_harmless"])))

    def _last_states(self, backbone: nn.Module) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Features after every block of the first MOST training prompts and of the calibration prompts, each read once."""
        every = list(range(1, self.session.model.layers + 1))
        if self._untouched is None:
            first = self.material.features(backbone, self.material.training, every, most=MOST)
            return first, self.material.features(backbone, self.material.calibration, every)
        first, selection = self._untouched
        if self.material.selected_on == "calibration":
            return first, selection
        return first, self.material.features(backbone, self.material.calibration, every)

    def _reading(self, backbone: nn.Module, layer: int, training: tuple[Tensor, Tensor]) -> Reading:
        """The reading of the spec, or the one of highest AUROC on the selection prompts."""
        if len(self.spec.readings) == 1:
            return self.spec.readings[0]
        if self._untouched is None:
            selection = self.material.features(backbone, self.material.selection, [layer])
        else:
            harmful, harmless = self._untouched[1]
            selection = harmful[:, layer - 1 : layer], harmless[:, layer - 1 : layer]
        features = training[0][:, layer - 1 : layer], training[1][:, layer - 1 : layer]
        return max(self.spec.readings, key=lambda reading: calibration.separation(features, selection, [layer], reading=reading)[layer])

    def facts(
        self,
        probed: ProbedTeacher,
        aurocs: dict[int, float],
        trained: Trained | None,
        tried: list[dict[str, Any]],
    ) -> dict[str, Any]:
        """Content of teacher.json."""
        spec, model, feature, scores = self.spec, self.session.model, probed.feature, probed.scores
        # the regulariser makes 0 the boundary of the cosine that it works on: of no other reading, and of none without training
        most = 0.0 if trained and feature.reading == spec.training_reading else None
        threshold = calibration.threshold_for_recall(scores[0], recall=spec.recall, most=most)
        weight = trained.regularisation if trained else None
        title = "Ready teacher" if trained is None else "Teacher" if weight else "Aligned weights"
        measured = calibration.report(scores[0], scores[1], threshold=threshold, layers=aurocs)
        return {
            "title": f"{title} for {spec.model}" + (f", seed {spec.seed}" if trained else ""),
            "model": spec.model,
            "layer": feature.layer,
            "threshold": threshold,
            "regularised": trained is None or bool(weight),
            "template": model.template.name,
            "template_hash": model.template.hash,
            "base_fingerprint": model.fingerprint,
            "calibration": {**measured, "selected_on": self.material.selected_on, "data": self.material.fingerprints},
            "spec": spec.model_dump(mode="json"),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "record": {
                "regularisation": weight,
                "reading": feature.reading,
                "sweep": tried,
                "step": trained.step if trained else None,
                "early_stop": trained.trace if trained else [],
                "truncated": self.session.encoder.truncated,
                "loaded": model.loading.model_dump(mode="json"),
                **({"clock": model.template.clock} if model.template.clock else {}),
                "versions": {name: metadata.version(name) for name in PACKAGES},
            },
        }
