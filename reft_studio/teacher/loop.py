"""One training of a teacher's adapter: joint cross entropy, the regulariser with its moving refusal feature, early stopping."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from reft_studio import seeding, stats
from reft_studio.models.batching import Batch, Example, Stream, collate, join
from reft_studio.models.features import captured
from reft_studio.models.fit import StepLog, backward, fit
from reft_studio.models.loading import LoadedModel
from reft_studio.models.packing import Packer
from reft_studio.models.snapshot import KeeperFor, State
from reft_studio.models.supervised import supervise
from reft_studio.progress import Progress
from reft_studio.teacher import calibration
from reft_studio.teacher.material import START, Material
from reft_studio.teacher.refusal_feature import RefusalFeature, regulariser
from reft_studio.teacher.spec import Reading, TeacherSpec

ADAPTER = "teacher"
EVALUATION_BATCH = 32


@dataclass
class Trained:
    """Result of one training: its log, its evaluations, and the step whose weights are in the adapter."""

    regularisation: float
    log: list[StepLog] = field(default_factory=list)
    trace: list[dict[str, Any]] = field(default_factory=list)
    step: int = 0


class _NoProgress(Exception):
    """Ends the training loop: patience ran out."""


def train(
    material: Material, spec: TeacherSpec, layer: int, weight: float, progress: Progress, *, keepers: KeeperFor | None = None
) -> Trained:
    """Train a fresh adapter `ADAPTER` in the session with λ = `weight`; with early stopping it ends with the best weights.

    With `keepers` it resumes from the checkpoint of an interrupted attempt.
    """
    session, model = material.session, material.session.model
    session.add(ADAPTER, spec.lora, seed=seeding.derive(spec.seed, "adapter"))
    streams = [_stream(rows, spec, name) for rows, name in ((material.harmful, "harmful"), (material.helpful, "helpful"))]
    steps = spec.optim.steps or max(1, round(spec.optim.epochs * 2 * len(material.harmful) / spec.optim.batch_size))
    result = Trained(weight, step=steps)
    stop = _EarlyStop(material, spec, layer, result)
    with session.adapted.active(None) as backbone:
        feature = material.feature(backbone, layer, reading=spec.training_reading, most=START).to(model.device)
        packer = Packer(model, backbone, wanted=spec.optim.packing)
    with session.adapted.active(ADAPTER, train=True, checkpointing=spec.optim.gradient_checkpointing) as backbone:
        parameters = session.adapted.parameters(ADAPTER)
        moving = _Moving(feature)

        def step(number: int) -> StepLog:
            batches = [collate(next(stream), pad_id=model.pad_id, device=model.device) for stream in streams]
            with captured(model, [layer]) as states_by_layer:
                supervised, last_prompts = joint_cross_entropy(model, backbone, batches, packer=packer)
            states = at_last_prompt(states_by_layer[layer], last_prompts)
            feature = moving.feature = refreshed(
                moving.feature, states, spec, number, lambda: exact(material, layer, reading=spec.training_reading).to(model.device)
            )
            losses = {"supervised": supervised}
            if weight > 0:
                losses["regulariser"] = weight * regulariser_loss(feature, states, margin=spec.margin, through=spec.through_feature)
            return {**backward(losses, parameters), "tokens": float(sum(batch.tokens for batch in batches))}

        def log_line(line: StepLog) -> None:
            result.log.append(line)
            progress.progress(int(line["step"]), steps, **line)

        def check() -> None:  # looks here and not in `keep`: a snapshot is of before the look or of after it, and either goes on alike
            progress.check()
            stop.evaluate_if_due(len(result.log), parameters)

        try:
            facts = {"spec": spec.model_dump(mode="json"), "weight": weight, "layer": layer, "base": model.fingerprint}
            fit(
                parameters,
                step,
                steps=steps,
                optim=spec.optim,
                log=log_line,
                check=check,
                seed=seeding.derive(spec.seed, "dropout"),
                keeper=keepers(f"weight-{weight:g}", facts) if keepers else None,
                parts={"harmful": streams[0], "helpful": streams[1], "moving": moving, "stop": stop},
            )
            stop.evaluate_if_due(len(result.log), parameters)
        except _NoProgress:
            progress.warn(f"Training stopped at step {len(result.log)} of {steps}: no progress since step {stop.best_step}.")
        stop.choose_best(parameters)
    return result


def refreshed(
    feature: RefusalFeature, states: tuple[Tensor, Tensor], spec: TeacherSpec, number: int, recompute: Callable[[], RefusalFeature]
) -> RefusalFeature:
    """The refusal feature of step `number` (from 1): R ← μ·R + (1 − μ)·(difference of the batch means), the midpoint likewise.

    With `recompute_every` it is instead recomputed exactly every so many steps and kept in between. It is a constant in the gradient,
    unless `through_feature` takes the batch's own difference with its gradient.
    """
    if spec.through_feature:
        return _of_batch(states, feature, detached=False)
    if spec.recompute_every is not None:
        return recompute() if (number - 1) % spec.recompute_every == 0 else feature
    batch, keep = _of_batch(states, feature, detached=True), spec.momentum
    centre = None if batch.centre is None or feature.centre is None else keep * feature.centre + (1 - keep) * batch.centre
    return replace(feature, direction=keep * feature.direction + (1 - keep) * batch.direction, centre=centre)


def regulariser_loss(feature: RefusalFeature, states: tuple[Tensor, Tensor], *, margin: float = 1.0, through: bool = False) -> Tensor:
    """The regulariser on features of both kinds, centred if the refusal feature is."""
    harmful, harmless = (feature.coordinates(part) for part in states)
    return regulariser(feature.direction, harmful, harmless, margin=margin, through=through)


def joint_cross_entropy(
    model: LoadedModel, backbone: nn.Module, batches: list[Batch], *, packer: Packer | None = None
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """½ [CE(harmful, refusals) + CE(harmless, responses)], and the indices of both batches' last prompt tokens (`Supervised`).

    A batch without any response has no term.
    """
    if all(batch.supervised for batch in batches):
        harmful, helpful = supervise(model, backbone, batches, packer=packer)
        return 0.5 * (harmful.cross_entropy() + helpful.cross_entropy()), (harmful.last_prompt, helpful.last_prompt)
    both = supervise(model, backbone, [join(batches, pad_id=model.pad_id)], packer=packer)[0]
    count = len(batches[0])
    return 0.5 * both.cross_entropy(), (both.last_prompt[:count], both.last_prompt[count:])


def at_last_prompt(states: Tensor, indices: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """(sequences, width, d_model) of a pass -> features (n, d_model) of the last prompt tokens of the first and the second batch."""
    flat = states.flatten(0, 1)
    return flat[indices[0]].float(), flat[indices[1]].float()


def exact(material: Material, layer: int, *, reading: Reading) -> RefusalFeature:
    """The refusal feature under the current adapter, over all training prompts, in eval mode."""
    with material.session.adapted.active(ADAPTER) as backbone:
        return material.feature(backbone, layer, reading=reading)


def measure(material: Material, spec: TeacherSpec, layer: int, *, most: int | None = None) -> dict[str, Any]:
    """Metrics of the current adapter on the selection prompts: AUROC, recall and false positive rate (percent), cross entropy.

    The threshold is that of the spec's recall on these prompts. `most`: training prompts of a kind used for the feature.
    """
    adapted = material.session.adapted
    with adapted.active(ADAPTER) as backbone:
        feature = material.feature(backbone, layer, reading=spec.training_reading, most=most)
        parts = material.features(backbone, material.selection, [layer])
        entropy = held_out_cross_entropy(material, backbone)
    harmful, harmless = (calibration.similarities(feature, part[:, 0]) for part in parts)
    threshold = calibration.quantile_threshold(harmful, recall=spec.recall, most=0.0)
    rates = calibration.rates(harmful, harmless, threshold=threshold)
    return {"auroc": round(stats.auroc(harmful, harmless), 5), **rates, "cross_entropy": entropy}


def better(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether `one` is the better teacher: AUROC (two digits), then false positives (whole percent), then cross entropy.

    AUROC is soon near 1 and ignores on which side of 0 the kinds are, which the threshold relies on.
    """

    def rank(metrics: dict[str, Any]) -> tuple[float, float, float]:
        entropy = metrics["cross_entropy"]
        return round(metrics["auroc"], 2), -round(metrics["false_positive_rate"]), -(entropy if entropy is not None else 0.0)

    return rank(one) > rank(other)


@torch.no_grad()
def held_out_cross_entropy(material: Material, backbone: nn.Module) -> float | None:
    """½ of the mean cross entropy of each kind's selection rows with a response; None if a kind has none."""
    model, means = material.session.model, []
    for rows in material.examples:
        total, tokens = 0.0, 0
        for start in range(0, len(rows), EVALUATION_BATCH):
            batch = collate(rows[start : start + EVALUATION_BATCH], pad_id=model.pad_id, device=model.device)
            part = supervise(model, backbone, [batch])[0]
            total += float(part.cross_entropy()) * len(part.labels)
            tokens += len(part.labels)
        means.append(total / tokens if tokens else None)
    return round(0.5 * (means[0] + means[1]), 5) if means[0] is not None and means[1] is not None else None


class _Moving:
    """The moving refusal feature of a training."""

    def __init__(self, feature: RefusalFeature) -> None:
        self.feature = feature

    def state(self) -> State:
        """For a snapshot."""
        centre = {} if self.feature.centre is None else {"centre": self.feature.centre}
        return {"direction": self.feature.direction, **centre}

    def restore(self, state: State) -> None:
        """From a snapshot."""
        like = self.feature.direction
        centre = state["centre"].to(like) if "centre" in state else None
        self.feature = replace(self.feature, direction=state["direction"].to(like), centre=centre)


class _EarlyStop:
    """Evaluates every so many steps, keeps a copy of the best weights, and ends training without progress."""

    def __init__(self, material: Material, spec: TeacherSpec, layer: int, result: Trained) -> None:
        self.material, self.spec, self.layer, self.result = material, spec, layer, result
        self.best: dict[str, Any] | None = None
        self.best_step, self._weights, self._waited, self._evaluated_at = 0, list[Tensor](), 0, 0

    def state(self) -> State:
        """Evaluations and log so far, and the best weights, for a snapshot."""
        weights = {f"weights-{index}": value for index, value in enumerate(self._weights)}
        counts = {"best": self.best, "best_step": self.best_step, "waited": self._waited, "looked": self._evaluated_at}
        return {**weights, **counts, "trace": self.result.trace, "log": self.result.log}

    def restore(self, state: State) -> None:
        """From a snapshot."""
        count = sum(name.startswith("weights-") for name in state)
        self._weights = [state[f"weights-{index}"] for index in range(count)]
        self.best, self.best_step, self._waited = state["best"], state["best_step"], state["waited"]
        self._evaluated_at = state["looked"]
        self.result.trace[:], self.result.log[:] = state["trace"], state["log"]

    def evaluate_if_due(self, step: int, parameters: list[Tensor]) -> None:
        """Evaluate after step `step` if due, once; raises _NoProgress when patience has run out, also on repeated calls."""
        if self.spec.early_stop is None or not step:
            return
        if self._evaluated_at != step and (step % self.spec.evaluate_every == 0 or step == self.result.step):
            self._measure(step, parameters)
        if self._waited >= self.spec.early_stop and step < self.result.step:
            raise _NoProgress

    def _measure(self, step: int, parameters: list[Tensor]) -> None:
        measured = {"step": step, **measure(self.material, self.spec, self.layer, most=START)}
        self.result.trace.append(measured)
        self._evaluated_at = step
        if self.best is None or better(measured, self.best):
            self.best, self.best_step, self._waited = measured, step, 0
            self._weights = [value.detach().clone() for value in parameters]
            return
        self._waited += 1

    @torch.no_grad()
    def choose_best(self, parameters: list[Tensor]) -> None:
        """Restore the best weights."""
        if self.best is None:
            return
        for value, best_value in zip(parameters, self._weights, strict=True):
            value.copy_(best_value)
        self.result.step = self.best_step


def _of_batch(states: tuple[Tensor, Tensor], like: RefusalFeature, *, detached: bool) -> RefusalFeature:
    means = [part.mean(0).detach() if detached else part.mean(0) for part in states]
    centre = None if like.centre is None else 0.5 * (means[0] + means[1]).detach()
    return replace(like, direction=means[0] - means[1], centre=centre)


def _stream(rows: list[Example], spec: TeacherSpec, name: str) -> Stream:
    return Stream(rows, size=max(1, spec.optim.batch_size // 2), rng=seeding.generator(spec.seed, "teacher", name))
