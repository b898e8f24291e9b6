from __future__ import annotations

from typing import Any

import pytest

from reft_studio.data.chat.templates import ALPACA, chat_template, template_for
from reft_studio.errors import DataError, SpecError

TURNS = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]


SPEAKS = (
    "{% for m in messages %}{% if not loop.first and m.role == messages[loop.index0 - 1].role %}{{ raise_exception('must alternate') }}"
    "{% endif %}{{ m.role }}:{{ m.content }}|{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + SPEAKS


class FakeTokenizer:
    """Has a chat template, by default one that renders `role:text|`."""

    bos_token = "<s>"

    def __init__(self, chat_template: Any = SPEAKS) -> None:
        self.chat_template = chat_template
        self.special_tokens_map = {"bos_token": "<s>"}


def test_the_alpaca_prompt_is_the_published_one_and_ends_before_the_answer() -> None:
    """Source: tatsu-lab/stanford_alpaca, train.py, PROMPT_DICT["prompt_no_input"]."""
    assert ALPACA.prompt(TURNS) == (
        "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nHi\n\n### Response:"
    )
    assert ALPACA.special_tokens


def test_earlier_turns_stay_in_the_prompt_and_braces_are_only_text() -> None:
    prompt = ALPACA.prompt([{"role": "system", "content": "Be {text}."}, *TURNS, {"role": "user", "content": "{more}"}])
    assert "Be {text}.\n\n### Instruction:\nHi\n\n### Response:Hello\n\n### Instruction:\n{more}\n\n### Response:" in prompt


def test_a_whole_conversation_and_its_prompt_render_alike() -> None:
    template = chat_template(FakeTokenizer())
    assert template.prompt(TURNS) == template.prompt(TURNS[:1]) == "user:Hi|assistant:"
    assert not template.special_tokens


def test_a_system_turn_that_a_template_refuses_opens_the_first_user_turn() -> None:
    turns = [{"role": "developer", "content": "Short."}, *TURNS]
    assert chat_template(FakeTokenizer(NO_SYSTEM)).prompt(turns) == "user:Short.\n\nHi|assistant:"


def test_parts_are_rendered_as_their_text() -> None:
    parts = [{"type": "text", "text": "Look"}, {"type": "image_url", "image_url": {"url": "x"}}]
    assert chat_template(FakeTokenizer()).prompt([{"role": "user", "content": parts}]) == "user:Look|assistant:"


def test_roles_that_a_template_refuses_are_named() -> None:
    with pytest.raises(DataError, match="roles: user, user"):
        chat_template(FakeTokenizer()).prompt([{"role": "user", "content": "secret"}] * 2)


def test_a_conversation_without_a_user_has_no_prompt() -> None:
    with pytest.raises(DataError, match="without a user turn"):
        ALPACA.prompt(TURNS[1:])


def test_the_hash_changes_with_the_template_and_with_nothing_else() -> None:
    assert chat_template(FakeTokenizer("a")).hash == chat_template(FakeTokenizer("a")).hash != chat_template(FakeTokenizer("b")).hash
    assert chat_template(FakeTokenizer({"default": "a", "tool": "c"})).hash == chat_template(FakeTokenizer("a")).hash


def test_auto_is_chat_if_there_is_one_else_alpaca() -> None:
    assert template_for(FakeTokenizer(), "auto").name == "chat"
    assert template_for(FakeTokenizer(None), "auto") is ALPACA
    assert template_for(FakeTokenizer(), "alpaca") is ALPACA
    with pytest.raises(SpecError, match="no chat template"):
        template_for(FakeTokenizer(None), "chat")
    with pytest.raises(SpecError, match="auto, chat or alpaca"):
        template_for(FakeTokenizer(), "vicuna")
