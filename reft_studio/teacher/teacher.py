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
"""The teacher for real text, named after its base on the model shelf."""
SHIPPED = {**LAB, REAL: ASSETS / "teachers" / REAL, f"{REAL}-aligned": ASSETS / "teachers" / f"{REAL}-aligned"}
"""Teachers that ship with the app; those for real text are made by `python -m tools.real_teacher`."""


@dataclass(frozen=True)
class TeacherInfo:
    """Content of teacher.json.

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
    """The chosen λ, sweep, early stopping, cut prompts, how the base was loaded, package versions; empty for the shipped ones."""

    @property
    def scorer(self) -> str:
        """Name of the scorer that uses it."""
        return "refusal_feature"

    @property
    def is_lab(self) -> bool:
        return self.model == "lab"

    @property
    def max_length(self) -> int:
        """Tokens of a prompt and a response at its preparation; scored rows are cut alike, whatever a run trains with."""
        return int(self.spec["optim"]["max_length"])

    @property
    def loading(self) -> LoadSpec:
        """How its base was loaded, as far as scores depend on it; scoring uses the same settings."""
        used = {name: value for name, value in self.record.get("loaded", {}).items() if name in ("revision", "dtype", "quantization")}
        return LoadSpec.checked(**{**self.spec.get("loading", {}), **used})

    @property
    def ready(self) -> bool:
        """Whether it is an unchanged model: it filters, and guides only as far as that model refuses by itself."""
        return _is_ready(self.spec)

    @property
    def adapter(self) -> Path | None:
        """The folder of its adapter; None for a ready teacher."""
        return None if self.ready else self.folder / "adapter"


def adopt(workspace: Workspace, folder: Path) -> str:
    """Copy a teacher's folder into the workspace; returns its id there. An existing one is not copied again.

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
    """Whether a foreign teacher.json has all that scoring needs, with valid numbers."""
    try:
        info = TeacherInfo(**{**facts, "id": "", "folder": folder})
        return isinstance(info.layer, int) and math.isfinite(info.threshold) and info.max_length > 0 and info.loading is not None
    except (TypeError, KeyError, ValueError, AttributeError, SpecError):
        return False


def deliver(teacher: TeacherInfo, out: Path) -> None:
    """Copy a finished teacher to a user's folder, atomically. Raises PrerequisiteError if something else is there."""
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
    """Shipped teachers first, then those of the workspace, oldest first; aligned weights (λ = 0) are included.

    Damaged ones are skipped and logged, so that the others can still be used.
    """
    names = [name for name, folder in SHIPPED.items() if (folder / "teacher.json").is_file()]
    names += [folder.name for folder in workspace.finished("teachers") if (folder / "teacher.json").is_file()]
    teachers = []
    for name in names:
        try:
            teachers.append(open_teacher(workspace, name))
        except StoreError as exc:
            _LOG.warning("teacher left out: %s", exc)
    return teachers


def has_prompts(workspace: Workspace, teacher: TeacherInfo, names: Sequence[str] = SETS) -> bool:
    """Whether the sets that a teacher was made from are in this workspace; those of an imported folder are not."""
    ids = [teacher.spec.get(name) for name in names]
    return any(ids) and all((workspace.folder("datasets", dataset_id) / "manifest.json").is_file() for dataset_id in ids if dataset_id)
