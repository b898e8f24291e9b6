"""Scores are kept by content: whatever would change a score changes its key, and damage only costs time."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reft_studio.errors import StoreError
from reft_studio.models.prompts import TokenLists
from reft_studio.scoring.cache import ScoreCache, digests_of
from reft_studio.scoring.content import prompt_key, teacher_content
from reft_studio.teacher.teacher import TeacherInfo, open_teacher
from reft_studio.workspace import Workspace

KEY, OTHER = "ab" * 32, "cd" * 32
LISTS = TokenLists.of([[1, 2, 3], [1, 2], [4]])
SCORES = np.array([0.5, np.nan, -0.25], dtype=np.float32)


def test_a_digest_is_of_the_key_and_the_token_ids() -> None:
    assert np.array_equal(digests_of(LISTS, KEY), digests_of(LISTS, KEY))
    assert not (digests_of(LISTS, KEY) == digests_of(LISTS, OTHER)).any()
    assert len(np.unique(digests_of(LISTS, KEY))) == 3


def test_what_was_kept_is_found_and_what_is_not_finite_was_not_kept(workspace: Workspace) -> None:
    cache, digests = ScoreCache(workspace, KEY), digests_of(LISTS, KEY)
    assert np.isnan(cache.lookup(digests)).all()
    cache.add("one", digests, SCORES)
    assert np.array_equal(cache.lookup(digests[::-1]), SCORES[::-1], equal_nan=True)
    cache.add("two", digests[1:2], np.array([0.125], dtype=np.float32))
    assert cache.lookup(digests).tolist() == [0.5, 0.125, -0.25]
    assert np.isnan(ScoreCache(workspace, OTHER).lookup(digests)).all()
    assert len(cache.lookup(digests[:0])) == 0


def test_a_damaged_segment_is_left_out(workspace: Workspace) -> None:
    cache, digests = ScoreCache(workspace, KEY), digests_of(LISTS, KEY)
    cache.add("one", digests, SCORES)
    for damage in (b"", b"junk", (cache.folder / "one.npy").read_bytes()[:-4]):
        (cache.folder / "one.npy").write_bytes(damage)
        assert np.isnan(cache.lookup(digests)).all()


@pytest.fixture
def teacher(workspace: Workspace, tmp_path: Path) -> TeacherInfo:
    """A copy of the lab's teacher, to be tampered with."""
    shipped = open_teacher(workspace, "lab")
    return replace(shipped, folder=Path(shutil.copytree(shipped.folder, tmp_path / "teacher")))


def key(teacher: TeacherInfo, **changes: Any) -> str:
    usual = {"dtype": "float32", "quantization": "none", "attention": "sdpa", "device": "cpu", "merged": True}
    return prompt_key(teacher_content(teacher), **{**usual, **changes})


def test_everything_that_changes_a_score_changes_the_key(teacher: TeacherInfo) -> None:
    usual = key(teacher)
    others = [
        key(replace(teacher, base_fingerprint="other")),
        key(replace(teacher, layer=1)),
        key(replace(teacher, template_hash="other")),
        key(teacher, dtype="bfloat16"),
        key(teacher, quantization="nf4"),
        key(teacher, merged=False),
        key(teacher, attention="eager"),
        key(teacher, device="cuda"),
        key(replace(teacher, spec={**teacher.spec, "kind": "ready"})),
    ]
    for file in ("refusal_feature.safetensors", "adapter/adapter_model.safetensors", "adapter/adapter_config.json"):
        path = teacher.folder / file
        path.write_bytes(path.read_bytes() + b" ")
        others.append(key(teacher))
    assert len({usual, *others}) == 1 + len(others)


def test_what_does_not_change_a_score_does_not_change_the_key(teacher: TeacherInfo) -> None:
    assert key(teacher) == key(replace(teacher, threshold=0.3, title="renamed", id="other", created="later"))


def test_an_incomplete_teacher_is_said_to_be(teacher: TeacherInfo) -> None:
    (teacher.folder / "refusal_feature.safetensors").unlink()
    with pytest.raises(StoreError, match="incomplete"):
        teacher_content(teacher)
