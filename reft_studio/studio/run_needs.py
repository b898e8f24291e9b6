"""What a run needs beside a model's memory: disk, and time. Reckoned from headers, folders and what was measured; no torch."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from reft_studio.defenses import DEFENSES
from reft_studio.defenses.defense import Defense
from reft_studio.errors import StoreError
from reft_studio.jobs.queue import JobQueue
from reft_studio.models.source import ModelSource
from reft_studio.models.spec import LoraSpec
from reft_studio.training.probe_key import FOLDER, probe_key
from reft_studio.training.run_folder import RunInfo
from reft_studio.training.spec import RunSpec
from reft_studio.workspace import Workspace, read_json

_FLOAT, _HALF = 4, 2
CHECKPOINTS, PER_CHECKPOINT = 2, 3
"""Checkpoints that are kept, and floats of each per number of the adapter: the weight and two moments of AdamW."""
_SIGNS, _AROUND = 3.5, 48
"""Characters of a token and tokens of a template, as in `models.memory`."""
_KEYS: dict[str, str] = {}
"""Keys of finished runs, whose settings never change, by their ids."""
_NEWEST = 5
"""Finished runs or evaluations whose median counts."""


@dataclass(frozen=True)
class Time:
    """Seconds that a run takes and where the figure comes from; `exact` if it was measured with just these settings.

    `evaluation` is what answering and grading took beside it lately, `stages` what the trainings before the user's data took, which are
    made once and shared (0 for a run without any); both are None where none has been timed.
    """

    training: float
    source: str
    exact: bool
    evaluation: float | None = None
    stages: float | None = 0.0


def adapter_numbers(source: ModelSource, lora: LoraSpec) -> int:
    """Trained numbers of an adapter of this kind on this model: rank times the sides of every layer that it touches."""
    text = source.config.get("text_config")
    vocabulary = (text if isinstance(text, dict) else source.config).get("vocab_size")
    touched = (
        facts
        for name, facts in source.tensors.items()
        if len(facts.shape) == 2 and vocabulary not in facts.shape and (lora.targets == "all-linear" or _layer(name) in lora.targets)
    )
    return lora.rank * sum(sum(facts.shape) for facts in touched)


def disk(source: ModelSource, spec: RunSpec, *, characters: Sequence[int], alignment_rows: int) -> float:
    """Bytes that a run writes: the adapter, its checkpoints while it goes, and a teacher's states on the alignment rows."""
    numbers = adapter_numbers(source, spec.lora) * _FLOAT
    states = 0.0
    if DEFENSES.get(spec.method).info.needs_teacher and characters:
        text = source.config.get("text_config")
        width = int((text if isinstance(text, dict) else source.config).get("hidden_size") or 0)
        tokens = min(spec.optim.max_length, _AROUND + sum(characters) / len(characters) / _SIGNS)
        states = alignment_rows * tokens * width * (_FLOAT if spec.loading.dtype == "float32" else _HALF)
    return numbers * (1 + CHECKPOINTS * PER_CHECKPOINT) + states


def _layer(tensor: str) -> str:
    return tensor.removesuffix(".weight").rpartition(".")[2]


class Timing:
    """How long steps and evaluations took in this workspace, looked up once for all runs that are planned."""

    def __init__(self, workspace: Workspace, runs: Sequence[RunInfo]) -> None:
        self._workspace = workspace
        self._exact: dict[str, list[float]] = {}
        self._alike: dict[tuple[str, int], list[float]] = {}
        self._before: dict[tuple[str, str, bool], list[float]] = {}
        for run in runs:
            seconds = run.result["seconds"] / max(1, run.result["steps"])
            if run.run_id not in _KEYS:
                _KEYS[run.run_id] = probe_key(run.spec)
            self._exact.setdefault(_KEYS[run.run_id], []).append(seconds)
            plain = seconds / DEFENSES.get(run.spec.method).info.cost
            self._alike.setdefault((run.spec.model, run.spec.optim.batch_size), []).append(plain)
            if before := sum(stage["seconds"] for stage in run.result.get("stages", ())):
                self._before.setdefault(_stages_key(run.spec), []).append(before / max(1, run.result["steps"]))
        self._evaluations = _evaluations(workspace)

    def of(self, spec: RunSpec, steps: int) -> Time | None:
        """The time of a run; None until something like it has been timed."""
        found = self._training(spec, steps)
        if found is None:
            return None
        lately = self._evaluations.get(spec.model)
        evaluation = statistics.median(lately[-_NEWEST:]) if lately else None
        return replace(found, evaluation=evaluation, stages=self._stages(spec, steps))

    def _stages(self, spec: RunSpec, steps: int) -> float | None:
        """Seconds of the trainings before the user's data, from finished runs of the method on this base."""
        if not spec.aligns and DEFENSES.get(spec.method).stages is Defense.stages:
            return 0.0
        done = self._before.get(_stages_key(spec))
        return steps * statistics.median(done[-_NEWEST:]) if done else None

    def _training(self, spec: RunSpec, steps: int) -> Time | None:
        key = probe_key(spec)
        if done := self._exact.get(key):
            return Time(steps * statistics.median(done[-_NEWEST:]), f"from {_runs(done)} with these settings", True)
        if probed := _probed(self._workspace, key):
            return Time(steps * probed["seconds"], f"from {probed['steps']} measured steps", True)
        if alike := self._alike.get((spec.model, spec.optim.batch_size)):
            cost = DEFENSES.get(spec.method).info.cost
            return Time(steps * cost * statistics.median(alike[-_NEWEST:]), f"roughly, from {_runs(alike)} with other settings", False)
        return None


def _stages_key(spec: RunSpec) -> tuple[str, str, bool]:
    return spec.model, spec.method, spec.aligns


def _runs(seconds: Sequence[float]) -> str:
    number = min(len(seconds), _NEWEST)
    return "a finished run" if number == 1 else f"{number} finished runs"


def _probed(workspace: Workspace, key: str) -> dict[str, Any] | None:
    path = workspace.folder("cache", FOLDER, f"{key}.json")
    try:
        return read_json(path) if path.is_file() else None
    except StoreError:
        return None


def _evaluations(workspace: Workspace) -> dict[str, list[float]]:
    """Seconds that loading, answering and grading took beside the training, by base, oldest first."""
    found: dict[str, list[float]] = {}
    for job in reversed(JobQueue(workspace).list()):
        if job.kind == "run" and job.state == "done" and job.params.get("suite") and job.result and job.started and job.finished:
            beside = job.finished - job.started - float(job.result.get("seconds", 0.0))
            if beside > 0 and job.attempt <= 1:
                found.setdefault(str(job.params["spec"].get("model")), []).append(beside)
    return found
