"""Runs merged into their base: their folders, and the metadata of one without opening its weights. No torch."""

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
"""Share of the adapter's update lost to rounding from which the person is warned."""
_ADAPTER = "adapter/adapter_model.safetensors"


@dataclass(frozen=True)
class MergedRun:
    """Content of `merged.json`. `rounding` is the part of the update lost to the number format, as a share of its norm.

    `adapter` is the SHA-256 of the merged adapter's weights; `size` is that of the weight files, in bytes.
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
    """The prompt template, with `{prompt}` for a request; empty in folders of earlier versions."""

    @property
    def rounding_words(self) -> str:
        """How exact the merged weights are."""
        if not self.rounding:
            return f"Nothing was lost to the number format ({self.dtype})."
        return f"{self.dtype} cut off {100 * self.rounding:.2g} % of the size of what was trained."


def merged_folder(workspace: Workspace, run_id: str) -> Path:
    """The default folder of a merged run; a person may choose another."""
    return workspace.folder(KIND, run_id)


def check_target(target: Path) -> None:
    """Raise SpecError unless the folder can be created or is empty: nothing is overwritten."""
    if target.is_dir() and not any(target.iterdir()):
        return
    if target.exists():
        raise SpecError(f"{target} is there already. Name a folder that is not, or is empty: nothing is written over.")


def write_facts(folder: Path, facts: MergedRun) -> None:
    """Write `merged.json` into the folder of a merged run."""
    write_json(folder / FACTS, asdict(facts))


def read_merged(folder: Path) -> MergedRun | None:
    """The merged run in a folder; None if there is none. Raises StoreError if it is damaged."""
    if not (folder / FACTS).is_file():
        return None
    check(folder, FACTS, "config.json", remedy="Merge the run again.")
    facts: dict[str, Any] = read_json(folder / FACTS)
    try:
        return MergedRun(**facts)
    except TypeError as exc:
        raise StoreError(f"{folder.name}/{FACTS} was written by another version of the app. Merge the run again.") from exc


def merged_run(workspace: Workspace, run_id: str) -> MergedRun | None:
    """The merged model of a run in this workspace, if made from the run's current adapter. Raises StoreError if it is damaged."""
    merged = read_merged(merged_folder(workspace, run_id))
    return merged if merged is not None and merged.adapter == adapter_hash(workspace, run_id) else None


def adapter_hash(workspace: Workspace, run_id: str) -> str | None:
    """SHA-256 of a run's adapter, recorded when it was written; None for runs of versions that recorded none."""
    return noted(workspace.folder("runs", run_id), _ADAPTER)
