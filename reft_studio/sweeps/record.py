"""What a workspace holds of sweeps: the recipe of each, a line for every run that was done, and how long runs took. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reft_studio import fingerprint
from reft_studio.errors import StudioError
from reft_studio.sweeps.spec import Cell, Kind, SweepSpec
from reft_studio.workspace import Workspace, read_json, write_atomic, write_json

FOLDER = "sweeps"
RECIPE, TEXT = "recipe.json", "recipe.yaml"
"""The recipe as it was read, and as a person wrote it."""
Line = dict[str, Any]


@dataclass(frozen=True)
class Stored:
    """A sweep of the workspace. `spec` is None where another version wrote a recipe that this one does not read: `why` says so."""

    id: str
    name: str
    spec: SweepSpec | None
    why: str
    changed: float
    """When its newest file was written, in seconds since the epoch."""


def lines(workspace: Workspace, spec: SweepSpec) -> list[Line]:
    """What is known of each cell, in the order of the recipe.

    `cell` has its facts; once it was done there are `run`, `result`, `filter`, `cost`, or an `error`.
    """
    return [known(workspace, spec, cell) or {"cell": cell.facts} for cell in spec.cells]


def known(workspace: Workspace, spec: SweepSpec, cell: Cell) -> Line | None:
    """The line of a cell; None while there is none."""
    path = path_of(workspace, spec, cell)
    return dict(read_json(path)) if path.is_file() else None


def path_of(workspace: Workspace, spec: SweepSpec, cell: Cell) -> Path:
    """The file of the line of a cell, there or not."""
    return workspace.folder(FOLDER, spec.id) / f"{cell.key}.json"


def keep(workspace: Workspace, spec: SweepSpec, cell: Cell, line: Mapping[str, Any]) -> None:
    """Write what became of a cell."""
    write_recipe(workspace, spec)
    write_json(path_of(workspace, spec, cell), {"cell": cell.facts, **line})


def write_recipe(workspace: Workspace, spec: SweepSpec, text: str | None = None) -> None:
    """Note the recipe of a sweep, and the text that it was read from where there is one."""
    folder = workspace.folder(FOLDER, spec.id)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / RECIPE, spec.model_dump(mode="json"))
    if text is not None:
        write_atomic(folder / TEXT, text)


def failed(line: Mapping[str, Any]) -> bool:
    """Whether a run was tried and ended by an error."""
    return "error" in line


def done(line: Mapping[str, Any]) -> bool:
    """Whether a run, or a filter that trains nothing, has its numbers."""
    return "error" not in line and ("result" in line or "filter" in line)


def elsewhere(workspace: Workspace, spec: SweepSpec, cells: Iterable[Cell]) -> dict[str, Line]:
    """Lines of other sweeps for these cells, by `Cell.key`: the same run, asked for by a recipe that differs in its lists only.

    A line whose run was deleted since is none.
    """
    folders = [workspace.folder(FOLDER, one.id) for one in stored(workspace) if one.spec and one.id != spec.id and one.spec.alike(spec)]
    found = {}
    for key in (cell.key for cell in cells) if folders else ():
        for path in (folder / f"{key}.json" for folder in folders):
            if path.is_file() and done(line := dict(read_json(path))) and _run_is_there(workspace, line):
                found[key] = line
                break
    return found


def stored(workspace: Workspace) -> list[Stored]:
    """All sweeps of the workspace, the one that was worked on last first."""
    folders = [path.parent for path in workspace.folder(FOLDER).glob(f"*/{RECIPE}")]
    return sorted(map(_stored, folders), key=lambda one: one.changed, reverse=True)


def find(workspace: Workspace, sweep_id: str) -> Stored | None:
    """One sweep of the workspace; None if there is none with this id. Raises StoreError for what is no id."""
    folder = workspace.folder(FOLDER, sweep_id)
    return _stored(folder) if (folder / RECIPE).is_file() else None


def adopt(workspace: Workspace, spec: SweepSpec, cells: Iterable[Cell]) -> set[str]:
    """Note here what other sweeps had done of these cells; gives their keys."""
    missing = {cell.key: cell for cell in cells}
    found = elsewhere(workspace, spec, missing.values())
    for key, line in found.items():
        keep(workspace, spec, missing[key], line)
    return set(found)


def _stored(folder: Path) -> Stored:
    changed = max(path.stat().st_mtime for path in folder.glob("*.json"))
    try:
        told = dict(read_json(folder / RECIPE))
        spec = SweepSpec.checked(**told)
    except (StudioError, TypeError) as exc:
        return Stored(folder.name, folder.name, None, f"Its recipe was written by another version of the app: {exc}", changed)
    return Stored(folder.name, spec.name, spec, "", changed)


def _run_is_there(workspace: Workspace, line: Mapping[str, Any]) -> bool:
    return "run" not in line or (workspace.folder("runs", str(line["run"])) / "result.json").is_file()


class Times:
    """How long runs took, by their work: base, rows, settings of the optimizer and adapter, and prompts of the evaluation.

    What is made once for several runs (teachers, aligned weights, scores) is in the time of the first of them.
    """

    def __init__(self) -> None:
        self._seconds: dict[str, dict[str, list[float]]] = {}

    @classmethod
    def of(cls, workspace: Workspace) -> Times:
        """Those of all sweeps of a workspace."""
        times = cls()
        for one in stored(workspace):
            if one.spec is not None:
                for line in _lines_of(workspace, one):
                    times.add(one.spec, line)
        return times

    def add(self, spec: SweepSpec, line: Mapping[str, Any]) -> None:
        """Note a line, if its run was done for it and not before."""
        cell = line["cell"]
        if done(line) and line.get("seconds"):
            by_method = self._seconds.setdefault(_work(spec, cell["model"], cell["rows"]), {})
            by_method.setdefault(cell["method"], []).append(float(line["seconds"]))

    def seconds(self, spec: SweepSpec, kind: Kind) -> float | None:
        """How long a run takes: as those of its method did, else as those of others at the same work; None if none was timed."""
        model, rows, method = kind
        by_method = self._seconds.get(_work(spec, model, rows), {})
        found = by_method.get(method) or [one for times in by_method.values() for one in times]
        return sum(found) / len(found) if found else None

    def left(self, spec: SweepSpec, kinds: Mapping[Kind, int]) -> float | None:
        """How long so many runs of these kinds take; None where that of one is not known."""
        each = {kind: self.seconds(spec, kind) for kind, count in kinds.items() if count > 0}
        return None if None in each.values() else sum(kinds[kind] * one for kind, one in each.items() if one is not None)


def _lines_of(workspace: Workspace, one: Stored) -> Iterator[Line]:
    for path in workspace.folder(FOLDER, one.id).glob("*.json"):
        if path.name != RECIPE:
            yield dict(read_json(path))


def _work(spec: SweepSpec, model: str, rows: int) -> str:
    held = [spec.optim_of(model).model_dump(mode="json"), spec.lora_of(model).model_dump(mode="json")]
    return fingerprint.of_value([model, rows, held, spec.prompts, spec.task_prompts, spec.train])
