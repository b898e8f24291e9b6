"""The regulariser's closed forms (docs/methods.md) and the filter's cosine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from reft_studio.errors import DataError, SpecError, StoreError
from reft_studio.teacher.refusal_feature import RefusalFeature, discriminant, regulariser

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


def test_the_centred_cosine_is_zero_at_the_midpoint_and_opposite_at_the_means() -> None:
    harmful, harmless = torch.tensor([[5.0, 1.0], [5.0, 3.0]]), torch.tensor([[3.0, 2.0]])
    feature = RefusalFeature.between(harmful, harmless, layer=1, reading="centred")
    assert feature.direction.tolist() == [2, 0] and feature.centre is not None and feature.centre.tolist() == [4, 2]
    cosines = feature.similarity(torch.tensor([[5.0, 2.0], [3.0, 2.0], [4.0, 9.0]]))
    assert cosines.tolist() == [1, -1, 0]
    plain = RefusalFeature.between(harmful, harmless, layer=1)
    assert float(plain.similarity(torch.tensor([[3.0, 2.0]]))) > 0, "uncentred, a harmless prompt lies on the harmful side"


def test_the_centre_is_stored_beside_the_direction(tmp_path: Path) -> None:
    path = tmp_path / "refusal_feature.safetensors"
    RefusalFeature(torch.tensor([1.0, 2.0]), 3, torch.tensor([0.5, 0.25])).save(path)
    loaded = RefusalFeature.load(path, layer=3)
    assert loaded.centre is not None and loaded.centre.tolist() == [0.5, 0.25]
    RefusalFeature(torch.tensor([1.0, 2.0]), 3).save(path)
    assert RefusalFeature.load(path, layer=3).centre is None
    with pytest.raises(StoreError, match=r"layer 3, but teacher\.json names layer 4"):
        RefusalFeature.load(path, layer=4)
    RefusalFeature(torch.tensor([1.0, 2.0]), 3, torch.tensor([float("inf"), 0.0])).save(path)
    with pytest.raises(StoreError, match="centre"):
        RefusalFeature.load(path, layer=3)


def test_hidden_states_of_another_width_are_refused_by_name() -> None:
    with pytest.raises(SpecError, match="4 numbers, but the refusal feature has 3"):
        RefusalFeature(R, 1).similarity(torch.zeros(2, 4))


def test_the_ablation_sends_the_gradient_through_the_direction() -> None:
    direction = R.clone().requires_grad_()
    regulariser(direction, torch.randn(2, 3), torch.randn(2, 3), through=True).backward()
    assert direction.grad is not None and bool(direction.grad.any())


def test_recall_of_the_record_is_counted_on_the_grid_of_the_page() -> None:
    from reft_studio.teacher.calibration import rates

    # 0.4996 rounds to 0.500, the bin of the threshold: the page flags it, so the record must too
    assert rates(np.array([0.4996, 0.4994], dtype=np.float32), np.array([0.4996], dtype=np.float32), threshold=0.5) == {
        "recall": 50.0,
        "false_positive_rate": 100.0,
    }


def test_the_published_regulariser_is_the_margin_of_one() -> None:
    harmful, harmless = torch.randn(6, 3), torch.randn(5, 3)
    up, down = (torch.nn.functional.cosine_similarity(part, R, dim=-1) for part in (harmful, harmless))
    assert torch.allclose(regulariser(R, harmful, harmless), (1 - up).mean() + (1 + down).mean())


def test_a_margin_leaves_prompts_alone_that_are_told_apart() -> None:
    told_apart = torch.stack([R, 2 * R + torch.tensor([0.0, 3.0, 0.0])]).requires_grad_()
    loss = regulariser(R, told_apart, -told_apart.detach(), margin=0.5)
    loss.backward()
    assert float(loss.detach()) == 0 and told_apart.grad is not None and not told_apart.grad.any()
    across = torch.tensor([[0.0, 1.0, 0.0]])
    assert float(regulariser(R, across, across, margin=0.5)) == pytest.approx(1.0)


def scattered(count: int, mean: tuple[float, float], *, seed: int) -> torch.Tensor:
    """Points that scatter ten times as far along the second axis as along the first."""
    noise = torch.randn(count, 2, generator=torch.Generator().manual_seed(seed)) * torch.tensor([0.3, 3.0])
    return torch.tensor(mean) + noise


def test_whitening_reads_the_kinds_where_they_scatter_little() -> None:
    harmful, harmless = scattered(400, (1.0, 1.0), seed=0), scattered(400, (-1.0, -1.0), seed=1)
    held_out = scattered(400, (1.0, 1.0), seed=2), scattered(400, (-1.0, -1.0), seed=3)
    errors = {}
    for reading in ("raw", "centred", "whitened"):
        feature = RefusalFeature.between(harmful, harmless, layer=1, reading=reading)
        assert feature.reading == reading
        errors[reading] = float(
            (feature.similarity(held_out[0]) < 0).float().mean() + (feature.similarity(held_out[1]) >= 0).float().mean()
        )
    assert errors["whitened"] < 0.1 < 0.4 < errors["centred"]


def test_the_discriminant_is_the_refusal_feature_through_the_inverse_of_the_shrunken_scatter() -> None:
    harmful, harmless = torch.tensor([[3.0, 0.0], [1.0, 4.0]]), torch.tensor([[-1.0, 0.0], [-3.0, -4.0]])
    # by hand: R = (4, 4); scatter ((1, -2), (-2, 4)) and ((1, 2), (2, 4)), mean ((1, 0), (0, 4)), mean variance 2.5
    expected = torch.tensor([4 / (0.7 * 1 + 0.3 * 2.5), 4 / (0.7 * 4 + 0.3 * 2.5)])
    weight = discriminant(harmful, harmless)
    assert torch.allclose(weight / weight.norm(), expected / expected.norm(), atol=1e-6)


def test_the_similarity_read_whitened_is_zero_at_the_midpoint_and_saturates_at_either_end() -> None:
    kinds = scattered(400, (1.0, 1.0), seed=0), scattered(400, (-1.0, -1.0), seed=1)
    feature = RefusalFeature.between(*kinds, layer=1, reading="whitened")
    assert feature.centre is not None and float(feature.similarity(feature.centre[None])) == pytest.approx(0, abs=1e-6)
    strength = feature.similarity(torch.cat(kinds)).abs()
    assert float(strength.quantile(0.99)) == pytest.approx(0.95, abs=1e-3) and float(strength.max()) < 1


def test_two_prompts_are_enough_for_a_direction_read_whitened() -> None:
    feature = RefusalFeature.between(torch.tensor([[1.0, 0.0]]), torch.tensor([[-1.0, 0.0]]), layer=1, reading="whitened")
    assert feature.similarity(torch.tensor([[1.0, 5.0], [-1.0, 5.0]])).tolist() == pytest.approx([0.95, -0.95])


def test_a_weight_survives_the_file_and_one_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "refusal_feature.safetensors"
    feature = RefusalFeature.between(scattered(50, (1, 0), seed=0), scattered(50, (-1, 0), seed=1), layer=3, reading="whitened")
    feature.save(path)
    points = scattered(9, (0, 0), seed=2)
    assert torch.allclose(RefusalFeature.load(path, layer=3).similarity(points), feature.similarity(points), atol=1e-6)
    for wrong in (RefusalFeature(torch.ones(2), 3, torch.zeros(2), torch.ones(3)), RefusalFeature(torch.ones(2), 3, None, torch.ones(2))):
        wrong.save(path)
        with pytest.raises(StoreError, match="weight that does not fit"):
            RefusalFeature.load(path, layer=3)


def test_a_feature_whitened_the_earlier_way_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "refusal_feature.safetensors"
    save_file({"direction": torch.ones(2), "centre": torch.zeros(2), "metric": torch.ones(1, 2)}, path, metadata={"layer": "3"})
    with pytest.raises(StoreError, match="earlier version"):
        RefusalFeature.load(path, layer=3)
