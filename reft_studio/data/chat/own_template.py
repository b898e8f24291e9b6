"""A prompt template that a person wrote: plain text around {prompt}, or Jinja, rendered where the templates of models are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reft_studio.data.chat.renderer import LARGE, REFUSED, SLOW, SYNTAX, Rendered, render
from reft_studio.errors import SpecError

MARK = "custom:"
"""Begins a Jinja template."""
PLACE = "{prompt}"
"""Stands for a user turn in a plain text template."""
PATTERN = rf"^(auto|chat|alpaca|{MARK}[\s\S]+|[\s\S]*\{{prompt\}}[\s\S]*)$"
"""What a template setting may be: the name of one of ours, or an own one."""
LONGEST = 8_000
"""Characters an own template may have."""
_PROMPT = "{% set prompt = messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | list | last | default('') %}"
"""Put before an own Jinja template, on its first line: the last user turn under a short name."""
_WHY = {
    SYNTAX: "is no Jinja that can be read",
    SLOW: "takes more than a second for one conversation",
    LARGE: "takes more memory or text than a conversation can need",
    REFUSED: "cannot be rendered",
}


def is_own(choice: str) -> bool:
    """Whether a template setting is an own template and not the name of one of ours."""
    return choice.startswith(MARK) or PLACE in choice


def uses_specials(choice: str) -> bool:
    """Whether the text holds the tokenizer's special tokens, so that it must not add them again."""
    return choice.startswith(MARK) and "bos_token" in choice


def render_own(choice: str, conversations: Sequence[Sequence[Mapping[str, str]]], *, specials: Mapping[str, str]) -> list[Rendered]:
    """The prompt of each conversation of `role` and `content` texts, up to where the model answers; `complaint` says what is wrong."""
    if choice.startswith(MARK):
        return render(_PROMPT + choice.removeprefix(MARK), conversations, names=specials)
    return [Rendered(_render_plain(choice, messages)) for messages in conversations]


def complaint(rendered: Rendered) -> str:
    """What is wrong with a template that gave no text, as a sentence."""
    because = f": {rendered.why}" if rendered.why else ""
    return f"Your template {_WHY[rendered.error]}{because}. Compare it with the model's card, or use 'auto'."


def check_own(choice: str, *, specials: Mapping[str, str]) -> None:
    """Raises SpecError unless the template can be rendered, within a second, and shows the whole prompt."""
    if len(choice) > LONGEST:
        raise SpecError(f"Your template has {len(choice):,} characters; at most {LONGEST:,} are allowed.")
    marked = "first line\n<<the prompt>> {{ 7 }} {prompt}"
    (text,) = render_own(choice, [[{"role": "user", "content": marked}]], specials=specials)
    if text.error:
        raise SpecError(complaint(text))
    if marked not in text:
        raise SpecError("Your template does not show the prompt. Put {prompt} into plain text, or {{ prompt }} or messages into Jinja.")


def _render_plain(choice: str, messages: Sequence[Mapping[str, str]]) -> str:
    """Each user turn stands in for {prompt}, each answer follows; a system turn opens the first user turn."""
    text, opening = "", ""
    for turn in messages:
        if turn["role"] == "system":
            opening += turn["content"] + "\n\n"
        elif turn["role"] == "assistant":
            text += turn["content"] + "\n\n"
        else:
            text += choice.replace(PLACE, opening + turn["content"])
            opening = ""
    return text
