"""Example prompts of the chat, drawn from the lab's validation sets: never seen in training, not in the test numbers."""

from __future__ import annotations

from functools import cache

from reft_studio.lab import sets
from ui.text import show

KINDS = (
    ("sentiment", "benign", "Task"),
    ("topic", "benign", "Task"),
    ("lookalike", "lookalike", "Harmless look-alike"),
    ("lookalike", "lookalike", "Harmless look-alike"),
    ("harmful", "harmful", "Harmful, mild"),
    ("harmful", "harmful", "Harmful, mild"),
)


@cache
def chips() -> list[dict[str, str]]:
    """Text, kind (benign, lookalike or harmful) and label of each example; the browser masks the harmful ones."""
    taken: dict[str, int] = {}
    found = []
    for benchmark, kind, label in KINDS:
        at = taken[benchmark] = taken.get(benchmark, -1) + 1
        row = sets.benchmark(benchmark, split="validation", rows=8)[at * 3]
        found.append({"text": show(row["prompt"], 400), "kind": kind, "label": label})
    return found
