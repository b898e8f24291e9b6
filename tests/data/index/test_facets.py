from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reft_studio.data.dataset import Dataset, write_dataset
from reft_studio.data.index.facets import MAX_LABELS, NONE, OTHER, Facet, facet, facet_names, keep_facet
from reft_studio.errors import PrerequisiteError, SpecError, StoreError
from reft_studio.workspace import Workspace


def made(workspace: Workspace, *rows: dict[str, Any]) -> Dataset:
    full: list[Any] = [{"prompt": "Name a river.", "response": "The Elbe.", **row} for row in rows]
    return write_dataset(workspace, full, name="rows", role="user")


def labels_of(dataset: Dataset, name: str) -> list[str]:
    found = facet(dataset, name)
    assert isinstance(found, Facet)
    return [found.labels[code] for code in found.codes]


def test_each_row_has_the_label_of_its_origin_and_an_empty_one_is_none(workspace: Workspace) -> None:
    dataset = made(workspace, {"origin": "gsm8k"}, {"origin": ""}, {"origin": "sst2"}, {"origin": "gsm8k"})
    assert labels_of(dataset, "origin") == ["gsm8k", NONE, "sst2", "gsm8k"]
    found = facet(dataset, "origin")
    assert found is not None and found.labels[0] == "gsm8k" and found.counts().tolist() == [2, 1, 1]


def test_on_a_full_disk_a_facet_is_counted_and_not_kept(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = write_dataset(workspace, [{"prompt": "p", "response": "r", "known_harmful": True}], name="d", role="user")

    def full(path: Path, content: bytes) -> None:
        raise PrerequisiteError("the disk is full")

    monkeypatch.setattr("reft_studio.data.index.facets.write_atomic", full)
    found = facet(dataset, "truth")
    assert found is not None and found.codes.tolist() == [0] and not (dataset.folder / "facets").exists()


def test_a_null_category_is_none(workspace: Workspace) -> None:
    assert labels_of(made(workspace, {"category": "arson"}, {"category": None}), "category") == ["arson", NONE]


def test_truth_has_fixed_codes_for_harmful_harmless_unknown(workspace: Workspace) -> None:
    found = facet(made(workspace, {"known_harmful": False}, {"known_harmful": None}, {"known_harmful": True}), "truth")
    assert found is not None and found.labels == ["harmful", "harmless", "unknown"] and found.codes.tolist() == [1, 2, 0]


def test_lengths_count_characters_not_bytes_and_a_band_includes_its_end(workspace: Workspace) -> None:
    dataset = made(workspace, {"prompt": "ä" * 50}, {"prompt": "ä" * 51}, {"prompt": "a" * 20_000})
    assert labels_of(dataset, "length") == ["up to 50", "51-200", "over 16,000"]


def test_turns_count_user_turns_and_not_what_somebody_wrote(workspace: Workspace) -> None:
    user, answer = {"role": "user", "content": 'say {"role": "user"}'}, {"role": "assistant", "content": "Yes."}
    dataset = made(workspace, {"messages": [user, answer]}, {"messages": [user, answer] * 2}, {"messages": [user, answer] * 5})
    assert labels_of(dataset, "turns") == ["1", "2", "3 or more"]


def test_rare_origins_share_one_label_so_that_labels_stay_few(workspace: Workspace) -> None:
    rows: list[dict[str, Any]] = [{"origin": f"set {number}"} for number in range(300)]
    dataset = made(workspace, {"origin": "common"}, {"origin": "common"}, {"origin": ""}, *rows)
    found = facet(dataset, "origin")
    assert found is not None and len(found.labels) == MAX_LABELS and found.labels[0] == "common"
    assert found.counts()[found.labels.index(OTHER)] == 300 - (MAX_LABELS - 3)
    assert found.counts().sum() == dataset.rows


def test_origins_that_differ_only_late_keep_their_own_label(workspace: Workspace) -> None:
    dataset = made(workspace, {"origin": "x" * 500 + "a"}, {"origin": "x" * 500 + "b"}, {"origin": NONE})
    assert len(set(labels_of(dataset, "origin"))) == 3 and NONE not in labels_of(dataset, "origin")


def test_the_second_time_the_rows_are_not_read(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = made(workspace, {"origin": "gsm8k"})
    facet(dataset, "origin")
    monkeypatch.setattr(Dataset, "batches", lambda *_args, **_kw: pytest.fail("rows were read"))
    found = facet(dataset, "origin")
    assert found is not None and isinstance(found.codes, np.memmap)


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY garbage", b"{}"])
def test_a_damaged_file_is_made_again(workspace: Workspace, damage: bytes) -> None:
    dataset = made(workspace, {"origin": "gsm8k"}, {"origin": "sst2"})
    expected = labels_of(dataset, "origin")
    for suffix in ("npy", "json"):
        Path(dataset.folder / "facets" / f"origin.{suffix}").write_bytes(damage)
        assert labels_of(dataset, "origin") == expected


def test_a_facet_of_an_inspection_is_there_once_it_was_kept(workspace: Workspace) -> None:
    dataset = made(workspace, {}, {})
    assert facet(dataset, "language") is None and "language" not in facet_names(dataset)
    keep_facet(dataset, "language", ["English", "unsure"], np.array([0, 1], np.uint8))
    assert labels_of(dataset, "language") == ["English", "unsure"] and facet_names(dataset)[-1] == "language"


def test_codes_that_do_not_fit_the_rows_are_refused(workspace: Workspace) -> None:
    dataset = made(workspace, {}, {})
    for codes in ([0], [0, 2]):
        with pytest.raises(SpecError):
            keep_facet(dataset, "language", ["English"], np.array(codes, np.uint8))


def test_an_unknown_facet_is_refused_with_what_there_is(workspace: Workspace) -> None:
    with pytest.raises(SpecError, match="origin, category"):
        facet(made(workspace, {}), "colour")


def test_a_dataset_that_was_deleted_meanwhile_does_not_come_back_as_half_a_folder(workspace: Workspace) -> None:
    dataset = made(workspace, {})
    shutil.rmtree(dataset.folder)
    with pytest.raises(StoreError, match="was deleted"):
        keep_facet(dataset, "language", ["English"], np.array([0], np.uint8))
    assert not dataset.folder.exists()
