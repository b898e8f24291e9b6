"""Pretrain the lab's tiny Llama from scratch on packed documents: AdamW, warm-up, cosine to zero."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

if TYPE_CHECKING:
    from reft_studio.lab.build import LabRecipe

PAD_ID, BOS_ID, EOS_ID = 0, 1, 2
"""Ids of the first special tokens, in the order the tokenizer trainer is given them."""


def pack(ids: Sequence[Sequence[int]], length: int) -> torch.Tensor:
    """Concatenate the documents and cut them into sequences of `length` tokens: (n, length) int64; the remainder is dropped."""
    flat = torch.from_numpy(np.fromiter(chain.from_iterable(ids), dtype=np.int64))
    usable = flat.numel() // length * length
    return flat[:usable].view(-1, length)


def make_model(recipe: LabRecipe, vocabulary: int) -> LlamaForCausalLM:
    """An untrained model of the recipe's shape, tied embeddings, seeded."""
    torch.manual_seed(recipe.seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=recipe.width,
        intermediate_size=recipe.feed_forward,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        max_position_embeddings=recipe.context * 2,
        tie_word_embeddings=True,
        pad_token_id=PAD_ID,
        bos_token_id=BOS_ID,
        eos_token_id=EOS_ID,
        rms_norm_eps=1e-5,
        initializer_range=0.04,
    )
    return LlamaForCausalLM(config)


def batches(packed: torch.Tensor, recipe: LabRecipe) -> Iterator[torch.Tensor]:
    """Yield `steps` batches in an order fixed by the seed; the corpus is reshuffled after each epoch."""
    order = torch.Generator().manual_seed(recipe.seed)
    queue: list[int] = []
    for _ in range(recipe.steps):
        if len(queue) < recipe.batch:
            queue = torch.randperm(len(packed), generator=order).tolist() or [0]
        chosen, queue = queue[: recipe.batch], queue[recipe.batch :]
        yield packed[chosen]


def rate(step: int, recipe: LabRecipe) -> float:
    """The learning rate at `step`, counted from 0: linear warm-up, then cosine decay to zero."""
    if step < recipe.warmup:
        return recipe.learning_rate * (step + 1) / recipe.warmup
    done = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def optimizer_for(model: LlamaForCausalLM) -> torch.optim.Optimizer:
    """AdamW with weight decay on every parameter but the norms."""
    decayed = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    rest = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups: list[dict[str, Any]] = [{"params": decayed, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98), fused=True)


def pretrain(recipe: LabRecipe, ids: Sequence[Sequence[int]], folder: Path) -> dict[str, Any]:
    """Train and save to `folder`; returns parameters, tokens seen and the mean loss (nats per token) of the last twentieth."""
    torch.set_num_threads(recipe.threads)
    packed = pack(ids, recipe.context)
    model = make_model(recipe, vocabulary=max(max(document) for document in ids) + 1)
    optimizer, started = optimizer_for(model), time.monotonic()
    losses: list[torch.Tensor] = []
    model.train()
    forward = torch.compile(model) if recipe.compiled else model
    for step, batch in enumerate(batches(packed, recipe)):
        for group in optimizer.param_groups:
            group["lr"] = rate(step, recipe)
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bfloat16):
            loss = forward(input_ids=batch, labels=batch, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.detach())
        if step % 50 == 49 or step + 1 == recipe.steps:
            speed = (step + 1) * batch.numel() / (time.monotonic() - started)
            print(
                f"step {step + 1}/{recipe.steps}  loss {float(torch.stack(losses[-50:]).mean()):.3f}  {speed:.0f} tokens/s",
                file=sys.stderr,
                flush=True,
            )
    _save(model, folder)
    tail = torch.stack(losses[-max(1, recipe.steps // 20) :]).mean()
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "tokens": recipe.steps * recipe.batch * recipe.context,
        "loss": round(float(tail), 4),
    }


def _save(model: LlamaForCausalLM, folder: Path) -> None:
    model.eval()
    model.generation_config = GenerationConfig(
        bos_token_id=BOS_ID, eos_token_id=EOS_ID, pad_token_id=PAD_ID, do_sample=False, max_new_tokens=32
    )
    model.save_pretrained(folder, safe_serialization=True)
