"""The protocol of a defense; its default is plain finetuning. Imports no torch: tensors belong to the context.

The order in a run: the stages before the user's data (one adapter each, trained once and shared by runs), selecting and mixing rows,
the optimizer steps, and changes to the finished adapter.
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
    from reft_studio.models.joint_losses import Capture, StatesLosses
    from reft_studio.models.loading import LoadedModel
    from reft_studio.models.low_rank import Layers
    from reft_studio.models.supervised import Supervised
    from reft_studio.models.weights import Gradient, Weights

Kind = Literal["refusals", "answers", "harmful", "user"]
"""Kinds of rows: guiding rows (harmful prompts with refusals, harmless prompts with responses, harmful prompts with harmful responses),
and the user's rows that have a response and are not flagged by the run's filter."""
Colour = Literal["vermilion", "blue", "pink", "orange", "green", "sky", "ink"]
"""The palette of Okabe and Ito without the colours too pale to read; grey is reserved for the base."""
Start = Literal["method", "aligned", "base"]
"""Where a run starts: where its method does, from aligned weights, or from the base."""
ALIGNED = "aligned"
"""Name of the adapter with the aligned weights."""


@dataclass(frozen=True)
class MethodStyle:
    """How a method is drawn on pages and in charts: colour, marker and dash, so that colour is never the only difference."""

    colour: Colour
    shape: str
    dash: str = "solid"


@dataclass(frozen=True)
class DefenseInfo:
    """What a person needs to choose a method.

    `cost` is forward and backward passes per step relative to plain finetuning on the user rows alone. `strength` names the setting that
    turns the method off at zero: the run is then plain finetuning from the weights that the method starts from. A method that starts from
    aligned weights aligns the base by its own rule where none are given; with `fixed_start` it cannot start anywhere else. `code` names the
    repository and commit whose update rule the parity test follows.
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
    style: MethodStyle
    needs_harmful: bool = False
    fixed_start: bool = False
    code: str = ""

    @property
    def aligns_itself(self) -> bool:
        """Whether the method is an alignment rule, so that weights aligned elsewhere are of no use to it."""
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
    """A training before that on the user's data. Its adapter is made once and shared by all runs with the same inputs.

    `step` adds the gradient of one optimizer step. `rule` names its update rule; `settings` are the settings of the method that affect it.
    A stage that `reads` the user's rows, to choose among them, depends on the user's data and on which of them the filter keeps.
    It trains a fresh adapter on top of the adapters `on`, or continues the adapter `start`; ALIGNED among them is left out where the run
    starts from the base. `steps`, `learning_rate`: None takes the run's.
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
        """Number of the optimizer step, from 1, in the current training (a stage, or that on the user's data)."""
        ...

    @property
    def steps(self) -> int:
        """Optimizer steps scheduled for the current training, without those that a method adds after the user's rows."""
        ...

    @property
    def model(self) -> LoadedModel:
        """The base model, with its decoder blocks."""
        ...

    @property
    def weights(self) -> Weights:
        """The trainable weights of the current training."""
        ...

    @property
    def layers(self) -> Layers:
        """The adapted layers of the current training: their starting weights and their change so far."""
        ...

    def learn(self, losses: Callable[..., dict[str, Tensor]], *batches: Batch, around: Around | None = None) -> StepLog:
        """Run forward and backward over all batches and add the gradient of the summed losses.

        `losses` is called with one `Supervised` per batch; where a step does not fit in memory, several times with parts of them. Charts
        know the losses named `task` and `alignment`. `around` gives a context manager that wraps each forward pass.
        """
        ...

    def gradient(self, losses: Callable[..., dict[str, Tensor]], *batches: Batch, around: Around | None = None) -> tuple[Gradient, StepLog]:
        """The gradient that `learn` would add, and its log line; `.grad` is not touched."""
        ...

    def add(self, gradient: Gradient, scale: float = 1.0) -> None:
        """Add `scale` times a gradient to that of the step."""
        ...

    def repeat_dropout(self) -> AbstractContextManager[None]:
        """The passes after this context repeat the dropout masks drawn inside it, so that several passes of a step see one network."""
        ...

    def alignment_batch(self, *, guided: bool = False) -> Batch:
        """The next alignment rows, half harmful prompts with refusals, half harmless prompts with responses.

        `guided` rows are also read by the teacher: see `teacher_states`.
        """
        ...

    def batch(self, kind: Kind, *, size: int | None = None) -> Batch:
        """The next rows of one kind; `size` rows, None: as many as in an alignment batch."""
        ...

    def examples(self, kind: Kind) -> Sequence[Example]:
        """All rows of one kind; the `index` of a user row is its position in the dataset. Raises SpecError if this run has none."""
        ...

    def collate(self, examples: Sequence[Example]) -> Batch:
        """A batch of these rows."""
        ...

    def teacher_states(self, batch: Batch) -> Tensor:
        """The teacher's hidden states for the supervised tokens of (a part of) a guided batch, (tokens, d_model)."""
        ...

    @property
    def teacher_head(self) -> Head | None:
        """The teacher's output head for those states; None: the student's own, which a teacher on the same base shares."""
        ...

    def start_states(self, batch: Batch) -> Tensor:
        """Hidden states of the starting weights for the supervised tokens of any rows, (tokens, d_model)."""
        ...

    def start_log_probabilities(self, batch: Batch) -> Tensor:
        """Log p of each supervised label under the starting weights, for (a part of) a batch of user rows, (tokens,).

        Computed once per row; for new rows, in an extra pass without gradient.
        """
        ...

    def read(self, *batches: Batch, around: Around, start: bool = False, dropout: bool = True) -> None:
        """Run the model over batches without a gradient, each pass wrapped by `around`; `start` uses the starting weights.

        `dropout`: as in training, or none.
        """
        ...

    def learn_jointly(
        self, batch: Batch, capture: Capture, losses: StatesLosses, *, extra: Callable[..., dict[str, Tensor]] = lambda part: {}
    ) -> StepLog:
        """As `learn` on one batch, for losses that are no sums over rows: `losses` gets the states that `capture` records of all rows.

        It is called once a step, except for want of memory: a batch that is split is read first, which costs one more forward pass.
        `extra` are further losses, as `learn` takes them.
        """
        ...

    def seed(self, label: str) -> int:
        """A seed derived from the run's, for one named purpose outside of training."""
        ...

    def kept_rows(self) -> list[int]:
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
        """Steps after the `steps` on the user's rows, with their own learning rate schedule; `finetune_step` is called for them too."""
        return 0

    def alignment_stage(self) -> Stage:
        """How the base is aligned, if the method starts from aligned weights and none are given."""
        return Stage(ALIGNED, "plain", self.align_step, reads=("refusals", "answers"))

    def align_step(self) -> StepLog:
        """Add the gradient of one step of the alignment stage: cross entropy on refusals and answers."""
        return self.context.learn(task_loss, self.context.alignment_batch())

    def stages(self) -> Sequence[Stage]:
        """Further adapters that the method trains before the user's data, in order; `finish` gets them by name."""
        return ()

    def discarded_adapters(self) -> Sequence[str]:
        """Names of stage adapters that finetuning runs on top of and that are not part of the result; most methods have none."""
        return ()

    def select(self) -> list[int]:
        """Positions of the user rows to train on, once, before the first step."""
        return self.context.kept_rows()

    def mixed(self, rows: int) -> Sequence[Example]:
        """Examples to mix into the `rows` selected user rows, once, before the first step."""
        return ()

    def finetune_step(self, user: Batch) -> StepLog:
        """Add this step's gradient; never touches the optimizer."""
        return self.context.learn(task_loss, user)

    def state(self) -> dict[str, Any]:
        """State carried from step to step (anchors, moving averages, phases): tensors and JSON values by name, without dots.

        An interrupted training resumes from it, and a stage stores it with its adapter. Most methods have none.
        """
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned, before a training resumes and after a stage that was trained earlier."""

    def finish(self, layers: Layers) -> None:
        """Change the adapter in place after the last step; most methods do not."""


def joint_loss(weight: float) -> Callable[[Supervised, Supervised], dict[str, Tensor]]:
    """CE(user rows) + weight · CE(alignment rows)."""

    def losses(task: Supervised, alignment: Supervised) -> dict[str, Tensor]:
        return {"task": task.cross_entropy(), "alignment": weight * alignment.cross_entropy()}

    return losses


def task_loss(task: Supervised) -> dict[str, Tensor]:
    """The loss of plain finetuning."""
    return {"task": task.cross_entropy()}
