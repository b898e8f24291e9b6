"""Templates turn messages into the text a model reads. One text for training, scoring and generation, named by its hash."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from jinja2.exceptions import TemplateError

from reft_studio.data.own_template import check_own, is_own, render_own, uses_specials
from reft_studio.errors import DataError, SpecError
from reft_studio.fingerprint import of_value

Message = Mapping[str, Any]
"""At least `role` ("system", "user", "assistant", "tool") and `content` (text, or a list of parts)."""


class ChatTokenizer(Protocol):
    """The part of a tokenizer that templates need."""

    chat_template: Any

    def apply_chat_template(self, conversation: Any, *, tokenize: bool, add_generation_prompt: bool) -> Any:
        """Render messages as text."""
        ...


@dataclass(frozen=True)
class Template:
    """Renders the prompt of a conversation, up to and including the header after which the model answers."""

    name: str
    """"chat", "alpaca", or the whole text of an own template: what `template_for` makes it of again."""
    hash: str
    """SHA-256 of everything that shapes the text; two equal hashes render equally."""
    special_tokens: bool
    """Whether the tokenizer must add its own special tokens (BOS) to the text; False if the text holds them already."""
    render: Callable[[Sequence[Message]], str] = field(repr=False, compare=False)

    def prompt(self, messages: Sequence[Message]) -> str:
        """The text before the last answer: turns after the last user (or tool) turn are left out.

        Raises DataError if there is no user turn or the template refuses the roles.
        """
        end = max((place + 1 for place, message in enumerate(messages) if message.get("role") in ("user", "tool")), default=0)
        if end == 0:
            raise DataError("A conversation without a user turn has no prompt. Give at least one message with the role 'user'.")
        return self.render(messages[:end])


def text_of(content: Any) -> str:
    """The text of a message's content: a string, a list of parts (their `text`, joined), or nothing."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = [part if isinstance(part, str) else part.get("text") for part in content if isinstance(part, str | dict)]
        return "\n".join(part for part in parts if isinstance(part, str))
    return ""


_ALPACA_TEXT = {
    "preamble": "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n",
    "user": "### Instruction:\n{text}\n\n",
    "header": "### Response:",
    "answer": "{text}\n\n",
    "system": "{text}\n\n",
}


def _alpaca(messages: Sequence[Message]) -> str:
    """The no-input Alpaca prompt; further turns repeat its two headings. Source: tatsu-lab/stanford_alpaca, train.py."""
    parts = [_ALPACA_TEXT["preamble"]]
    for message in messages:
        text = text_of(message.get("content"))
        if message.get("role") == "assistant":
            parts.append(_ALPACA_TEXT["header"] + _ALPACA_TEXT["answer"].replace("{text}", text))
        elif message.get("role") == "system":
            parts.append(_ALPACA_TEXT["system"].replace("{text}", text))
        else:
            parts.append(_ALPACA_TEXT["user"].replace("{text}", text))
    return "".join(parts) + _ALPACA_TEXT["header"]


ALPACA = Template("alpaca", of_value(_ALPACA_TEXT), True, _alpaca)


def chat_template(tokenizer: ChatTokenizer) -> Template:
    """The tokenizer's own chat template. Raises SpecError if it has none."""
    source = _source(tokenizer)
    if source is None:
        raise SpecError("This tokenizer has no chat template. Choose the template 'alpaca' (or 'auto').")
    specials = _specials(tokenizer)

    def render(messages: Sequence[Message]) -> str:
        return _render_chat(tokenizer, [_plain(message) for message in messages])

    return Template("chat", of_value({"template": source, "special_tokens": specials}), False, render)


def own_template(tokenizer: ChatTokenizer, choice: str) -> Template:
    """A template that a person wrote. Raises SpecError if it does not show the prompt or could hang."""
    used = {name: text for name, text in _specials(tokenizer).items() if name in choice} if choice.startswith("custom:") else {}
    specials = {name: "" if text == "None" else text for name, text in used.items()}
    check_own(choice, specials=specials)

    def render(messages: Sequence[Message]) -> str:
        turns = [{"role": str(message["role"]), "content": message["content"]} for message in map(_plain, messages)]
        try:
            return render_own(choice, turns, specials=specials)
        except SpecError as exc:  # it could render a prompt, so it is this conversation that it refuses
            raise DataError(str(exc)) from exc

    return Template(choice, of_value({"own": choice, "special_tokens": specials}), not uses_specials(choice), render)


def template_for(tokenizer: ChatTokenizer, choice: str = "auto") -> Template:
    """The template called `choice`, or an own one; "auto" is the chat template if the tokenizer has one, else Alpaca."""
    if is_own(choice):
        return own_template(tokenizer, choice)
    if choice == "alpaca" or (choice == "auto" and _source(tokenizer) is None):
        return ALPACA
    if choice in ("auto", "chat"):
        return chat_template(tokenizer)
    raise SpecError(f"There is no template '{choice[:40]}'. Choose auto, chat or alpaca, or write your own text with {{prompt}} in it.")


def _specials(tokenizer: ChatTokenizer) -> dict[str, str]:
    return {name: str(getattr(tokenizer, name, None)) for name in ("bos_token", "eos_token", "pad_token")}


def _source(tokenizer: ChatTokenizer) -> str | None:
    source = getattr(tokenizer, "chat_template", None)
    if isinstance(source, dict):
        source = source.get("default")
    return source if isinstance(source, str) and source.strip() else None


def _plain(message: Message) -> dict[str, Any]:
    """A message with text as content and a role that every template knows; tool calls and names stay."""
    role = "system" if message.get("role") == "developer" else message.get("role")
    return {**message, "role": role, "content": text_of(message.get("content"))}


def _render_chat(tokenizer: ChatTokenizer, messages: list[dict[str, Any]]) -> str:
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    except (TemplateError, TypeError, KeyError) as exc:
        # some templates (Gemma 2) refuse a system turn: its text then opens the first user turn
        if messages[0]["role"] == "system" and len(messages) > 1:
            merged = {**messages[1], "content": f"{messages[0]['content']}\n\n{messages[1]['content']}"}
            return _render_chat(tokenizer, [merged, *messages[2:]])
        roles = ", ".join(str(message["role"]) for message in messages)
        raise DataError(
            f"The chat template of this model refuses a conversation with the roles: {roles[:200]}. "
            "Most templates want user and assistant turns in alternation; use the template 'alpaca' or leave the row out."
        ) from exc
