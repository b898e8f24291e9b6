"""Every scorer that is prepared from examples can be a filter of a recipe: prepared on the sweep's own alignment data, and used."""

from __future__ import annotations

from typing import Any

import pytest

from reft_studio.progress import Silent
from reft_studio.scoring import SCORERS
from reft_studio.sweeps.record import lines
from reft_studio.sweeps.run import sweep
from reft_studio.sweeps.spec import SweepSpec, filter_title
from reft_studio.workspace import Workspace

ELSEWHERE = ("refusal_feature", "ensemble", "llama_guard")
"""The first is not prepared from examples, the second is named by its members, the third is a gated model of 8 B."""
NAMES = [*(name for name in SCORERS if name not in ELSEWHERE), "refusal_feature+response_compliance", "tfidf|oracle"]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The line of each filter, by its title."""
    workspace = Workspace.open(tmp_path_factory.mktemp("filters"))
    spec = SweepSpec.checked(
        optim={"steps": 2},
        rows=(60,),
        prompts=10,
        task_prompts=10,
        poison_ratios=(0.1,),
        variants=({"method": "sft", "filter": NAMES},),
    )
    sweep(workspace, spec, Silent())
    return {line["cell"]["variant"].removeprefix("Plain SFT + filter "): line for line in lines(workspace, spec)}


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_filters_with_any_scorer(found: dict[str, dict[str, Any]], name: str) -> None:
    line = found[filter_title(name)]
    assert "error" not in line, line
    assert "oracle" not in name or line["filter"]["recall"] == 100.0
    assert name == "random" or 0 <= line["filter"]["removed"] < 60
