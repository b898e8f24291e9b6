"""What every scorer of the registry keeps to. A new one is tested here before its author writes a test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from reft_studio.audit.threshold_rule import ThresholdRule
from reft_studio.data.dataset import Dataset, Row, write_dataset
from reft_studio.errors import DataError, StoreError
from reft_studio.jobs.foreground import ForegroundContext
from reft_studio.scoring import SCORERS
from reft_studio.scoring.prepared import Prepared, list_prepared, open_prepared
from reft_studio.scoring.scores import ScoreSet, open_score_set
from reft_studio.studio.studio import Studio
from reft_studio.tasks.score import score_dataset
from reft_studio.tasks.scorers import prepare_scorer
from reft_studio.workspace import Workspace
from tests.evaluation.tiny_judges import tiny_guard

NAMES = list(SCORERS)
THROUGH_A_TEACHER = ("linear_probe", "embedding", "larf", "perplexity", "alignment_similarity", "gradient", "pharmacist_like")
SETTINGS: dict[str, dict[str, object]] = {
    **{name: {"teacher": "lab"} for name in THROUGH_A_TEACHER},
    "ensemble": {"members": ["tfidf", "lab"]},
}
"""What a scorer needs to be prepared in these tests beyond the examples that ship."""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace.open(tmp_path_factory.mktemp("scorers"))


@pytest.fixture(scope="module")
def dataset(workspace: Workspace) -> Dataset:
    """Twelve labelled rows, every third harmful; row 3 says nothing, row 4 speaks twice, row 5 has no response."""
    rows: list[Row] = [
        {"prompt": f"how do i steal car number {number}" if number % 3 == 0 else f"sum up note {number}", "response": f"answer {number}"}
        for number in range(12)
    ]
    rows[3] |= {"prompt": "   "}
    rows[4] |= {"messages": [{"role": "user", "content": "how do i steal a car"}, {"role": "user", "content": "sum up note 4"}]}
    rows[5] |= {"response": ""}
    for number, row in enumerate(rows):
        row["known_harmful"] = number % 3 == 0
    return write_dataset(workspace, rows, name="twelve", role="user")


def prepared_of(workspace: Workspace, name: str) -> Prepared:
    """What a scorer scores with: the lab's teacher, what ships or is built in, or one prepared from the examples that ship."""
    if name == "refusal_feature":
        return open_prepared(workspace, "lab")
    try:
        return open_prepared(workspace, name)
    except StoreError:
        settings = {"model": str(tiny_guard(workspace.root / "guard"))} if name == "llama_guard" else SETTINGS.get(name, {})
        return open_prepared(workspace, prepare_scorer(ForegroundContext(workspace), {"scorer": name, **settings})["scorer"])


def scored(workspace: Workspace, dataset: Dataset, name: str) -> ScoreSet:
    answer = score_dataset(ForegroundContext(workspace), {"dataset": dataset.id, "scorer": prepared_of(workspace, name).id})
    return open_score_set(workspace, dataset.id, answer["key"])


@pytest.mark.parametrize("name", NAMES)
def test_a_scorer_says_what_it_reads_and_what_it_misses(name: str) -> None:
    info = SCORERS.get(name).info
    assert info.name == name and info.title and info.cost and info.misses.endswith(".")


@pytest.mark.parametrize("name", NAMES)
def test_scores_lie_on_the_scale_and_a_row_without_one_has_a_reason(workspace: Workspace, dataset: Dataset, name: str) -> None:
    score = scored(workspace, dataset, name)
    values = score.scores()
    there = ~np.isnan(values)
    assert (score.scorer, len(values), score.missing) == (name, 12, int((~there).sum()))
    assert there.any() and (np.abs(values[there]) <= 1).all() and -1 <= score.threshold <= 1
    assert [reason is None for reason in score.reasons(range(12))] == there.tolist()


@pytest.mark.parametrize("name", NAMES)
def test_a_dataset_is_scored_once(workspace: Workspace, dataset: Dataset, name: str) -> None:
    score = scored(workspace, dataset, name)
    stamp = score.stamp()
    assert scored(workspace, dataset, name).stamp() == stamp == score.stamp()


@pytest.mark.parametrize("name", NAMES)
def test_pages_take_the_scores_of_any_scorer(workspace: Workspace, dataset: Dataset, name: str) -> None:
    score, studio = scored(workspace, dataset, name), Studio(workspace)
    view = studio.scores.view(dataset.id, score.key)
    assert view.prepared.id == score.teacher and sum(rows for _, rows, _, _ in view.bins) == 12 - score.missing
    fixed = ThresholdRule(rule="fixed", value=0.5)
    if view.prepared.calibration:
        assert studio.thresholds.by_rule(dataset.id, score.key, fixed).threshold == pytest.approx(0.5)
    studio.measures.shift(dataset.id, score.key)


@pytest.mark.parametrize("name", NAMES)
def test_a_prepared_scorer_is_listed_and_found_by_its_id(workspace: Workspace, name: str) -> None:
    prepared = prepared_of(workspace, name)
    assert prepared.scorer == name and prepared.id in [one.id for one in list_prepared(workspace)]
    assert open_prepared(workspace, prepared.id).threshold == prepared.threshold


def test_importing_every_scorer_loads_neither_torch_nor_scikit_learn() -> None:
    code = "import sys; from reft_studio.scoring import SCORERS; SCORERS.all(); print({'torch', 'sklearn', 'scipy'} & set(sys.modules))"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "set()"


def test_the_oracle_refuses_a_file_without_labels(workspace: Workspace) -> None:
    unlabelled = write_dataset(workspace, [{"prompt": "sum up note 1", "response": "note"}], name="unlabelled", role="user")
    with pytest.raises(DataError, match="has no labels"):
        score_dataset(ForegroundContext(workspace), {"dataset": unlabelled.id, "scorer": "oracle"})


def test_the_oracle_flags_exactly_the_harmful_rows(workspace: Workspace, dataset: Dataset) -> None:
    assert scored(workspace, dataset, "oracle").scores().tolist() == [1.0 if number % 3 == 0 else -1.0 for number in range(12)]


def test_an_unknown_scorer_is_refused_with_what_there_is(workspace: Workspace, dataset: Dataset) -> None:
    with pytest.raises(StoreError, match="no teacher and no prepared scorer 'magic'"):
        score_dataset(ForegroundContext(workspace), {"dataset": dataset.id, "scorer": "magic"})
