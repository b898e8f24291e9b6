"""One forward pass for several batches, through LoRA layers that compute what PEFT's do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft.tuners.lora.layer import Linear

from reft_studio.models.batching import collate
from reft_studio.models.loading import load
from reft_studio.models.session import Session
from reft_studio.models.spec import LoadSpec, LoraSpec
from reft_studio.models.supervised import supervise
from tests.models.test_packing import rows


def trained(session: Session, **settings: Any) -> list[torch.Tensor]:
    """A student whose adapter does something."""
    session.add("student", LoraSpec(**settings), seed=1)
    parameters = session.adapted.parameters("student")
    with torch.no_grad():
        for number, value in enumerate(parameters):
            value.add_(0.05 * torch.randn(value.shape, generator=torch.Generator().manual_seed(number)))
    return parameters


def plain_peft(session: Session) -> None:
    for module in session.model.base.modules():
        vars(module).pop("forward", None)


def loss_and_gradient(session: Session, parameters: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    batch = collate(rows(), pad_id=session.model.pad_id)
    with session.adapted.active("student", train=True) as backbone:
        (part,) = supervise(session.model, backbone, [batch])
        loss = part.cross_entropy()
        return loss.detach(), torch.cat([one.flatten() for one in torch.autograd.grad(loss, parameters)])


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 3e-2)])
def test_a_lora_layer_in_one_operation_gives_the_loss_and_gradient_of_pefts(tiny_model: Path, dtype: Any, tolerance: float) -> None:
    session = Session(load(str(tiny_model), loading=LoadSpec(dtype=dtype)))
    parameters = trained(session, alpha=24)
    assert any("forward" in vars(module) for module in session.model.base.modules() if isinstance(module, Linear))
    loss, gradient = loss_and_gradient(session, parameters)
    assert gradient.dtype == torch.float32 and loss.dtype == torch.float32
    plain_peft(session)
    peft_loss, peft_gradient = loss_and_gradient(session, parameters)
    torch.testing.assert_close(loss, peft_loss, rtol=tolerance, atol=0)
    assert float((gradient - peft_gradient).norm() / peft_gradient.norm()) <= tolerance


def test_dropout_of_an_adapter_is_pefts_own(tiny_model: Path) -> None:
    session = Session.open(str(tiny_model))
    parameters = trained(session, dropout=0.5)
    found = []
    for plain in (False, True):
        if plain:
            plain_peft(session)
        torch.manual_seed(0)
        found.append(loss_and_gradient(session, parameters)[1])
    assert torch.equal(*found)


def test_a_merged_adapter_gives_the_logits_of_the_unmerged_one(tiny_model: Path) -> None:
    session = Session.open(str(tiny_model))
    trained(session)
    ids = torch.tensor([rows()[1].ids])
    with torch.no_grad(), session.adapted.generating("student") as model:
        apart = model(input_ids=ids).logits
        for merge in ("merge", "unmerge"):
            for module in model.modules():
                if isinstance(module, Linear):
                    getattr(module, merge)()
            torch.testing.assert_close(model(input_ids=ids).logits, apart, rtol=1e-4, atol=1e-5)
    with torch.no_grad(), session.adapted.generating(None) as model:
        assert not torch.allclose(model(input_ids=ids).logits, apart, atol=1e-3)


def test_batches_that_run_together_are_told_apart_again(tiny_model: Path) -> None:
    session = Session.open(str(tiny_model))
    batches = [collate(rows()[:3], pad_id=0), collate(rows()[3:], pad_id=0)]
    with torch.no_grad(), session.adapted.active(None) as backbone:
        together = supervise(session.model, backbone, batches)
        for part, batch in zip(together, batches, strict=True):
            (alone,) = supervise(session.model, backbone, [batch])
            torch.testing.assert_close(part.hidden, alone.hidden, rtol=1e-5, atol=1e-5)
            assert part.labels.tolist() == [token for row in batch.examples for token in row.ids[row.prompt :]]
            assert part.counts == alone.counts and part.total == batch.supervised
