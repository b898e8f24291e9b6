"""Runs that were merged into their base: where the folders lie, and what is known of one without opening its weights. No torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from reft_studio.errors import SpecError, StoreError
from reft_studio.integrity import check, noted
from reft_studio.workspace import Workspace, read_json, write_json

KIND = "merged"
"""Folder of the workspace with merged models, each under the id of its run."""
FACTS, CARD = "merged.json", "README.md"
BIG = 0.25
"""Share of the adapter's update that rounding may take before a person is warned."""
_ADAPTER = "adapter/adapter_model.safetensors"


@dataclass(frozen=True)
class MergedRun:
    """What `merged.json` says. `rounding` is the part of the update that the number format cut off, as a share of its size.

    `adapter` is the SHA-256 of the weights that were folded in; `size` counts the weight files.
    """

    run: str
    title: str
    base: str
    dtype: str
    size: int
    rounding: float
    adapter: str | None
    created: str
    prompt: str = ""
    """How a request, `{prompt}`, is put to the model; empty in folders of earlier versions."""

    @property
    def rounding_words(self) -> str:
        """How exact the merged weights are."""
        if not self.rounding:
            return f"Nothing was lost to the number format ({self.dtype})."
        return f"{self.dtype} cut off {100 * self.rounding:.2g} % of the size of what was trained."


def place(workspace: Workspace, run_id: str) -> Path:
    """Where a merged run lies unless a person named another folder."""
    return workspace.folder(KIND, run_id)


def check_target(target: Path) -> None:
    """Raise SpecError unless a folder can be made there, or is there and empty: nothing of anybody's is written over."""
    if target.is_dir() and not any(target.iterdir()):
        return
    if target.exists():
        raise SpecError(f"{target} is there already. Name a folder that is not, or is empty: nothing is written over.")


def write_facts(folder: Path, facts: MergedRun) -> None:
    """Put what is known of a merged run beside its weights."""
    write_json(folder / FACTS, asdict(facts))


def read_merged(folder: Path) -> MergedRun | None:
    """What lies in a folder; None if no merged run does. Raises StoreError for one that is damaged."""
    if not (folder / FACTS).is_file():
        return None
    check(folder, FACTS, "config.json", remedy="Merge the run again.")
    found: dict[str, Any] = read_json(folder / FACTS)
    try:
        return MergedRun(**found)
    except TypeError as exc:
        raise StoreError(f"{folder.name}/{FACTS} was written by another version of the app. Merge the run again.") from exc


def merged_run(workspace: Workspace, run_id: str) -> MergedRun | None:
    """The merged model of a run in this workspace, if it is of the adapter that the run has now. Raises StoreError if it is damaged."""
    found = read_merged(place(workspace, run_id))
    return found if found is not None and found.adapter == adapter_hash(workspace, run_id) else None


def adapter_hash(workspace: Workspace, run_id: str) -> str | None:
    """SHA-256 of a run's adapter, as it was noted when it was written; None for a run of a version that noted none."""
    return noted(workspace.folder("runs", run_id), _ADAPTER)
