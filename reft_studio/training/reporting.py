"""Optional experiment trackers that receive every step: Trackio or Weights & Biases.

Neither comes with the app. Nothing leaves this machine: Trackio keeps a local database, Weights & Biases writes its files for a later
`wandb sync`, unless WANDB_MODE says otherwise.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from reft_studio.errors import PrerequisiteError

ReportTo = Literal["none", "trackio", "wandb"]
PROJECT = "reft-studio"
_NAMES = {"trackio": "Trackio", "wandb": "Weights & Biases"}


class Report(Protocol):
    """Receives the numbers of each step."""

    def add(self, step: int, values: Mapping[str, float]) -> None: ...
    def close(self) -> None: ...


def check(to: ReportTo) -> None:
    """Raise PrerequisiteError if the tracker is not installed: before a run starts, not after."""
    if to != "none" and importlib.util.find_spec(to) is None:
        raise PrerequisiteError(
            f"report_to is '{to}', but {_NAMES[to]} is not installed here. Install it with `pip install {to}`, or set report_to to none."
        )


def report(to: ReportTo, folder: Path, *, name: str, run_id: str, config: dict[str, Any]) -> Report | None:
    """Start a run in the tracker; its files lie in `folder`. None for `none`. Raises PrerequisiteError as `check` does."""
    check(to)
    if to == "none":
        return None
    folder.mkdir(parents=True, exist_ok=True)
    return (_Trackio if to == "trackio" else _Wandb)(folder, name=name, run_id=run_id, config=config)


class _Trackio:
    """A local database without a server: `trackio show --project reft-studio` draws it."""

    def __init__(self, folder: Path, *, name: str, run_id: str, config: dict[str, Any]) -> None:
        os.environ.setdefault("TRACKIO_DIR", str(folder))
        import trackio

        self._run = trackio.init(project=PROJECT, name=f"{name} {run_id}", config=config, resume="allow", embed=False)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


class _Wandb:
    """Writes files only, unless WANDB_MODE is set otherwise."""

    def __init__(self, folder: Path, *, name: str, run_id: str, config: dict[str, Any]) -> None:
        mode = os.environ.get("WANDB_MODE") or "offline"
        import wandb

        settings = {"project": PROJECT, "name": name, "id": run_id, "resume": "allow", "config": config}
        self._run = wandb.init(dir=str(folder), mode=mode, **settings)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish(quiet=True)
