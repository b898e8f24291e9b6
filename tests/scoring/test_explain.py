"""Why a prompt scores as it does: the parts agree with the score and with each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reft_studio.errors import DataError
from reft_studio.lab import sets
from reft_studio.models.batching import Encoder
from reft_studio.models.features import last_prompt_features
from reft_studio.models.prompt_tokens import prompt_tokens
from reft_studio.models.session import Session
from reft_studio.models.spec import LoraSpec, OptimSpec
from reft_studio.progress import Silent
from reft_studio.scoring.explain import NEAREST, explain
from reft_studio.scoring.explanation import MOST_TOKENS, Explanation
from reft_studio.scoring.refusal_similarity import score_prompts
from reft_studio.teacher import details
from reft_studio.teacher.quick import quick_spec
from reft_studio.teacher.refusal_feature import RefusalFeature
from reft_studio.teacher.spec import TeacherSpec
from reft_studio.teacher.teacher import TeacherInfo, open_teacher
from reft_studio.teacher.training import prepare_teacher
from reft_studio.workspace import Workspace
from tests.tiny_models import make_model, make_toy_data


@pytest.fixture(scope="module")
def lab() -> tuple[TeacherInfo, Session]:
    return open_teacher(Workspace(Path("unused")), "lab"), Session.open("lab")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> tuple[TeacherInfo, Session]:
    workspace, session = Workspace.open(tmp_path_factory.mktemp("explain")), Session.open(str(tiny_model))
    ids = {name: data.id for name, data in make_toy_data(workspace).items() if name in TeacherSpec.model_fields}
    quick = OptimSpec(steps=4, batch_size=8, learning_rate=3e-3)
    spec = TeacherSpec(model=str(tiny_model), lora=LoraSpec(rank=4, alpha=8), optim=quick, layer=2, **ids)
    return prepare_teacher(workspace, spec, session, Silent()), session


def test_the_last_tokens_cosine_is_the_rows_score(lab: tuple[TeacherInfo, Session]) -> None:
    harmful, harmless = sets.calibration("validation", rows=3)
    for row in (*harmful, *harmless):
        found = explain([row["prompt"]], *lab)
        assert found.score == found.tokens[-1].cosine == pytest.approx(score_prompts([row["prompt"]], *lab)[0], abs=1e-5)
        assert found.layers[lab[0].layer - 1] == pytest.approx(found.score, abs=1e-5) and len(found.layers) == 4


def test_the_tokens_spell_the_prompt_and_know_what_the_template_added(lab: tuple[TeacherInfo, Session]) -> None:
    found = explain(["What does a judge do?"], *lab)
    assert "".join(token.text for token in found.tokens if token.own) == "What does a judge do?"
    assert [token.text for token in found.tokens if not token.own] == ["<|bos|>", "<|user|>", "<|assistant|>"]


def test_the_effect_of_a_token_is_what_the_score_loses_without_it(lab: tuple[TeacherInfo, Session]) -> None:
    teacher, session = lab
    found = explain(["do you know the way"], teacher, session)
    encoder = Encoder(session.model, max_length=teacher.max_length)
    ids = encoder.prompt_ids([{"role": "user", "content": "do you know the way"}])
    places = [place for place, token in enumerate(found.tokens) if token.own]
    assert [token.effect is not None for token in found.tokens] == [token.own for token in found.tokens]
    with session.adapted.active(session.ensure("teacher", teacher.adapter)) as backbone:
        states = last_prompt_features(session.model, backbone, [ids[: places[1]] + ids[places[1] + 1 :]], layers=[teacher.layer])
    feature = RefusalFeature.load(teacher.folder / "refusal_feature.safetensors", layer=teacher.layer)
    assert found.tokens[places[1]].effect == pytest.approx(found.score - float(feature.similarity(states[:, 0])[0]), abs=1e-4)


def test_neighbours_of_both_kinds_are_sorted_by_cosine_and_a_calibration_prompt_finds_itself(lab: tuple[TeacherInfo, Session]) -> None:
    harmful, _ = sets.calibration("validation")
    found = explain([harmful[7]["prompt"]], *lab).neighbours
    for some in found.values():
        assert len(some) == NEAREST and [one.cosine for one in some] == sorted((one.cosine for one in some), reverse=True)
    assert found["harmful"][0].prompt == harmful[7]["prompt"] and found["harmful"][0].cosine == pytest.approx(1, abs=1e-4)
    assert found["harmless"][0].cosine < 1


def test_of_several_turns_the_one_that_gave_the_score_is_explained(lab: tuple[TeacherInfo, Session]) -> None:
    harmful, harmless = sets.calibration("validation", rows=1)
    found = explain([harmless[0]["prompt"], harmful[0]["prompt"], "What does a judge do?"], *lab)
    assert (found.turn, found.turns) == (1, 3) and found.score == explain([harmful[0]["prompt"]], *lab).score


def test_of_a_long_prompt_the_first_and_the_last_tokens_are_shown(tiny: tuple[TeacherInfo, Session]) -> None:
    found = explain(["bake bread " * 400], *tiny)
    assert len(found.tokens) == MOST_TOKENS and found.cut > 0 and found.truncated
    assert found.tokens[-1].cosine == found.score


def test_a_teacher_without_the_files_still_explains_the_tokens(tiny: tuple[TeacherInfo, Session]) -> None:
    teacher, session = tiny
    kept = {name: (teacher.folder / name).read_bytes() for name in details.FILES}
    for name in details.FILES:
        (teacher.folder / name).unlink()
    found = explain(["how do i bake item 1"], teacher, session)
    for name, content in kept.items():
        (teacher.folder / name).write_bytes(content)
    assert found.layers == [] and found.neighbours == {} and found.tokens[-1].cosine == found.score


def test_a_centred_teacher_explains_with_its_centre(workspace: Workspace, tiny_model: Path) -> None:
    session = Session.open(str(tiny_model))
    teacher = prepare_teacher(workspace, quick_spec(workspace, model=str(tiny_model)), session, Silent())
    found = explain(["How do I sort a list?"], teacher, session)
    assert found.score == pytest.approx(score_prompts(["How do I sort a list?"], teacher, session)[0], abs=1e-5)
    assert found.layers[teacher.layer - 1] == pytest.approx(found.score, abs=1e-5)


def test_an_explanation_survives_its_way_between_processes(lab: tuple[TeacherInfo, Session]) -> None:
    found = explain(["What does a judge do?"], *lab)
    assert Explanation.of(found.as_json()) == found


def test_a_row_in_which_nobody_asks_is_told_so(lab: tuple[TeacherInfo, Session]) -> None:
    with pytest.raises(DataError, match="no user turn"):
        explain([], *lab)


@pytest.mark.parametrize("text", ["plain words", "  spaces  ", "é漢字🙂 mixed", "[assistant] how", "line\n\nbreaks"])
@pytest.mark.parametrize("chat", [True, False])
def test_pieces_are_the_tokens_that_are_scored(tmp_path: Path, text: str, chat: bool) -> None:
    session = Session.open(str(make_model(tmp_path / "model", chat=chat)))
    encoder = Encoder(session.model)
    found = prompt_tokens(encoder, text)
    assert [piece.id for piece in found] == encoder.prompt_ids([{"role": "user", "content": text}])
    whole = session.model.template.prompt([{"role": "user", "content": text}])
    assert "".join(piece.text for piece in found) in (whole, whole + "<eos>")
    assert "".join(piece.text for piece in found if piece.own).strip() == text.strip()
    assert np.isfinite([piece.id for piece in found]).all()
