"""The fused losses equal autograd on the plain formula, keep the laws of distillation, and never hold more logits than a chunk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from reft_studio.errors import SpecError
from reft_studio.models import fused
from reft_studio.models.fused import Head, check_head, cross_entropy, distillation, log_probabilities
from reft_studio.models.loading import load
from tests.tiny_models import FAMILIES, make_model

TOKENS, WIDTH, WORDS = 11, 8, 23
HEADS = {
    "plain": {},
    "bias": {"bias": torch.linspace(-1, 1, WORDS)},
    "scale": {"scale": 0.25},
    "cap": {"cap": 3.0},
    "all": {"bias": torch.linspace(-1, 1, WORDS), "scale": 4.0, "cap": 5.0},
}


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "CHUNK_CPU", 4)


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def head(**settings: Any) -> Head:
    return Head(drawn(9, WORDS, WIDTH), **settings)


def plain_logits(hidden: Tensor, head: Head) -> Tensor:
    logits = (hidden @ head.weight.t() + (0 if head.bias is None else head.bias)) * head.scale
    return logits if head.cap is None else torch.tanh(logits / head.cap) * head.cap


def plain_divergence(hidden: Tensor, teacher: Tensor, head: Head, temperature: float) -> Tensor:
    target = functional.log_softmax(plain_logits(teacher, head) / temperature, dim=-1)
    found = functional.log_softmax(plain_logits(hidden, head) / temperature, dim=-1)
    return temperature**2 * functional.kl_div(found, target, log_target=True, reduction="sum") / len(hidden)


def with_gradient(hidden: Tensor, loss: Any) -> tuple[Tensor, Tensor]:
    leaf = hidden.clone().requires_grad_()
    value = loss(leaf)
    (3 * value).backward()  # a factor from outside must reach the gradient
    assert leaf.grad is not None
    return value.detach(), leaf.grad


@pytest.mark.parametrize("kind", HEADS)
def test_cross_entropy_and_its_gradient_equal_autograd_on_the_plain_formula(kind: str) -> None:
    one, labels = head(**HEADS[kind]), torch.arange(TOKENS) * 2 % WORDS
    ours = with_gradient(drawn(1, TOKENS, WIDTH), lambda hidden: cross_entropy(hidden, labels, one))
    plain = with_gradient(drawn(1, TOKENS, WIDTH), lambda hidden: functional.cross_entropy(plain_logits(hidden, one), labels))
    for mine, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", HEADS)
def test_tokens_can_be_weighed_by_how_likely_they_are(kind: str) -> None:
    one, labels, bias = head(**HEADS[kind]), torch.arange(TOKENS) * 2 % WORDS, torch.linspace(0.5, 2, TOKENS)

    def plain(hidden: Tensor) -> Tensor:
        surprise = functional.cross_entropy(plain_logits(hidden, one), labels, reduction="none")
        return (surprise * (bias * (-surprise.detach()).sigmoid())).mean()

    weighed = with_gradient(
        drawn(1, TOKENS, WIDTH), lambda hidden: cross_entropy(hidden, labels, one, weigh=lambda log_p, part: bias[part] * log_p.sigmoid())
    )
    for mine, other in zip(weighed, with_gradient(drawn(1, TOKENS, WIDTH), plain), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)
    even = with_gradient(
        drawn(1, TOKENS, WIDTH), lambda hidden: cross_entropy(hidden, labels, one, weigh=lambda log_p, part: log_p * 0 + 1)
    )
    unweighed = with_gradient(drawn(1, TOKENS, WIDTH), lambda hidden: cross_entropy(hidden, labels, one))
    assert all(torch.equal(mine, other) for mine, other in zip(even, unweighed, strict=True))


@pytest.mark.parametrize("kind", HEADS)
def test_log_probabilities_are_those_of_the_labels(kind: str) -> None:
    one, labels, hidden = head(**HEADS[kind]), torch.arange(TOKENS) * 2 % WORDS, drawn(1, TOKENS, WIDTH)
    expected = functional.log_softmax(plain_logits(hidden, one), dim=-1)[torch.arange(TOKENS), labels]
    torch.testing.assert_close(log_probabilities(hidden, labels, one), expected, rtol=1e-5, atol=1e-5)
    assert log_probabilities(hidden[:0], labels[:0], one).shape == (0,)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("kind", HEADS)
def test_distillation_and_its_gradient_equal_autograd_on_the_plain_formula(kind: str, temperature: float) -> None:
    one, teacher = head(**HEADS[kind]), drawn(2, TOKENS, WIDTH)
    ours = with_gradient(drawn(1, TOKENS, WIDTH), lambda hidden: distillation(hidden, teacher, one, temperature=temperature))
    plain = with_gradient(drawn(1, TOKENS, WIDTH), lambda hidden: plain_divergence(hidden, teacher, one, temperature))
    for mine, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=2e-6)


def test_distillation_is_exactly_zero_with_its_gradient_when_student_equals_teacher() -> None:
    for seed in range(5):
        same = drawn(seed, TOKENS, WIDTH)
        value, gradient = with_gradient(same, lambda hidden, same=same: distillation(hidden, same, head(cap=3.0), temperature=2.0))
        assert value == 0 and not gradient.any()


def test_distillation_is_never_negative() -> None:
    for seed in range(20):
        near = drawn(seed, TOKENS, WIDTH)
        assert distillation(near + 1e-4 * drawn(seed + 50, TOKENS, WIDTH), near, head()) >= 0


def test_a_one_hot_teacher_makes_distillation_the_cross_entropy_of_hard_labels() -> None:
    sharp = Head(torch.eye(WIDTH) * 50)
    labels = torch.arange(TOKENS) % WIDTH
    student = drawn(3, TOKENS, WIDTH) / 50
    soft = with_gradient(student, lambda hidden: distillation(hidden, functional.one_hot(labels, WIDTH) * 50.0, sharp))
    hard = with_gradient(student, lambda hidden: cross_entropy(hidden, labels, sharp))
    for one, two in zip(soft, hard, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-5)


def test_at_high_temperature_distillation_is_half_the_variance_of_the_logit_difference() -> None:
    one, student, teacher = head(), drawn(3, TOKENS, WIDTH), drawn(4, TOKENS, WIDTH)
    difference = plain_logits(teacher - student, one)
    closed_form = difference.var(dim=-1, unbiased=False).mean() / 2
    found = [distillation(student.double(), teacher.double(), Head(one.weight), temperature=t).double() for t in (50.0, 100.0)]
    assert all(abs(float(value / closed_form) - 1) < 0.1 for value in found)


def test_no_gradient_reaches_the_teacher_and_none_is_kept_without_need() -> None:
    teacher = drawn(4, TOKENS, WIDTH).requires_grad_()
    distillation(drawn(5, TOKENS, WIDTH).requires_grad_(), teacher, head()).backward()
    assert teacher.grad is None
    with torch.no_grad():
        assert not cross_entropy(drawn(5, TOKENS, WIDTH).requires_grad_(), torch.zeros(TOKENS, dtype=torch.long), head()).requires_grad


def test_parts_of_a_batch_add_up_to_the_whole() -> None:
    labels, hidden = torch.arange(TOKENS), drawn(1, TOKENS, WIDTH)
    whole = with_gradient(hidden, lambda states: cross_entropy(states, labels, head()))
    parts = with_gradient(
        hidden,
        lambda states: (
            cross_entropy(states[:3], labels[:3], head(), total=TOKENS)
            + cross_entropy(states[3:], labels[3:], head(), total=TOKENS)
            + cross_entropy(states[:0], labels[:0], head(), total=TOKENS)
        ),
    )
    for one, two in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-7)


def test_half_precision_heads_answer_in_full_precision() -> None:
    one = Head(drawn(9, WORDS, WIDTH).bfloat16())
    hidden, labels = drawn(1, TOKENS, WIDTH).bfloat16(), torch.arange(TOKENS)
    value, gradient = with_gradient(hidden, lambda states: cross_entropy(states, labels, one))
    plain = functional.cross_entropy((hidden @ one.weight.t()).float(), labels)
    assert value.dtype == torch.float32 and gradient.dtype == torch.bfloat16
    torch.testing.assert_close(value, plain, rtol=1e-5, atol=1e-5)


class Shapes(TorchDispatchMode):
    """Notes the shape of every tensor that any operation makes, but for views of `known`."""

    def __init__(self, known: Tensor) -> None:
        super().__init__()
        self.known = known.untyped_storage().data_ptr()
        self.seen: list[torch.Size] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(value, Tensor) and value.untyped_storage().data_ptr() != self.known:
                self.seen.append(value.shape)
        return result


def test_no_tensor_of_tokens_by_vocabulary_is_larger_than_a_chunk_on_the_way_there_or_back() -> None:
    hidden, labels = drawn(1, TOKENS, WIDTH).requires_grad_(), torch.arange(TOKENS)
    one = head(cap=3.0)
    with Shapes(one.weight) as shapes:
        (cross_entropy(hidden, labels, one) + distillation(hidden, drawn(2, TOKENS, WIDTH), one, temperature=2.0)).backward()
    logits = [shape for shape in shapes.seen if shape[-1:] == (WORDS,) and len(shape) > 1]
    assert logits and all(shape[0] <= fused.CHUNK_CPU for shape in logits)
    assert one.weight.shape not in shapes.seen, "the frozen head must get no gradient"


@pytest.fixture(scope="module")
def family_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield tmp_path_factory.mktemp("families")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_head_answers_as_the_model_itself_tied_or_not_scaled_or_capped(family: str, family_folders: Path) -> None:
    model = load(str(make_model(family_folders / family, family)))
    check_head(model, model.base.base_model)
    states = drawn(1, TOKENS, len(Head.of(model).weight[0]))
    mine = Head.of(model)
    found = torch.cat([mine.logits(states[part], mine.buffer(TOKENS)).clone() for part in mine.chunks(TOKENS)])
    torch.testing.assert_close(found, model.logits(states), rtol=1e-5, atol=1e-5)


def test_a_model_that_treats_its_logits_in_an_unknown_way_is_refused(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(str(tiny_model))
    real = model.base.lm_head.forward
    monkeypatch.setattr(model.base.lm_head, "forward", lambda states: real(states) ** 3)
    with pytest.raises(SpecError, match="changes its logits"):
        check_head(model, model.base.base_model)
