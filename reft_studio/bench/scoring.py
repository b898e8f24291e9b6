"""Scoring raced against the ways it is usually done."""

from __future__ import annotations

import torch

from reft_studio.bench.race import Measured, race
from reft_studio.lab import sets
from reft_studio.models.features import last_prompt_features
from reft_studio.models.session import Session


def scoring() -> Measured:
    """Our scoring of the lab's user data beside the usual loop: dataset order, batches of 8, every layer, the head."""
    session = Session.open("lab")
    prompts = [session.encoder.prompt_ids([{"role": "user", "content": row["prompt"]}]) for row in sets.user_data(rows=400)]

    def ours() -> None:
        with session.adapted.active(None) as backbone:
            last_prompt_features(session.model, backbone, prompts, layers=[2])

    @torch.no_grad()
    def usual() -> None:
        for start in range(0, len(prompts), 8):
            chunk = prompts[start : start + 8]
            width = max(map(len, chunk))
            ids = torch.tensor([prompt + [session.model.pad_id] * (width - len(prompt)) for prompt in chunk])
            mask = torch.tensor([[1] * len(prompt) + [0] * (width - len(prompt)) for prompt in chunk])
            session.model.base(input_ids=ids, attention_mask=mask, output_hidden_states=True)

    return race("scoring", "400 prompts, layer 2 of the lab's model", ours, "plain loop, batch 8, all layers", usual, target=1 / 2.5)
