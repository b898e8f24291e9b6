"""The regulariser's closed forms (docs/methods.md) and the filter's cosine."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from reft_studio.errors import DataError, StoreError
from reft_studio.teacher.refusal_feature import RefusalFeature, regulariser

R = torch.tensor([3.0, 0.0, 4.0])


def test_the_regulariser_is_zero_when_the_kinds_point_opposite_ways() -> None:
    assert float(regulariser(R, torch.stack([2 * R, 0.1 * R]), torch.stack([-5 * R]))) == pytest.approx(0, abs=1e-6)


def test_the_regulariser_is_two_when_every_feature_is_orthogonal() -> None:
    across = torch.tensor([[0.0, 1.0, 0.0], [4.0, 0.0, -3.0]])
    assert float(regulariser(R, across, across)) == pytest.approx(2)


def test_the_regulariser_does_not_see_the_scale_of_feature_or_direction() -> None:
    harmful, harmless = torch.randn(4, 3), torch.randn(4, 3)
    assert torch.allclose(regulariser(R, harmful, harmless), regulariser(7 * R, 0.5 * harmful, 3 * harmless), atol=1e-6)


def test_the_regulariser_sends_no_gradient_to_the_direction() -> None:
    direction = R.clone().requires_grad_()
    regulariser(direction, torch.randn(2, 3, requires_grad=True), torch.randn(2, 3)).backward()
    assert direction.grad is None


def test_descending_the_regulariser_alone_drives_the_cosines_apart() -> None:
    torch.manual_seed(0)
    encoder = torch.nn.Linear(5, 3)
    harmful, harmless = torch.randn(20, 5) + torch.eye(5)[0] * 2, torch.randn(20, 5)
    optimizer = torch.optim.Adam(encoder.parameters(), lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        regulariser(R, encoder(harmful), encoder(harmless)).backward()
        optimizer.step()
    feature = RefusalFeature(R, layer=1)
    assert float(feature.similarity(encoder(harmful).detach()).mean()) > 0.6
    assert float(feature.similarity(encoder(harmless).detach()).mean()) < -0.6


def test_the_feature_is_the_difference_of_means() -> None:
    feature = RefusalFeature.between(torch.tensor([[2.0, 0], [4, 0]]), torch.tensor([[0.0, 1]]), layer=2)
    assert feature.direction.tolist() == [3, -1]
    with pytest.raises(DataError):
        RefusalFeature.between(torch.zeros(0, 2), torch.zeros(1, 2), layer=2)


def test_a_damaged_feature_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "refusal_feature.safetensors"
    RefusalFeature(torch.tensor([1.0, float("nan")]), 1).save(path)
    with pytest.raises(StoreError, match="finite"):
        RefusalFeature.load(path, layer=1)
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(StoreError):
        RefusalFeature.load(path, layer=1)
