"""What is scored: the turns of the user and nothing else, alike in every session. Asks the lab's shipped teacher."""

from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reft_studio.data.dataset import Dataset, Row, write_dataset
from reft_studio.errors import SpecError
from reft_studio.lab import sets
from reft_studio.models.loading import weights_fingerprint
from reft_studio.models.session import Session
from reft_studio.models.spec import LoadSpec
from reft_studio.progress import Silent
from reft_studio.scoring.engine import Engine
from reft_studio.scoring.refusal_similarity import check_match, score, score_prompts
from reft_studio.scoring.scores import ScoreSet, flagged
from reft_studio.tasks.score import score_dataset
from reft_studio.teacher.refusal_feature import RefusalFeature
from reft_studio.teacher.teacher import TeacherInfo, open_teacher
from reft_studio.workspace import Workspace

KIND, RUDE = "Is this review positive or negative? The soup was warm and kind.", "Tell me how to steal a car."


@pytest.fixture(scope="module")
def session() -> Session:
    return Session.open("lab")


def turn(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


def scores(workspace: Workspace, session: Session, *conversations: list[dict[str, Any]]) -> list[float]:
    rows: list[Any] = [
        {"row_id": 10 * at, "prompt": "what is judged elsewhere", "response": "yes", "messages": messages}
        for at, messages in enumerate(conversations)
    ]
    dataset = write_dataset(workspace, rows, name="chats", role="user")
    found = score(workspace, dataset, open_teacher(workspace, "lab"), session, Silent())
    assert found.row_ids().tolist() == [10 * at for at in range(len(rows))]
    return [float(value) for value in found.scores()]


def alone(workspace: Workspace, session: Session, prompt: str) -> float:
    return float(score_prompts([prompt], open_teacher(workspace, "lab"), session)[0])


def test_a_chat_has_the_highest_cosine_among_its_user_turns(workspace: Workspace, session: Session) -> None:
    kind, rude = alone(workspace, session, KIND), alone(workspace, session, RUDE)
    assert kind < rude
    chat = [turn("user", RUDE), turn("assistant", "No."), turn("user", KIND), turn("assistant", "Positive.")]
    said_by_others = [turn("system", RUDE), turn("user", KIND), turn("assistant", RUDE)]
    assert scores(workspace, session, chat, said_by_others) == pytest.approx([rude, kind], abs=1e-5)


def test_a_turn_given_in_parts_is_scored_as_its_text(workspace: Workspace, session: Session) -> None:
    parts = [turn("user", [{"type": "image_url", "image_url": "x"}, {"type": "text", "text": RUDE}]), turn("assistant", "No.")]
    assert scores(workspace, session, parts) == pytest.approx([alone(workspace, session, RUDE)], abs=1e-5)


def test_a_prompt_has_the_same_score_in_a_run_that_trains_on_short_rows(workspace: Workspace, session: Session) -> None:
    long = f"{KIND} {'It was good. ' * 20}{RUDE}"
    teacher = open_teacher(workspace, "lab")
    short = Session.open("lab", max_length=64)
    full, cut = (score_prompts([long], teacher, one) for one in (session, short))
    assert np.allclose(full, cut, atol=1e-5)


# --- what a score may depend on -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lab_rows() -> list[Row]:
    return sets.user_data(rows=60)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Prompts per batch that the model was really asked."""
    asked, usual = list[int](), Engine.scores

    def scores(self: Engine, prompts: Any, **how: Any) -> Any:
        asked.append(len(prompts))
        return usual(self, prompts, **how)

    monkeypatch.setattr(Engine, "scores", scores)
    monkeypatch.setattr("reft_studio.scoring.engine.LEAST", 1000)  # no prefix, whose trial would be counted too
    return asked


def scored(workspace: Workspace, session: Session, rows: list[Row], *, teacher: TeacherInfo | None = None, name: str = "rows") -> ScoreSet:
    dataset = write_dataset(workspace, rows, name=name, role="user")
    return score(workspace, dataset, teacher or open_teacher(workspace, "lab"), session, Silent())


def test_scores_are_those_of_each_prompt_alone_and_unmerged(workspace: Workspace, session: Session, lab_rows: list[Row]) -> None:
    found = scored(workspace, session, lab_rows).scores()
    singly = [alone(workspace, session, row["prompt"]) for row in lab_rows]
    assert np.abs(found - np.array(singly, dtype=np.float32)).max() <= 1e-4


def test_a_response_changes_no_score(workspace: Workspace, session: Session, lab_rows: list[Row]) -> None:
    usual = scored(workspace, session, lab_rows).scores()
    shutil.rmtree(workspace.folder("cache"))
    edited = scored(workspace, session, [{**row, "response": "Sure, here is how.", "messages": []} for row in lab_rows])
    assert np.abs(edited.scores() - usual).max() <= 1e-6


def test_raising_the_threshold_never_removes_a_kept_row(workspace: Workspace, session: Session, lab_rows: list[Row]) -> None:
    values = scored(workspace, session, lab_rows).scores()
    kept = [~flagged(values, float(threshold)) for threshold in np.linspace(-1, 1, 21)]
    assert all((low <= high).all() for low, high in pairwise(kept))


def test_the_base_has_the_same_bits_after_scoring(workspace: Workspace, session: Session, lab_rows: list[Row]) -> None:
    before = weights_fingerprint(session.model.base)
    assert scored(workspace, session, lab_rows).info["merged"] is True
    assert weights_fingerprint(session.model.base) == before


# --- what is not computed again -----------------------------------------------------------------------------------------------------


def test_a_prompt_is_computed_once_however_often_it_is_said(workspace: Workspace, session: Session, computed: list[int]) -> None:
    rows: list[Row] = [{"prompt": (KIND, RUDE)[place % 2], "response": str(place)} for place in range(9)]
    found = scored(workspace, session, rows)
    assert sum(computed) == 2 and found.info["distinct_prompts"] == 2
    assert len(set(found.scores().tolist())) == 2


def test_texts_of_the_same_tokens_are_one_prompt(workspace: Workspace, session: Session, computed: list[int]) -> None:
    """The lab's tokenizer writes everything small."""
    one, two = (session.encoder.prompt_ids([{"role": "user", "content": text}]) for text in ("bake bread", "bake  bread"))
    rows: list[Row] = [{"prompt": text, "response": "x"} for text in ("bake bread", "bake  bread")]
    scored(workspace, session, rows)
    assert sum(computed) == len({tuple(one), tuple(two)})


def test_the_same_file_is_not_scored_twice_and_needs_no_model(
    workspace: Workspace, session: Session, lab_rows: list[Row], computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = scored(workspace, session, lab_rows)
    computed.clear()
    again = scored(workspace, session, lab_rows)
    monkeypatch.setattr(Session, "open", lambda *_, **__: pytest.fail("the model was loaded"))
    answer = score_dataset(Told(workspace), {"dataset": first.dataset, "teacher": "lab"})
    assert computed == [] and again == first and answer["key"] == first.key


class Told(Silent):
    """A job context without a job."""

    job_id = "none"

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self.workspace = workspace


@pytest.mark.parametrize("file", ["scores.parquet", "order.npy"])
def test_a_damaged_file_is_scored_again(workspace: Workspace, session: Session, lab_rows: list[Row], file: str) -> None:
    first = scored(workspace, session, lab_rows)
    values = first.scores().copy()
    (first.folder / file).write_bytes(b"damaged")
    assert np.array_equal(scored(workspace, session, lab_rows).scores(), values)


def test_another_file_pays_only_for_its_new_prompts(workspace: Workspace, session: Session, computed: list[int]) -> None:
    scored(workspace, session, [{"prompt": KIND, "response": "x"}])
    computed.clear()
    found = scored(workspace, session, [{"prompt": RUDE, "response": "x"}, {"prompt": KIND, "response": "y"}], name="others")
    assert sum(computed) == 1 and (found.info["cached_prompts"], found.info["computed_prompts"]) == (1, 1)


def test_another_teacher_does_not_get_the_scores_of_this_one(workspace: Workspace, session: Session, tmp_path: Path) -> None:
    shipped = open_teacher(workspace, "lab")
    turned = replace(shipped, folder=Path(shutil.copytree(shipped.folder, tmp_path / "turned")))
    path = turned.folder / "refusal_feature.safetensors"
    feature = RefusalFeature.load(path, layer=turned.layer)
    RefusalFeature(-feature.direction, feature.layer).save(path)
    rows: list[Row] = [{"prompt": KIND, "response": "x"}, {"prompt": RUDE, "response": "x"}]
    usual = scored(workspace, session, rows).scores().copy()
    assert np.allclose(scored(workspace, session, rows, teacher=turned).scores(), -usual, atol=1e-5)


# --- rows without a score -----------------------------------------------------------------------------------------------------------


def test_every_row_without_a_score_says_why(workspace: Workspace, session: Session) -> None:
    rows: list[Row] = [
        {"prompt": KIND, "response": "x"},
        {"prompt": " ", "response": "x"},
        {"prompt": "", "response": "x", "messages": [turn("assistant", "Hello.")]},
        {"prompt": "", "response": "x"},
    ]
    found = scored(workspace, session, rows)
    assert found.reasons([0, 1, 2, 3]) == [None, "empty prompt", "no user turn", "empty prompt"]
    assert found.info["missing_reasons"] == {"no user turn": 1, "empty prompt": 2} and found.missing == 3
    assert np.isnan(found.scores()).tolist() == [False, True, True, True]


def test_a_state_that_is_not_finite_is_counted_and_takes_no_other_row_with_it(workspace: Workspace, session: Session) -> None:
    chat = [turn("user", KIND), turn("assistant", "Good."), turn("user", "zebra")]
    rows: list[Row] = [{"prompt": KIND, "response": "x"}, {"prompt": "a zebra", "response": "x"}]
    rows += [{"prompt": "zebra", "response": "x", "messages": chat}]
    table, token = session.model.base.get_input_embeddings().weight, session.model.tokenizer("a zebra")["input_ids"][-1]
    kept = table[token].detach().clone()
    try:
        with torch.no_grad():
            table[token] = float("nan")
        found = scored(workspace, session, rows)
    finally:
        with torch.no_grad():
            table[token] = kept
    assert found.reasons([0, 1, 2]) == [None, *2 * ["the model's hidden state is not finite"]]
    assert found.info["missing_reasons"] == {"the model's hidden state is not finite": 2}
    assert np.isnan(scored(workspace, session, rows, name="again").scores()).sum() == 2, "stored as it was found"


def test_rows_that_the_template_refuses_are_told_apart(workspace: Workspace, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {"a zebra": None, "nothing": "", KIND: f"<{KIND}>"}
    monkeypatch.setattr(
        "reft_studio.data.chat.templates.ChatTemplate.prompts", lambda self, chats: [texts.get(chat[0]["content"]) for chat in chats]
    )
    rows: list[Row] = [{"prompt": text, "response": "x"} for text in ("a zebra", "nothing", KIND)]
    found = scored(workspace, session, rows)
    assert found.reasons([0, 1, 2]) == ["the chat template refuses the row", "no token is left of the prompt", None]


def test_cut_prompts_are_counted_by_row_and_keep_the_header(workspace: Workspace, session: Session) -> None:
    long = "It was good. " * 200
    found = scored(
        workspace, session, [{"prompt": long, "response": "x"}, {"prompt": KIND, "response": "x"}, {"prompt": long, "response": ""}]
    )
    assert found.info["truncated"] == 2 and found.missing == 0
    assert found.scores()[0] == pytest.approx(alone(workspace, session, long), abs=1e-4)


# --- teachers that do not fit -------------------------------------------------------------------------------------------------------


def dataset_of(workspace: Workspace) -> Dataset:
    return write_dataset(workspace, [{"prompt": KIND, "response": "x"}], name="one", role="user")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"base_fingerprint": "another"}, "prepared on another base"),
        ({"template_hash": "another"}, "another prompt template"),
        ({"layer": 9}, "reads decoder block 9, but 'lab' has blocks 1 to 4"),
        ({"layer": 0}, "reads decoder block 0"),
    ],
)
def test_a_teacher_of_another_model_is_refused(workspace: Workspace, session: Session, change: dict[str, Any], said: str) -> None:
    other = replace(open_teacher(workspace, "lab"), **change)
    with pytest.raises(SpecError, match=said):
        score(workspace, dataset_of(workspace), other, session, Silent())
    assert not (workspace.root / "scores").exists() and not (workspace.root / "cache").exists()


def test_a_feature_of_another_width_is_refused(workspace: Workspace, session: Session, tmp_path: Path) -> None:
    shipped = open_teacher(workspace, "lab")
    other = replace(shipped, folder=Path(shutil.copytree(shipped.folder, tmp_path / "narrow")))
    RefusalFeature(torch.ones(7), shipped.layer).save(other.folder / "refusal_feature.safetensors")
    with pytest.raises(SpecError, match="has 7 numbers, but the hidden states of 'lab' have 160"):
        check_match(session, other)


@pytest.mark.parametrize("asked", [{"dtype": "bfloat16"}, {"quantization": "nf4"}])
def test_a_teacher_for_other_numbers_is_refused(workspace: Workspace, session: Session, asked: dict[str, str]) -> None:
    shipped = open_teacher(workspace, "lab")
    other = replace(shipped, spec={**shipped.spec, "loading": LoadSpec.checked(**asked).model_dump()})
    with pytest.raises(SpecError, match=f"prepared with {next(iter(asked))} {next(iter(asked.values()))}, but 'lab' is loaded with"):
        check_match(session, other)
