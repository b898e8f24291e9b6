"""The protocol of a defense; as it stands it is plain finetuning. Imports no torch: tensors belong to the context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from reft_studio.models.spec import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from reft_studio.models.batching import Batch
    from reft_studio.models.fit import StepLog
    from reft_studio.models.supervised import Supervised


@dataclass(frozen=True)
class DefenseInfo:
    """What a person needs to choose a method.

    `cost` is forward and backward passes per step relative to plain finetuning on the user rows alone; `strength` names
    the setting whose zero makes the method plain finetuning.
    """

    name: str
    title: str
    summary: str
    stage: Literal["alignment", "filter", "finetuning", "filter and finetuning", "none"]
    starts_from: Literal["base", "aligned"]
    uses_filter: bool
    needs_teacher: bool
    needs_alignment: bool
    paper: str
    cost: float
    strength: str | None


class DefenseConfig(Settings):
    """Settings of a method; plain finetuning has none."""


class RunContext(Protocol):
    """What a run lends to its defense."""

    def supervise(self, *batches: Batch) -> Sequence[Supervised]:
        """One forward pass of the student over all batches."""
        ...

    def alignment_batch(self) -> Batch:
        """The next alignment rows, half harmful prompts with refusals, half harmless prompts with answers."""
        ...

    def teacher_states(self, batch: Batch) -> Tensor:
        """The teacher's hidden states for the supervised tokens of an alignment batch, (tokens, d_model)."""
        ...

    def backward(self, losses: dict[str, Tensor]) -> StepLog:
        """Add the gradient of the summed losses; `task` and `alignment` are the names that charts know."""
        ...

    def kept(self) -> list[int]:
        """Positions of the user rows that the filter of this run does not flag; all if it has none."""
        ...


class Defense:
    """Plain supervised finetuning; a method overrides the hooks it needs."""

    info: ClassVar[DefenseInfo]
    Config: ClassVar[type[DefenseConfig]] = DefenseConfig

    def __init__(self, config: DefenseConfig, context: RunContext) -> None:
        self.config = config
        self.context = context

    def select(self) -> list[int]:
        """Positions of the user rows to train on, once, before the first step."""
        return self.context.kept()

    def finetune_step(self, user: Batch) -> StepLog:
        """Add this step's gradient; never touches the optimizer."""
        (task,) = self.context.supervise(user)
        return self.context.backward({"task": task.cross_entropy()})

    def finish(self) -> None:
        """Change the adapter after the last step; most methods do not."""
