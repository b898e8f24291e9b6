"""A prepared teacher as a folder: adapter, refusal feature, layer, threshold, calibration. Reading it needs no torch."""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reft_studio import fingerprint, integrity
from reft_studio.errors import PrerequisiteError, SpecError, StoreError
from reft_studio.models.adapter_file import read_adapter
from reft_studio.models.spec import LoadSpec
from reft_studio.teacher.spec import KEY, SETS
from reft_studio.workspace import ASSETS, Workspace, new_folder, read_json

_LOG = logging.getLogger(__name__)
LAB = {"lab": ASSETS / "lab" / "teacher", "lab-aligned": ASSETS / "lab" / "aligned"}
"""Teachers of the embedded lab, made by `python -m tools.ship`."""
REAL = "smollm2-135m"
"""The teacher for real text, by the name of its base on the model shelf."""
SHIPPED = {**LAB, REAL: ASSETS / "teachers" / REAL, f"{REAL}-aligned": ASSETS / "teachers" / f"{REAL}-aligned"}
"""Teachers that ship with the app; those for real text are made by `python -m tools.real_teacher`."""


@dataclass(frozen=True)
class TeacherInfo:
    """What teacher.json says.

    `layer` counts decoder blocks from 1; `threshold` is the similarity at or above which a prompt is flagged; `calibration`
    holds the held-out AUROC, recall and false positive rate with their counts and the quantiles of harmless scores.
    """

    id: str
    folder: Path
    title: str
    model: str
    layer: int
    threshold: float
    regularised: bool
    template: str
    template_hash: str
    base_fingerprint: str
    calibration: dict[str, Any]
    spec: dict[str, Any]
    created: str
    pooled: dict[str, Any] | None = None
    """How its sets were pooled from files, with counts; None if they were given one by one."""
    record: dict[str, Any] = field(default_factory=dict)
    """The λ taken, sweep, early stop, cut prompts, how the base was loaded, package versions; empty for the shipped ones."""

    @property
    def scorer(self) -> str:
        """The scorer that reads it."""
        return "refusal_feature"

    @property
    def is_lab(self) -> bool:
        return self.model == "lab"

    @property
    def max_length(self) -> int:
        """Tokens of a prompt and an answer when it was prepared; what it scores is cut alike, whatever a run trains with."""
        return int(self.spec["optim"]["max_length"])

    @property
    def loading(self) -> LoadSpec:
        """How its base was held in memory, as far as scores depend on it; it scores only with the same."""
        used = {name: value for name, value in self.record.get("loaded", {}).items() if name in ("revision", "dtype", "quantization")}
        return LoadSpec.checked(**{**self.spec.get("loading", {}), **used})

    @property
    def ready(self) -> bool:
        """Whether it is the untouched model: it filters, and guides only as far as that model refuses by itself."""
        return _is_ready(self.spec)

    @property
    def adapter(self) -> Path | None:
        """The folder of its adapter; None for a ready teacher, which is the untouched model."""
        return None if self.ready else self.folder / "adapter"


def adopt(workspace: Workspace, folder: Path) -> str:
    """Copy a teacher's folder into the workspace; returns its id there. One that is there already is not copied again.

    Raises StoreError if the folder holds no teacher, a damaged one, or an adapter that is not allowed.
    """
    if not (folder / "teacher.json").is_file():
        raise StoreError(f"{folder} holds no teacher: there is no teacher.json in it. Name a folder made by the verb 'teacher'.")
    facts = read_json(folder / "teacher.json")
    if not _whole(facts, folder):
        raise StoreError(f"{folder}/teacher.json is damaged or of another version. Prepare the teacher again.")
    if not _is_ready(facts["spec"]):
        read_adapter(folder / "adapter")
    teacher_id = "f" + fingerprint.of_value(facts)[:KEY]
    final = workspace.folder("teachers", teacher_id)
    if not final.exists():
        integrity.check(folder, remedy="Copy the folder again from where it was made.", wait=True)
        with new_folder(final) as building:
            shutil.copytree(folder, building, dirs_exist_ok=True)
            if not (building / integrity.SUMS).is_file():
                integrity.seal(building)
    return open_teacher(workspace, teacher_id).id


def _is_ready(spec: dict[str, Any]) -> bool:
    return bool(spec.get("kind", "trained") == "ready")


def _whole(facts: Any, folder: Path) -> bool:
    """Whether a teacher.json that came from elsewhere says all that scoring reads, in numbers that can be."""
    try:
        found = TeacherInfo(**{**facts, "id": "", "folder": folder})
        return isinstance(found.layer, int) and math.isfinite(found.threshold) and found.max_length > 0 and found.loading is not None
    except (TypeError, KeyError, ValueError, AttributeError, SpecError):
        return False


def deliver(teacher: TeacherInfo, out: Path) -> None:
    """Copy a finished teacher to a folder of the user's, whole or not at all. Raises PrerequisiteError if another thing is there."""
    check_target(out)
    with new_folder(out.absolute()) as building:
        shutil.copytree(teacher.folder, building, dirs_exist_ok=True)


def check_target(out: Path) -> None:
    """Raises PrerequisiteError unless `out` is free, empty, or holds a teacher that may be replaced."""
    if out.exists() and not (out.is_dir() and ((out / "teacher.json").is_file() or not any(out.iterdir()))):
        raise PrerequisiteError(f"{out} is there already and is no teacher. Name a folder that is new or empty.")


def open_teacher(workspace: Workspace, teacher_id: str) -> TeacherInfo:
    """The teacher with this id: shipped, or of the workspace. Raises StoreError if there is none, or it is damaged."""
    folder = SHIPPED.get(teacher_id) or workspace.folder("teachers", teacher_id)
    if not (folder / "teacher.json").is_file():
        raise StoreError(f"There is no teacher '{teacher_id}'. Prepare one on the Filter page, or use 'lab'.")
    integrity.check(folder, remedy="Prepare the teacher again." if teacher_id not in SHIPPED else "Install the app again.")
    facts = read_json(folder / "teacher.json")
    try:
        return TeacherInfo(**{**facts, "id": teacher_id, "folder": folder})
    except TypeError as exc:
        raise StoreError(f"teacher.json of '{teacher_id}' was written by another version. Prepare the teacher again.") from exc


def list_teachers(workspace: Workspace) -> list[TeacherInfo]:
    """Shipped teachers first, then those of the workspace, oldest first; aligned weights (λ = 0) are among them.

    A damaged one is left out and logged, so that the others can still be used.
    """
    names = [name for name, folder in SHIPPED.items() if (folder / "teacher.json").is_file()]
    names += [folder.name for folder in workspace.finished("teachers") if (folder / "teacher.json").is_file()]
    found = []
    for name in names:
        try:
            found.append(open_teacher(workspace, name))
        except StoreError as exc:
            _LOG.warning("teacher left out: %s", exc)
    return found


def prompts_at_hand(workspace: Workspace, teacher: TeacherInfo, names: Sequence[str] = SETS) -> bool:
    """Whether the sets that a teacher was made of are in this workspace; those of one that came as a folder are not."""
    ids = [teacher.spec.get(name) for name in names]
    return any(ids) and all((workspace.folder("datasets", one) / "manifest.json").is_file() for one in ids if one)
