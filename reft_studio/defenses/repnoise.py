"""RepNoise (Rosati et al., arXiv:2405.14577): alignment that drives the hidden states of harmful responses towards noise."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal, cast

from pydantic import Field

from reft_studio.defenses.defense import ALIGNED, Defense, DefenseConfig, DefenseInfo, MethodStyle, RunContext, Stage
from reft_studio.errors import SpecError

if TYPE_CHECKING:
    from torch import Tensor

    from reft_studio.models.batching import Batch, Example
    from reft_studio.models.fit import StepLog
    from reft_studio.models.joint_losses import States
    from reft_studio.models.supervised import Supervised


class RepNoiseConfig(DefenseConfig):
    """Weights of both terms and which rows are compared; the weights are those of git-disl/Booster."""

    alpha: float = Field(0.1, ge=0, le=100, title="α", description="weight α of how unlikely harmful answers become; 0: none")
    beta: float = Field(0.001, ge=0, le=100, title="β", description="weight β of how far states of harmful answers are from noise; 0: none")
    pairing: Literal["paired", "unpaired"] = Field(
        "paired",
        description="paired: a harmful answer beside the refusal of its prompt, as in the paper; unpaired: beside any row, as in the code",
    )


class RepNoise(Defense):
    """L = CE_s + β·mean_l MMD(M⊙a_l, M⊙ε) − α·log(1 + (CE_h + Σ_k CE_h^(k))/(L + 1)); then plain finetuning.

    M masks the tokens in which a harmful response differs from the row it is paired with; a_l: MLP outputs of block l, ε: noise; CE_h over
    M, CE_h^(k) with the states before and after each block instead of the last; CE_s over the tokens of the paired row that differ.
    """

    info: ClassVar[DefenseInfo] = DefenseInfo(
        name="repnoise",
        title="RepNoise",
        summary="Aligns the base while harmful answers become unlikely in every block and what the blocks make of them becomes noise.",
        stage="alignment",
        starts_from="aligned",
        uses_filter=False,
        needs_teacher=False,
        needs_alignment=True,
        needs_harmful=True,
        paper="arXiv:2405.14577",
        cost=1.0,
        strength=None,
        style=MethodStyle("ink", "hourglass", "dot"),
        fixed_start=True,
        code="git-disl/Booster@6421918",
    )
    Config: ClassVar[type[DefenseConfig]] = RepNoiseConfig

    def __init__(self, config: DefenseConfig, context: RunContext) -> None:
        super().__init__(config, context)
        self._answers: dict[tuple[int, ...], list[Example]] = defaultdict(list)

    def alignment_stage(self) -> Stage:
        """RepNoise's own stage; with α and β zero the plain one, whose adapter is shared between methods."""
        config = cast(RepNoiseConfig, self.config)
        if not config.alpha and not config.beta:
            return super().alignment_stage()
        return Stage(ALIGNED, "repnoise", self.align_step, reads=("refusals", "answers", "harmful"), settings=config.model_dump())

    def align_step(self) -> StepLog:
        """A pass over harmful responses, and one over the alignment rows they are paired with."""
        config, context = cast(RepNoiseConfig, self.config), self.context
        if not config.alpha and not config.beta:
            return super().align_step()
        rows = context.alignment_batch()
        paired = config.pairing == "paired"
        partners = self._paired(rows.examples) if paired else context.batch("harmful", size=len(rows)).examples
        pairs = [(harmful, row) for harmful, row in zip(partners, rows.examples, strict=True) if harmful is not None]
        unlearnt = self._unlearn([harmful for harmful, _ in pairs], [row for _, row in pairs])
        learnt = self._learn(rows, partners)
        return {**unlearnt, **learnt, **{name: unlearnt[name] + learnt[name] for name in ("loss", "tokens")}}

    def _paired(self, rows: Sequence[Example]) -> list[Example | None]:
        """A harmful response to the prompt of each row, in turn if there are several; None where there is none."""
        if not self._answers:
            for row in self.context.examples("harmful"):
                self._answers[tuple(row.ids[: row.prompt])].append(row)
            if not any(tuple(row.ids[: row.prompt]) in self._answers for row in self.context.examples("refusals")):
                raise SpecError(
                    "No harmful answer is to a prompt that the alignment data refuses, so there are no pairs. Give harmful answers to "
                    "those prompts, or set pairing to 'unpaired'."
                )
        candidates = (self._answers.get(tuple(row.ids[: row.prompt]), []) for row in rows)
        return [several[(self.context.step - 1) % len(several)] if several else None for several in candidates]

    def _unlearn(self, harmful: Sequence[Example], others: Sequence[Example]) -> StepLog:
        """Add the gradient of the noise and ascent terms of harmful responses, each paired with another row."""
        import torch

        from reft_studio.models.module_outputs import block_modules, capture_outputs
        from reft_studio.models.noise import differing, distance_to_noise, marked_cross_entropy

        config, context = cast(RepNoiseConfig, self.config), self.context
        model, device = context.model, context.model.device
        tokens = [row.ids for row in harmful]
        marks = [torch.tensor(differing(ids, other.ids), device=device) for ids, other in zip(tokens, others, strict=True)]
        seed = int(torch.randint(2**62, ()))  # so that the noise is the same however often a step asks for it
        if not any(bool(marked[1:].any()) for marked in marks):
            return {"noise": 0.0, "ascent": 0.0, "loss": 0.0, "tokens": 0.0}
        blocks = list(model.blocks)
        depth = len(blocks)

        def losses(states: States) -> dict[str, Tensor]:
            def of(number: int) -> list[Tensor]:
                return [states[number, (0, row)] for row in range(len(harmful))]

            terms: dict[str, Tensor] = {}
            if config.beta:
                noise = torch.Generator(device).manual_seed(seed)
                far = [distance_to_noise(of(block), marks, noise) for block in range(depth)]
                terms["noise"] = config.beta * torch.stack(far).mean()
            if config.alpha:
                entropies = [marked_cross_entropy(model, of(depth + layer), tokens, marks) for layer in range(depth + 1)]
                terms["ascent"] = -config.alpha * torch.log1p((torch.stack(entropies).sum() + entropies[depth - 1]) / (depth + 1))
            return terms

        capture = capture_outputs([*block_modules(model, "mlp"), *blocks], inputs_of=blocks[:1])
        return context.learn_jointly(context.collate(harmful), capture, losses)

    def _learn(self, rows: Batch, partners: Sequence[Example | None]) -> StepLog:
        """Add the gradient of CE over the tokens in which alignment rows differ from their pair; over whole responses without one."""
        from reft_studio.models.noise import differing

        marks: list[list[bool]] = []
        cut: list[Example] = []
        for row, (example, partner) in enumerate(zip(rows.examples, partners, strict=True)):
            marked = (
                [position >= example.prompt for position in range(len(example.ids))]
                if partner is None
                else differing(example.ids, partner.ids)
            )
            start = next((position for position, differs in enumerate(marked) if differs and position), len(example.ids))
            marks.append(marked[start:])
            cut.append(replace(example, prompt=start, index=row))
        count = sum(map(sum, marks))
        if not count:
            return {"task": 0.0, "loss": 0.0, "tokens": 0.0}

        def losses(part: Supervised) -> dict[str, Tensor]:
            weights = part.hidden.new_tensor([float(marked) for row in part.batch.index for marked in marks[row]]) * (part.total / count)
            return {"task": part.cross_entropy(weigh=lambda _, some: weights[some])}

        return self.context.learn(losses, self.context.collate(cut))
