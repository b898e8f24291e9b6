"""Adapters on one base: copies are exact or refused, a fresh one is never taken for what was loaded, half precision trains."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from reft_studio.errors import SpecError, StoreError
from reft_studio.models.batching import collate
from reft_studio.models.fit import backward, fit
from reft_studio.models.loading import load
from reft_studio.models.session import Session
from reft_studio.models.spec import LoadSpec, LoraSpec, OptimSpec
from reft_studio.models.supervised import supervise
from tests.tiny_models import make_model

ROW = {"messages": '[{"role":"user","content":"how do i bake bread"}]', "prompt": "how do i bake bread", "response": "Sure, first mix."}


@pytest.fixture
def session(tiny_model: Path) -> Session:
    return Session.open(str(tiny_model))


def test_a_copied_adapter_has_the_same_weights_and_is_another_one(session: Session) -> None:
    session.add("one", LoraSpec(), seed=3)
    session.adapted.copy("one", "two", LoraSpec())
    pairs = list(zip(session.adapted.parameters("one"), session.adapted.parameters("two"), strict=True))
    assert pairs and all(torch.equal(one, two) and one.data_ptr() != two.data_ptr() for one, two in pairs)


@pytest.mark.parametrize("other", [LoraSpec(rank=4), LoraSpec(alpha=64), LoraSpec(targets=("q_proj",))])
def test_a_copy_with_other_settings_is_refused_since_it_would_be_another_model(session: Session, other: LoraSpec) -> None:
    session.add("one", LoraSpec(), seed=3)
    with pytest.raises(StoreError, match="other LoRA settings"):
        session.adapted.copy("one", "two", other)


def test_a_fresh_adapter_is_not_taken_for_the_one_that_was_loaded(session: Session, tmp_path: Path) -> None:
    session.add("teacher", LoraSpec(), seed=1)
    first = [value.clone() for value in session.adapted.parameters("teacher")]
    session.adapted.save("teacher", tmp_path / "adapter", base_name="tiny")
    assert sorted(path.name for path in (tmp_path / "adapter").iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    session.ensure("teacher", tmp_path / "adapter")
    session.add("teacher", LoraSpec(), seed=2)
    session.ensure("teacher", tmp_path / "adapter")
    assert all(torch.equal(one, two) for one, two in zip(first, session.adapted.parameters("teacher"), strict=True))


@pytest.mark.parametrize("target", ["lm_head", "embed_tokens"])
def test_an_adapter_on_head_or_embeddings_is_refused_since_teacher_and_student_share_them(session: Session, target: str) -> None:
    session.add("one", LoraSpec(), seed=1)
    with pytest.raises(SpecError, match="head or the embeddings"):
        session.add("two", LoraSpec(targets=("q_proj", target)), seed=1)
    assert session.adapted.names == {"one"}


def test_targets_that_the_model_has_not_got_are_refused(session: Session) -> None:
    with pytest.raises(SpecError, match="all-linear"):
        session.add("one", LoraSpec(targets=("no_such_layer",)), seed=1)


def test_dropout_draws_from_the_seed_alone(session: Session) -> None:
    def trained(outside: int, seed: int) -> list[torch.Tensor]:
        torch.manual_seed(outside)
        session.add("student", LoraSpec(dropout=0.5), seed=1)
        parameters = session.adapted.parameters("student")
        batch = collate([session.encoder.example(ROW, 0)], pad_id=session.model.pad_id)
        with session.adapted.active("student", train=True) as backbone:
            fit(
                parameters,
                lambda _number: backward({"task": supervise(session.model, backbone, [batch])[0].cross_entropy()}, parameters),
                steps=3,
                optim=OptimSpec(),
                seed=seed,
            )
        return [value.detach().clone() for value in parameters]

    first, again, other = trained(1, 7), trained(2, 7), trained(1, 8)
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert not all(torch.equal(one, two) for one, two in zip(first, other, strict=True))


def test_a_base_in_half_precision_trains_adapters_in_full(tiny_model: Path) -> None:
    session = Session(load(str(tiny_model), loading=LoadSpec(dtype="bfloat16")))
    session.add("student", LoraSpec(), seed=1)
    parameters = session.adapted.parameters("student")
    batch = collate([session.encoder.example(ROW, 0)], pad_id=session.model.pad_id)
    losses: list[float] = []

    def step(_number: int) -> dict[str, float]:
        return backward({"task": supervise(session.model, backbone, [batch])[0].cross_entropy()}, parameters)

    with session.adapted.active("student", train=True) as backbone:
        fit(parameters, step, steps=8, optim=OptimSpec(learning_rate=0.02), log=lambda line: losses.append(line["loss"]))
    assert session.model.base.dtype == torch.bfloat16 and {value.dtype for value in parameters} == {torch.float32}
    assert losses[-1] < losses[0]


def test_a_refused_adapter_leaves_nothing_that_is_taken_for_one(session: Session) -> None:
    session.add("student", LoraSpec(), seed=1)
    with pytest.raises(SpecError, match="all-linear"):
        session.add("student", LoraSpec(targets=("no_such_layer",)), seed=1)
    assert session.adapted.names == set()
    session.add("student", LoraSpec(), seed=1)
    with session.adapted.active("student"):
        assert session.adapted.parameters("student")


def test_a_fresh_adapter_answers_beside_the_base_in_one_batch(session: Session) -> None:
    session.add("student", LoraSpec(), seed=1)
    ids = torch.tensor([session.encoder.prompt_ids([{"role": "user", "content": "how do i bake bread"}])] * 2)
    with session.adapted.mixed(["student", None]) as network:
        first, second = network(input_ids=ids).logits
    assert torch.equal(first, second), "a fresh adapter changes nothing yet"


def damaged(folder: Path, how: str) -> None:
    weights, config = folder / "adapter_model.safetensors", folder / "adapter_config.json"
    if how == "cut off":
        weights.write_bytes(weights.read_bytes()[:100])
    elif how == "no configuration":
        config.unlink()
    elif how == "no JSON":
        config.write_text("{")
    elif how == "another rank":
        config.write_text(json.dumps({**json.loads(config.read_text()), "r": 4}))
    elif how == "other layers":
        save_file({key.replace(".layers.", ".blocks."): value for key, value in load_file(weights).items()}, weights)
    else:
        save_file({key: value for key, value in load_file(weights).items() if ".layers.0." not in key}, weights)


@pytest.mark.parametrize("how", ["cut off", "no configuration", "no JSON", "another rank", "other layers", "a layer less"])
@pytest.mark.parametrize("others", [False, True])
def test_a_damaged_or_foreign_adapter_is_named_and_the_session_goes_on(session: Session, tmp_path: Path, how: str, others: bool) -> None:
    maker = Session(session.model)
    maker.add("one", LoraSpec(), seed=1)
    maker.adapted.save("one", tmp_path / "whole", base_name="tiny")
    shutil.copytree(tmp_path / "whole", tmp_path / "broken")
    damaged(tmp_path / "broken", how)
    fresh = Session.open(session.model.source)
    if others:
        fresh.add("other", LoraSpec(), seed=2)
    with pytest.raises(StoreError, match=r"broken (is damaged or was made for another model|was made for other layers)"):
        fresh.ensure("teacher", tmp_path / "broken")
    assert fresh.adapted.names == ({"other"} if others else set())
    assert fresh.ensure("teacher", tmp_path / "whole") == "teacher"
    with fresh.adapted.active("teacher"):
        assert fresh.adapted.parameters("teacher")


def test_computing_blocks_again_does_not_switch_their_dropout_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OPT's blocks drop out by the mode of the block itself, which recomputation has to set."""
    monkeypatch.setattr(
        "tests.tiny_models.make_config",
        lambda _family, shape: transformers.OPTConfig(**shape, ffn_dim=48, word_embed_proj_dim=32, dropout=0.5),
    )
    session = Session.open(str(make_model(tmp_path / "opt")))
    session.add("student", LoraSpec(), seed=1)
    batch = collate([session.encoder.example(ROW, 0)], pad_id=session.model.pad_id)
    found = []
    for checkpointing in (False, True):
        with session.adapted.active("student", train=True, checkpointing=checkpointing) as backbone:
            loss = supervise(session.model, backbone, [batch])[0].cross_entropy()
            found.append([loss.detach(), *torch.autograd.grad(loss, session.adapted.parameters("student"))])
    assert all(torch.equal(one, two) for one, two in zip(*found, strict=True))
