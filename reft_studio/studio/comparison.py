"""What the Compare page opens on: the runs a person chose last for the dataset in work, else those that tell its story."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reft_studio.comparison import story
from reft_studio.comparison.table import RunRow, groups, load_rows
from reft_studio.data.dataset import list_datasets
from reft_studio.store import settings
from reft_studio.studio.project import DatasetSummary, chosen_dataset
from reft_studio.workspace import Workspace

MOST = 500
"""Run ids kept of one choice."""


@dataclass(frozen=True)
class FirstView:
    """The runs to begin with. `usual` are those that tell the story of the dataset; `remembered` says that a person chose others."""

    runs: list[str]
    usual: story.Opening
    remembered: bool


class Comparing:
    """What the page asks for beside the rows themselves."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    def first(self, rows: Sequence[RunRow] | None = None) -> FirstView:
        """The remembered choice as far as its runs are still there, else the usual one; `rows` are all evaluated models, if at hand."""
        found = load_rows(self.workspace) if rows is None else list(rows)
        dataset = chosen_dataset(self.workspace)
        usual = story.opening(groups(found), _family(self.workspace, dataset), _name(dataset))
        known = {row.run_id for row in found}
        kept = [run for run in settings.get(self.workspace, _key(dataset), []) if run in known]
        return FirstView(kept or usual.runs, usual, bool(kept) and set(kept) != set(usual.runs))

    def dataset(self) -> str:
        """The id of the dataset in work; empty without one."""
        found = chosen_dataset(self.workspace)
        return found.id if found else ""

    def remember(self, dataset: str, runs: Sequence[str]) -> None:
        """Keep a person's choice for a dataset; an empty one is forgotten, so that the usual one comes back."""
        key = f"compare:{dataset}"
        if runs:
            settings.set(self.workspace, key, list(runs)[:MOST])
        else:
            settings.remove(self.workspace, key)

    def headline(self, rows: Sequence[RunRow]) -> list[str]:
        """What comes out between these models, in the sentences that the report's summary has."""
        return story.told(self.workspace, rows)


def _key(dataset: DatasetSummary | None) -> str:
    return f"compare:{dataset.id if dataset else ''}"


def _name(dataset: DatasetSummary | None) -> str:
    return f"'{dataset.name}'" if dataset else "the chosen dataset"


def _family(workspace: Workspace, dataset: DatasetSummary | None) -> list[str]:
    """The dataset, then what was frozen from it, the newest first, or what it was frozen from."""
    if dataset is None:
        return []
    frozen = [one.id for one in list_datasets(workspace) if one.manifest.get("lineage", {}).get("source") == dataset.id]
    return [dataset.id, *reversed(frozen), *([dataset.frozen_from] if dataset.frozen_from else [])]
