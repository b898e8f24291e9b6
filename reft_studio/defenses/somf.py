"""SOMF (Yi et al., arXiv:2405.09055): after finetuning, learn a mask over the update by preferring refusals to harmful responses."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

from pydantic import Field

from reft_studio.defenses.defense import Defense, DefenseConfig, DefenseInfo, MethodStyle, RunContext
from reft_studio.errors import SpecError

if TYPE_CHECKING:
    from torch import Tensor

    from reft_studio.models.batching import Batch, Example
    from reft_studio.models.fit import StepLog
    from reft_studio.models.joint_losses import States
    from reft_studio.models.low_rank import Layers
    from reft_studio.models.side_parameters import SideParameters


class SomfConfig(DefenseConfig):
    """How the mask is trained; the defaults are those of xinykou/safety_realignment except the length, which is ours."""

    mask_share: float = Field(0.5, ge=0, le=10, description="steps in which the mask learns, as a share of those on user rows; 0: no mask")
    learning_rate: float = Field(0.01, gt=0, le=10, description="peak learning rate of the mask's logits, which falls as a cosine")
    beta: float = Field(0.1, gt=0, le=100, title="β", description="strength β of preferring refusals (DPO)")
    temperature: float = Field(0.5, gt=0, le=10, description="temperature of the mask: near 0 entries are kept or dropped, nothing between")
    scale: float = Field(1.0, gt=0, le=10, title="c", description="scale c of what the mask leaves of the update")
    pairs: int = Field(16, ge=1, le=4096, description="pairs of a refusal and a harmful answer in a step of the mask")


class Somf(Defense):
    """θ = θ_safe + c·(m⊙τ)/mean(m) in A and in B, τ the change made by finetuning, θ_safe the starting weights; m has a value per entry.

    After the user's rows the logits of m are trained by DPO to prefer refusals to harmful responses to the same prompts, under masks
    sampled anew in each step; the reference model is the finetuned one. The result uses the mask's expectation. Until then the weights
    stay those of plain finetuning.
    """

    info: ClassVar[DefenseInfo] = DefenseInfo(
        name="somf",
        title="SOMF",
        summary="Finetunes from aligned weights, then learns a mask over the changes that prefers refusals to harmful answers.",
        stage="post-finetuning",
        starts_from="aligned",
        uses_filter=False,
        needs_teacher=False,
        needs_alignment=True,
        needs_harmful=True,
        paper="arXiv:2405.09055",
        cost=1.5,
        strength="mask_share",
        style=MethodStyle("blue", "bowtie-open", "dash"),
        code="xinykou/safety_realignment@5a80593",
    )
    Config: ClassVar[type[DefenseConfig]] = SomfConfig

    def __init__(self, config: DefenseConfig, context: RunContext) -> None:
        super().__init__(config, context)
        self._logits: SideParameters | None = None
        self._pairs: list[tuple[Example, Example]] = []

    @classmethod
    def steps_after(cls, config: DefenseConfig, steps: int) -> int:
        share = cast(SomfConfig, config).mask_share
        return max(1, round(share * steps)) if share else 0

    def select(self) -> list[int]:
        """All rows. Raises SpecError here, before any training, if there are no pairs."""
        if cast(SomfConfig, self.config).mask_share:
            self._all_pairs()
        return super().select()

    def finetune_step(self, user: Batch) -> StepLog:
        """A step of plain finetuning; after the user's rows a step of the mask, which changes no weight."""
        number = self.context.step - self.context.steps
        return super().finetune_step(user) if number <= 0 else self._mask_step(number)

    def _mask_step(self, number: int) -> StepLog:
        """One DPO step under a sampled mask, with the finetuned weights as reference; `number` counts mask steps from 1."""
        import torch

        from reft_studio.models.concrete_mask import log_probabilities, masked_update, preference, sample_masks
        from reft_studio.models.joint_losses import capture_into
        from reft_studio.models.module_outputs import capture_outputs
        from reft_studio.models.side_parameters import SideParameters

        config, context = cast(SomfConfig, self.config), self.context
        if self._logits is None:
            self._logits = SideParameters([torch.zeros_like(value) for value in context.weights.parameters])
        pairs = self._drawn_pairs(number)
        rows = [*(refusal for refusal, _ in pairs), *(harmful for _, harmful in pairs)]
        batch, capture = context.collate(rows), capture_outputs([context.model.blocks[-1]])
        states_before: dict[Any, Tensor] = {}
        context.read(batch, around=capture_into(capture, states_before), dropout=False)
        with torch.no_grad():
            reference = log_probabilities(context.model, states_before, rows)
        preferred = torch.zeros(())

        def losses(states: States) -> dict[str, Tensor]:
            nonlocal preferred
            loss, margins = preference(log_probabilities(context.model, states, rows), reference, beta=config.beta)
            preferred = (margins > 0).float().mean()
            return {"preference": loss}

        masks = sample_masks(self._logits.values, temperature=config.temperature)
        changes = masked_update(self._updates(context.layers), masks, scale=config.scale)
        with context.weights.moved([change.detach() for change in changes], 1.0):
            line = context.learn_jointly(batch, capture, losses)
        gradient = torch.autograd.grad(changes, self._logits.values, context.weights.take_gradient())
        progress = (number - 1) / self.steps_after(config, context.steps)
        self._logits.step(gradient, learning_rate=config.learning_rate * 0.5 * (1 + math.cos(math.pi * progress)))
        return {**line, "preferred": float(preferred)}

    def _updates(self, layers: Layers) -> list[Tensor]:
        """τ of each trained tensor, in their order."""
        begun = {id(value): first for layer in layers.values() for value, first in zip((layer.up, layer.down), layer.begun, strict=True)}
        return [value.detach() - begun[id(value)].detach() for value in self.context.weights.parameters]

    def _all_pairs(self) -> list[tuple[Example, Example]]:
        """Each harmful response with a refusal of the same prompt, the several refusals of a prompt in turn; other rows are in no pair.

        Raises SpecError if there is none.
        """
        if not self._pairs:
            refusals: Mapping[tuple[int, ...], list[Example]] = defaultdict(list)
            for row in self.context.examples("refusals"):
                refusals[tuple(row.ids[: row.prompt])].append(row)
            used: dict[tuple[int, ...], int] = defaultdict(int)
            for row in self.context.examples("harmful"):
                prompt = tuple(row.ids[: row.prompt])
                if prompt in refusals:
                    self._pairs.append((refusals[prompt][used[prompt] % len(refusals[prompt])], row))
                    used[prompt] += 1
            if not self._pairs:
                raise SpecError(
                    "No harmful answer is to a prompt that the alignment data refuses, so there are no pairs to prefer a refusal in. Give "
                    "harmful answers to those prompts, or set mask_share to 0."
                )
        return self._pairs

    def _drawn_pairs(self, number: int) -> list[tuple[Example, Example]]:
        """The pairs of one step; each pass over all pairs has an order of its own, so the step number alone determines the pairs."""
        pairs = self._all_pairs()
        drawn: list[tuple[Example, Example]] = []
        count = min(cast(SomfConfig, self.config).pairs, len(pairs))
        for position in range((number - 1) * count, number * count):
            epoch, index = divmod(position, len(pairs))
            if not drawn or index == 0:
                order = random.Random(self.context.seed(f"pairs {epoch}")).sample(pairs, len(pairs))
            drawn.append(order[index])
        return drawn

    def state(self) -> dict[str, Any]:
        return {} if self._logits is None else self._logits.state()

    def restore(self, state: dict[str, Any]) -> None:
        from reft_studio.models.side_parameters import SideParameters

        self._logits = SideParameters.of(state, device=self.context.model.device) if state else None

    def finish(self, layers: Layers) -> None:
        """Multiply the update by the expectation of the mask."""
        if self._logits is None:
            return
        from reft_studio.models.concrete_mask import masked_update

        expected = [value.detach().sigmoid() for value in self._logits.values]
        self.context.weights.add(masked_update(self._updates(layers), expected, scale=cast(SomfConfig, self.config).scale))
