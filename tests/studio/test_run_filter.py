"""A planned run heeds what people decided about its rows, says how many rows that changes, and never filters frozen data by surprise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reft_studio.data.dataset import Row, list_datasets, write_dataset
from reft_studio.errors import SpecError
from reft_studio.scoring.scores import write_scores
from reft_studio.studio.run_form import RunForm, RunPlan
from reft_studio.studio.studio import Studio
from reft_studio.workspace import Workspace

ROWS, UNSCORED, FLAGGED = 12, 3, (9, 10, 11)


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    """Twelve rows: three flagged by the lab's teacher, one without a score."""
    studio = Studio(Workspace.open(tmp_path / "workspace"))
    rows: list[Row] = [{"prompt": f"question {at}", "response": f"answer {at}"} for at in range(ROWS)]
    dataset = write_dataset(studio.workspace, rows, name="twelve", role="user")
    scores = np.where(np.isin(np.arange(ROWS), FLAGGED), 0.5, -0.5).astype(np.float32)
    scores[UNSCORED] = np.nan
    write_scores(studio.workspace, dataset, scores, key="k", scorer="refusal_feature", teacher="lab", threshold=0.0, info={})
    studio.choose(dataset=dataset.id)
    return studio


def user(studio: Studio) -> str:
    (found,) = (one.id for one in list_datasets(studio.workspace) if one.name == "twelve")
    return found


def planned(studio: Studio, **changes: object) -> RunPlan:
    return studio.runs.plan(RunForm.checked(**{"dataset": user(studio), "method": "filter_only", **changes}))


def test_without_decisions_the_plan_is_the_one_it_always_was(studio: Studio) -> None:
    plan = planned(studio)
    assert (plan.spec.decisions, plan.removed) == (None, 4)
    assert plan.spec == planned(studio, heed_decisions=False).spec
    assert not any("decided" in text for text in plan.warnings)


def test_decisions_count_in_the_plan_as_they_do_in_a_freeze(studio: Studio) -> None:
    data = user(studio)
    for row, action in ((9, "keep"), (10, "remove"), (0, "remove"), (1, "unsure"), (UNSCORED, "relabel")):
        studio.audit.decide(data, row, action)  # type: ignore[arg-type]
    plan = planned(studio)
    assert plan.spec.decisions == studio.log.decided(data).hash
    made = studio.audit.freeze(data, "in doubt")
    assert plan.rows - (plan.removed or 0) == made.rows == 8
    assert "People decided 5 rows of this data, 2 of them against the threshold. What they decided counts first" in plan.warnings[0]


def test_a_decision_taken_back_leaves_the_run_what_it_was(studio: Studio) -> None:
    before = planned(studio).spec.run_id
    studio.audit.decide(user(studio), 9, "keep")
    during = planned(studio).spec.run_id
    studio.audit.undo(user(studio))
    assert planned(studio).spec.run_id == before != during


def test_each_new_decision_makes_another_run(studio: Studio) -> None:
    ids = set()
    for row in FLAGGED:
        studio.audit.decide(user(studio), row, "keep")
        ids.add(planned(studio).spec.run_id)
    assert len(ids) == 3


def test_a_run_may_go_by_the_scores_alone_and_says_so(studio: Studio) -> None:
    studio.audit.decide(user(studio), 9, "keep")
    for changes in ({"heed_decisions": False}, {"drop": 2}):
        plan = planned(studio, **changes)
        assert plan.spec.decisions is None
        assert (
            plan.warnings[0]
            == "People decided 1 row of this data. That does not count in this run: rows are dropped by their scores alone."
        )
    assert "--no-decisions" in planned(studio, heed_decisions=False).command
    by_chance = planned(studio, drop=2, scorer="random")
    assert not any("decided" in text for text in by_chance.warnings), "a control goes by nothing"


def test_a_method_without_a_filter_keeps_all_rows_whatever_was_decided(studio: Studio) -> None:
    studio.audit.decide(user(studio), 0, "remove")
    plan = planned(studio, method="sft")
    assert (plan.spec.filter, plan.spec.decisions, plan.removed) == (False, None, 0)


def test_frozen_data_is_not_filtered_again_unless_that_is_asked_for(studio: Studio) -> None:
    made = studio.audit.freeze(user(studio), "no score")
    for method in ("filter_only", "ref_teacher"):
        plan = planned(studio, dataset=made.id, method=method)
        assert (plan.spec.filter, plan.removed) == (False, 0)
    asked = planned(studio, dataset=made.id, filter=True)
    assert asked.spec.filter and "audited already" in asked.warnings[0]


def test_a_flagged_row_does_not_reach_a_run_by_the_word_of_one_person_where_two_are_asked_for(studio: Studio) -> None:
    data = user(studio)
    studio.audit.set_approvals(data, True, by="Ana")
    studio.audit.decide(data, 9, "keep", by="Ana", seen=True)
    with pytest.raises(SpecError, match="by the word of one person: 1"):
        planned(studio)
    studio.audit.decide(data, 9, "keep", by="Ben", seen=True)
    assert planned(studio).removed == 3


def test_the_log_is_checked_for_the_decisions_that_runs_rest_on(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    studio.audit.decide(user(studio), 9, "keep")
    spec = planned(studio).spec

    class Trained:
        def __init__(self, decisions: str | None) -> None:
            self.spec = spec.model_copy(update={"decisions": decisions})

    monkeypatch.setattr("reft_studio.studio.audit.list_runs", lambda _: [Trained(spec.decisions), Trained(None)])
    assert studio.audit.verify().ok
    monkeypatch.setattr("reft_studio.studio.audit.list_runs", lambda _: [Trained("0" * 64)])
    assert not studio.audit.verify().ok
