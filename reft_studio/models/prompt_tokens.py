"""The tokens of a prompt, each with the text it stands for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from reft_studio.models.batching import TAIL, Encoder


@dataclass(frozen=True)
class PromptToken:
    """One token. `own`: part of the user's text, not of the template around it."""

    id: int
    text: str
    own: bool


def prompt_tokens(encoder: Encoder, prompt: str) -> list[PromptToken]:
    """The tokens of one user turn as `Encoder.prompt_ids` gives them, with the same truncation.

    The joined texts are the rendered prompt, as far as the tokenizer reports offsets; a token that is part of a character has an empty text
    if an earlier token has the character.
    """
    model = encoder.model
    rendered = model.template.prompt([{"role": "user", "content": prompt}])
    tokens = _with_offsets(model.tokenizer, rendered, special_tokens=model.template.special_tokens)
    while tokens and tokens[-1][0] == model.eos_id and model.template.special_tokens:
        tokens.pop()
    span, result, done = _span_of(rendered, prompt), list[PromptToken](), 0
    for token, start, end in tokens:
        text = rendered[max(start, done) : end] if end > start else model.tokenizer.convert_ids_to_tokens(token) if start < 0 else ""
        result.append(PromptToken(token, text, start < span[1] and end > span[0]))
        done = max(done, end)
    if len(result) > encoder.longest_prompt:
        result = result[: encoder.longest_prompt - TAIL] + result[-TAIL:]
    return result


def _with_offsets(tokenizer: Any, rendered: str, *, special_tokens: bool) -> list[tuple[int, int, int]]:
    """(id, start, end) of every token in the rendered text; -1, -1 for tokens that the tokenizer added or has no offset for."""
    options = {"add_special_tokens": special_tokens, "verbose": False}
    if not tokenizer.is_fast:
        return [(int(token), -1, -1) for token in tokenizer(rendered, **options)["input_ids"]]
    encoded = tokenizer(rendered, return_offsets_mapping=True, **options)
    return [
        (int(token), int(start), int(end)) if end > start or start > 0 else (int(token), -1, -1)
        for token, (start, end) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
    ]


def _span_of(rendered: str, prompt: str) -> tuple[int, int]:
    """The span of the user's text in the rendered text; all of it if the template changed the text."""
    for words in (prompt, prompt.strip()):
        if words and (start := rendered.rfind(words)) >= 0:
            return start, start + len(words)
    return 0, len(rendered)
