"""Records of sweeps in a workspace: recipes, a line for every finished run, and how long runs took. Imports no torch."""

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
"""The recipe as parsed, and as written by a person."""
Line = dict[str, Any]


@dataclass(frozen=True)
class Stored:
    """A sweep of the workspace. `spec` is None if its recipe is of another version and cannot be read: `why` says so."""

    id: str
    name: str
    spec: SweepSpec | None
    why: str
    changed: float
    """Modification time of its newest file, in seconds since the epoch."""


def lines(workspace: Workspace, spec: SweepSpec) -> list[Line]:
    """The line of each cell, in the order of the recipe.

    `cell` has its facts; a finished one has `run`, `result`, `filter`, `cost`, or an `error`.
    """
    return [known(workspace, spec, cell) or {"cell": cell.facts} for cell in spec.cells]


def known(workspace: Workspace, spec: SweepSpec, cell: Cell) -> Line | None:
    """The line of a cell; None if there is none."""
    path = path_of(workspace, spec, cell)
    return dict(read_json(path)) if path.is_file() else None


def path_of(workspace: Workspace, spec: SweepSpec, cell: Cell) -> Path:
    """The file of the line of a cell, whether it exists or not."""
    return workspace.folder(FOLDER, spec.id) / f"{cell.key}.json"


def keep(workspace: Workspace, spec: SweepSpec, cell: Cell, line: Mapping[str, Any]) -> None:
    """Write the line of a cell."""
    write_recipe(workspace, spec)
    write_json(path_of(workspace, spec, cell), {"cell": cell.facts, **line})


def write_recipe(workspace: Workspace, spec: SweepSpec, text: str | None = None) -> None:
    """Store the recipe of a sweep, and its text if there is one."""
    folder = workspace.folder(FOLDER, spec.id)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / RECIPE, spec.model_dump(mode="json"))
    if text is not None:
        write_atomic(folder / TEXT, text)


def failed(line: Mapping[str, Any]) -> bool:
    """Whether a run ended with an error."""
    return "error" in line


def done(line: Mapping[str, Any]) -> bool:
    """Whether a run, or a filter without training, has its results."""
    return "error" not in line and ("result" in line or "filter" in line)


def lines_of_other_sweeps(workspace: Workspace, spec: SweepSpec, cells: Iterable[Cell]) -> dict[str, Line]:
    """Lines of other sweeps for these cells, by `Cell.key`: the same run, in a recipe that differs only in its lists.

    Lines whose run was deleted since are left out.
    """
    folders = [
        workspace.folder(FOLDER, other.id) for other in stored(workspace) if other.spec and other.id != spec.id and other.spec.alike(spec)
    ]
    by_key = {}
    for key in (cell.key for cell in cells) if folders else ():
        for path in (folder / f"{key}.json" for folder in folders):
            if path.is_file() and done(line := dict(read_json(path))) and _run_is_there(workspace, line):
                by_key[key] = line
                break
    return by_key


def stored(workspace: Workspace) -> list[Stored]:
    """All sweeps of the workspace, the most recently used first."""
    folders = [path.parent for path in workspace.folder(FOLDER).glob(f"*/{RECIPE}")]
    return sorted(map(_stored, folders), key=lambda sweep: sweep.changed, reverse=True)


def find(workspace: Workspace, sweep_id: str) -> Stored | None:
    """One sweep of the workspace; None if there is none with this id. Raises StoreError for an invalid id."""
    folder = workspace.folder(FOLDER, sweep_id)
    return _stored(folder) if (folder / RECIPE).is_file() else None


def adopt(workspace: Workspace, spec: SweepSpec, cells: Iterable[Cell]) -> set[str]:
    """Copy the finished lines of other sweeps for these cells; returns their keys."""
    missing = {cell.key: cell for cell in cells}
    copied = lines_of_other_sweeps(workspace, spec, missing.values())
    for key, line in copied.items():
        keep(workspace, spec, missing[key], line)
    return set(copied)


def _stored(folder: Path) -> Stored:
    changed = max(path.stat().st_mtime for path in folder.glob("*.json"))
    try:
        recipe = dict(read_json(folder / RECIPE))
        spec = SweepSpec.checked(**recipe)
    except (StudioError, TypeError) as exc:
        return Stored(folder.name, folder.name, None, f"Its recipe was written by another version of the app: {exc}", changed)
    return Stored(folder.name, spec.name, spec, "", changed)


def _run_is_there(workspace: Workspace, line: Mapping[str, Any]) -> bool:
    return "run" not in line or (workspace.folder("runs", str(line["run"])) / "result.json").is_file()


class Times:
    """How long runs took, by their work: base, rows, settings of optimizer and adapter, and number of evaluation prompts.

    What is made once for several runs (teachers, aligned weights, scores) is in the time of the first of them.
    """

    def __init__(self) -> None:
        self._seconds: dict[str, dict[str, list[float]]] = {}

    @classmethod
    def of(cls, workspace: Workspace) -> Times:
        """The times of all sweeps of a workspace."""
        times = cls()
        for sweep in stored(workspace):
            if sweep.spec is not None:
                for line in _lines_of(workspace, sweep):
                    times.add(sweep.spec, line)
        return times

    def add(self, spec: SweepSpec, line: Mapping[str, Any]) -> None:
        """Add a line, if its run was executed for it and not before."""
        cell = line["cell"]
        if done(line) and line.get("seconds"):
            by_method = self._seconds.setdefault(_work(spec, cell["model"], cell["rows"]), {})
            by_method.setdefault(cell["method"], []).append(float(line["seconds"]))

    def seconds(self, spec: SweepSpec, kind: Kind) -> float | None:
        """Expected seconds of a run: from runs of its method, else from others of the same work; None if none was timed."""
        model, rows, method = kind
        by_method = self._seconds.get(_work(spec, model, rows), {})
        timed = by_method.get(method) or [seconds for times in by_method.values() for seconds in times]
        return sum(timed) / len(timed) if timed else None

    def left(self, spec: SweepSpec, kinds: Mapping[Kind, int]) -> float | None:
        """Expected seconds of this many runs of each kind; None if one is unknown."""
        each = {kind: self.seconds(spec, kind) for kind, count in kinds.items() if count > 0}
        return None if None in each.values() else sum(kinds[kind] * seconds for kind, seconds in each.items() if seconds is not None)


def _lines_of(workspace: Workspace, sweep: Stored) -> Iterator[Line]:
    for path in workspace.folder(FOLDER, sweep.id).glob("*.json"):
        if path.name != RECIPE:
            yield dict(read_json(path))


def _work(spec: SweepSpec, model: str, rows: int) -> str:
    settings = [spec.optim_of(model).model_dump(mode="json"), spec.lora_of(model).model_dump(mode="json")]
    return fingerprint.of_value([model, rows, settings, spec.prompts, spec.task_prompts, spec.train])
