"""Reads the folder of a finished run, without torch."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from reft_studio.errors import SpecError, StoreError
from reft_studio.integrity import check
from reft_studio.training.ledger import Ledger
from reft_studio.training.spec import RunSpec
from reft_studio.workspace import Workspace, read_json

_LOG = logging.getLogger(__name__)
UNFINISHED = "unfinished"
"""Folder of the workspace with unfinished trainings."""
CHECKPOINT = re.compile(r"checkpoint-([0-9]{9})")
"""Name of a checkpoint's folder, with its step."""
_FACTS = ("spec.json", "result.json", "log.jsonl")
"""Verified whenever a run is listed; the adapter is verified when it is loaded."""


@dataclass(frozen=True)
class RunInfo:
    """Content of spec.json and result.json of a run; `result` holds rows kept and removed, steps, seconds, last losses."""

    run_id: str
    folder: Path
    spec: RunSpec
    result: dict[str, Any] = field(repr=False, compare=False)

    @property
    def adapter(self) -> Path:
        return self.folder / "adapter"

    def costs(self) -> dict[str, Any] | None:
        """The stored ledger; None for runs of versions without one."""
        path = self.folder / "cost.json"
        return dict(read_json(path)) if path.is_file() else None

    def ledger(self) -> Ledger | None:
        """The ledger, parsed; evaluations of the run store their own with their results."""
        costs = self.costs()
        return None if costs is None else Ledger.read(costs, int(self.result["steps"]))

    def log(self) -> list[dict[str, float]]:
        """One line per optimizer step: losses, learning rate, gradient norm, speed."""
        return [json.loads(line) for line in (self.folder / "log.jsonl").read_text("utf-8").splitlines()]


def open_run(workspace: Workspace, run_id: str) -> RunInfo:
    """Raises StoreError if there is no such finished run, or its files are damaged or of another version."""
    folder = workspace.folder("runs", run_id)
    if not (folder / "result.json").is_file():
        raise StoreError(f"There is no finished run '{run_id}' in the workspace.")
    check_facts(folder)
    try:
        return _read(folder, *((folder / name).stat().st_mtime_ns for name in ("spec.json", "result.json")))
    except (SpecError, TypeError) as exc:
        raise StoreError(f"spec.json of the run '{run_id}' is damaged or of another version of the app. Do the run again.") from exc


@lru_cache(maxsize=1024)
def _read(folder: Path, _spec_written: int, _result_written: int) -> RunInfo:
    """A run by the modification times of its files; cached, because every edit of the Train page lists the runs."""
    return RunInfo(folder.name, folder, RunSpec.checked(**read_json(folder / "spec.json")), read_json(folder / "result.json"))


def check_facts(folder: Path) -> None:
    """Raise StoreError if a run's metadata (not its adapter) does not match its recorded hashes."""
    check(folder, *_FACTS, remedy="Do the run again.")


def list_runs(workspace: Workspace) -> list[RunInfo]:
    """Every readable finished run, oldest first; damaged ones are skipped and logged, so that the others can still be listed."""
    runs = []
    for folder in workspace.finished("runs"):
        try:
            runs += [open_run(workspace, folder.name)] if (folder / "result.json").is_file() else []
        except StoreError as exc:
            _LOG.warning("run left out: %s", exc)
    return runs


def checkpoint_folder(workspace: Workspace, run_id: str) -> Path:
    """The folder of an unfinished run's checkpoints."""
    return workspace.folder(UNFINISHED, f"run-{run_id}")


def newest_checkpoint(folder: Path) -> tuple[int, Path] | None:
    """The newest complete checkpoint in such a folder, with its step; None if there is none."""
    checkpoints = [(int(name[1]), path) for path in folder.glob("*/checkpoint-*") if (name := CHECKPOINT.fullmatch(path.name))]
    return max(checkpoints, default=None)


def removed_words(result: Mapping[str, Any]) -> str:
    """What is known about the rows that a run left out; unlabelled rows count neither as harmful nor as harmless."""
    harmful, harmless = int(result["removed_harmful"]), int(result["removed_harmless"])
    unknown = int(result.get("removed_unknown", result["removed"] - harmful - harmless))  # not written by older runs
    known = f"{harmful:,} known to be harmful, {harmless:,} known to be harmless"
    return known if not unknown else f"{known}, {unknown:,} of unknown truth" if harmful or harmless else f"{unknown:,} of unknown truth"


def decided_words(decided: Mapping[str, Any]) -> str:
    """What people's decisions changed in what the filter kept, as a run recorded it."""
    kept, left, refusals = (int(decided[name]) for name in ("kept", "left_out", "relabelled"))
    return (
        f"{int(decided['changed']):,} rows changed: {kept:,} kept and {left:,} left out against the filter, {refusals:,} answered with a "
        f"refusal; newest decision {decided['hash'][:8]}"
    )


def cost_words(costs: Mapping[str, Any]) -> str:
    """The cost of a run, from its ledger: `1.2 min and 640 MB at most on CPU; 48,000 tokens forward …; 3.1 TFLOP`."""
    seconds = sum(stage["seconds"] for stage in costs["stages"])
    memory = max((stage["memory_mb"] or 0 for stage in costs["stages"]), default=0)
    tokens = ", ".join(f"{count:,} {kind}" for kind, count in costs["tokens"].items() if count)
    flops = sum(costs["flops"].values()) if costs["flops"] else 0
    parts = [f"{seconds / 60:.1f} min and {memory:,} MB at most on {costs['device']}"]
    parts += [f"tokens through the model: {tokens}"] if tokens else []
    parts += [f"{flops / 1e12:.3g} TFLOP, reckoned from {costs['counted_steps']} counted steps"] if flops else []
    return "; ".join(parts)
