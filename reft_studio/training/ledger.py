"""The stored cost of a run: stages, passes, tokens, operations, and their multiple of plain finetuning. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

STAGES = {
    "load": "Load the model",
    "filter": "Score for the filter",
    "prepare": "Prepare the data",
    "train": "Train",
    "teacher states": "Teacher's answers",
    "start weights": "Start weights' answers",
    "looks": "Checks during training",
    "finish": "Change the adapter",
    "load again": "Load to evaluate",
    "answer": "Answer the prompts",
    "grade": "Grade the answers",
}
"""Every stage by its stored name, in chronological order, with its title."""
OF_TRAINING = ("filter", "prepare", "train", "teacher states", "start weights", "finish")
"""Stages that are the method's own work and are compared with plain finetuning."""
CPU = "CPU"
TEACHER, FORWARD, BACKWARD = "teacher", "forward", "backward"
UNTOLD = "its ledger was written by a version that did not tell user rows from others"


@dataclass(frozen=True)
class StageSeconds:
    """Seconds of one stage; `memory_mb` is None for a nested stage, whose peak belongs to the outer one."""

    name: str
    seconds: float
    memory_mb: int | None

    @property
    def title(self) -> str:
        return STAGES.get(self.name, self.name.capitalize())


@dataclass(frozen=True)
class Extra:
    """The student's and the teacher's work, as a multiple of plain finetuning on the user rows of the same steps.

    `tokens`: tokens through the model, forward and backward; `flops`: operations. None where not counted; `why` gives the reason.
    """

    tokens: float | None
    flops: float | None
    why: str = ""

    @property
    def words(self) -> str:
        """`1.45 × plain finetuning by operations, 1.38 × by tokens`, or the reason why that is unknown."""
        if self.tokens is None:
            return f"Not known: {self.why}."
        by = [(self.flops, "operations"), (self.tokens, "tokens")]
        return f"{', '.join(f'{value:.2f} × by {name}' for value, name in by if value is not None)}"


@dataclass(frozen=True)
class Ledger:
    """All counters. `tokens`, `passes` and `flops` are by kind of pass: teacher, forward, backward.

    `before` are trainings that the run builds on and shares with others, such as aligning the base; they are in no sum.
    """

    device: str
    stages: tuple[StageSeconds, ...]
    passes: Mapping[str, int]
    tokens: Mapping[str, int]
    flops: Mapping[str, int] | None
    counted_steps: int
    steps: int
    user_tokens: int | None
    before: tuple[StageSeconds, ...] = ()

    @classmethod
    def read(cls, costs: Mapping[str, Any], steps: int) -> Ledger:
        """From the content of a run's cost.json; `steps` are the run's optimizer steps."""
        return cls(
            device=str(costs["device"]),
            stages=stages_of(costs),
            passes=dict(costs["passes"]),
            tokens=dict(costs["tokens"]),
            flops=dict(costs["flops"]) if costs["flops"] else None,
            counted_steps=int(costs["counted_steps"]),
            steps=steps,
            user_tokens=costs.get("user_tokens"),
        )

    def also(self, stages: Sequence[StageSeconds] = (), *, before: Sequence[StageSeconds] = ()) -> Ledger:
        """A copy with further stages, such as those of its evaluation, and with the trainings it builds on."""
        return replace(self, stages=_ordered([*self.stages, *stages]), before=(*self.before, *before))

    @property
    def seconds(self) -> float:
        return sum(stage.seconds for stage in self.stages)

    @property
    def memory_mb(self) -> int | None:
        """The highest peak of all stages; None if none was measured."""
        return max((stage.memory_mb for stage in self.stages if stage.memory_mb is not None), default=None)

    @property
    def operations(self) -> int | None:
        return sum(self.flops.values()) if self.flops else None

    @property
    def on_gpu(self) -> bool:
        return self.device != CPU

    @property
    def memory_words(self) -> str:
        """What the peak measures: tensors on a GPU, the whole process on a CPU."""
        return f"of tensors on the {self.device}" if self.on_gpu else "of the whole process, on the CPU"

    def time_of(self, *names: str) -> float:
        """Seconds of these stages together."""
        return sum(stage.seconds for stage in self.stages if stage.name in names)

    def peak_of(self, *names: str) -> int | None:
        """The highest peak of these stages."""
        return max((stage.memory_mb for stage in self.stages if stage.name in names and stage.memory_mb is not None), default=None)

    def per_step(self, kind: str) -> float:
        """Average passes of a kind per step."""
        return self.passes.get(kind, 0) / max(1, self.steps)

    @property
    def extra(self) -> Extra:
        """The multiple of plain finetuning: every user token forward once and backward once, at this run's operations per token."""
        if self.user_tokens is None:
            return Extra(None, None, UNTOLD)
        if not self.user_tokens:
            return Extra(None, None, "no user row went through the model")
        tokens = sum(self.tokens.values()) / (2 * self.user_tokens)
        if not self.flops or not self.operations:
            return Extra(tokens, None)
        plain = self.user_tokens * sum(self.flops[kind] / max(1, self.tokens[kind]) for kind in (FORWARD, BACKWARD))
        return Extra(tokens, self.operations / plain if plain else None)


def stages_of(costs: Mapping[str, Any]) -> tuple[StageSeconds, ...]:
    """The stages of a stored ledger."""
    return _ordered([StageSeconds(str(stage["stage"]), float(stage["seconds"]), stage.get("memory_mb")) for stage in costs["stages"]])


def _ordered(stages: Sequence[StageSeconds]) -> tuple[StageSeconds, ...]:
    order = list(STAGES)
    return tuple(sorted(stages, key=lambda stage: order.index(stage.name) if stage.name in order else len(order)))
