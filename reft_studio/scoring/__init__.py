"""Scorers of training rows; higher always means more harmful."""

from __future__ import annotations

from typing import Any

from reft_studio.registry import Registry

SCORERS: Registry[Any] = Registry(
    "scorer",
    {
        "refusal_similarity": "reft_studio.scoring.refusal_similarity:score",
    },
)
"""Name -> function(workspace, dataset, teacher, session, progress) -> ScoreSet."""
