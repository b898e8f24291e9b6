"""What is scored: the turns of the user and nothing else, alike in every session. Asks the lab's shipped teacher."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from reft_studio.data.dataset import write_dataset
from reft_studio.models.session import Session
from reft_studio.progress import Silent
from reft_studio.scoring.refusal_similarity import score, score_prompts
from reft_studio.teacher.teacher import open_teacher
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
