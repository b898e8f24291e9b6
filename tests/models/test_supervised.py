"""The losses, on numbers that can be checked by hand (laws: docs/methods.md)."""

from __future__ import annotations

import torch
from torch.nn import functional

from reft_studio.models.supervised import divergence


def logits(seed: int) -> torch.Tensor:
    return torch.randn(7, 11, generator=torch.Generator().manual_seed(seed)) * 3


def test_distillation_vanishes_with_its_gradient_when_student_equals_teacher() -> None:
    student = logits(0).requires_grad_()
    loss = divergence(logits(0), student, temperature=1.0)
    loss.backward()
    assert abs(loss.item()) < 1e-5
    assert student.grad is not None and float(student.grad.abs().max()) < 1e-6


def test_distillation_is_never_negative() -> None:
    assert all(float(divergence(logits(seed), logits(seed + 100), temperature=1.0)) >= 0 for seed in range(20))


def test_a_one_hot_teacher_makes_distillation_the_cross_entropy_of_hard_labels() -> None:
    labels = torch.arange(7) % 11
    sure = functional.one_hot(labels, 11).float() * 1e4
    student = logits(1)
    assert torch.allclose(divergence(sure, student, temperature=1.0), functional.cross_entropy(student, labels), atol=1e-5)


def test_at_high_temperature_distillation_is_half_the_variance_of_the_logit_difference() -> None:
    teacher, student = logits(2), logits(3)
    difference = (teacher - student) - (teacher - student).mean(-1, keepdim=True)
    closed_form = (difference**2).mean(-1).mean() / 2
    assert torch.allclose(divergence(teacher, student, temperature=1000.0), closed_form, rtol=1e-2)


def test_distillation_sends_no_gradient_to_the_teacher() -> None:
    teacher = logits(4).requires_grad_()
    divergence(teacher, logits(5).requires_grad_(), temperature=2.0).backward()
    assert teacher.grad is None
