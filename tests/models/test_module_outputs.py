"""Attention and MLP are found by what they do, in every architecture; what they answer is read and changed row by row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from reft_studio.errors import PrerequisiteError
from reft_studio.models import accumulate
from reft_studio.models.accumulate import Accumulator, MicroBatches
from reft_studio.models.architecture import BlockParts, examine, find_parts
from reft_studio.models.batching import collate
from reft_studio.models.module_outputs import OutputGradients, block_modules
from reft_studio.models.session import Session
from reft_studio.models.spec import LoraSpec
from reft_studio.models.supervised import Supervised
from reft_studio.models.weights import Weights
from tests.models.test_packing import rows
from tests.tiny_models import FAMILIES, make_model

NAMES = {"gpt2": BlockParts("attn", "mlp")}
"""Of families that do not call their parts self_attn and mlp."""
SHAPE = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 128}
GROUPED = {**SHAPE, "intermediate_size": 48, "num_key_value_heads": 2}
OTHERS: dict[str, tuple[Callable[[Any], Any], BlockParts]] = {
    "two matrices in the block itself": (
        lambda hf: hf.OPTConfig(**SHAPE, ffn_dim=64, word_embed_proj_dim=32),
        BlockParts("self_attn", "fc2"),
    ),
    "parts that add what came in": (
        lambda hf: hf.BloomConfig(vocab_size=300, hidden_size=32, n_layer=2, n_head=4),
        BlockParts("self_attention", "mlp"),
    ),
    "attention and MLP side by side": (
        lambda hf: hf.GPTJConfig(vocab_size=300, n_embd=32, n_layer=2, n_head=4, rotary_dim=4),
        BlockParts("attn", "mlp"),
    ),
    "experts": (lambda hf: hf.MixtralConfig(**GROUPED, num_local_experts=4), BlockParts("self_attn", "mlp")),
    "another name": (lambda hf: hf.MptConfig(d_model=32, n_heads=4, n_layers=2, vocab_size=300), BlockParts("attn", "ffn")),
    "a recurrence": (
        lambda hf: hf.MambaConfig(vocab_size=300, hidden_size=32, num_hidden_layers=2, state_size=4),
        BlockParts("mixer", None),
    ),
}


@pytest.fixture(scope="module")
def session(tiny_model: Path) -> Session:
    session = Session.open(str(tiny_model))
    session.add("student", LoraSpec(), seed=1)
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in session.adapted.parameters("student"):
            value.add_(0.05 * torch.randn(value.shape, generator=rng))
    return session


def task(found: Supervised) -> dict[str, Tensor]:
    return {"task": found.cross_entropy()}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_an_attention_and_an_mlp_with_adapters_or_without(tmp_path: Path, family: str) -> None:
    session = Session.open(str(make_model(tmp_path / family, family, chat=family != "gpt2")))
    expected = [NAMES.get(family, BlockParts("self_attn", "mlp"))] * session.model.layers
    assert session.model.parts == expected
    session.add("student", LoraSpec(dropout=0.5), seed=1)
    with session.adapted.active("student", train=True):
        assert find_parts(session.model.base, session.model.blocks) == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", OTHERS)
def test_parts_are_found_by_what_they_do_in_other_architectures(kind: str, dtype: torch.dtype) -> None:
    import transformers as hf

    make, expected = OTHERS[kind]
    torch.manual_seed(0)
    base = hf.AutoModelForCausalLM.from_config(make(hf)).eval()
    blocks = examine(base).blocks
    assert find_parts(base.to(dtype), blocks) == [expected] * 2


def test_finding_parts_draws_no_random_number_and_leaves_no_hook(session: Session) -> None:
    before = torch.get_rng_state()
    hooks = [len(module._forward_pre_hooks) for module in session.model.base.modules()]
    with session.adapted.active("student", train=True):
        find_parts(session.model.base, session.model.blocks)
    assert torch.equal(torch.get_rng_state(), before)
    assert [len(module._forward_pre_hooks) for module in session.model.base.modules()] == hooks


@pytest.mark.filterwarnings("ignore::FutureWarning")  # peft and transformers remark on each other's deprecated names
def test_an_adapter_on_the_part_itself_is_part_of_what_it_answers() -> None:
    """OPT has no MLP but two matrices; the one that answers for both may be wrapped by an adapter later."""
    import transformers as hf
    from peft import LoraConfig, get_peft_model

    base = hf.AutoModelForCausalLM.from_config(OTHERS["two matrices in the block itself"][0](hf)).eval()
    blocks = examine(base).blocks
    model: Any = SimpleNamespace(base=base, blocks=blocks, parts=find_parts(base, blocks))
    get_peft_model(base, LoraConfig(target_modules=["fc2"]))
    assert all(hasattr(module, "lora_A") for module in block_modules(model, "mlp"))


def test_a_model_without_such_a_part_is_refused_by_what_it_lacks(session: Session) -> None:
    model: Any = SimpleNamespace(base=session.model.base, blocks=session.model.blocks, parts=[BlockParts("self_attn", None)] * 3)
    with pytest.raises(PrerequisiteError, match=r"without an MLP .* Choose a decoder-only model"):
        block_modules(model, "mlp")


def test_running_out_of_memory_in_either_pass_leaves_the_drift_as_it_is(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    parameters, batch = session.adapted.parameters("student"), collate(rows(), pad_id=session.model.pad_id)

    def drifted(fails: tuple[int, ...]) -> Tensor:
        calls, grad = [0], torch.autograd.grad

        def scarce(*args: Any, **rest: Any) -> Any:
            calls[0] += 1
            if calls[0] in fails:
                raise torch.OutOfMemoryError("out of memory")
            return grad(*args, **rest)

        monkeypatch.setattr(accumulate.torch.autograd, "grad", scarce)
        with session.adapted.active("student", train=True) as backbone:
            adder = Accumulator(session.model, backbone, parameters, pieces=MicroBatches())
            drift = OutputGradients(block_modules(session.model, "attention"), parameters[0])
            adder.gradient(task, [batch], around=drift.record)
            found, _ = adder.gradient(task, [batch], around=drift.perturb(1.0))
        monkeypatch.undo()
        return torch.cat([value.flatten() for value in found])

    whole = drifted(())
    for fails in ((1,), (1, 2), (2,), (1, 4)):
        assert float((drifted(fails) - whole).norm() / whole.norm()) <= 1e-5


def test_where_only_some_weights_are_trained_the_others_get_no_gradient_and_the_rest_is_the_same(session: Session) -> None:
    parameters, batch = session.adapted.parameters("student"), collate(rows(), pad_id=session.model.pad_id)
    with session.adapted.active("student", train=True) as backbone:
        weights, adder = Weights(parameters), Accumulator(session.model, backbone, parameters)
        whole, _ = adder.gradient(task, [batch])
        with weights.only(session.model.blocks[1].parameters()):
            chosen = weights.parameters
            adder.learn(task, [batch])
        assert weights.parameters == parameters
    named = {id(value): name for name, value in session.model.base.named_parameters()}
    assert chosen and all(".1." in named[id(value)] for value in chosen)
    for value, gradient in zip(parameters, whole, strict=True):
        if id(value) in {id(one) for one in chosen}:
            assert value.grad is not None and torch.allclose(value.grad, gradient, atol=1e-7)
        else:
            assert value.grad is None
        value.grad = None
