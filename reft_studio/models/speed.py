"""Prompt throughput of a base on this machine: measured with one small batch, or estimated from another base's."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROWS, TOKENS = 8, 64
"""The batch: prompts of a typical length."""
PROMPT_TOKENS = 50
"""Tokens of a typical prompt, for "1,000 prompts take …"."""


def measure(folder: Path) -> dict[str, Any]:
    """Load a model folder as for scoring and time a forward pass over 8 x 64 tokens: tokens_per_s, dtype, device, threads.

    Raises PrerequisiteError if it cannot be loaded, so that it is also the proof that it can.
    """
    import torch

    from reft_studio.models.loading import load

    model = load(str(folder))
    tokens = torch.randint(0, model.base.config.get_text_config().vocab_size, (ROWS, TOKENS), generator=torch.Generator().manual_seed(0))
    tokens = tokens.to(model.device)
    spent = []
    with torch.inference_mode():
        for _ in range(3):  # the first one warms up
            begin = time.perf_counter()
            hidden = model.base.base_model(input_ids=tokens, use_cache=False).last_hidden_state
            float(hidden[0, 0, 0])  # waits for an accelerator
            spent.append(time.perf_counter() - begin)
    return {
        "tokens_per_s": round(ROWS * TOKENS / min(spent[1:]), 1),
        "dtype": model.loading.dtype,
        "device": str(model.device),
        "threads": torch.get_num_threads(),
    }


def estimate(parameters: int, measured: Sequence[tuple[int, Mapping[str, Any]]]) -> float | None:
    """Tokens per second of a model of this size, from the measured one nearest in size (work grows with the parameters).

    `measured` holds parameters and speed of each. None if nothing was measured here.
    """
    known = [(count, float(speed["tokens_per_s"])) for count, speed in measured if count and speed.get("tokens_per_s")]
    if not known or not parameters:
        return None
    count, speed = min(known, key=lambda item: abs(item[0] - parameters))
    return speed * count / parameters


def seconds_for(prompts: int, tokens_per_s: float) -> float:
    """Seconds to score this many typical prompts."""
    return prompts * PROMPT_TOKENS / tokens_per_s
