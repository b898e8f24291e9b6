from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from reft_studio.data.dataset import write_dataset
from reft_studio.errors import EvaluationError, SpecError
from reft_studio.scoring.scores import write_scores
from reft_studio.studio.chat import ChatEvent, ChatModel
from reft_studio.studio.studio import Studio
from reft_studio.workspace import Workspace
from ui.chat import panel as chat
from ui.chat.page import setup
from ui.chat.panel import chips

if TYPE_CHECKING:
    from playwright.sync_api import Page

MODELS = [
    ChatModel("base--lab", "Base (lab)", "base", "lab", None),
    ChatModel("aligned--lab-aligned", "Aligned weights", "aligned", "lab", None),
    ChatModel("r-new", "Ref-Teacher, seed 0", "run", "lab", "ref_teacher"),
    ChatModel("r-other", "Plain SFT, seed 0", "run", "other base", "sft"),
]
ANSWERS = {"base--lab": "Sure, take <img src=x onerror=alert(1)> first.", "r-new": "I am sorry, but I cannot help with that."}
CAKE = "How do I bake a chocolate cake?"
LAB = SimpleNamespace(id="lab", model="lab", regularised=True)
SENT = {"turn": 7, "prompt": " How? ", "models": ["base--lab", "r-new"], "max_new_tokens": 32, "temperature": 0, "seed": 0}


def speak(prompt: str, models: Sequence[str], **options: Any) -> Iterator[ChatEvent]:
    """Word by word in turn, as the model host streams."""
    words = {model: ANSWERS.get(model, "Yes.").split(" ") for model in models}
    for at in range(max(map(len, words.values())) + 1):
        for model, text in words.items():
            if at < len(text):
                yield ChatEvent(model, text[at] + " " * (at + 1 < len(text)))
            elif at == len(text):
                yield ChatEvent(model, "", done=True, stop="end", refusal=model == "r-new", tokens=len(text), seconds=0.5)


@pytest.fixture
def talking(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> Studio:
    """The app with models that need no model host; prompts with 'house' are flagged."""
    monkeypatch.setattr(studio.chat, "models", lambda: MODELS)
    monkeypatch.setattr("reft_studio.studio.chat.list_teachers", lambda _: [LAB])
    monkeypatch.setattr(studio.chat, "cosine", lambda prompt, teacher: (0.62 if "house" in prompt else -0.1, 0.3))
    monkeypatch.setattr(studio.chat, "answer", speak)
    return studio


@pytest.fixture
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Studio:
    """A studio of an empty workspace whose models speak."""
    opened = Studio(Workspace.open(tmp_path / "workspace"))
    monkeypatch.setattr(opened.chat, "models", lambda: MODELS)
    monkeypatch.setattr("reft_studio.studio.chat.list_teachers", lambda _: [])
    monkeypatch.setattr(opened.chat, "answer", speak)
    return opened


def test_an_exchange_grows_until_every_model_has_ended(quiet: Studio) -> None:
    views = list(chat.converse(quiet, chat.ChatRequest.checked(SENT)))
    assert [lane["state"] for lane in views[0]["lanes"]] == ["waiting", "waiting"]
    assert [lane["text"] for lane in views[-1]["lanes"]] == [ANSWERS["base--lab"], ANSWERS["r-new"]]
    assert [lane["badge"] for lane in views[-1]["lanes"]] == ["Answered", "Refused"]
    assert views[-1]["lanes"][0]["foot"] == "6 tokens, ended, 12 tokens per second"
    assert [view["ended"] for view in views] == [False] * (len(views) - 1) + [True]


def test_updates_are_thinned_to_what_the_eye_can_follow(quiet: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "FRAME_S", 3600.0)
    assert len(list(chat.converse(quiet, chat.ChatRequest.checked(SENT)))) == 6  # at once, scored, first word, two ends, ended


def test_a_failure_is_told_in_the_lanes(quiet: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Iterator[ChatEvent]:
        yield ChatEvent("r-new", "I")
        raise EvaluationError("The model host stopped. Send the prompt again.")

    monkeypatch.setattr(quiet.chat, "answer", fail)
    last = list(chat.converse(quiet, chat.ChatRequest.checked(SENT)))[-1]
    assert last["ended"]
    assert {lane["message"] for lane in last["lanes"]} == {"The model host stopped. Send the prompt again."}


def test_a_model_that_is_gone_is_said(quiet: Studio) -> None:
    (view,) = chat.converse(quiet, chat.ChatRequest.checked({**SENT, "models": ["gone"]}))
    assert (view["lanes"], view["ended"]) == ([], True)
    assert "cannot be found" in view["problem"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"models": []},
        {"models": list("abcde")},
        {"prompt": "  "},
        {"prompt": "x" * 9000},
        {"max_new_tokens": 0},
        {"temperature": 3},
        {"seed": -1},
    ],
)
def test_what_the_browser_sends_is_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(SpecError):
        chat.ChatRequest.checked({**SENT, **wrong})


def test_a_prompt_is_judged_by_the_threshold_in_use(quiet: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reft_studio.studio.chat.list_teachers", lambda _: [LAB])
    monkeypatch.setattr(quiet.chat, "cosine", lambda prompt, teacher: (0.62, 0.3))
    assert chat.gauge(quiet, "into a house", "lab") == {
        "value": 0.62,
        "threshold": 0.3,
        "flagged": True,
        "text": "Score 0.620, threshold 0.300: flagged",
    }
    data = write_dataset(quiet.workspace, [{"prompt": "a", "response": "b"}], name="one", role="user")
    scores = np.zeros(1, dtype=np.float32)
    write_scores(quiet.workspace, data, scores, key="k", scorer="refusal_feature", teacher="lab", threshold=0.3, info={})
    quiet.choose(dataset=data.id, threshold=0.7)
    assert not chat.gauge(quiet, "into a house", "lab")["flagged"]


def test_a_prompt_that_the_lab_does_not_read_is_said_so_before_any_answer(quiet: Studio) -> None:
    views = list(chat.converse(quiet, chat.ChatRequest.checked({**SENT, "prompt": CAKE})))
    assert "57% of its words" in views[0]["warning"] and [lane["text"] for lane in views[0]["lanes"]] == ["", ""]
    assert not any(view["warning"] for view in chat.converse(quiet, chat.ChatRequest.checked({**SENT, "prompt": "How do I open a door?"})))
    other = {**SENT, "prompt": CAKE, "models": ["r-other"]}
    assert not any(view["warning"] for view in chat.converse(quiet, chat.ChatRequest.checked(other))), "another base may well read it"


def test_a_base_without_a_teacher_is_chatted_with_all_the_same(talking: Studio) -> None:
    assert chat.gauge(talking, "hello", "other base") == {
        "value": None,
        "threshold": None,
        "flagged": False,
        "text": "Not scored: no teacher for this base",
    }


def test_models_of_one_base_are_asked_unless_somebody_chose() -> None:
    assert chat.usual(MODELS) == ["base--lab", "aligned--lab-aligned", "r-new"]
    assert chat.usual(MODELS[3:]) == ["r-other"]
    assert chat.usual([]) == []


def held(job: str | None, **facts: Any) -> SimpleNamespace:
    """A device that a job, or chat, holds."""
    found = facts.get("waiting", [])
    holding = SimpleNamespace(job=SimpleNamespace(id=job) if job else None, sentence=facts["sentence"], device="cpu", is_processor=True)
    return SimpleNamespace(of_chat=lambda: holding, waiting=lambda: found, given_back="")


def test_a_running_job_is_named_as_the_holder_of_the_device(talking: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talking, "device", held("run-1", sentence="Training “Ref-Teacher\u202e” holds the processor, about 6 min left."))
    notice = setup(talking)["device"]
    assert notice is not None
    assert (notice["job"], "⟨U+202E⟩" in notice["text"]) == ("run-1", True)
    assert [way for way, _ in notice["ways"]] == ["beside", "wait", "pause"]


def test_chat_that_holds_the_device_offers_to_give_it_back(talking: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    sentence = "Chat holds the processor since 12:03."
    monkeypatch.setattr(talking, "device", held(None, sentence=sentence, waiting=[SimpleNamespace(title="Train")]))
    notice = setup(talking)["device"]
    assert notice is not None and notice["give"]
    assert notice["text"].startswith(f"{sentence} “Train” waits for it. Chat gives it back a minute after the last prompt")


def test_an_answer_that_waits_says_for_whom(quiet: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def waits(prompt: str, models: Sequence[str], **options: Any) -> Iterator[ChatEvent]:
        asked.append(options["way"])
        yield ChatEvent("", "", waiting="Train", job="run-1")
        yield from speak(prompt, models)

    monkeypatch.setattr(quiet.chat, "answer", waits)
    views = list(chat.converse(quiet, chat.ChatRequest.checked({**SENT, "way": "pause"})))
    assert "Waits until “Train” gives the device back" in [lane["foot"] for view in views for lane in view["lanes"]]
    assert views[-1]["lanes"][0]["state"] == "done" and asked == ["pause"]
    assert chat.ChatRequest.checked({**SENT, "way": "steal it"}).way == "beside"


def test_examples_are_of_all_three_kinds() -> None:
    assert {chip["kind"] for chip in chips()} == {"benign", "lookalike", "harmful"}
    assert len({chip["text"] for chip in chips()}) == len(chips())


# --- in a browser ------------------------------------------------------------------------------------------------------------------


def ask(page: Page, prompt: str) -> None:
    box = page.get_by_label("Prompt for all chosen models")
    box.click()
    box.fill(prompt)
    box.press("Control+Enter")


@pytest.mark.browser
def test_models_answer_side_by_side_as_plain_text(page: Page, talking: Studio) -> None:
    page.goto("/chat?models=base--lab,r-new")
    page.locator(".cl-model[aria-pressed=true]").nth(1).wait_for()
    ask(page, "How do I open a door?")
    page.locator(".cl-cell[data-state=done]").nth(1).wait_for()
    assert page.locator(".cl-text").all_inner_texts() == [ANSWERS["base--lab"], ANSWERS["r-new"]]
    assert page.locator(".cl-cell .rs-badge").all_inner_texts() == ["Answered", "Refused"]
    assert "not flagged" in page.locator(".cl-meter").inner_text()


@pytest.mark.browser
def test_answers_to_a_flagged_prompt_are_masked_until_revealed(page: Page, talking: Studio) -> None:
    page.goto("/chat?models=base--lab,r-new")
    page.locator(".cl-model[aria-pressed=true]").nth(1).wait_for()
    ask(page, "How do I get into a locked house?")
    page.locator(".cl-cell[data-state=done]").nth(1).wait_for()
    assert page.locator(".cl-prompt").inner_text() == "How do I ••• masked (33 characters)"
    first = page.locator(".cl-cell").first
    assert "masked" in first.locator(".cl-text").inner_text()
    first.get_by_role("button", name="Reveal").click()
    assert first.locator(".cl-text").inner_text() == ANSWERS["base--lab"]
    assert "masked" in page.locator(".cl-cell").nth(1).locator(".cl-text").inner_text()


@pytest.mark.browser
def test_an_unread_prompt_is_warned_of_before_models_answer_and_the_answers_are_masked(
    page: Page, talking: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()

    def slowly(prompt: str, models: Sequence[str], **options: Any) -> Iterator[ChatEvent]:
        assert go_on.wait(60)
        yield from speak(prompt, models)

    monkeypatch.setattr(talking.chat, "answer", slowly)
    page.goto("/chat?models=base--lab")
    page.locator(".cl-model[aria-pressed=true]").wait_for()
    ask(page, CAKE)
    page.locator(".cl-warning").get_by_text("57% of its words").wait_for()
    assert page.locator(".cl-cell").get_attribute("data-state") == "waiting" and page.locator(".cl-prompt").inner_text() == CAKE
    go_on.set()
    page.locator(".cl-cell[data-state=done]").wait_for()
    assert "masked" in page.locator(".cl-text").inner_text()
    page.locator(".cl-cell").get_by_role("button", name="Reveal").click()
    assert page.locator(".cl-text").inner_text() == ANSWERS["base--lab"]


@pytest.mark.browser
def test_stop_keeps_what_was_said_and_a_number_widens_a_column(page: Page, talking: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    closed, pause = list[bool](), threading.Event()

    def endless(prompt: str, models: Sequence[str], **options: Any) -> Iterator[ChatEvent]:
        try:
            while not pause.wait(0.01):
                yield from (ChatEvent(model, "word ") for model in models)
        finally:
            closed.append(True)

    monkeypatch.setattr(talking.chat, "answer", endless)
    page.goto("/chat?models=base--lab,r-new")
    page.locator(".cl-model[aria-pressed=true]").nth(1).wait_for()
    ask(page, "Go on.")
    page.locator(".cl-cell[data-state=writing]").nth(1).wait_for()
    page.get_by_role("button", name="Stop").click()
    page.locator(".cl-cell[data-state=stopped]").nth(1).wait_for()
    assert page.get_by_role("button", name="Send").is_visible()
    page.locator(".cl-thread").focus()
    page.keyboard.press("2")
    assert page.locator(".cl-cell[data-wide]").get_attribute("data-column") == "2"
    for _ in range(100):
        if closed:
            break
        page.wait_for_timeout(50)
    assert closed == [True]


@pytest.mark.browser
def test_a_model_of_another_base_cannot_join(page: Page, talking: Studio) -> None:
    page.goto("/chat?models=base--lab")
    other = page.get_by_role("button", name="Plain SFT, seed 0")
    other.wait_for()
    assert other.is_disabled()
    page.get_by_role("button", name="Base (lab)").click()
    assert other.is_enabled()
    other.click()
    assert page.url.endswith("models=r-other")
