"""The teacher answers each alignment row once: in this run, in the next and in another process, for this base and adapter alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from reft_studio.errors import SpecError
from reft_studio.models.accumulate import MicroBatches
from reft_studio.models.batching import Batch, Example, collate
from reft_studio.models.session import Session
from reft_studio.models.spec import LoraSpec
from reft_studio.models.supervised import hidden_states
from reft_studio.training.context import AlignmentData
from reft_studio.training.teacher_states import KEPT, CacheLocation, TeacherStates
from reft_studio.workspace import Workspace
from tests.models.test_packing import rows


@pytest.fixture(scope="module")
def session(tiny_model: Path) -> Session:
    session = Session.open(str(tiny_model))
    for name, seed in (("teacher", 1), ("other", 2), ("student", 3)):
        session.add(name, LoraSpec(), seed=seed)
        with torch.no_grad():
            for value in session.adapted.parameters(name):
                value.add_(0.05 * torch.randn(value.shape, generator=torch.Generator().manual_seed(seed)))
    return session


def data(session: Session, place: CacheLocation | None = None, adapter: str | None = "teacher") -> AlignmentData:
    made = AlignmentData(session, rows()[:4], rows()[4:])
    made.cache_teacher(adapter, location=place)
    return made


def batch(data: AlignmentData, *places: int) -> Batch:
    return collate([data.examples[place] for place in places], pad_id=0)


def truth(session: Session, data: AlignmentData, adapter: str | None, *places: int) -> torch.Tensor:
    with session.adapted.active(adapter) as backbone:
        return torch.cat([hidden_states(session.model, backbone, batch(data, place))[0] for place in places])


def drawn(data: AlignmentData, *places: int) -> torch.Tensor:
    asked = batch(data, *places)
    data.ask(asked, packer=None, pieces=MicroBatches(2))
    return data.states(asked)


def test_only_rows_that_are_new_go_through_the_teacher(session: Session) -> None:
    alignment = data(session)
    assert alignment.cache is not None
    torch.testing.assert_close(drawn(alignment, 5, 0, 2), truth(session, alignment, "teacher", 5, 0, 2), rtol=1e-5, atol=1e-5)
    assert alignment.cache.computed == 3
    torch.testing.assert_close(drawn(alignment, 2, 3, 5), truth(session, alignment, "teacher", 2, 3, 5), rtol=1e-5, atol=1e-5)
    assert alignment.cache.computed == 4


def test_a_part_of_a_batch_gets_the_states_of_its_own_rows(session: Session) -> None:
    alignment = data(session)
    drawn(alignment, 5, 0, 2)
    torch.testing.assert_close(alignment.states(batch(alignment, 0)), truth(session, alignment, "teacher", 0), rtol=1e-5, atol=1e-5)
    assert len(alignment.states(Batch((), 0))) == 0


def test_the_teacher_may_answer_while_the_student_trains_and_leaves_it_as_it_was(session: Session) -> None:
    alignment = data(session)
    with session.adapted.active("student", train=True) as backbone:
        before = hidden_states(session.model, backbone, batch(alignment, 1))[0]
        drawn(alignment, 0, 1)
        assert torch.equal(hidden_states(session.model, backbone, batch(alignment, 1))[0], before)
        assert all(value.requires_grad for value in session.adapted.parameters("student"))
        assert not any(value.requires_grad for value in session.adapted.parameters("teacher"))
    assert not any(value.requires_grad for value in session.model.base.parameters())


def test_the_bare_base_may_be_the_teacher(session: Session) -> None:
    alignment = data(session, adapter=None)
    torch.testing.assert_close(drawn(alignment, 1), truth(session, alignment, None, 1), rtol=1e-5, atol=1e-5)


def saved(session: Session, folder: Path, name: str) -> Path:
    session.adapted.save(name, folder / name, base_name="tiny")
    return folder / name


def test_a_later_run_reads_what_an_earlier_one_stored_and_another_teacher_does_not(
    session: Session, workspace: Workspace, tmp_path: Path
) -> None:
    examples = data(session).examples
    place = CacheLocation.of(workspace, session.model, saved(session, tmp_path, "teacher"), examples)
    first = data(session, place)
    states = drawn(first, 0, 4, 6)
    assert first.cache is not None
    first.cache.flush()
    second = data(session, CacheLocation.of(workspace, session.model, tmp_path / "teacher", examples))
    assert torch.equal(drawn(second, 0, 4, 6), states)
    assert second.cache is not None and second.cache.computed == 0
    assert CacheLocation.of(workspace, session.model, saved(session, tmp_path, "other"), examples) != place
    assert CacheLocation.of(workspace, session.model, tmp_path / "teacher", [*examples[:-1], Example([5, 6, 7], 1, 6)]) != place
    assert CacheLocation.of(workspace, session.model, None, examples) != place


def test_states_that_were_not_made_safe_are_computed_again_after_a_crash(session: Session, workspace: Workspace) -> None:
    place = CacheLocation.of(workspace, session.model, None, data(session).examples)
    drawn(data(session, place, None), 0, 1)  # no flush
    again = data(session, place, None)
    drawn(again, 0, 1)
    assert again.cache is not None and again.cache.computed == 2


def test_rows_beyond_the_budget_are_computed_at_every_draw(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CacheLocation, "budget", lambda self: 32 * 4 * 10)  # ten tokens of 32 float32 numbers
    alignment = data(session)
    for _ in range(2):
        torch.testing.assert_close(drawn(alignment, 0, 1, 2), truth(session, alignment, "teacher", 0, 1, 2), rtol=1e-5, atol=1e-5)
    assert alignment.cache is not None and alignment.cache.computed == 5, "row 0 fits, rows 1 and 2 do not"


def test_a_cache_whose_disk_has_filled_up_since_keeps_what_it_holds(
    session: Session, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = CacheLocation.of(workspace, session.model, None, data(session).examples)
    first = data(session, place, None)
    drawn(first, 0, 6)
    assert first.cache is not None
    first.cache.flush()
    monkeypatch.setattr(CacheLocation, "budget", lambda self: 0)
    again = data(session, place, None)
    drawn(again, 0, 6)
    assert again.cache is not None and again.cache.computed == 0


def test_caches_used_longest_ago_make_room(session: Session, workspace: Workspace) -> None:
    for number in range(KEPT + 2):
        CacheLocation.of(workspace, session.model, None, [Example([number, 1], 1, 0)])
    assert len(list(workspace.folder("cache", "teacher-states").iterdir())) == KEPT


@pytest.mark.parametrize("made_again", [False, True])
def test_a_cache_that_was_removed_while_it_was_in_use_does_not_claim_rows_it_has_not(
    session: Session, workspace: Workspace, made_again: bool
) -> None:
    place = CacheLocation.of(workspace, session.model, None, data(session).examples)
    first = data(session, place, None)
    states = drawn(first, 0, 6)
    assert place.folder is not None and first.cache is not None
    shutil.rmtree(place.folder)
    if made_again:
        drawn(data(session, CacheLocation.of(workspace, session.model, None, first.examples), None), 1)
    first.cache.flush()
    again = data(session, CacheLocation.of(workspace, session.model, None, first.examples), None)
    torch.testing.assert_close(drawn(again, 0, 6), states)
    assert again.cache is not None and again.cache.computed == 2


def test_notes_without_states_are_not_believed(tmp_path: Path) -> None:
    kept = TeacherStates([2, 3], d_model=4, dtype=torch.float32, location=CacheLocation(tmp_path))
    kept.keep(0, torch.ones(2, 4))
    kept.keep(1, torch.ones(3, 4))
    kept.flush()
    (tmp_path / "states.bin").write_bytes((tmp_path / "states.bin").read_bytes()[: 2 * 4 * 4])
    again = TeacherStates([2, 3], d_model=4, dtype=torch.float32, location=CacheLocation(tmp_path))
    assert again.missing([0, 1]) == [1]


def test_half_precision_states_are_stored_as_they_are(tmp_path: Path) -> None:
    states = torch.randn(3, 4).bfloat16()
    kept = TeacherStates([2, 3], d_model=4, dtype=torch.bfloat16, location=CacheLocation(tmp_path))
    kept.keep(1, states)
    kept.flush()
    again = TeacherStates([2, 3], d_model=4, dtype=torch.bfloat16, location=CacheLocation(tmp_path))
    found = again.read(1)
    assert found is not None and torch.equal(found, states) and again.read(0) is None


def test_a_run_without_a_teacher_says_so(session: Session) -> None:
    alignment = AlignmentData(session, rows()[:2], rows()[2:])
    with pytest.raises(SpecError, match="no teacher"):
        alignment.ask(batch(alignment, 0), packer=None, pieces=MicroBatches())


def test_rows_the_teacher_was_not_asked_about_are_named_as_a_mistake(session: Session) -> None:
    alignment = data(session)
    with pytest.raises(SpecError, match="guided=True"):
        alignment.states(batch(alignment, 0))
