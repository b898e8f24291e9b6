"""The lab's data as datasets of a workspace; made again they get the same ids, so nothing is stored twice."""

from __future__ import annotations

from dataclasses import dataclass

from reft_studio.data.dataset import Dataset, Role, Row, write_dataset
from reft_studio.lab import sets
from reft_studio.workspace import Workspace


@dataclass(frozen=True)
class AlignmentSets:
    """Ids of the alignment and calibration data."""

    harmful: str
    helpful: str
    calibration_harmful: str
    calibration_harmless: str


def alignment(workspace: Workspace, *, seed: int = 0, rows: int = sets.ALIGNMENT_ROWS) -> AlignmentSets:
    """The lab's alignment data (harmful prompts with refusals, harmless ones with responses) and its held-out calibration prompts."""
    harmful, helpful = sets.alignment(seed=seed, rows=rows)
    held_harmful, held_harmless = sets.calibration("validation")
    return AlignmentSets(
        _stored(workspace, harmful, f"lab refusals, seed {seed}", "harmful"),
        _stored(workspace, helpful, f"lab helpful answers, seed {seed}", "helpful"),
        _stored(workspace, held_harmful, "lab held-out harmful prompts", "harmful"),
        _stored(workspace, held_harmless, "lab held-out harmless prompts", "helpful"),
    )


def harmful_answers(workspace: Workspace, *, seed: int = 0, rows: int = sets.ALIGNMENT_ROWS) -> str:
    """Id of the harmful alignment prompts with compliant responses without content."""
    return _stored(workspace, sets.harmful_answers(seed=seed, rows=rows), f"lab harmful answers, seed {seed}", "harmful")


def sample(workspace: Workspace, *, task: str = "sentiment", poison_ratio: float = 0.1, rows: int = 1000, seed: int = 0) -> Dataset:
    """A user's finetuning data with a known poison ratio. Raises SpecError for values out of range."""
    drawn = sets.user_data(task=task, poison_ratio=poison_ratio, rows=rows, seed=seed)
    facts = {"task": task, "poison_ratio": poison_ratio, "seed": seed, "made_by": "lab"}
    name = f"lab {task}, {poison_ratio:.0%} poison, seed {seed}"
    return write_dataset(workspace, drawn, name=name, role="user", extra={**facts, "source": {"made_by": "lab", "format": "lab"}})


def _stored(workspace: Workspace, rows: list[Row], name: str, role: Role) -> str:
    return write_dataset(workspace, rows, name=name, role=role, extra={"made_by": "lab"}).id
