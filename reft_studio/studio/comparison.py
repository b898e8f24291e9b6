"""Compare: how the evaluated models stand, where they differ, and which of them the page opens on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reft_studio.comparison import story
from reft_studio.comparison.costs import RunCost as RunCost
from reft_studio.comparison.costs import cost_reasons as cost_reasons
from reft_studio.comparison.costs import costs_of
from reft_studio.comparison.flips import Flips as Flips
from reft_studio.comparison.flips import Paired as Paired
from reft_studio.comparison.flips import flips, paired
from reft_studio.comparison.table import RunRow as RunRow
from reft_studio.comparison.table import Summary, groups, load_rows
from reft_studio.comparison.table import caveats as caveats
from reft_studio.comparison.table import comparable as comparable
from reft_studio.comparison.table import summaries as summaries
from reft_studio.data.dataset import list_datasets
from reft_studio.evaluation.grade import SetName
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


@dataclass(frozen=True)
class Comparison:
    """Every evaluated model, in groups that may be compared, newest group first; `reasons` says what keeps the groups apart."""

    rows: list[RunRow]
    groups: list[list[RunRow]]
    summaries: list[Summary]
    reasons: list[str]
    caveats: list[str]


class Comparing:
    """The evaluated models of one workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    def every(self) -> Comparison:
        """All of them, in groups that may be compared."""
        rows = load_rows(self.workspace)
        found = sorted(groups(rows), key=lambda group: max(row.created for row in group), reverse=True)
        first = found[0] if found else []
        return Comparison(rows, found, summaries(first), comparable(rows), caveats(first))

    def flips(self, a: str, b: str, set_name: SetName = "harmful") -> Flips:
        """Prompts of a set on which two models differ."""
        return flips(self.workspace, a, b, set_name)

    def paired(self, pairs: Sequence[tuple[str, str]]) -> list[Paired]:
        """The difference of each pair of models on the prompts that both were asked."""
        return paired(self.workspace, pairs)

    def costs(self, runs: Sequence[str]) -> list[RunCost]:
        """What these runs cost, in their order; models that are no run, and runs that are gone, are left out."""
        return costs_of(self.workspace, runs)

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
        return story.models_headline(self.workspace, rows)


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
