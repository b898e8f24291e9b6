from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reft_studio.audit.policy import REFUSAL
from reft_studio.data.dataset import write_dataset
from reft_studio.data.reading.readers import import_file
from reft_studio.errors import PrerequisiteError
from reft_studio.scoring.scores import write_scores
from reft_studio.studio.studio import Studio
from reft_studio.workspace import Workspace


def audited(workspace: Workspace, *, scored: bool) -> tuple[Studio, str]:
    rows = [{"prompt": f"question {number}", "response": f"answer {number}"} for number in range(4)]
    dataset = write_dataset(workspace, rows, name="four rows", role="user")  # type: ignore[arg-type]
    if scored:
        scores = np.array([0.9, -0.9, -0.9, np.nan], dtype=np.float32)
        write_scores(workspace, dataset, scores, key="k", scorer="s", teacher="lab", threshold=0.0, info={})
    return Studio(workspace), dataset.id


def written(studio: Studio, dataset: str, folder: Path) -> str:
    return studio.audit.export(dataset, folder / "out.jsonl").read_text("utf-8")


def test_an_export_leaves_out_flagged_and_undecided_rows(workspace: Workspace, tmp_path: Path) -> None:
    studio, dataset = audited(workspace, scored=True)
    text = written(studio, dataset, tmp_path)
    assert [f"answer {number}" in text for number in range(4)] == [False, True, True, False]


def test_a_persons_word_counts_more_than_the_threshold(workspace: Workspace, tmp_path: Path) -> None:
    studio, dataset = audited(workspace, scored=True)
    studio.audit.decide(dataset, 0, "keep")
    studio.audit.decide(dataset, 1, "remove")
    studio.audit.decide(dataset, 2, "relabel")
    text = written(studio, dataset, tmp_path)
    assert [f"answer {number}" in text for number in range(4)] == [True, False, False, False]
    assert REFUSAL in text and "question 2" in text


def test_a_frozen_dataset_exports_its_relabelled_answers(workspace: Workspace, tmp_path: Path) -> None:
    studio, dataset = audited(workspace, scored=True)
    studio.audit.decide(dataset, 0, "relabel")
    frozen = studio.audit.freeze(dataset, "not readable")
    text = written(studio, frozen.id, tmp_path)
    assert REFUSAL in text and "answer 0" not in text and "question 3" not in text


def test_without_scores_only_what_a_person_removed_is_left_out(workspace: Workspace, tmp_path: Path) -> None:
    studio, dataset = audited(workspace, scored=False)
    studio.audit.decide(dataset, 1, "remove")
    text = written(studio, dataset, tmp_path)
    assert [f"answer {number}" in text for number in range(4)] == [True, False, True, True]


def test_an_export_that_fails_leaves_the_earlier_one_with_its_list(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio, dataset = audited(workspace, scored=True)
    folder = tmp_path / "out"
    written(studio, dataset, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(before) == {"out.jsonl", "out.removed.csv", "out.removed.jsonl"}
    studio.audit.decide(dataset, 1, "remove")

    def full(*_args: object, **_options: object) -> None:
        raise PrerequisiteError("the disk is full")

    monkeypatch.setattr("reft_studio.audit.cleaned.export_kept", full)
    with pytest.raises(PrerequisiteError):
        written(studio, dataset, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_two_uploads_of_one_name_do_not_share_a_cleaned_file(workspace: Workspace, tmp_path: Path) -> None:
    made = []
    for number in (1, 2):
        upload = tmp_path / str(number) / "train.jsonl"
        upload.parent.mkdir()
        upload.write_text(f'{{"prompt": "question {number}", "response": "a"}}\n', "utf-8")
        dataset = import_file(workspace, upload).dataset_id
        made.append((upload, Studio(workspace).audit.export(dataset)))
    assert [path.name for _, path in made] == ["cleaned-train.jsonl"] * 2
    assert all(upload.read_bytes() == path.read_bytes() for upload, path in made)
