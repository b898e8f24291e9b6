"""SEAL (Shen et al., arXiv:2410.07471): leaves out the user rows that a model trained on alignment data finds hard to fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

from pydantic import Field

from reft_studio.defenses.defense import ALIGNED, Defense, DefenseConfig, DefenseInfo, MethodStyle, RunContext, Stage

if TYPE_CHECKING:
    from torch import Tensor

    from reft_studio.models.batching import Batch, Example
    from reft_studio.models.fit import StepLog
    from reft_studio.models.selector import Selector
    from reft_studio.models.supervised import Supervised

SELECTOR = "selector"
"""Name of the adapter trained together with the rows' logits; only the logits are used."""


class SealConfig(DefenseConfig):
    """How rows are selected; the defaults are those of hanshen95/SEAL."""

    drop: float = Field(0.2, ge=0, lt=1, description="share of the user's rows that is left out, those of lowest logits; 0: no selection")
    passes: float = Field(3.0, gt=0, le=100, description="passes over the user's rows while the logits learn")
    batch_size: int = Field(64, ge=1, le=4096, description="user rows in each of those steps")
    learning_rate: float = Field(0.005, gt=0, le=10, description="learning rate of the logits")
    safety: float = Field(1.0, ge=0, le=1, title="u", description="weight u of the alignment rows in the first pass; user rows weigh 1 − u")
    decay: float = Field(0.03, ge=0, le=1, description="by how much u falls from one pass to the next")


class Seal(Defense):
    """A stage on top of the aligned weights minimises u·(mean loss of alignment rows) + (1 − u)·mean of w_i·L_i over user rows.

    L_i is the mean over a row's tokens, w = n·softmax(z) over all n rows. Each step also descends the gradient of mean w_i·L_i in the
    logits z. The run is then plain finetuning on the rows of highest logits, from the weights that the stage started on.
    """

    info: ClassVar[DefenseInfo] = DefenseInfo(
        name="seal",
        title="SEAL",
        summary="Learns which user rows stay hard to fit beside alignment data, leaves a share of them out, and finetunes on the rest.",
        stage="filter",
        starts_from="aligned",
        uses_filter=False,
        needs_teacher=False,
        needs_alignment=True,
        paper="arXiv:2410.07471",
        cost=1.0,
        strength="drop",
        style=MethodStyle("vermilion", "hexagon-open", "dot"),
        code="hanshen95/SEAL@1538e62",
    )
    Config: ClassVar[type[DefenseConfig]] = SealConfig

    def __init__(self, config: DefenseConfig, context: RunContext) -> None:
        super().__init__(config, context)
        self._selector: Selector | None = None

    def stages(self) -> Sequence[Stage]:
        """The selection stage, once per user data, whatever share of it is dropped."""
        config = cast(SealConfig, self.config)
        if not config.drop:
            return ()
        steps = max(1, round(config.passes * len(self.context.examples("user")) / self._size()))
        settings = config.model_dump(exclude={"drop"})
        return [Stage(SELECTOR, "seal", self.select_step, ("refusals", "answers", "user"), settings=settings, steps=steps, on=(ALIGNED,))]

    def _size(self) -> int:
        return min(cast(SealConfig, self.config).batch_size, len(self.context.examples("user")))

    def select_step(self) -> StepLog:
        """Add the gradient of both terms under the current row weights, then update the logits from the rows' losses."""
        import torch

        from reft_studio.models.selector import RowLosses, Selector

        config, context = cast(SealConfig, self.config), self.context
        rows = context.examples("user")
        if self._selector is None:
            self._selector = Selector(len(rows))
        position_of = {row.index: position for position, row in enumerate(rows)}
        drawn = context.batch("user", size=self._size()).examples
        positions = [position_of[row.index] for row in drawn]
        weights, safety = self._selector.weights[positions], self._safety()
        safe, user = self._placed(context.alignment_batch().examples), self._placed(drawn)
        alignment_losses, user_losses = RowLosses(len(safe)), RowLosses(len(user))

        def losses(alignment: Supervised, task: Supervised) -> dict[str, Tensor]:
            guided = alignment_losses.mean(alignment, torch.full((len(safe),), safety))
            return {"alignment": guided, "task": user_losses.mean(task, (1 - safety) * weights)}

        line = context.learn(losses, safe, user)
        self._selector.learn(positions, user_losses.of, learning_rate=config.learning_rate)
        return line

    def _placed(self, rows: Sequence[Example]) -> Batch:
        """A batch whose rows have their position in the batch as index."""
        return self.context.collate([replace(row, index=position) for position, row in enumerate(rows)])

    def _safety(self) -> float:
        """The weight u in the pass over the user's rows in which this step begins."""
        config = cast(SealConfig, self.config)
        done = (self.context.step - 1) * self._size() // len(self.context.examples("user"))
        return max(0.0, config.safety - config.decay * done)

    def select(self) -> list[int]:
        """Positions of the rows of highest logits, in the order of the data."""
        config = cast(SealConfig, self.config)
        if self._selector is None or not config.drop:
            return super().select()
        rows = self.context.examples("user")
        kept = int(len(rows) * (1 - config.drop) + 1e-9)  # 10 · (1 − 0.9) is a little less than 1 in floating point
        return [rows[position].index for position in self._selector.highest(max(1, kept))]

    def state(self) -> dict[str, Any]:
        return {} if self._selector is None else self._selector.state()

    def restore(self, state: dict[str, Any]) -> None:
        from reft_studio.models.selector import Selector

        self._selector = Selector.of(state) if state else None
