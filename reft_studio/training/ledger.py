"""What a run cost, as it is read back: stages, passes, tokens, operations, and how much of it is more than plain finetuning. No torch."""

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
    "looks": "Looks on the way",
    "finish": "Change the adapter",
    "load again": "Load to evaluate",
    "answer": "Answer the prompts",
    "grade": "Grade the answers",
}
"""Every stage by the name that is stored, in the order in which they are done, and as people read it."""
OF_TRAINING = ("filter", "prepare", "train", "teacher states", "start weights", "finish")
"""Stages that are the method's own work: what is compared with plain finetuning."""
CPU = "CPU"
TEACHER, FORWARD, BACKWARD = "teacher", "forward", "backward"
UNTOLD = "its ledger was written by a version that did not tell user rows from others"


@dataclass(frozen=True)
class StageSeconds:
    """Seconds of one stage; `memory_mb` is None for a stage inside another, whose peak is the other's."""

    name: str
    seconds: float
    memory_mb: int | None

    @property
    def title(self) -> str:
        return STAGES.get(self.name, self.name.capitalize())


@dataclass(frozen=True)
class Extra:
    """What the student and the teacher did, as a multiple of plain finetuning on the user rows of the same steps alone.

    `tokens`: tokens through the model, forward and back; `flops`: operations. None where it was not counted; `why` says why.
    """

    tokens: float | None
    flops: float | None
    why: str = ""

    @property
    def words(self) -> str:
        """`1.45 × plain finetuning by operations, 1.38 × by tokens`, or why that is not known."""
        if self.tokens is None:
            return f"Not known: {self.why}."
        by = [(self.flops, "operations"), (self.tokens, "tokens")]
        return f"{', '.join(f'{value:.2f} × by {name}' for value, name in by if value is not None)}"


@dataclass(frozen=True)
class Ledger:
    """All that was counted. `tokens`, `passes` and `flops` are by kind of pass: teacher, forward, backward.

    `before` are trainings that the run rests on and shares with others, such as aligning the base: in no sum of its own.
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
        """The content of a run's cost.json; `steps` are those the run did."""
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
        """The same with further stages, such as those of its evaluation, and with what it rests on."""
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
        """What a peak is of: a GPU counts its tensors, a processor the whole process."""
        return f"of tensors on the {self.device}" if self.on_gpu else "of the whole process, on the CPU"

    def time_of(self, *names: str) -> float:
        """Seconds of these stages together."""
        return sum(stage.seconds for stage in self.stages if stage.name in names)

    def peak_of(self, *names: str) -> int | None:
        """The highest peak of these stages."""
        return max((stage.memory_mb for stage in self.stages if stage.name in names and stage.memory_mb is not None), default=None)

    def per_step(self, kind: str) -> float:
        """Passes of a kind in a step, on average."""
        return self.passes.get(kind, 0) / max(1, self.steps)

    @property
    def extra(self) -> Extra:
        """How much more than plain finetuning: its part is every user token forward once and back once, at the run's own operations."""
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
    return _ordered([StageSeconds(str(one["stage"]), float(one["seconds"]), one.get("memory_mb")) for one in costs["stages"]])


def _ordered(stages: Sequence[StageSeconds]) -> tuple[StageSeconds, ...]:
    order = list(STAGES)
    return tuple(sorted(stages, key=lambda one: order.index(one.name) if one.name in order else len(order)))
