"""Adapted layers as products of thin matrices: what training began from, what it changed, and what comes out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from reft_studio.models.low_rank import Layers, low_rank
from reft_studio.models.session import Session
from reft_studio.models.spec import LoraSpec
from reft_studio.models.weights import Weights

LORA = LoraSpec(rank=3, alpha=5)


@pytest.fixture
def session(tiny_model: Path) -> Session:
    session = Session.open(str(tiny_model))
    session.add("start", LORA, seed=1)
    move(session, "start", seed=2)
    return session


def move(session: Session, adapter: str, *, seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in session.adapted.parameters(adapter):
            value.add_(0.05 * torch.randn(value.shape, generator=rng))


def test_an_adapter_that_was_continued_has_changed_by_the_difference_to_where_it_began(session: Session) -> None:
    session.adapted.copy("start", "student", LORA)
    layers = Layers(session.adapted, "student", start="start", continued=True)
    assert all(bool((layer.change.dense() == 0).all()) and bool((layer.update.dense() == 0).all()) for layer in layers.values())
    move(session, "student", seed=3)
    begun = low_rank(session.adapted, "start")
    for name, layer in layers.items():
        assert layer.start is not None
        torch.testing.assert_close(layer.update.dense(), layer.own.dense() - begun[name].dense(), rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(layer.change.dense() * layer.scale, layer.update.dense(), rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(layer.total.dense(), layer.own.dense())


def test_a_fresh_adapter_is_all_that_was_changed(session: Session) -> None:
    session.add("student", LORA, seed=4)
    move(session, "student", seed=3)
    for layer in Layers(session.adapted, "student", start="start").values():
        assert layer.start is not None and not any(bool(value.any()) for value in layer.begun)
        assert torch.equal(layer.update.dense(), layer.own.dense())
        torch.testing.assert_close(layer.total.dense(), layer.start.dense() + layer.own.dense())


def test_a_function_of_the_change_has_a_gradient_by_the_trained_tensors(session: Session) -> None:
    """‖c‖² for c = B·A − B₀·A₀: by B it is 2·c·Aᵀ, by A 2·Bᵀ·c."""
    session.adapted.copy("start", "student", LORA)
    move(session, "student", seed=3)
    with session.adapted.active("student", train=True):
        layers, weights = Layers(session.adapted, "student", start="start", continued=True), Weights(session.adapted.parameters("student"))
        value = weights.descend(sum((layer.change.dense().square().sum() for layer in layers.values()), torch.zeros(())))
        dense = {name: layer.change.dense().detach() for name, layer in layers.items()}
        assert value == pytest.approx(sum(float(one.square().sum()) for one in dense.values()), rel=1e-5)
        for name, layer in layers.items():
            assert layer.up.grad is not None and layer.down.grad is not None
            torch.testing.assert_close(layer.up.grad, 2 * dense[name] @ layer.down.detach().T, rtol=1e-4, atol=1e-6)
            torch.testing.assert_close(layer.down.grad, 2 * layer.up.detach().T @ dense[name], rtol=1e-4, atol=1e-6)


def test_layers_that_only_the_weights_beneath_a_fresh_adapter_have_stay_in_what_comes_out(session: Session) -> None:
    begun = low_rank(session.adapted, "start")
    session.add("student", LoraSpec(rank=2, alpha=4, targets=("q_proj", "v_proj")), seed=4)
    move(session, "student", seed=3)
    own = low_rank(session.adapted, "student")
    Layers(session.adapted, "student", start="start").settle()
    ended = low_rank(session.adapted, "student")
    assert list(ended) == list(begun) and 0 < len(own) < len(begun)
    for name, update in ended.items():
        expected = begun[name].dense() + (own[name].dense() if name in own else 0.0)
        torch.testing.assert_close(update.dense(), expected)


def test_ranks_may_add_up_to_more_than_a_person_may_ask_for(session: Session, tmp_path: Path) -> None:
    wide = LoraSpec(rank=512, alpha=512, targets=("q_proj",))
    for name in ("wide", "student"):
        session.add(name, wide, seed=4)
        move(session, name, seed=3)
    Layers(session.adapted, "student", start="wide").settle()
    found = low_rank(session.adapted, "student")
    session.adapted.save("student", tmp_path / "adapter", base_name="tiny")
    session.adapted.load("again", tmp_path / "adapter")
    for name, update in low_rank(session.adapted, "again").items():
        assert update.rank == 1024
        torch.testing.assert_close(update.dense(), found[name].dense())
