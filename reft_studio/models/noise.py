"""RepNoise's terms: tokens in which two rows differ, distance of states to noise, cross entropy after every block.

Everything is computed in float32, and is 0 where no token is marked.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from reft_studio.models import fused
from reft_studio.models.loading import LoadedModel

KERNELS = 5
"""Gaussian kernels, each twice as wide as the previous; the middle one is as wide as the mean squared distance."""


def differing(row: Sequence[int], other: Sequence[int]) -> list[bool]:
    """Which tokens of a row differ from the other row's at the same position; tokens beyond the other's end differ."""
    return [position >= len(other) or token != other[position] for position, token in enumerate(row)]


def mmd(first: Tensor, second: Tensor) -> Tensor:
    """The squared maximum mean discrepancy between two samples of equal size, (n, numbers) each: a scalar, 0 if all points coincide."""
    points = torch.cat([first, second]).float()
    points = points - points.detach().mean(0)  # distances stay, and lose less to rounding
    squares = points.square().sum(1)
    distances = (squares[:, None] + squares - 2 * points @ points.T).clamp_min(0)
    wide = distances.detach().sum() / (len(points) ** 2 - len(points))
    if not bool(wide > 0):
        return 0 * squares.sum()
    kernels = torch.stack([torch.exp(-distances / (wide * 2.0 ** (index - KERNELS // 2))) for index in range(KERNELS)]).sum(0)
    size = len(first)
    within, between = kernels[:size, :size] + kernels[size:, size:], kernels[:size, size:] + kernels[size:, :size]
    return (within - between).mean()


def distance_to_noise(states: Sequence[Tensor], marks: Sequence[Tensor], noise: torch.Generator) -> Tensor:
    """MMD between states and standard normal noise in the marked tokens: states (tokens, d) and marks (tokens,) per row."""
    rows = pad_sequence([value.float() * marked[:, None] for value, marked in zip(states, marks, strict=True)], batch_first=True)
    drawn = torch.randn(rows.shape, generator=noise, device=rows.device)
    return mmd(rows.flatten(1), (drawn * pad_sequence(list(marks), batch_first=True)[..., None]).flatten(1))


def marked_cross_entropy(model: LoadedModel, states: Sequence[Tensor], tokens: Sequence[Sequence[int]], marks: Sequence[Tensor]) -> Tensor:
    """Mean over marked tokens of −log p, with these states (tokens, d) of each row as those of the last block.

    The first token of a row has no prediction.
    """
    chosen = torch.cat([value[:-1][marked[1:]] for value, marked in zip(states, marks, strict=True)])
    labels = torch.cat([torch.tensor(row[1:], device=chosen.device)[marked[1:]] for row, marked in zip(tokens, marks, strict=True)])
    return fused.cross_entropy(model.final_norm(chosen), labels, fused.Head.of(model))
