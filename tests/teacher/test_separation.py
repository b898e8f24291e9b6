"""The separation map, the directions of all layers and the neighbours that every prepared teacher has."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from reft_studio import integrity, stats
from reft_studio.data.dataset import Dataset, write_dataset
from reft_studio.data.splits import group_key
from reft_studio.errors import SpecError, StoreError
from reft_studio.models.features import last_prompt_features, tail_states, token_states
from reft_studio.models.session import Session
from reft_studio.models.spec import LoraSpec, OptimSpec
from reft_studio.progress import Silent
from reft_studio.teacher import details
from reft_studio.teacher.material import Material
from reft_studio.teacher.quick import quick_spec
from reft_studio.teacher.refusal_feature import RefusalFeature
from reft_studio.teacher.separation import load_layers, separation
from reft_studio.teacher.spec import TeacherSpec
from reft_studio.teacher.teacher import LAB, TeacherInfo, open_teacher
from reft_studio.teacher.training import complete, prepare_teacher
from reft_studio.workspace import Workspace
from tests.tiny_models import toy_rows

NAMES = ("harmful", "helpful", "calibration_harmful", "calibration_harmless")
QUICK = OptimSpec(steps=4, batch_size=8, learning_rate=3e-3)


@pytest.fixture(scope="module")
def session(tiny_model: Path) -> Session:
    return Session.open(str(tiny_model))


@pytest.fixture
def spec(tiny_model: Path, toy_data: dict[str, Dataset]) -> TeacherSpec:
    sets = {name: toy_data[name].id for name in NAMES}
    return TeacherSpec(model=str(tiny_model), lora=LoraSpec(rank=4, alpha=8), optim=QUICK, layer=2, **sets)


@pytest.fixture
def teacher(workspace: Workspace, session: Session, spec: TeacherSpec) -> TeacherInfo:
    return prepare_teacher(workspace, spec, session, Silent())


def calibration_scores(teacher: TeacherInfo, kind: str) -> np.ndarray:
    table = pq.read_table(teacher.folder / "calibration.parquet")
    return np.asarray(table.column("score").to_numpy()[np.array(table.column("kind").to_pylist()) == kind])


def test_the_chosen_cell_is_the_auroc_of_the_calibration_scores(teacher: TeacherInfo) -> None:
    found = details.separation_of(teacher)
    assert found is not None and (found.layer, found.position) == (teacher.layer, -1)
    expected = stats.auroc(calibration_scores(teacher, "harmful"), calibration_scores(teacher, "harmless"))
    assert found.at(found.layer, found.position) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", sorted(LAB))
def test_the_shipped_teachers_have_a_map_that_agrees_with_their_calibration(workspace: Workspace, name: str) -> None:
    teacher = open_teacher(workspace, name)
    found = details.separation_of(teacher)
    assert details.is_complete(teacher) and found is not None
    assert found.at(teacher.layer, -1) == pytest.approx(teacher.calibration["auroc"], abs=1e-4)
    assert (found.harmful, found.harmless) == (300, 300) and found.layers == [1, 2, 3, 4]
    at_layer = found.bands["harmful"][teacher.layer - 1][1]
    assert at_layer == pytest.approx(np.median(calibration_scores(teacher, "harmful")), abs=1e-4)
    neighbours = pq.read_table(teacher.folder / details.NEIGHBOURS)
    known = dict(
        zip(*(pq.read_table(teacher.folder / "calibration.parquet").column(key).to_pylist() for key in ("group", "score")), strict=True)
    )
    for prompt, score in zip(neighbours.column("prompt").to_pylist(), neighbours.column("score").to_pylist(), strict=True):
        assert score == pytest.approx(known[group_key(prompt)], abs=1e-4)


def test_the_direction_of_the_chosen_layer_is_the_refusal_feature(teacher: TeacherInfo) -> None:
    layers = load_layers(teacher)
    feature = RefusalFeature.load(teacher.folder / "refusal_feature.safetensors", layer=teacher.layer)
    assert [one.layer for one in layers] == [1, 2, 3]
    assert torch.equal(layers[teacher.layer - 1].direction, feature.direction)


def test_a_quick_teacher_is_measured_too_with_the_centre_of_every_layer(workspace: Workspace, session: Session, tiny_model: Path) -> None:
    teacher = prepare_teacher(workspace, quick_spec(workspace, model=str(tiny_model)), session, Silent())
    assert details.is_complete(teacher) and all(one.centre is not None for one in load_layers(teacher))
    found = details.separation_of(teacher)
    assert found is not None and found.at(teacher.layer, -1) == pytest.approx(teacher.calibration["auroc"], abs=1e-4)
    kinds = pq.read_table(teacher.folder / details.NEIGHBOURS).column("kind").to_pylist()
    assert (kinds.count("harmful"), kinds.count("harmless")) == (105, 210)


def test_a_teacher_of_an_older_version_gets_the_files_when_it_is_prepared_again(
    workspace: Workspace, session: Session, spec: TeacherSpec, teacher: TeacherInfo
) -> None:
    before = {name: (teacher.folder / name).read_bytes() for name in (*details.FILES, "teacher.json") if name != details.MAP}
    column = details.separation_of(teacher)
    for name in details.FILES:
        (teacher.folder / name).unlink()
    (teacher.folder / integrity.SUMS).unlink()
    assert not details.is_complete(teacher) and details.separation_of(teacher) is None
    prepare_teacher(workspace, spec, session, Silent())
    assert {name: (teacher.folder / name).read_bytes() for name in before} == before
    whole = details.separation_of(teacher)
    assert column is not None and whole is not None and column.positions == [-1] and whole.positions == [-1 - place for place in range(10)]
    assert [line[0] for line in whole.auroc] == [line[0] for line in column.auroc] and whole.bands == column.bands


def test_other_prompts_than_the_teachers_own_make_no_map(
    workspace: Workspace, session: Session, spec: TeacherSpec, teacher: TeacherInfo, toy_data: dict[str, Dataset]
) -> None:
    other = write_dataset(workspace, toy_rows("harmful", 200, answer="No.")[150:], name="others", role="harmful").id
    changed = spec.model_copy(update={"calibration_harmful": other})
    with pytest.raises(SpecError, match="not the ones it was prepared from"):
        complete(teacher, Material(workspace, changed, session, Silent()))


def test_a_position_that_few_prompts_have_stays_empty() -> None:
    cosines = np.full((40, 2, 3), 0.5, dtype=np.float32)
    cosines[:11, :, 2] = np.nan
    found = separation(cosines, cosines - 1, layer=1)
    assert found.at(1, -1) == 1.0 and found.at(2, -3) is None


def test_tail_states_are_those_of_the_last_tokens_and_nothing_before_the_first(session: Session) -> None:
    prompts = [[5, 6, 7, 8, 9], [10, 11]]
    with session.adapted.active(None) as backbone:
        found = {
            place: states[row] for plan, states in tail_states(session.model, backbone, prompts, tail=3) for row, place in enumerate(plan)
        }
        alone = last_prompt_features(session.model, backbone, prompts, layers=[1, 2, 3])
        whole, last = token_states(session.model, backbone, prompts[0], layer=2)
    for place in (0, 1):
        assert torch.allclose(found[place][:, 0], alone[place], atol=1e-6)
    assert torch.isnan(found[1][:, 2]).all() and torch.isfinite(found[1][:, :2]).all()
    assert torch.allclose(found[0][1], whole.flip(0)[:3], atol=1e-6) and torch.allclose(last, alone[0], atol=1e-6)


def test_a_damaged_map_is_named(teacher: TeacherInfo) -> None:
    (teacher.folder / details.MAP).write_text(json.dumps({"layers": [1]}), "utf-8")
    with pytest.raises(StoreError, match="damaged"):
        details.separation_of(teacher)
