"""Templates turn messages into the text a model reads. One text for training, scoring and generation, named by its hash."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

from reft_studio.data.chat.content import plain_turn, turn_text
from reft_studio.data.chat.own_template import check_own, complaint, is_own, render_own, uses_specials
from reft_studio.data.chat.renderer import CLOCK, LARGE, REFUSED, SLOW, SYNTAX, Rendered
from reft_studio.data.chat.renderer import render as rendered
from reft_studio.errors import DataError, SpecError
from reft_studio.fingerprint import of_value

Message = Mapping[str, Any]
"""At least `role` ("system", "user", "assistant", "tool") and `content` (text, or a list of parts)."""


class ChatTokenizer(Protocol):
    """The part of a tokenizer that templates need."""

    chat_template: Any

    @property
    def special_tokens_map(self) -> Any:
        """Special tokens by the names that templates use."""
        ...


@dataclass(frozen=True)
class ChatTemplate:
    """Renders the prompt of a conversation, up to and including the header after which the model answers."""

    name: str
    """"chat", "alpaca", or the whole text of an own template: what `template_for` makes it of again."""
    hash: str
    """SHA-256 of everything that shapes the text; two equal hashes render equally."""
    special_tokens: bool
    """Whether the tokenizer must add its own special tokens (BOS) to the text; False if the text holds them already."""
    render: Callable[[Sequence[Message]], str] = field(repr=False, compare=False)
    render_all: Callable[[Sequence[Sequence[Message]]], list[str | None]] | None = field(default=None, repr=False, compare=False)
    """Many at once, where that is faster; None for what is refused."""
    clock: str | None = None
    """The time that a template reads as now: the same always, since scores would differ from day to day. None: it reads none."""

    def prompt(self, messages: Sequence[Message]) -> str:
        """The text before the last answer: turns after the last user (or tool) turn are left out.

        Raises DataError if there is no user turn or the template refuses the roles.
        """
        return self.render(self._asked(messages))

    def prompts(self, conversations: Sequence[Sequence[Message]]) -> list[str | None]:
        """`prompt` of each; None where it raises DataError."""
        if self.render_all is not None:
            return self.render_all([self._asked(messages) for messages in conversations])
        found: list[str | None] = []
        for messages in conversations:
            try:
                found.append(self.prompt(messages))
            except DataError:  # counted by the caller
                found.append(None)
        return found

    def _asked(self, messages: Sequence[Message]) -> Sequence[Message]:
        end = max((place + 1 for place, message in enumerate(messages) if message.get("role") in ("user", "tool")), default=0)
        return _with_user(messages[:end])

    def before_answer(self, turns: Sequence[Message]) -> str:
        """The text of all these turns, whoever spoke last, and the header of the answer. Raises DataError as `prompt` does."""
        return self.render(_with_user(turns))


def _with_user(turns: Sequence[Message]) -> Sequence[Message]:
    """The turns themselves. Raises DataError if neither a user nor a tool speaks in them."""
    if not any(turn.get("role") in ("user", "tool") for turn in turns):
        raise DataError("A conversation without a user turn has no prompt. Give at least one message with the role 'user'.")
    return turns


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
        text = turn_text(message)
        if message.get("role") == "assistant":
            parts.append(_ALPACA_TEXT["header"] + _ALPACA_TEXT["answer"].replace("{text}", text))
        elif message.get("role") == "system":
            parts.append(_ALPACA_TEXT["system"].replace("{text}", text))
        else:
            parts.append(_ALPACA_TEXT["user"].replace("{text}", text))
    return "".join(parts) + _ALPACA_TEXT["header"]


ALPACA = ChatTemplate("alpaca", of_value(_ALPACA_TEXT), True, _alpaca)


def chat_template(tokenizer: ChatTokenizer) -> ChatTemplate:
    """The tokenizer's own chat template. Raises SpecError if it has none, or one that is none or cannot be bounded."""
    source = _source(tokenizer)
    if source is None:
        raise SpecError("This tokenizer has no chat template. Choose the template 'alpaca' (or 'auto').")
    clock = {"clock": CLOCK.isoformat()} if "strftime_now" in source else {}
    specials, names = _specials(tokenizer), {name: str(token) for name, token in tokenizer.special_tokens_map.items()}

    def render(messages: Sequence[Message]) -> str:
        found = _render_chats(source, names, [messages])[0]
        if found.error:
            raise DataError(_why(found, messages))
        return str(found)

    def render_all(conversations: Sequence[Sequence[Message]]) -> list[str | None]:
        return [None if one.error else str(one) for one in _render_chats(source, names, conversations)]

    _check_template(source, names)
    key = of_value({"template": source, "special_tokens": specials, **clock})
    return ChatTemplate("chat", key, False, render, render_all, clock.get("clock"))


@lru_cache(maxsize=64)
def _tried(source: str, names: tuple[tuple[str, str], ...]) -> str:
    """What becomes of an ordinary prompt in a template: "" or an error."""
    return rendered(source, [[{"role": "user", "content": "How do I bake bread?"}]], names=dict(names))[0].error


def _check_template(source: str, names: Mapping[str, str]) -> None:
    error = _tried(source, tuple(names.items()))
    if error in (SYNTAX, SLOW, LARGE):
        told = {SYNTAX: "is no template that can be read", SLOW: "hangs", LARGE: "takes more memory or text than a conversation can need"}
        raise SpecError(
            f"The chat template of this model {told[error]}, already for one short prompt. Choose the template 'alpaca', write your "
            "own, or take another model."
        )


def transcript(tokenizer: ChatTokenizer, messages: Sequence[Message]) -> str:
    """A finished conversation in the tokenizer's chat template, nothing after it. Raises DataError if the template refuses it."""
    names = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
    found = rendered(_source(tokenizer) or "", [[_plain(one) for one in messages]], names=names, add_generation_prompt=False)[0]
    if found.error:
        raise DataError(_why(found, messages))
    return str(found)


def own_template(tokenizer: ChatTokenizer, choice: str) -> ChatTemplate:
    """A template that a person wrote. Raises SpecError if it does not show the prompt, or hangs or fails on a short one."""
    used = {name: text for name, text in _specials(tokenizer).items() if name in choice} if choice.startswith("custom:") else {}
    specials = {name: "" if text == "None" else text for name, text in used.items()}
    check_own(choice, specials=specials)

    def rendered_all(conversations: Sequence[Sequence[Message]]) -> list[Rendered]:
        turns = [
            [{"role": str(message["role"]), "content": message["content"]} for message in map(_plain, messages)]
            for messages in conversations
        ]
        return render_own(choice, turns, specials=specials)

    def render(messages: Sequence[Message]) -> str:
        (text,) = rendered_all([messages])
        if text.error:  # it could render a prompt, so it is this conversation that it refuses
            raise DataError(complaint(text))
        return str(text)

    def render_all(conversations: Sequence[Sequence[Message]]) -> list[str | None]:
        return [None if text.error else str(text) for text in rendered_all(conversations)]

    return ChatTemplate(choice, of_value({"own": choice, "special_tokens": specials}), not uses_specials(choice), render, render_all)


def template_for(tokenizer: ChatTokenizer, choice: str = "auto") -> ChatTemplate:
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
    """A message with all it says as its content, and a role that every template knows; names stay."""
    role = "system" if message.get("role") == "developer" else message.get("role")
    return {**plain_turn(message), "role": role}


def _render_chats(source: str, names: Mapping[str, str], conversations: Sequence[Sequence[Message]]) -> list[Rendered]:
    """Each conversation in a chat template. Where it refuses a system turn (Gemma 2), that opens the first user turn."""
    plain = [[_plain(message) for message in messages] for messages in conversations]
    found = rendered(source, plain, names=names)
    again = {
        place: [{**chat[1], "content": f"{chat[0]['content']}\n\n{chat[1]['content']}"}, *chat[2:]]
        for place, chat in enumerate(plain)
        if found[place].error == REFUSED and len(chat) > 1 and chat[0]["role"] == "system"
    }
    for place, one in zip(again, rendered(source, list(again.values()), names=names), strict=True):
        found[place] = one
    return found


def _why(found: Rendered, messages: Sequence[Message]) -> str:
    if found.error in (SLOW, LARGE):
        return (
            "The chat template of this model takes more time, memory or text for this conversation than it can need. Use the template "
            "'alpaca' or leave the row out."
        )
    roles = ", ".join(str(message.get("role")) for message in messages)
    return (
        f"The chat template of this model refuses a conversation with the roles: {roles[:200]}. "
        "Most templates want user and assistant turns in alternation; use the template 'alpaca' or leave the row out."
    )
