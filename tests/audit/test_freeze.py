from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from reft_studio.audit.decision import GENESIS, Action, Decision
from reft_studio.audit.freeze import AUDIT, Entries, freeze, noted_hashes, refusing
from reft_studio.audit.held import ACTIONS, Decided
from reft_studio.audit.policy import REFUSAL, name
from reft_studio.data.dataset import Dataset, list_datasets, open_dataset
from reft_studio.errors import SpecError
from reft_studio.fingerprint import of_file
from reft_studio.scoring.scores import ScoreSet, write_scores
from reft_studio.workspace import Workspace

Decide = Callable[[int, Action], Decision]
TAU = 0.3


def held_by(by_row: dict[int, Decision]) -> tuple[Decided, Entries]:
    """What the log would say of these decisions."""
    rows = sorted(by_row)
    codes = np.array([ACTIONS.index(by_row[row].action) + 1 for row in rows], dtype=np.uint8)
    newest = max(by_row.values(), key=lambda decision: decision.seq, default=None)
    seq, mark = (newest.seq, newest.hash) if newest else (0, GENESIS)
    held = Decided(seq, np.array(rows, dtype=np.int64), codes, np.full(len(rows), np.nan, np.float32), mark)
    return held, lambda asked: {row: by_row[row] for row in asked if row in by_row}


def ids(dataset: Dataset) -> list[int]:
    return [row["row_id"] for row in dataset.read(["row_id"])]


def go(workspace: Workspace, dataset: Dataset, scores: ScoreSet | None, *decisions: Decision, **options: object) -> Dataset:
    by_row = {decision.row_id: decision for decision in decisions}
    held, entries = held_by(by_row)
    return freeze(workspace, dataset, scores=scores, threshold=TAU, decided=held, entries=entries, policy_by=name(TAU), **options)  # type: ignore[arg-type]


def notes(dataset: Dataset) -> list[dict[str, object]]:
    lines = (dataset.folder / AUDIT).read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_rows_below_the_threshold_stay_in_order_with_their_ids_and_all_their_columns(
    workspace: Workspace, dataset: Dataset, scores: ScoreSet
) -> None:
    frozen = go(workspace, dataset, scores)
    assert ids(frozen) == [0, 2, 4, 6, 8, 10, 12]
    assert [*frozen.read()] == [row for row in dataset.read() if row["row_id"] <= 12]
    assert open_dataset(workspace, frozen.id) == frozen and frozen.role == "user" and frozen.name == "upload (audited)"


def test_a_persons_word_goes_before_the_threshold_both_ways(
    workspace: Workspace, dataset: Dataset, scores: ScoreSet, decide: Decide
) -> None:
    frozen = go(workspace, dataset, scores, decide(0, "remove"), decide(16, "keep"))
    assert ids(frozen) == [2, 4, 6, 8, 10, 12, 16]


def test_a_relabelled_row_is_answered_with_a_refusal_in_text_and_messages(
    workspace: Workspace, dataset: Dataset, scores: ScoreSet, decide: Decide
) -> None:
    frozen = go(workspace, dataset, scores, decide(18, "relabel"))
    *_, last = frozen.read()
    assert (last["row_id"], last["prompt"], last["response"]) == (18, "prompt 9", REFUSAL)
    assert [message["content"] for message in json.loads(last["messages"])] == ["Be brief.", "prompt 9", REFUSAL]
    assert frozen.manifest["lineage"]["refusal"] == REFUSAL
    other = go(workspace, dataset, scores, decide(18, "relabel"), refusal="No.")
    assert [*other.read()][-1]["response"] == "No."


def test_a_relabelled_row_loses_the_answer_that_is_trained_and_keeps_its_context() -> None:
    draft = {"role": "assistant", "content": "draft", "loss": False}
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "", "tool_calls": [{"name": "f"}], "loss": True}, draft]
    row = refusing({"row_id": 3, "prompt": "q", "response": "call", "messages": json.dumps(turns)}, "No.")
    assert json.loads(row["messages"]) == [turns[0], {"role": "assistant", "loss": True, "content": "No."}, draft]
    assert row["response"] == "No."


def test_the_manifest_tells_where_the_rows_went(workspace: Workspace, dataset: Dataset, scores: ScoreSet, decide: Decide) -> None:
    made = [decide(0, "remove"), decide(16, "keep"), decide(18, "relabel")]
    lineage = go(workspace, dataset, scores, *made).manifest["lineage"]
    counts = {"rows": 10, "kept": 8, "removed": 2, "undecided": 0, "relabelled": 1, "kept_by_human": 1, "removed_by_human": 1}
    assert {key: lineage[key] for key in counts} == counts
    assert (lineage["source"], lineage["source_fingerprint"]) == (dataset.id, dataset.fingerprint)
    assert (lineage["score_key"], lineage["teacher"], lineage["threshold"]) == ("k1", "lab", TAU)
    assert (lineage["policy_by"], lineage["decisions_hash"]) == ("policy:threshold=0.3", made[-1].hash)


def test_the_record_has_a_line_for_each_row_with_something_to_tell_and_no_text(
    workspace: Workspace, dataset: Dataset, scores: ScoreSet, decide: Decide
) -> None:
    kept = decide(4, "keep")
    frozen = go(workspace, dataset, scores, kept)
    policy, *lines = notes(frozen)
    assert [(line["row_id"], line["outcome"]) for line in lines] == [(4, "keep"), (14, "remove"), (16, "remove"), (18, "remove")]
    assert lines[0]["decision"] == kept.as_dict() and lines[1]["decision"] is None and lines[1]["score"] == pytest.approx(0.3)
    assert set(policy) == {"policy"}
    assert frozen.manifest["lineage"]["audit_sha256"] == of_file(frozen.folder / AUDIT)
    assert "prompt 7" not in (frozen.folder / AUDIT).read_text("utf-8")


def test_undecided_rows_stop_it_before_anything_is_written(workspace: Workspace, dataset: Dataset, decide: Decide) -> None:
    values = np.array([0.1] * 8 + [np.nan] * 2, dtype=np.float32)
    scores = write_scores(workspace, dataset, values, key="k2", scorer="s", teacher="lab", threshold=TAU, info={})
    with pytest.raises(SpecError, match=r"3 rows are undecided \(1 marked unsure, 2 without a score and a decision\)"):
        go(workspace, dataset, scores, decide(2, "unsure"))
    assert [found.id for found in list_datasets(workspace)] == [dataset.id]
    frozen = go(workspace, dataset, scores, decide(2, "unsure"), reason="not readable")
    assert ids(frozen) == [0, 4, 6, 8, 10, 12, 14]
    assert [line["outcome"] for line in notes(frozen)[1:]] == ["left_out"] * 3


def test_a_person_can_decide_rows_without_a_score(workspace: Workspace, dataset: Dataset, decide: Decide) -> None:
    frozen = go(workspace, dataset, None, *[decide(row_id, "keep" if row_id else "remove") for row_id in range(0, 20, 2)])
    assert ids(frozen) == [*range(2, 20, 2)] and frozen.manifest["lineage"]["score_key"] is None


def test_nothing_left_is_refused(workspace: Workspace, dataset: Dataset, scores: ScoreSet, decide: Decide) -> None:
    with pytest.raises(SpecError, match="None of the 10 rows would be left"):
        go(workspace, dataset, scores, *[decide(row_id, "remove") for row_id in range(0, 20, 2)])


def test_scores_and_decisions_of_another_dataset_are_refused(
    workspace: Workspace, dataset: Dataset, scores: ScoreSet, decide: Decide
) -> None:
    frozen = go(workspace, dataset, scores)
    with pytest.raises(SpecError, match="These scores are of dataset"):
        go(workspace, frozen, scores)
    with pytest.raises(SpecError, match="1 decisions are about rows that dataset"):
        go(workspace, dataset, scores, decide(1, "keep"))


def test_the_same_audit_twice_changes_nothing(workspace: Workspace, dataset: Dataset, scores: ScoreSet) -> None:
    first = go(workspace, dataset, scores)
    before = {path: path.read_bytes() for path in workspace.root.rglob("*") if path.is_file()}
    assert go(workspace, dataset, scores) == first
    assert {path: path.read_bytes() for path in workspace.root.rglob("*") if path.is_file()} == before


def test_every_audit_is_a_dataset_of_its_own_even_with_the_same_rows(
    workspace: Workspace, dataset: Dataset, scores: ScoreSet, decide: Decide
) -> None:
    first = go(workspace, dataset, scores)
    second = go(workspace, dataset, scores, decide(14, "remove"))
    third = go(workspace, dataset, scores, *[decide(row_id, "keep") for row_id in (14, 16, 18)])
    assert ids(first) == ids(second) and ids(third) == ids(dataset)
    assert len({found.id for found in (dataset, first, second, third)}) == 4
    assert [found.manifest["lineage"]["removed_by_human"] for found in (first, second, third)] == [0, 1, 0]
    assert "lineage" not in Dataset.open(dataset.folder).manifest


def test_cancelling_half_way_leaves_nothing(workspace: Workspace, dataset: Dataset, scores: ScoreSet) -> None:
    def cancelled(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go(workspace, dataset, scores, check=cancelled)
    assert [path.name for path in (workspace.root / "datasets").iterdir()] == [dataset.id]


def test_frozen_datasets_say_which_decisions_must_be_in_the_log(
    workspace: Workspace, dataset: Dataset, scores: ScoreSet, decide: Decide
) -> None:
    made = decide(0, "remove")
    go(workspace, dataset, scores, made)
    assert noted_hashes(list_datasets(workspace)) == [made.hash]


def test_a_dataset_larger_than_a_batch_is_frozen_row_by_row(workspace: Workspace, tmp_path: Path) -> None:
    from reft_studio.data.dataset import BATCH, write_dataset

    count = 2 * BATCH + 7
    large = write_dataset(workspace, ({"prompt": f"p{n}", "response": "r"} for n in range(count)), name="large", role="user")
    values = np.where(np.arange(count) % 3 == 0, 0.9, 0.0).astype(np.float32)
    scores = write_scores(workspace, large, values, key="k", scorer="s", teacher="lab", threshold=TAU, info={})
    assert ids(go(workspace, large, scores)) == [n for n in range(count) if n % 3]
