"""Scoring raced against the ways it is usually done."""

from __future__ import annotations

import time

import torch

from benchmarks.race import Measured, race
from benchmarks.scene import ABOUT, padded, scene
from reft_studio.lab import sets
from reft_studio.models.features import last_prompt_features
from reft_studio.models.session import Session

ROUNDS = 2


def scoring() -> Measured:
    """Beside the loop that is usually written: order of the dataset, batches of 8, all layers, all hidden states, the head."""
    with scene() as at, torch.no_grad():

        def usual() -> None:
            for batch in at.batches(8):
                at.session.model.base(**batch, output_hidden_states=True)

        anchor = "plain loop, batch 8, all states, head; no adapter"
        return race("scoring", ABOUT, at.score_anew, anchor, usual, target=1 / 8, rounds=ROUNDS, clock=time.process_time)


def scoring_sorted() -> Measured:
    """Beside sorted batches through the whole model without its head, as sentence encoders do it."""
    with scene() as at, torch.no_grad():

        def usual() -> None:
            for batch in at.batches(32, by_length=True):
                at.session.model.base.base_model(**batch, use_cache=False)

        anchor = "sorted, batch 32, all blocks; no adapter"
        target = 1 / 2.5
        return race("scoring_sorted", ABOUT, at.score_anew, anchor, usual, target=target, rounds=ROUNDS, clock=time.process_time)


def rescore_cached() -> Measured:
    """Scoring the same file again beside scoring it the first time."""
    with scene() as at:
        anchor = "scoring it the first time"
        return race("rescore_cached", ABOUT, at.score, anchor, at.score_anew, target=1 / 100, rounds=ROUNDS, clock=time.process_time)


def scoring_lab() -> Measured:
    """The model's part alone, on the lab: its features beside the usual loop over the same token ids."""
    session = Session.open("lab")
    prompts = [session.encoder.prompt_ids([{"role": "user", "content": row["prompt"]}]) for row in sets.user_data(rows=400)]

    def ours() -> None:
        with session.adapted.active(None) as backbone:
            last_prompt_features(session.model, backbone, prompts, layers=[2])

    @torch.no_grad()
    def usual() -> None:
        for start in range(0, len(prompts), 8):
            session.model.base(**padded(prompts[start : start + 8], session.model.pad_id), output_hidden_states=True)

    what = "400 prompts, layer 2 of the lab's model, no prefix shared, nothing looked up"
    return race("scoring_lab", what, ours, "plain loop, batch 8, all layers", usual, target=1 / 2.5)
