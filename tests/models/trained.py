"""A tiny model with an adapter that changes its answers, saved as a run saves it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reft_studio.models.session import Session
from reft_studio.models.spec import LoadSpec, LoraSpec
from tests.tiny_models import make_model

IDS = torch.tensor([[5, 9, 4, 3, 7, 8, 11], [12, 13, 14, 15, 16, 17, 18]])
LORA = LoraSpec(rank=4, alpha=8)


def trained(folder: Path, family: str = "llama3", *, dtype: str = "float32", lora: LoraSpec = LORA) -> tuple[Session, Path, Path]:
    """A session with the adapter `student`, the base's folder and the adapter's."""
    base = make_model(folder / "base", family)
    if dtype != "float32":
        stored(base, dtype)
    session = Session.open(str(base), loading=LoadSpec.checked(dtype=dtype, device="cpu"))
    session.add("student", lora, seed=1)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in session.adapted.parameters("student"):
            value.add_(torch.randn(value.shape, generator=draw) * 0.05)
    session.adapted.save("student", folder / "adapter", base_name="someone/some-base")
    return session, base, folder / "adapter"


def stored(base: Path, dtype: str) -> None:
    """Store a model's weights in another number format."""
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(base, dtype=getattr(torch, dtype)).save_pretrained(base)


@torch.no_grad()
def logits(session: Session, name: str | None) -> Tensor:
    """What the app's own model says, with an adapter or without."""
    with session.adapted.generating(name) as network:
        found: Tensor = network(input_ids=IDS).logits
    return found.float()


def with_peft(base: Path, adapter: Path, *, dtype: str = "float32") -> Any:
    """Base and adapter as anybody loads them with plain transformers and PEFT; a tensor that finds no place is an error."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings(
            "ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning
        )  # peft asks transformers by its old name
        return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=getattr(torch, dtype)), adapter)


@torch.no_grad()
def asked(network: Any) -> Tensor:
    """What a model that somebody else loaded says."""
    found: Tensor = network.eval()(input_ids=IDS).logits
    return found.float()
