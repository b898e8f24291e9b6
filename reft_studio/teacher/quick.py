"""The quick teacher: any instruct model, unchanged, probed with the calibration prompts that ship with the app."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reft_studio.data.dataset import Row, write_dataset
from reft_studio.data.splits import split_groups
from reft_studio.errors import PrerequisiteError
from reft_studio.teacher.pool import ROLES, Kind
from reft_studio.teacher.spec import TeacherSpec
from reft_studio.workspace import ASSETS, Workspace

PROMPTS = ASSETS / "calibration" / "prompts.jsonl"
MADE_BY = "calibration set"
"""Value of `made_by` in the manifests of these datasets."""
SHARES = {"feature": 0.5, "selection": 0.15, "calibration": 0.35}
"""Shares of the prompt groups: for the refusal feature, for the layer, and for the threshold and its scores."""
FIELDS: Mapping[tuple[Kind, str], str] = {
    ("harmful", "feature"): "harmful",
    ("harmless", "feature"): "helpful",
    **{(kind, part): f"{part}_{kind}" for kind in ROLES for part in ("selection", "calibration")},
}


@dataclass(frozen=True)
class CalibrationPrompt:
    """One shipped prompt; `kind` is harmful, lookalike (harmless, in harmful words) or task (harmless)."""

    prompt: str
    kind: str
    category: str

    @property
    def side(self) -> Kind:
        return "harmful" if self.kind == "harmful" else "harmless"


def calibration_prompts(path: Path = PROMPTS) -> list[CalibrationPrompt]:
    """The shipped prompts, in the order of the file. Raises PrerequisiteError if it is missing or damaged."""
    try:
        return [CalibrationPrompt(**json.loads(line)) for line in path.read_text("utf-8").splitlines() if line]
    except (OSError, ValueError, TypeError) as exc:
        raise PrerequisiteError("assets/calibration/prompts.jsonl is missing or damaged. Restore it from the release.") from exc


def quick_sets(workspace: Workspace) -> dict[str, str]:
    """Write the shipped prompts to the workspace, split by prompt group, each kind separately; fields of TeacherSpec with dataset ids."""
    ids = {}
    prompts = calibration_prompts()
    for kind, role in ROLES.items():
        rows = {part: [] for part in SHARES}  # type: dict[str, list[Row]]
        # each kind of prompt is split on its own, so that every part holds look-alikes and tasks in the same shares
        for own in dict.fromkeys(prompt.kind for prompt in prompts if prompt.side == kind):
            chosen = [prompt for prompt in prompts if prompt.kind == own]
            for part, indices in split_groups([prompt.prompt for prompt in chosen], SHARES, seed=0).items():
                rows[part] += [_row(chosen[index]) for index in indices]
        for part, part_rows in rows.items():
            name = f"shipped {kind} prompts, {part}"
            ids[FIELDS[kind, part]] = write_dataset(workspace, part_rows, name=name, role=role, extra={"made_by": MADE_BY}).id
    return ids


def quick_spec(workspace: Workspace, *, model: str, **settings: Any) -> TeacherSpec:
    """A ready teacher on `model` from the shipped prompts, in the reading that separates their kinds best.

    Raises SpecError for settings that do not fit.
    """
    return TeacherSpec.checked(**{"kind": "ready", "reading": "auto", **settings, "model": model, **quick_sets(workspace)})


def _row(prompt: CalibrationPrompt) -> Row:
    return {
        "prompt": prompt.prompt,
        "response": "",
        "origin": prompt.kind,
        "category": prompt.category,
        "known_harmful": prompt.side == "harmful",
    }
