"""The verb `teacher`: from files of prompts to a finished teacher, in the workspace or in a folder of the user's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reft_studio.console import Console, show
from reft_studio.data.dataset import Role
from reft_studio.errors import SpecError
from reft_studio.jobs import lab_data, tasks
from reft_studio.teacher.pool import PoolSpec
from reft_studio.teacher.spec import TeacherSpec
from reft_studio.teacher.teacher import check_target, deliver, open_teacher
from reft_studio.verbs import dataset_named
from reft_studio.workspace import Workspace

FOUR = ("harmful", "helpful", "calibration_harmful", "calibration_harmless")
ROLES: tuple[Role, ...] = ("harmful", "helpful", "harmful", "helpful")


@dataclass(frozen=True)
class Sources:
    """Files, ids or 'lab', as given; without calibration sets, part of the prompts is held out for it."""

    harmful: Sequence[str]
    harmless: Sequence[str]
    calibration_harmful: str | None = None
    calibration_harmless: str | None = None


def teacher(
    workspace: Workspace, sources: Sources, settings: dict[str, Any], shares: dict[str, Any], *, out: Path | None, as_json: bool
) -> None:
    """Prepare a teacher, say how well it separates held-out prompts, and copy it to `out`."""
    model = Path(settings["model"]).expanduser()
    if settings["model"] != "lab" and model.is_dir():  # the teacher must find its base from any folder
        settings = {**settings, "model": str(model.resolve())}
    TeacherSpec.checked(**settings, **dict.fromkeys(FOUR, "checked below"))
    if out is not None:
        check_target(out)
    params = {**settings, **_sets(workspace, sources, shares, seed=settings["seed"])}
    console = Console(workspace)
    result = tasks.prepare_teacher(console, params)
    console.done()
    found = open_teacher(workspace, result["teacher"])
    if out is not None:
        deliver(found, out)
        result["out"] = str(out)
    numbers = found.calibration
    text = f"Teacher {found.id}: layer {found.layer}, AUROC {numbers['auroc']:.3f}, threshold {found.threshold:+.3f}; flagged of held-out "
    text += f"prompts: {numbers['recall']:.1f} % of {numbers['harmful']:,} harmful, "
    text += f"{numbers['false_positive_rate']:.1f} % of {numbers['harmless']:,} harmless."
    text += f"\nIn {out}." if out else ""
    show({**result, "pooled": found.pooled, "calibration": numbers}, as_json=as_json, text=lambda: text)


def _sets(workspace: Workspace, sources: Sources, shares: dict[str, Any], *, seed: int) -> dict[str, Any]:
    """What `tasks.prepare_teacher` needs: four sets of prompts, or two pools of them to be split."""
    held_out = sources.calibration_harmful, sources.calibration_harmless
    if any(held_out) and not all(held_out):
        raise SpecError("Give held-out prompts of both kinds (--calibration-harmful and --calibration-harmless), or of none.")
    if not sources.harmful and not sources.harmless:
        given: tuple[str, ...] = ("lab", "lab", held_out[0] or "lab", held_out[1] or "lab")
    elif all(held_out):
        if len(sources.harmful) != 1 or len(sources.harmless) != 1:
            raise SpecError("With held-out prompts of your own, give one harmful and one harmless set; several are pooled only without.")
        given = (sources.harmful[0], sources.harmless[0], str(held_out[0]), str(held_out[1]))
    else:
        PoolSpec.checked(**shares)
        pools = {
            kind: [dataset_named(workspace, name, role="benchmark") for name in names]
            for kind, names in (("harmful", sources.harmful), ("harmless", sources.harmless))
        }
        return {"pool": {**shares, **pools}}
    lab = lab_data.alignment(workspace, seed=seed) if "lab" in given else None
    return {
        name: getattr(lab, name) if value == "lab" else dataset_named(workspace, value, role=role)
        for name, value, role in zip(FOUR, given, ROLES, strict=True)
    }
