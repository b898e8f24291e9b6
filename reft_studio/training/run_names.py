"""The name of every run of a workspace: the one a person gave, else a generated unique one. Used wherever a run is named."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from reft_studio.data.dataset import Dataset, open_dataset
from reft_studio.errors import SpecError, StoreError
from reft_studio.fingerprint import canonical_json
from reft_studio.scoring.prepared import open_prepared
from reft_studio.store import run_notes
from reft_studio.teacher.teacher import open_teacher
from reft_studio.training.naming import Known, Resolve, RunName, describe, name_all
from reft_studio.training.spec import RunSpec
from reft_studio.workspace import Workspace, read_json

DRAWN = ("dataset", "harmful", "helpful", "teacher", "aligned")
"""Settings that hold the id of something drawn or made with a seed."""
_SEED = ", seed "
"""Ends the name of data that was drawn with a seed."""


def run_names(workspace: Workspace, also: Mapping[str, Mapping[str, Any]] | None = None, *, generated: bool = False) -> dict[str, RunName]:
    """Names of all runs: finished, queued and training ones, and those that ended before they were finished.

    `also` are settings of further runs by id. Runs that were never finished lengthen no name but their own.
    `generated`: the generated names, ignoring those given by people.
    """
    notes, asked_for = run_notes.every(workspace), run_notes.asked_for(workspace)
    given = {run: note.name for run, note in notes.items() if note.name and not generated}
    asked = canonical_json({"given": given, "waiting": asked_for.going, "ended": asked_for.ended, "also": also or {}})
    return dict(_names(workspace, _stamp(workspace), asked))


def titles(workspace: Workspace, *, generated: bool = False) -> dict[str, str]:
    """The titles alone."""
    return {run: name.title for run, name in run_names(workspace, generated=generated).items()}


@lru_cache(maxsize=8)
def _names(workspace: Workspace, stamp: tuple[int, ...], asked: str) -> dict[str, RunName]:
    """Cached until a folder is added or removed or the arguments change: every refresh of the queue asks for the names."""
    wanted, resolve = json.loads(asked), resolver(workspace)
    specs: dict[str, Mapping[str, Any]] = {**wanted["also"], **_by_id(wanted["waiting"])}
    specs |= {path.parent.name: spec for path in workspace.root.glob("runs/*/spec.json") if (spec := _stored(path))}
    described = {run: describe(spec, resolve) for run, spec in specs.items()}
    named = name_all(described)
    if ended := {run: describe(spec, resolve) for run, spec in _by_id(wanted["ended"]).items() if run not in specs}:
        named = {**name_all({**described, **ended}), **named}
    return _told_apart(named, wanted["given"])


def _by_id(specs: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {run: spec for spec in specs if (run := id_of(spec))}


def _told_apart(named: Mapping[str, RunName], given: Mapping[str, str]) -> dict[str, RunName]:
    """Names given by people replace generated ones; a generated name that occurs twice then gets its id appended."""
    titles = {run: given.get(run, name.title) for run, name in named.items()}
    counts = Counter(titles.values())
    alike = {run for run, title in titles.items() if counts[title] > 1 and run not in given}
    return {run: replace(name, title=f"{titles[run]} ({run})" if run in alike else titles[run]) for run, name in named.items()}


def _stamp(workspace: Workspace) -> tuple[int, ...]:
    """Changes when a run, a dataset, a teacher or a scorer is finished or deleted."""
    folders = [workspace.folder(kind) for kind in ("runs", "datasets", "teachers", "scorers")]
    return tuple(folder.stat().st_mtime_ns if folder.is_dir() else 0 for folder in folders)


def run_title(workspace: Workspace, spec: RunSpec) -> str:
    """The name of one run, finished or not, among all others."""
    return run_names(workspace, {spec.run_id: spec.model_dump(mode="json")})[spec.run_id].title


def id_of(spec: Mapping[str, Any]) -> str:
    """The id of a run with these settings; empty if they are of another version of the app."""
    try:
        return RunSpec.checked(**spec).run_id
    except SpecError:
        return ""


def resolver(workspace: Workspace) -> Resolve:
    """Resolves ids of data and teachers, each once, to their names and to a value shared by draws with other seeds."""

    @cache
    def resolve(field: str, value: str) -> Known:
        try:
            if field in ("dataset", "harmful", "helpful"):
                return _of_data(open_dataset(workspace, value))
            return _of_teacher(workspace, value) if field in ("teacher", "aligned") else Known(value, open_prepared(workspace, value).title)
        except StoreError:
            return Known(value, value)

    return resolve


def _of_data(dataset: Dataset) -> Known:
    """Draws of the lab that differ only in their seed share a value; any other dataset has its own."""
    manifest, audited = dataset.manifest, bool(dataset.manifest.get("lineage"))
    if manifest.get("made_by") != "lab" or audited:
        return Known(dataset.id, dataset.name, audited)
    return Known([dataset.role, dataset.rows, manifest.get("task"), manifest.get("poison_ratio")], dataset.name.split(_SEED)[0])


def _of_teacher(workspace: Workspace, teacher_id: str) -> Known:
    """The settings of a teacher without its seed and the draws it was made from."""
    teacher = open_teacher(workspace, teacher_id)
    drawn = {key for key in teacher.spec if key in {"seed", "harmful", "helpful"} or key.startswith("calibration_")}
    return Known({key: value for key, value in teacher.spec.items() if key not in drawn} or teacher_id, teacher.title)


def _stored(path: Path) -> dict[str, Any] | None:
    """The settings of a finished run; None for one that is damaged or still being written."""
    if ".tmp-" in path.parent.name:
        return None
    try:
        spec = read_json(path)
    except StoreError:
        return None
    return spec if isinstance(spec, dict) else None
