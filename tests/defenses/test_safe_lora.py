"""Safe LoRA against its rule with the projection written out: IBM/SafeLoRA@d81fda1, `model.py`, `projected_weighted`."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch

from reft_studio.defenses.safe_lora import SafeLora, SafeLoraConfig
from reft_studio.errors import TrainingError
from reft_studio.models.low_rank import LowRank

OUT, IN, RANK = 7, 5, 2


@dataclass
class Thin:
    """A layer as `finish` sees it."""

    start: LowRank | None
    update: LowRank
    replaced: list[LowRank] = field(default_factory=list)

    def replace(self, total: LowRank) -> None:
        self.replaced.append(total)


def thin(seed: int) -> LowRank:
    rng = torch.Generator().manual_seed(seed)
    return LowRank(torch.randn(OUT, RANK, generator=rng), torch.randn(RANK, IN, generator=rng))


def layers() -> dict[str, Thin]:
    return {f"layer {number}": Thin(thin(number), thin(100 + number)) for number in range(4)}


def written_out(layer: Thin) -> tuple[torch.Tensor, float]:
    """C·ΔW and its cosine with ΔW, with C = V·Vᵀ/‖V‖_F as a matrix."""
    assert layer.start is not None
    v, update = layer.start.dense(), layer.update.dense()
    projected = (v @ v.T / v.norm()) @ update
    return projected, float(torch.nn.functional.cosine_similarity(projected.flatten(), update.flatten(), dim=0))


def finished(found: dict[str, Thin], **settings: object) -> dict[str, Thin]:
    SafeLora(SafeLoraConfig(**settings), None).finish(found)  # type: ignore[arg-type]
    return found


def test_the_layers_that_are_least_similar_are_projected_and_keep_what_alignment_added() -> None:
    found = finished(layers(), number=2)
    order = sorted(found, key=lambda name: written_out(found[name])[1])
    assert [name for name, layer in found.items() if layer.replaced] == sorted(order[:2])
    for name in order[:2]:
        layer = found[name]
        assert layer.start is not None
        expected = layer.start.dense() + written_out(layer)[0]
        assert torch.allclose(layer.replaced[0].dense(), expected, atol=1e-5)


def test_with_a_threshold_every_layer_up_to_it_is_projected() -> None:
    similarity = sorted(written_out(layer)[1] for layer in layers().values())
    for threshold, count in ((similarity[0] - 1e-4, 0), (similarity[2] + 1e-5, 3), (1.0, 4)):
        found = finished(layers(), select="threshold", threshold=threshold)
        assert sum(bool(layer.replaced) for layer in found.values()) == count


def test_no_layer_to_project_leaves_all_as_they_are() -> None:
    assert not any(layer.replaced for layer in finished(layers(), number=0).values())


def test_an_update_in_the_direction_of_alignment_keeps_its_direction() -> None:
    """V = U of two orthonormal columns, times √2: then C is the projector onto them."""
    basis = torch.linalg.qr(torch.randn(OUT, RANK, generator=torch.Generator().manual_seed(5))).Q
    down = torch.linalg.qr(torch.randn(IN, RANK, generator=torch.Generator().manual_seed(6))).Q.T
    start = LowRank(basis * RANK**0.5, down)
    layer = Thin(start, LowRank(basis @ torch.randn(RANK, RANK, generator=torch.Generator().manual_seed(7)), down))
    assert written_out(layer)[1] == pytest.approx(1.0, abs=1e-5)
    finished({"one": layer}, number=1)
    assert torch.allclose(layer.replaced[0].dense(), start.dense() + layer.update.dense(), atol=1e-5)


def test_layers_that_alignment_did_not_touch_are_left_alone_and_all_of_them_is_an_error() -> None:
    zero = LowRank(torch.zeros(OUT, RANK), torch.zeros(RANK, IN))
    found = finished({"touched": Thin(thin(1), thin(2)), "not": Thin(zero, thin(3)), "base": Thin(None, thin(4))}, number=10)
    assert [name for name, layer in found.items() if layer.replaced] == ["touched"]
    with pytest.raises(TrainingError, match="no direction"):
        finished({"not": Thin(zero, thin(3))}, number=10)
