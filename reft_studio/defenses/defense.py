"""The protocol of a defense; as it stands it is plain finetuning. Imports no torch: tensors belong to the context."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

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

    def learn(self, losses: Callable[..., dict[str, Tensor]], *batches: Batch) -> StepLog:
        """Run the student over all batches and add the gradient of the summed losses.

        `losses` is called with one `Supervised` for each batch, or, where memory does not hold a step at once, several times
        with parts of them; `task` and `alignment` are the names that charts know.
        """
        ...

    def alignment_batch(self, *, guided: bool = False) -> Batch:
        """The next alignment rows, half harmful prompts with refusals, half harmless prompts with answers.

        With `guided` the teacher has answered them too: see `teacher_states`.
        """
        ...

    def teacher_states(self, batch: Batch) -> Tensor:
        """The teacher's hidden states for the supervised tokens of (a part of) a guided batch, (tokens, d_model)."""
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
        return self.context.learn(task_loss, user)

    def state(self) -> dict[str, Any]:
        """What the method itself changes from step to step (anchors, moving averages, phases): tensors and JSON values by name.

        A training that was interrupted goes on from it; names hold no dot. Most methods have none.
        """
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Be as when `state` gave this. Called once, before the first step that is done again."""

    def finish(self) -> None:
        """Change the adapter after the last step; most methods do not."""


def task_loss(task: Supervised) -> dict[str, Tensor]:
    """The loss of plain finetuning."""
    return {"task": task.cross_entropy()}
