"""Many prompts at once get the very token ids that each gets alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reft_studio.data.chat.templates import ChatTemplate, chat_template
from reft_studio.models.batching import Encoder
from reft_studio.models.prompts import CUT, NO_TOKENS, READY, REFUSED, PromptEncoder, TokenLists
from reft_studio.models.session import Session

TEXTS = [
    "how do i bake bread",
    "  spaces around  ",
    "",
    "\n\nlines\n\n",
    "<eos> [user] [assistant] {{ x }} {% y %}",
    "Ünïcödé 漢字 🙂",
    "system: be rude",
    "a <think> b </think>",
    "x" * 900,
    "same",
    "same",
]
TRIMS = (
    "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] | trim }}\n{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}"
)
LOOKS = (
    "{% for m in messages %}{% if '</think>' in m['content'] %}THOUGHT{% else %}{{ m['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %} go {% endif %}"
)
SHOUTS = "{% for m in messages %}{{ m['content'] | upper }}{% endfor %}{% if add_generation_prompt %} go {% endif %}"
OWN = "custom:{% for m in messages %}{{ m.content | lower }}{% endfor %} go"
REFUSES = "{% for m in messages %}{% if 'rude' in m['content'] %}{{ raise_exception('no') }}{% endif %}{{ m['content'] }}{% endfor %} go"


def encoder(folder: Path, template: str | None, *, choice: str = "auto") -> Encoder:
    session = Session.open(str(folder), template=choice)
    if template is not None:
        session.model.tokenizer.chat_template = template
        object.__setattr__(session.model, "template", chat_template(session.model.tokenizer))
    return Encoder(session.model, max_length=384)


def alone(one: Encoder, text: str) -> list[int]:
    return one.prompt_ids([{"role": "user", "content": text}])


OWN_TEXTS = ["alpaca", "Q: {prompt}\nA:", OWN]


@pytest.mark.parametrize(
    ("template", "choice"), [(one, "auto") for one in (None, TRIMS, LOOKS, SHOUTS)] + [(None, one) for one in OWN_TEXTS]
)
def test_prompts_at_once_are_the_prompts_one_by_one(tiny_model: Path, template: str | None, choice: str) -> None:
    one = encoder(tiny_model, template, choice=choice)
    lists, fates = PromptEncoder(one).encode(TEXTS)
    for place, text in enumerate(TEXTS):
        assert lists[place].tolist() == alone(one, text), text
    assert fates[8] == CUT and fates[0] == READY


def test_a_template_that_only_places_or_strips_a_text_is_spliced(tiny_model: Path) -> None:
    for template, trims in ((None, False), (TRIMS, True)):
        splice = PromptEncoder(encoder(tiny_model, template)).splice
        assert splice is not None and splice.trims is trims and splice(" x ") is not None
    assert PromptEncoder(encoder(tiny_model, SHOUTS)).splice is None


def test_what_a_template_looks_for_is_rendered_for_real(tiny_model: Path) -> None:
    splice = PromptEncoder(encoder(tiny_model, LOOKS)).splice
    assert splice is not None and splice("plain") == "plain go " and splice("a </think> b") is None


def test_a_splice_that_a_real_text_proves_wrong_is_given_up(tiny_model: Path) -> None:
    def odd(messages: Any) -> str:
        return f"<{messages[0]['content'].replace('zebra', 'horse')}>"

    one = encoder(tiny_model, None)
    object.__setattr__(one.model, "template", ChatTemplate("odd", "0", False, odd))
    prompts = PromptEncoder(one)
    assert prompts.splice is not None
    lists, _ = prompts.encode(["a zebra here", "b", "c"])
    assert prompts.splice is None and lists[0].tolist() == alone(one, "a zebra here")


def test_texts_that_cannot_be_prompts_are_named(tiny_model: Path) -> None:
    one = encoder(tiny_model, REFUSES)
    lists, fates = PromptEncoder(one).encode(["kind", "rude"])
    assert fates.tolist() == [READY, REFUSED] and lists.lengths[1] == 0

    object.__setattr__(one.model, "template", ChatTemplate("bare", "0", False, lambda messages: messages[0]["content"].strip()))
    lists, fates = PromptEncoder(one).encode([" ", "kind"])
    assert fates.tolist() == [NO_TOKENS, READY] and lists.lengths[0] == 0


def test_lists_are_picked_and_joined_in_order() -> None:
    lists = TokenLists.joined([TokenLists.of([[1, 2], []]), TokenLists.of([[3]])])
    assert [one.tolist() for one in (lists[0], lists[1], lists[2])] == [[1, 2], [], [3]]
    picked = lists.pick(np.array([2, 0]))
    assert picked.lengths.tolist() == [1, 2] and picked[1].tolist() == [1, 2]
    assert len(lists.pick(np.array([], dtype=np.int64))) == 0
