"""An adapter folded into the weights scores as it does beside them, and leaves no trace."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from reft_studio.models.features import last_prompt_features
from reft_studio.models.loading import weights_fingerprint
from reft_studio.models.merging import mergeable, merged
from reft_studio.models.session import Session
from reft_studio.models.spec import LoadSpec, LoraSpec
from tests.tiny_models import FAMILIES, make_model

PROMPTS = [[5, 9, 4, 3], [7, 8], [11, 12, 13, 14, 15, 16, 17]]


def session(folder: Path, family: str = "llama3", *, dtype: str = "float32") -> Session:
    one = Session.open(str(make_model(folder, family)), loading=LoadSpec.checked(dtype=dtype))
    one.add("teacher", LoraSpec(rank=4, alpha=8), seed=1)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in one.adapted.parameters("teacher"):
            value.add_((torch.randn(value.shape, generator=draw) * 0.05).to(value.dtype))
    return one


def cosines(one: Session, *, fold: bool) -> torch.Tensor:
    state = merged(one.adapted, "teacher", layer=2) if fold else one.adapted.active("teacher")
    with state as backbone:
        found = last_prompt_features(one.model, backbone, PROMPTS, layers=[2])[:, 0]
    direction = torch.randn(found.shape[1], generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.cosine_similarity(found, direction, dim=-1)


@pytest.mark.parametrize("family", FAMILIES)
def test_merged_and_unmerged_scores_agree_and_the_base_keeps_its_bits(tmp_path: Path, family: str) -> None:
    one = session(tmp_path / family, family)
    before, beside = weights_fingerprint(one.model.base), cosines(one, fold=False)
    with one.adapted.active(None) as backbone:
        bare = last_prompt_features(one.model, backbone, PROMPTS, layers=[2])
    assert mergeable(one.adapted, "teacher", layer=2)
    folded = cosines(one, fold=True)
    assert (folded - beside).abs().max() <= 1e-4
    assert weights_fingerprint(one.model.base) == before
    with one.adapted.active(None) as backbone:
        assert torch.equal(last_prompt_features(one.model, backbone, PROMPTS, layers=[2]), bare)
    assert torch.equal(cosines(one, fold=False), beside)


def test_half_precision_weights_are_left_alone_since_they_would_swallow_a_small_adapter(tmp_path: Path) -> None:
    one = session(tmp_path / "half", dtype="bfloat16")
    assert not mergeable(one.adapted, "teacher", layer=2)
    weight = one.model.blocks[0].self_attn.q_proj.base_layer.weight
    assert torch.equal((weight.float() * (1 + 2**-10)).to(weight.dtype), weight), "less than half a step is rounded away"


def test_the_weights_come_back_when_the_work_fails(tmp_path: Path) -> None:
    one = session(tmp_path / "fails")
    before = weights_fingerprint(one.model.base)
    with pytest.raises(KeyError), merged(one.adapted, "teacher", layer=2):
        assert weights_fingerprint(one.model.base) != before
        raise KeyError
    assert weights_fingerprint(one.model.base) == before


def test_there_is_nothing_to_merge_without_an_adapter_or_without_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = session(tmp_path / "short")
    assert not mergeable(one.adapted, None, layer=2)
    monkeypatch.setattr("reft_studio.models.merging.SPARE", 1e12)
    assert not mergeable(one.adapted, "teacher", layer=2)
