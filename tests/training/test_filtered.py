"""A filter and people's decisions reach a run as they reach a freeze: a person's word first, then the threshold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from reft_studio.audit.policy import REFUSAL
from reft_studio.errors import SpecError, StoreError
from reft_studio.models.spec import OptimSpec
from reft_studio.progress import Silent
from reft_studio.scoring.refusal_similarity import score
from reft_studio.scoring.scores import flagged
from reft_studio.store.decisions import DecisionLog
from reft_studio.tasks.export import frozen
from reft_studio.training.card import CARD
from reft_studio.training.inputs import answered_rows, user_rows
from reft_studio.training.run import train
from reft_studio.training.run_folder import RunInfo
from reft_studio.training.spec import RunSpec
from reft_studio.workspace import Workspace
from tests.tiny_runs import TinyRuns

OPTIM = OptimSpec(steps=4, batch_size=4, alignment_batch_size=4, learning_rate=5e-3)


class Reviewed(TinyRuns):
    """A scored dataset of 24 rows, half of them flagged, of which people decided three on each side of the threshold."""

    def __init__(self, workspace: Workspace, model: Path) -> None:
        super().__init__(workspace, model, steps=5, optim=OPTIM)
        self.user, self.log = self.data["user"], DecisionLog(workspace)
        self.scores = score(workspace, self.user, self.teacher, self.session, Silent())
        self.threshold = float(np.sort(self.scores.scores())[self.user.rows // 2])
        over = flagged(self.scores.scores(), self.threshold)
        self.above, self.below = np.flatnonzero(over).tolist(), np.flatnonzero(~over).tolist()
        for row, action in zip(self.above, ("keep", "relabel", "remove"), strict=False):
            self.log.decide(self.user.id, row, action)
        for row, action in zip(self.below, ("remove", "unsure", "keep"), strict=False):
            self.log.decide(self.user.id, row, action)
        self.newest = self.log.decided(self.user.id).hash

    def filtered(self, **changes: Any) -> RunSpec:
        return self.spec("filter_only", **{"threshold": self.threshold, **changes})

    def kept(self, spec: RunSpec) -> list[int]:
        return user_rows(self.workspace, spec, self.user, self.session, Silent()).positions

    def run(self, spec: RunSpec) -> RunInfo:
        return train(self.workspace, spec, self.session, Silent())


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Reviewed:
    return Reviewed(Workspace.open(tmp_path_factory.mktemp("reviewed")), tiny_model)


def test_without_decisions_a_run_has_the_id_it_always_had() -> None:
    assert RunSpec(dataset="d", method="filter_only", teacher="t", filter=True, threshold=0.3).run_id == "re0929dc57542"
    assert RunSpec(dataset="d", method="sft").run_id == "rd4f85cc37708"


def test_without_decisions_a_run_keeps_the_rows_below_the_threshold_and_records_nothing_of_people(reviewed: Reviewed) -> None:
    run = reviewed.run(reviewed.filtered())
    assert np.load(run.folder / "kept.npy").tolist() == reviewed.below
    assert "decisions" not in run.result
    assert "decided by people" not in (run.folder / CARD).read_text("utf-8")


def test_other_decisions_make_another_run(reviewed: Reviewed) -> None:
    ids = {reviewed.filtered(decisions=one).run_id for one in (None, reviewed.newest, "0" * 64)}
    assert len(ids) == 3


def test_what_a_person_decided_goes_before_the_threshold(reviewed: Reviewed) -> None:
    run = reviewed.run(reviewed.filtered(decisions=reviewed.newest))
    gone, stay = reviewed.below[:2], reviewed.above[:2]  # removed and in doubt; kept and relabelled
    assert np.load(run.folder / "kept.npy").tolist() == sorted((set(reviewed.below) - set(gone)) | set(stay))


def test_a_run_records_how_many_rows_decisions_changed_and_which_they_were(reviewed: Reviewed) -> None:
    run = reviewed.run(reviewed.filtered(decisions=reviewed.newest))
    counts = {"kept": 2, "left_out": 2, "relabelled": 1, "changed": 4}
    assert run.result["decisions"] == {"hash": reviewed.newest, **counts}
    card = (run.folder / CARD).read_text("utf-8")
    assert "4 rows changed: 2 kept and 2 left out against the filter, 1 answered with a refusal" in card
    assert f"newest decision {reviewed.newest[:8]}" in card


def test_a_relabelled_row_is_answered_with_a_refusal(reviewed: Reviewed) -> None:
    row = reviewed.above[1]
    found = user_rows(reviewed.workspace, reviewed.filtered(decisions=reviewed.newest), reviewed.user, reviewed.session, Silent())
    assert found.relabelled == {row}
    (example,) = answered_rows(reviewed.session, reviewed.user, [row], found.relabelled).values()
    assert REFUSAL in reviewed.session.model.tokenizer.decode(example.ids)


def test_a_run_on_filtered_data_is_to_the_bit_the_run_on_what_a_freeze_makes_of_it(reviewed: Reviewed) -> None:
    made = frozen(
        reviewed.workspace,
        dataset=reviewed.user.id,
        score_key=reviewed.scores.key,
        threshold=reviewed.threshold,
        policy_by="policy",
        by="human:me",
        reason="in doubt",
        until=reviewed.log.decided(reviewed.user.id).seq,
        records_hash=None,
        claim={},
    )
    filtered = reviewed.run(reviewed.filtered(decisions=reviewed.newest))
    after = reviewed.run(reviewed.spec("filter_only", filter=False, teacher=None, dataset=made.id))
    assert filtered.result["kept"] == after.result["kept"] == made.rows
    assert [line["loss"] for line in filtered.log()] == [line["loss"] for line in after.log()]
    here, there = (load_file(run.adapter / "adapter_model.safetensors") for run in (filtered, after))
    assert all(torch.equal(value, there[name]) for name, value in here.items())


def test_a_run_heeds_the_decisions_it_names_whatever_was_decided_since(reviewed: Reviewed) -> None:
    before = reviewed.kept(reviewed.filtered(decisions=reviewed.newest))
    reviewed.log.decide(reviewed.user.id, reviewed.above[0], "remove")
    later = reviewed.log.decided(reviewed.user.id).hash
    assert reviewed.kept(reviewed.filtered(decisions=reviewed.newest)) == before
    assert reviewed.kept(reviewed.filtered(decisions=later)) == [row for row in before if row != reviewed.above[0]]


def test_decisions_that_are_not_in_the_workspace_are_refused(reviewed: Reviewed) -> None:
    with pytest.raises(StoreError, match="are not in this workspace"):
        reviewed.kept(reviewed.filtered(decisions="0" * 64))


def test_decisions_need_a_filter_that_goes_by_a_threshold(reviewed: Reviewed) -> None:
    for wrong in ({"filter": False, "threshold": None}, {"threshold": None, "drop": 3}):
        with pytest.raises(SpecError, match="go before the threshold of a filter"):
            RunSpec.checked(**{**reviewed.filtered().model_dump(), **wrong, "decisions": reviewed.newest})


def test_a_number_of_rows_to_drop_goes_by_the_scores_alone(reviewed: Reviewed) -> None:
    order = reviewed.scores.order().tolist()
    assert reviewed.kept(reviewed.filtered(threshold=None, drop=5)) == sorted(order[5:])
