"""Prepared scorers as folders: threshold, calibration and the files they score with. A teacher is the one of `refusal_feature`."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from reft_studio.data.dataset import Dataset
from reft_studio.errors import StoreError
from reft_studio.integrity import check
from reft_studio.models import shelf
from reft_studio.scoring import SCORERS
from reft_studio.teacher.teacher import REAL, list_teachers, open_teacher
from reft_studio.teacher.teacher import SHIPPED as SHIPPED_TEACHERS
from reft_studio.workspace import ASSETS, Workspace, read_json, write_json

_LOG = logging.getLogger(__name__)
SHIPPED = ASSETS / "scorers"
"""Prepared scorers that ship with the app, each in a folder named after its scorer."""
FILE = "scorer.json"
OF_TEACHERS = ("refusal_feature", "refusal_similarity")
"""The scorer that uses a teacher, by its name and its former name."""


class Prepared(Protocol):
    """Common interface of teachers and other prepared scorers.

    `threshold` is the score from which a row is flagged; `calibration` holds held-out AUROC, recall and false positive rate with
    their counts; `folder` has the held-out scores in calibration.parquet, if there are any.
    """

    @property
    def id(self) -> str: ...
    @property
    def folder(self) -> Path: ...
    @property
    def scorer(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def threshold(self) -> float: ...
    @property
    def calibration(self) -> dict[str, Any]: ...
    @property
    def spec(self) -> dict[str, Any]: ...
    @property
    def created(self) -> str: ...
    @property
    def is_lab(self) -> bool:
        """Whether it uses the lab's model, which knows only the lab's vocabulary."""


@dataclass(frozen=True)
class PreparedScorer:
    """Content of scorer.json; `record` says how it was made: counts of prompts, versions."""

    id: str
    folder: Path
    scorer: str
    title: str
    threshold: float
    calibration: dict[str, Any]
    spec: dict[str, Any]
    created: str
    record: dict[str, Any] = field(default_factory=dict)

    @property
    def is_lab(self) -> bool:
        return self.spec.get("model") == "lab"


def write_facts(
    folder: Path,
    *,
    scorer: str,
    title: str,
    threshold: float,
    calibration: dict[str, Any],
    spec: dict[str, Any],
    record: dict[str, Any],
) -> None:
    """Write scorer.json into the folder of a prepared scorer."""
    facts = {"scorer": scorer, "title": title, "threshold": threshold, "calibration": calibration, "spec": spec}
    write_json(folder / FILE, {**facts, "created": datetime.now(UTC).isoformat(timespec="seconds"), "record": record})


def open_prepared(workspace: Workspace, name: str) -> Prepared:
    """A teacher or another prepared scorer by id, or the default one of a scorer by its name.

    The default is the shipped one, else the newest of the workspace. Raises StoreError if there is none.
    """
    if name in SHIPPED_TEACHERS or workspace.folder("teachers", name).is_dir():
        return open_teacher(workspace, name)
    for folder in (SHIPPED / name, workspace.folder("scorers", name)):
        if (folder / FILE).is_file():
            return _read(folder)
    if name in SCORERS:
        if (built_in := SCORERS.get(name).built_in()) is not None:
            return built_in
        if own := [prepared for prepared in _own(workspace) if prepared.scorer == name]:
            return own[-1]
        raise StoreError(f"The scorer '{name}' has not been prepared here yet. Prepare it on the Filter page, or with the verb 'scorer'.")
    raise StoreError(f"There is no teacher and no prepared scorer '{name}'. Choose one on the Filter page, or use 'lab' or 'tfidf'.")


def usual_scorer(dataset: Dataset) -> str:
    """The default scorer of a dataset: the lab's teacher for lab data, the shipped real teacher for anything else.

    If that teacher's base is not on this machine: the shipped text scorer, and without it the lab's teacher.
    """
    if dataset.manifest.get("made_by") == "lab":
        return "lab"
    if (SHIPPED_TEACHERS[REAL] / "teacher.json").is_file() and shelf.find(REAL) is not None:
        return REAL
    return "tfidf" if (SHIPPED / "tfidf" / FILE).is_file() else "lab"


def list_prepared(workspace: Workspace) -> list[Prepared]:
    """Everything that can score now: teachers, shipped scorers and controls, then those of the workspace, oldest first."""
    ready: list[Prepared] = [teacher for teacher in list_teachers(workspace) if teacher.regularised or teacher.ready]
    for name in SCORERS:
        if (SHIPPED / name / FILE).is_file():
            ready.append(_read(SHIPPED / name))
        elif (built_in := SCORERS.get(name).built_in()) is not None:
            ready.append(built_in)
    return [*ready, *_own(workspace)]


def _own(workspace: Workspace) -> list[PreparedScorer]:
    own = []
    for folder in workspace.finished("scorers"):
        try:
            own.append(_read(folder))
        except StoreError as exc:
            _LOG.warning("prepared scorer left out: %s", exc)
    return own


def _read(folder: Path) -> PreparedScorer:
    check(folder, remedy="Prepare the scorer again." if folder.parent != SHIPPED else "Install the app again.")
    facts = read_json(folder / FILE)
    try:
        prepared = PreparedScorer(**{**facts, "id": folder.name, "folder": folder})
        valid = prepared.scorer in SCORERS and math.isfinite(prepared.threshold)
    except TypeError as exc:
        raise StoreError(f"{folder.name}/{FILE} was written by another version. Prepare the scorer again.") from exc
    if not valid:
        raise StoreError(f"{folder.name}/{FILE} is damaged or of another version. Prepare the scorer again.")
    return prepared


def chosen(workspace: Workspace, dataset: Dataset, scorer: str | None, teacher: str | None) -> Prepared:
    """The scorer for a dataset: the named one, else the default."""
    return open_prepared(workspace, named(scorer, teacher) or usual_scorer(dataset))


def named(scorer: str | None, teacher: str | None) -> str | None:
    """A scorer by its name or the id of a prepared one, else a teacher; None if neither was named."""
    return scorer if scorer is not None and scorer not in OF_TEACHERS else teacher
