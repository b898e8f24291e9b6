from __future__ import annotations

from pathlib import Path

import pytest

from reft_studio.data.dataset import Row, write_dataset
from reft_studio.models import shelf
from reft_studio.scoring import prepared
from reft_studio.scoring.prepared import usual_scorer
from reft_studio.workspace import Workspace


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A real teacher and the word scorer, as if they shipped; nothing on the model shelf."""
    (tmp_path / "teacher").mkdir()
    (tmp_path / "teacher" / "teacher.json").write_text("{}")
    (tmp_path / "scorers" / "tfidf").mkdir(parents=True)
    (tmp_path / "scorers" / "tfidf" / prepared.FILE).write_text("{}")
    monkeypatch.setitem(prepared.SHIPPED_TEACHERS, prepared.REAL, tmp_path / "teacher")
    monkeypatch.setattr(prepared, "SHIPPED", tmp_path / "scorers")
    monkeypatch.setattr(shelf, "find", lambda name: None)
    return tmp_path


def test_the_real_teacher_scores_what_is_not_the_labs_where_its_base_is(
    workspace: Workspace, shipped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[Row] = [{"prompt": "hello", "response": "hi"}, {"prompt": "bye", "response": "bye"}]
    own = write_dataset(workspace, rows[:1], name="own", role="user")
    lab = write_dataset(workspace, rows[1:], name="lab", role="user", extra={"made_by": "lab"})
    assert usual_scorer(lab) == "lab"
    assert usual_scorer(own) == "tfidf", "the base is not on this machine"
    monkeypatch.setattr(shelf, "find", lambda name: object())
    assert usual_scorer(own) == prepared.REAL and usual_scorer(lab) == "lab"
    (shipped / "teacher" / "teacher.json").unlink()
    (shipped / "scorers" / "tfidf" / prepared.FILE).unlink()
    assert usual_scorer(own) == "lab"
