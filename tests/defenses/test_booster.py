"""Booster against its rule in closed form, on quadratics: git-disl/Booster@6421918, `trainer.py`, `BoosterAlignmentTrainer`."""

from __future__ import annotations

from pathlib import Path

import torch

from reft_studio.defenses.booster import Booster, BoosterConfig
from reft_studio.models.spec import LoraSpec
from tests.defenses.real import Real
from tests.defenses.toy import Quadratic, ToyContext

ALIGNMENT, HARMFUL = Quadratic.drawn(2), Quadratic.drawn(3)
TOLERANCE = 1e-9
"""Of float64 sums in another order; the guard 1e-7 in the divisor is the rule's own."""


def booster(**settings: float) -> tuple[Booster, ToyContext]:
    context = ToyContext({"alignment": ALIGNMENT, "harmful": HARMFUL})
    return Booster(BoosterConfig(**settings), context), context  # type: ignore[arg-type]


def test_the_gradient_is_the_alignment_gradient_and_lambda_times_what_a_harmful_step_takes_away() -> None:
    method, context = booster(lam=5.0, alpha=0.1)
    method.align_step()
    w = context.flat()
    here = HARMFUL.gradient(w)
    there = HARMFUL.gradient(w - 0.1 * here / (here.norm() + 1e-7))
    assert torch.allclose(context.flat_gradient(), ALIGNMENT.gradient(w) + 5.0 * (here - there), atol=TOLERANCE)


def test_on_a_quadratic_the_extra_term_is_lambda_alpha_times_the_hessian_along_the_harmful_direction() -> None:
    method, context = booster(lam=2.0, alpha=0.3)
    method.align_step()
    here = HARMFUL.gradient(context.flat())
    extra = context.flat_gradient() - ALIGNMENT.gradient(context.flat())
    assert torch.allclose(extra, 2.0 * 0.3 * HARMFUL.hessian @ here / here.norm(), atol=1e-6)


def test_the_weights_are_back_to_the_bit_after_the_simulated_step() -> None:
    method, context = booster(lam=5.0, alpha=0.1)
    before = [value.detach().clone() for value in context.parameters]
    method.align_step()
    assert all(torch.equal(one, two) for one, two in zip(before, context.parameters, strict=True))


def test_a_step_is_three_passes_forward_and_back_and_one_without_lambda_or_alpha() -> None:
    for settings, passes in (({}, 3), ({"lam": 0.0}, 1), ({"alpha": 0.0}, 1)):
        method, context = booster(**settings)
        method.align_step()
        assert context.passes == passes


def test_without_strength_the_alignment_is_the_plain_one_and_its_weights_are_shared() -> None:
    method, context = booster(lam=0.0)
    method.align_step()
    assert torch.allclose(context.flat_gradient(), ALIGNMENT.gradient(context.flat()), atol=TOLERANCE)
    assert method.alignment_stage().rule == "plain" and booster()[0].alignment_stage().rule == "booster"


def test_both_harmful_passes_draw_the_same_dropout(tmp_path: Path) -> None:
    """A step of no length to speak of takes nothing away, unless the two passes see two networks."""
    real = Real(tmp_path, lora=LoraSpec(rank=4, alpha=64, dropout=0.5))
    line, _ = real.gradient("booster", config={"alpha": 1e-6})
    assert abs(line["attenuated"]) < 1e-4
