"""What a scorer reads, in words that stand beside its name."""

from __future__ import annotations

READS = {
    "prompt": "reads prompts",
    "response": "reads answers",
    "both": "reads prompts and answers",
    "members": "reads what its members read",
    "label": "reads labels",
    "nothing": "reads nothing",
}
