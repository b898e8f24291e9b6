"""A prompt as the model reads it, token by token, each with the text it stands for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from reft_studio.models.batching import TAIL, Encoder


@dataclass(frozen=True)
class Piece:
    """One token. `own`: it stands for what the user wrote, not for the template around it."""

    id: int
    text: str
    own: bool


def pieces(encoder: Encoder, prompt: str) -> list[Piece]:
    """The tokens of one user turn as `Encoder.prompt_ids` gives them, cut alike where they are too many.

    The texts joined are the rendered prompt, as far as the tokenizer tells where its tokens stand in it; a token that is part of one
    character has the empty text where an earlier one has the character.
    """
    model = encoder.model
    rendered = model.template.prompt([{"role": "user", "content": prompt}])
    found = _with_places(model.tokenizer, rendered, special_tokens=model.template.special_tokens)
    while found and found[-1][0] == model.eos_id and model.template.special_tokens:
        found.pop()
    said, result, done = _place_of(rendered, prompt), list[Piece](), 0
    for token, start, end in found:
        text = rendered[max(start, done) : end] if end > start else model.tokenizer.convert_ids_to_tokens(token) if start < 0 else ""
        result.append(Piece(token, text, start < said[1] and end > said[0]))
        done = max(done, end)
    if len(result) > encoder.longest_prompt:
        result = result[: encoder.longest_prompt - TAIL] + result[-TAIL:]
    return result


def _with_places(tokenizer: Any, rendered: str, *, special_tokens: bool) -> list[tuple[int, int, int]]:
    """(id, start, end) of every token in the rendered text; -1, -1 where the tokenizer added it or cannot tell."""
    options = {"add_special_tokens": special_tokens, "verbose": False}
    if not tokenizer.is_fast:
        return [(int(token), -1, -1) for token in tokenizer(rendered, **options)["input_ids"]]
    found = tokenizer(rendered, return_offsets_mapping=True, **options)
    return [
        (int(token), int(start), int(end)) if end > start or start > 0 else (int(token), -1, -1)
        for token, (start, end) in zip(found["input_ids"], found["offset_mapping"], strict=True)
    ]


def _place_of(rendered: str, prompt: str) -> tuple[int, int]:
    """Where the user's words stand in the rendered text; all of it if the template changed them."""
    for words in (prompt, prompt.strip()):
        if words and (start := rendered.rfind(words)) >= 0:
            return start, start + len(words)
    return 0, len(rendered)
