"""Losses over hidden states whose gradient is computed in the forward pass, chunk by chunk, without storing logits.

A frozen head needs no gradient of its own, and the gradient of both losses with respect to the logits is a difference of probabilities
that the forward pass has at hand. So each chunk of tokens is projected, reduced to its loss and its gradient with respect to the hidden
states, and discarded: at most one chunk of (tokens, vocabulary) exists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from reft_studio.errors import SpecError
from reft_studio.models.loading import LoadedModel

CHUNK_CPU, CHUNK_GPU = 128, 1024
"""Tokens per chunk. CPU: as fast as 256 at half the memory (V 49k, d 384); GPU: fewer rows leave its matrix units idle."""


Weigh = Callable[[Tensor, slice], Tensor]
"""Weights of some tokens, (n,), from log p of their labels, (n,), and their slice of all tokens; constants in the gradient."""


@dataclass(frozen=True)
class Head:
    """The frozen map from hidden states to logits: cap·tanh(scale·(W·h + b) / cap); weight is (vocabulary, d_model)."""

    weight: Tensor
    bias: Tensor | None = None
    scale: float = 1.0
    cap: float | None = None

    @classmethod
    def of(cls, model: LoadedModel) -> Head:
        """The head of a loaded model, with its own scale (Cohere, Granite, Falcon) and soft cap (Gemma)."""
        config = model.base.config.get_text_config()
        layer = model.base.get_output_embeddings()
        if not layer.weight.is_floating_point():
            raise SpecError(f"The head of '{model.source}' is quantised. Quantise the decoder blocks only, as is usual, and load it again.")
        named = (getattr(config, name, None) for name in ("logit_scale", "output_multiplier", "lm_head_multiplier"))
        scale = float(next((value for value in named if value is not None), 1.0))
        if (scaling := getattr(config, "logits_scaling", None)) is not None:
            scale = float(scaling) if config.model_type == "hyperclovax" else 1 / float(scaling)
        return cls(layer.weight.detach(), getattr(layer, "bias", None), scale, getattr(config, "final_logit_softcapping", None))

    def first(self, rows: int) -> Head:
        """The first `rows` tokens of the vocabulary; later ones only pad the matrix."""
        return replace(self, weight=self.weight[:rows], bias=None if self.bias is None else self.bias[:rows])

    def exchanged(self, token: int, other_token: int) -> Head:
        """A copy with two tokens swapped."""
        order = torch.arange(len(self.weight), device=self.weight.device)
        order[[token, other_token]] = order[[other_token, token]]
        return replace(self, weight=self.weight[order], bias=None if self.bias is None else self.bias[order])

    def chunks(self, tokens: int) -> Iterator[slice]:
        """Slices that cover `tokens` rows."""
        size = CHUNK_CPU if self.weight.device.type == "cpu" else CHUNK_GPU
        return (slice(start, min(start + size, tokens)) for start in range(0, tokens, size))

    def buffer(self, tokens: int) -> Tensor:
        """Memory for the logits of one chunk, (chunk, vocabulary), float32."""
        rows = next(self.chunks(tokens)).stop
        return torch.empty(rows, len(self.weight), device=self.weight.device)

    def logits(self, hidden: Tensor, out: Tensor) -> Tensor:
        """(n, d_model) -> (n, vocabulary) in the first n rows of `out`, float32."""
        out, hidden = out[: len(hidden)], hidden.to(self.weight.dtype)
        if self.weight.dtype == torch.float32:
            torch.mm(hidden, self.weight.t(), out=out)
        else:
            out.copy_(hidden @ self.weight.t())
        if self.bias is not None:
            out.add_(self.bias)
        if self.scale != 1.0:
            out.mul_(self.scale)
        return out if self.cap is None else out.div_(self.cap).tanh_().mul_(self.cap)

    def slope(self, logits: Tensor) -> Tensor | None:
        """The derivative of the soft cap at these (capped) logits; None without one. Costs another chunk of memory."""
        return None if self.cap is None else (logits / self.cap).square_().neg_().add_(1)

    def pull_back(self, by_logits: Tensor, slope: Tensor | None, *, weight: float) -> Tensor:
        """The gradient with respect to the hidden states, (n, d_model), from that of the logits, times `weight`."""
        if slope is not None:
            by_logits.mul_(slope)
        return (by_logits.to(self.weight.dtype) @ self.weight).mul_(weight * self.scale)


def check_head(model: LoadedModel, backbone: nn.Module) -> None:
    """Compare `Head` with the model's own logits. Raises SpecError for a model that computes its logits differently."""
    ids = torch.tensor([[model.eos_id]], device=model.device)
    with torch.no_grad():
        states = backbone(input_ids=ids, use_cache=False).last_hidden_state[0]
        head = Head.of(model)
        ours, own = head.logits(states, head.buffer(1)), model.base(input_ids=ids, use_cache=False).logits[0].float()
    if not torch.allclose(ours, own, rtol=2e-2, atol=2e-2 * float(own.abs().max())):
        raise SpecError(
            f"{type(model.base).__name__} changes its logits after the head in a way this app does not know, so losses would be wrong. "
            "Choose another model."
        )


def cross_entropy(hidden: Tensor, labels: Tensor, head: Head, *, total: int | None = None, weigh: Weigh | None = None) -> Tensor:
    """Sum over tokens of −log p(label), optionally weighted, divided by `total` (default: the number of tokens): a scalar, float32.

    hidden: (tokens, d_model); labels: (tokens,). `total` lets parts of a batch add up to the mean over the whole.
    """
    total = total or max(len(labels), 1)
    loss: Tensor = _CrossEntropy.apply(hidden, labels, head, total, weigh, _wanted(hidden))  # type: ignore[no-untyped-call]
    return loss


@torch.no_grad()
def log_probabilities(hidden: Tensor, labels: Tensor, head: Head) -> Tensor:
    """Log p(label) of each token, (tokens,), float32. hidden: (tokens, d_model); labels: (tokens,)."""
    result = torch.empty(len(labels), device=hidden.device)
    if len(labels):
        buffer, space = head.buffer(len(labels)), head.buffer(len(labels))
    for part in head.chunks(len(labels)):
        logits = head.logits(hidden[part], buffer)
        chosen = logits.gather(1, labels[part].unsqueeze(1)).squeeze(1)
        result[part] = chosen - _normaliser(logits, torch.softmax(logits, 1, out=space[: len(logits)]))
    return result


def distillation(
    hidden: Tensor, teacher: Tensor, head: Head, *, teacher_head: Head | None = None, temperature: float = 1.0, total: int | None = None
) -> Tensor:
    """T²·sum over tokens of KL(softmax(teacher / T) ‖ softmax(student / T)), divided by `total`: a scalar, float32.

    hidden, teacher: (tokens, d_model), of the same tokens, projected by the same head; a teacher of another width has its own
    `teacher_head` with the same vocabulary. No gradient reaches the teacher.
    """
    total, heads = total or max(len(hidden), 1), (teacher_head or head, head)
    loss: Tensor = _Distillation.apply(hidden, teacher.detach(), heads, temperature, total, _wanted(hidden))  # type: ignore[no-untyped-call]
    return loss


def _wanted(hidden: Tensor) -> bool:
    return torch.is_grad_enabled() and hidden.requires_grad


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, labels: Tensor, head: Head, total: int, weigh: Weigh | None, needs_gradient: bool) -> Tensor:
        loss = torch.zeros((), device=hidden.device)
        gradient = torch.empty_like(hidden) if needs_gradient else None
        if len(labels):
            buffer, space = head.buffer(len(labels)), head.buffer(len(labels))
        for part in head.chunks(len(labels)):
            logits = head.logits(hidden[part], buffer)
            chosen = labels[part].unsqueeze(1)
            label_logits = logits.gather(1, chosen)
            probability = torch.softmax(logits, 1, out=space[: len(logits)])
            surprise = _normaliser(logits, probability) - label_logits.squeeze(1)
            weights = weigh(-surprise, part) if weigh is not None else None
            loss += (surprise if weights is None else weights * surprise).sum()
            if gradient is not None:
                by_logits = probability.scatter_add_(1, chosen, torch.full_like(label_logits, -1.0))
                pulled = head.pull_back(by_logits, head.slope(logits), weight=1 / total)
                gradient[part] = pulled if weights is None else pulled * weights.unsqueeze(1).to(pulled.dtype)
        ctx.gradient = gradient
        return loss / total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outside: Tensor) -> tuple[Tensor | None, ...]:
        return _scaled(ctx, outside), None, None, None, None, None


class _Distillation(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, teacher: Tensor, heads: tuple[Head, Head], temperature: float, total: int, needs_gradient: bool
    ) -> Tensor:
        head = heads[1]
        loss = torch.zeros((), device=hidden.device)
        gradient = torch.empty_like(hidden) if needs_gradient else None
        if len(hidden):
            buffers = [head.buffer(len(hidden)) for _ in range(3)]
        for part in head.chunks(len(hidden)):
            teacher_logits, student_logits = (
                each_head.logits(states[part], out) for each_head, states, out in zip(heads, (teacher, hidden), buffers, strict=False)
            )
            slope = head.slope(student_logits) if gradient is not None else None
            if temperature != 1.0:
                teacher_logits, student_logits = teacher_logits.div_(temperature), student_logits.div_(temperature)
            value, by_logits = _divergence(teacher_logits, student_logits, buffers[2][: len(student_logits)])
            loss += value
            if gradient is not None:
                gradient[part] = head.pull_back(by_logits, slope, weight=temperature / total)
        ctx.gradient = gradient
        return loss * (temperature**2 / total)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outside: Tensor) -> tuple[Tensor | None, ...]:
        return _scaled(ctx, outside), None, None, None, None, None


def _divergence(teacher: Tensor, student: Tensor, space: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of KL(softmax(target) ‖ softmax(found)) and its gradient by `found`; overwrites all three, (n, vocabulary) each.

    KL = Σ p·(target − found) − log Z(target) + log Z(found): exactly 0, with no gradient, where both are the same numbers.
    """
    teacher_probability = torch.softmax(teacher, 1, out=space)
    normaliser = _normaliser(teacher, teacher_probability)
    between = torch.linalg.vecdot(teacher.sub_(student), teacher_probability)
    student_probability = torch.softmax(student, 1, out=teacher)
    rows = between - normaliser + _normaliser(student, student_probability)
    return rows.clamp_min(0).sum(), student_probability.sub_(teacher_probability)


def _normaliser(logits: Tensor, probability: Tensor) -> Tensor:
    """The logarithm of Σ exp(logits), (n,): at the largest entry, log p = logit − log Σ. Twelve times cheaper than log-sum-exp."""
    return logits.amax(1) - probability.amax(1).log()


def _scaled(ctx: Any, outside: Tensor) -> Tensor | None:
    return None if ctx.gradient is None else ctx.gradient * outside.to(ctx.gradient.dtype)
