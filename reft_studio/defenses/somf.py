"""SOMF (Yi et al., arXiv:2405.09055): after finetuning, a mask over what it changed is learnt, by which answer to harm is preferred."""

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
    from reft_studio.models.beside import SideParameters
    from reft_studio.models.fit import StepLog
    from reft_studio.models.joint import States
    from reft_studio.models.low_rank import Layers


class SomfConfig(DefenseConfig):
    """How long and how the mask learns; the defaults are those of xinykou/safety_realignment but for the length, which is ours."""

    mask_share: float = Field(0.5, ge=0, le=10, description="steps in which the mask learns, as a share of those on user rows; 0: no mask")
    learning_rate: float = Field(0.01, gt=0, le=10, description="peak learning rate of the mask's logits, which falls as a cosine")
    beta: float = Field(0.1, gt=0, le=100, title="β", description="strength β of preferring refusals (DPO)")
    temperature: float = Field(0.5, gt=0, le=10, description="temperature of the mask: near 0 entries are kept or dropped, nothing between")
    scale: float = Field(1.0, gt=0, le=10, title="c", description="scale c of what the mask leaves of the update")
    pairs: int = Field(16, ge=1, le=4096, description="pairs of a refusal and a harmful answer in a step of the mask")


class Somf(Defense):
    """θ = θ_safe + c·(m⊙τ)/mean(m) in A and in B, τ what finetuning changed, θ_safe where it began; m is one number for each entry.

    After the user's rows the logits of m learn by DPO that refusals be preferred to harmful answers to the same prompts, under masks
    drawn anew in each step; the model compared with is the finetuned one. What comes out is under the mask's expectation. Until then the
    weights stay those of plain finetuning.
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
        look=MethodStyle("blue", "bowtie-open", "dash"),
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
        """All rows; where there are no pairs that is said now, before anything is trained."""
        if cast(SomfConfig, self.config).mask_share:
            self._all_pairs()
        return super().select()

    def finetune_step(self, user: Batch) -> StepLog:
        """A step of plain finetuning; after the user's rows one of the mask, in which no weight changes."""
        number = self.context.step - self.context.steps
        return super().finetune_step(user) if number <= 0 else self._mask_step(number)

    def _mask_step(self, number: int) -> StepLog:
        """Read pairs with the finetuned weights, then learn from them under a mask; step `number` of the mask, from 1."""
        import torch

        from reft_studio.models.beside import SideParameters
        from reft_studio.models.concrete_mask import drawn, log_probabilities, preference, scaled
        from reft_studio.models.inner import answers
        from reft_studio.models.joint import keeping

        config, context = cast(SomfConfig, self.config), self.context
        if self._logits is None:
            self._logits = SideParameters([torch.zeros_like(value) for value in context.weights.parameters])
        pairs = self._drawn_pairs(number)
        rows = [*(refusal for refusal, _ in pairs), *(harmful for _, harmful in pairs)]
        batch, seen = context.collate(rows), answers([context.model.blocks[-1]])
        found: dict[Any, Tensor] = {}
        context.read(batch, around=keeping(seen, found), dropout=False)
        with torch.no_grad():
            reference = log_probabilities(context.model, found, rows)
        preferred = torch.zeros(())

        def losses(states: States) -> dict[str, Tensor]:
            nonlocal preferred
            loss, margins = preference(log_probabilities(context.model, states, rows), reference, beta=config.beta)
            preferred = (margins > 0).float().mean()
            return {"preference": loss}

        masks = drawn(self._logits.values, temperature=config.temperature)
        changes = scaled(self._updates(context.layers), masks, scale=config.scale)
        with context.weights.moved([change.detach() for change in changes], 1.0):
            line = context.learn_jointly(batch, seen, losses)
        gradient = torch.autograd.grad(changes, self._logits.values, context.weights.take())
        progress = (number - 1) / self.steps_after(config, context.steps)
        self._logits.step(gradient, learning_rate=config.learning_rate * 0.5 * (1 + math.cos(math.pi * progress)))
        return {**line, "preferred": float(preferred)}

    def _updates(self, layers: Layers) -> list[Tensor]:
        """τ of each trained tensor, in their order."""
        begun = {id(value): first for layer in layers.values() for value, first in zip((layer.up, layer.down), layer.begun, strict=True)}
        return [value.detach() - begun[id(value)].detach() for value in self.context.weights.parameters]

    def _all_pairs(self) -> list[tuple[Example, Example]]:
        """Each harmful answer behind a refusal of its prompt, the several refusals of a prompt in turn; other rows are in no pair.

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
        """The pairs of one step: all of them in an order of each pass over them, so the number of the step says where a mask stands."""
        pairs = self._all_pairs()
        found: list[tuple[Example, Example]] = []
        count = min(cast(SomfConfig, self.config).pairs, len(pairs))
        for place in range((number - 1) * count, number * count):
            again, at = divmod(place, len(pairs))
            if not found or at == 0:
                order = random.Random(self.context.seed(f"pairs {again}")).sample(pairs, len(pairs))
            found.append(order[at])
        return found

    def state(self) -> dict[str, Any]:
        return {} if self._logits is None else self._logits.state()

    def restore(self, state: dict[str, Any]) -> None:
        from reft_studio.models.beside import SideParameters

        self._logits = SideParameters.of(state, device=self.context.model.device) if state else None

    def finish(self, layers: Layers) -> None:
        """Put the expectation of the mask over what finetuning changed."""
        if self._logits is None:
            return
        from reft_studio.models.concrete_mask import scaled

        expected = [value.detach().sigmoid() for value in self._logits.values]
        self.context.weights.add(scaled(self._updates(layers), expected, scale=cast(SomfConfig, self.config).scale))
