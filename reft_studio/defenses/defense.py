"""The protocol of a defense; as it stands it is plain finetuning. Imports no torch: tensors belong to the context.

What happens in a run, in order: the stages before the user's data (an adapter each, made once and shared by runs), the choice and the
mixing of rows, the optimizer steps, and changes to the finished adapter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from reft_studio.models.spec import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from reft_studio.models.accumulate import Around
    from reft_studio.models.batching import Batch, Example
    from reft_studio.models.fit import StepLog
    from reft_studio.models.fused import Head
    from reft_studio.models.joint import StatesLosses, StatesOf
    from reft_studio.models.loading import LoadedModel
    from reft_studio.models.low_rank import Layers
    from reft_studio.models.supervised import Supervised
    from reft_studio.models.weights import Gradient, Weights

Kind = Literal["refusals", "answers", "harmful", "user"]
"""Kinds of rows: those that guide (harmful prompts with refusals, harmless prompts with answers, harmful prompts with harmful answers),
and the user's rows that have a response and are not flagged by the run's filter."""
Colour = Literal["vermilion", "blue", "pink", "orange", "green", "sky", "ink"]
"""The palette of Okabe and Ito, but for what is too pale to read; grey is kept for the base."""
Start = Literal["method", "aligned", "base"]
"""Where a run starts: where its method does, or from aligned weights, or from the base."""
ALIGNED = "aligned"
"""Name of the adapter that methods start from which start from aligned weights."""


@dataclass(frozen=True)
class MethodStyle:
    """How a method is drawn on pages and in charts: a colour, and a shape, so that colour is never the only difference."""

    colour: Colour
    shape: str
    dash: str = "solid"


@dataclass(frozen=True)
class DefenseInfo:
    """What a person needs to choose a method.

    `cost` is forward and backward passes per step relative to plain finetuning on the user rows alone; `strength` names
    the setting whose zero takes the method away: what is left is plain finetuning, from the weights that the method starts from.
    A method that starts from aligned weights aligns the base itself, by its own rule, where none are given; `fixed_start`: it makes no
    sense from other weights. `look` is its own. `code` names the repository and commit whose update rule its parity test follows.
    """

    name: str
    title: str
    summary: str
    stage: Literal["alignment", "filter", "finetuning", "filter and finetuning", "post-finetuning", "none"]
    starts_from: Literal["base", "aligned"]
    uses_filter: bool
    needs_teacher: bool
    needs_alignment: bool
    paper: str
    cost: float
    strength: str | None
    look: MethodStyle
    needs_harmful: bool = False
    fixed_start: bool = False
    code: str = ""

    @property
    def aligns_itself(self) -> bool:
        """Whether its rule is one of aligning the base, so that weights aligned elsewhere are of no use to it."""
        return self.stage == "alignment" and self.fixed_start

    def aligned_first(self, start: Start = "method") -> bool:
        """Whether a run of this method starts from aligned weights."""
        return start == "aligned" or (start == "method" and self.starts_from == "aligned")

    def guided(self, *, start: Start = "method", aligned: bool) -> bool:
        """Whether a run needs alignment data: for its steps, or to align the base where no aligned weights are given."""
        return self.needs_alignment or (self.aligned_first(start) and not aligned)


class DefenseConfig(Settings):
    """Settings of a method; plain finetuning has none."""


@dataclass(frozen=True)
class Stage:
    """A training before that on the user's data. Its adapter is made once: runs share it that agree in all that it depends on.

    `step` adds the gradient of one optimizer step. `rule` names its update rule, and `settings` are those of the method that count in it.
    One that `reads` the user's rows, to choose among them, depends on the user's data and on what the filter keeps of them.
    It trains a fresh adapter, on top of the adapters `on`, or goes on with the adapter `start`; ALIGNED among them is left out where the
    run starts from the base as it is. `steps`, `learning_rate`: None takes the run's.
    """

    name: str
    rule: str
    step: Callable[[], StepLog]
    reads: tuple[Kind, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    steps: int | None = None
    learning_rate: float | None = None
    start: str | None = None
    on: tuple[str, ...] = ()


class RunContext(Protocol):
    """Services a run provides to its defense."""

    @property
    def step(self) -> int:
        """Number of the optimizer step, from 1, of the training at hand."""
        ...

    @property
    def steps(self) -> int:
        """Optimizer steps of the training at hand, by its schedule; those that a method adds after the user's rows come on top."""
        ...

    @property
    def model(self) -> LoadedModel:
        """The base, with its decoder blocks."""
        ...

    @property
    def weights(self) -> Weights:
        """The trainable weights of the training at hand."""
        ...

    @property
    def layers(self) -> Layers:
        """The adapted layers of the training at hand: what it began from, and what it has changed so far."""
        ...

    def learn(self, losses: Callable[..., dict[str, Tensor]], *batches: Batch, around: Around | None = None) -> StepLog:
        """Run the model in training over all batches and add the gradient of the summed losses.

        `losses` is called with one `Supervised` for each batch, or, where memory does not hold a step at once, several times
        with parts of them; `task` and `alignment` are the names that charts know. `around` wraps each pass.
        """
        ...

    def gradient(self, losses: Callable[..., dict[str, Tensor]], *batches: Batch, around: Around | None = None) -> tuple[Gradient, StepLog]:
        """The gradient that `learn` would add, and what it would return; nothing is added."""
        ...

    def add(self, gradient: Gradient, scale: float = 1.0) -> None:
        """Add `scale` times a gradient to that of the step."""
        ...

    def rehearsal(self) -> AbstractContextManager[None]:
        """Passes inside draw the dropout that the passes after it draw again, so that several passes of a step see one network."""
        ...

    def alignment_batch(self, *, guided: bool = False) -> Batch:
        """The next alignment rows, half harmful prompts with refusals, half harmless prompts with answers.

        With `guided` the teacher has answered them too: see `teacher_states`.
        """
        ...

    def batch(self, kind: Kind, *, size: int | None = None) -> Batch:
        """The next rows of one kind; `size` rows, None: as many as an alignment batch has."""
        ...

    def examples(self, kind: Kind) -> Sequence[Example]:
        """All rows of one kind; the index of a user row is its position. Raises SpecError if this run has none."""
        ...

    def collate(self, examples: Sequence[Example]) -> Batch:
        """A batch of these rows."""
        ...

    def teacher_states(self, batch: Batch) -> Tensor:
        """The teacher's hidden states for the supervised tokens of (a part of) a guided batch, (tokens, d_model)."""
        ...

    @property
    def teacher_head(self) -> Head | None:
        """What makes logits of those states; None: the student's own head, which a teacher on the same base shares."""
        ...

    def start_states(self, batch: Batch) -> Tensor:
        """Hidden states of the weights that training began from, for the supervised tokens of any rows, (tokens, d_model)."""
        ...

    def start_log_probabilities(self, batch: Batch) -> Tensor:
        """How likely those weights find each supervised token of (a part of) a batch of user rows: log p of its label, (tokens,).

        Asked once for each row; rows that are not known are read now, outside of the training.
        """
        ...

    def read(self, *batches: Batch, around: Around, start: bool = False, dropout: bool = True) -> None:
        """Run the model over batches without a gradient, each pass wrapped by `around`; with `start` the weights training began from.

        `dropout`: as in training, or none.
        """
        ...

    def learn_jointly(
        self, batch: Batch, seen: StatesOf, losses: StatesLosses, *, plus: Callable[..., dict[str, Tensor]] = lambda part: {}
    ) -> StepLog:
        """As `learn` on one batch, with losses of inner states that are no sums over its rows: `losses` gets what `seen` sees of all rows.

        It is called once a step, but for want of memory. Where memory splits the batch, the states are read first, which is one more pass
        forward. `plus` are further losses, as `learn` takes them.
        """
        ...

    def seed(self, label: str) -> int:
        """A seed of the run's own for one purpose, for draws outside of a training."""
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

    @classmethod
    def steps_after(cls, config: DefenseConfig, steps: int) -> int:
        """Steps after the `steps` on the user's rows, on a learning rate schedule of their own; `finetune_step` is called for them too."""
        return 0

    def alignment_stage(self) -> Stage:
        """How the base is aligned, if the method starts from aligned weights and none are given."""
        return Stage(ALIGNED, "plain", self.align_step, reads=("refusals", "answers"))

    def align_step(self) -> StepLog:
        """Add the gradient of one step of the alignment stage: cross entropy on refusals and answers."""
        return self.context.learn(task_loss, self.context.alignment_batch())

    def stages(self) -> Sequence[Stage]:
        """Further adapters that the method needs before the user's data, in order; `finish` finds them by their names."""
        return ()

    def beneath(self) -> Sequence[str]:
        """Adapters of its stages that finetuning goes on on top of, and that are no part of what comes out; most methods have none."""
        return ()

    def select(self) -> list[int]:
        """Positions of the user rows to train on, once, before the first step."""
        return self.context.kept()

    def mixed(self, rows: int) -> Sequence[Example]:
        """Rows to mix into the `rows` user rows that are trained on, once, before the first step."""
        return ()

    def finetune_step(self, user: Batch) -> StepLog:
        """Add this step's gradient; never touches the optimizer."""
        return self.context.learn(task_loss, user)

    def state(self) -> dict[str, Any]:
        """What the method itself changes from step to step (anchors, moving averages, phases): tensors and JSON values by name.

        A training that was interrupted goes on from it, and a stage keeps it beside its adapter; names hold no dot. Most methods have
        none.
        """
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Be as when `state` gave this. Called before the first step that is done again, and after a stage that was done before."""

    def finish(self, layers: Layers) -> None:
        """Change the adapter after the last step; most methods do not."""


def joint_loss(weight: float) -> Callable[[Supervised, Supervised], dict[str, Tensor]]:
    """CE(user rows) + weight · CE(alignment rows)."""

    def losses(task: Supervised, alignment: Supervised) -> dict[str, Tensor]:
        return {"task": task.cross_entropy(), "alignment": weight * alignment.cross_entropy()}

    return losses


def task_loss(task: Supervised) -> dict[str, Tensor]:
    """The loss of plain finetuning."""
    return {"task": task.cross_entropy()}
