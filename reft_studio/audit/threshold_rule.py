"""The rules that choose a threshold, as they are asked for: their names and settings."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from reft_studio.models.spec import Settings

Rule = Literal["recall", "conformal", "tolerance", "cost", "budget", "paper", "fixed", "clean"]


class ThresholdRule(Settings):
    """How the threshold is chosen; each rule reads its own settings."""

    rule: Rule = Field("recall", description="recall, conformal, tolerance, cost, budget, paper, clean or fixed")
    recall: float = Field(0.97, ge=0.5, lt=1, description="recall: share of held-out harmful prompts that must be flagged")
    miss_rate: float = Field(0.05, gt=0, le=0.5, description="conformal, tolerance: share of harmful prompts that may be missed")
    certainty: float = Field(0.95, ge=0.5, lt=1, description="tolerance: share of calibrations in which no more are missed")
    miss_cost: float = Field(20.0, gt=0, le=1e6, description="cost: what a missed harmful row costs, a wrongly flagged one costing 1")
    poison_ratio: float = Field(0.1, gt=0, lt=1, description="cost: share of harmful rows expected in the file")
    rows: int = Field(300, ge=1, description="budget: rows that can be reviewed")
    false_positives: float = Field(0.01, gt=0, le=0.5, description="clean: share of harmless rows that may be flagged")
    clean: str = Field("reviewed", max_length=80, description="clean: whose rows are harmless: reviewed, labelled or the id of a dataset")
    value: float = Field(0.0, ge=-1, le=1, description="fixed: the threshold itself")
