"""Tokens of a tokenizer without an embedding in its model: removed where nothing needs them, else refused."""

from __future__ import annotations

import json
from typing import Any

from reft_studio.data.chat.templates import ChatTemplate
from reft_studio.errors import DataError, PrerequisiteError

_PROBES = ("How do I bake bread?", " x\n\n1 ")


def embeddings(base: Any) -> int:
    """Number of tokens that a model has an embedding for."""
    return int(base.get_input_embeddings().weight.shape[0])


def fit_tokens(tokenizer: Any, template: ChatTemplate, rows: int, *, name: str) -> tuple[str, ...]:
    """Restrict the tokenizer to the first `rows` tokens; returns remarks about what was changed.

    Added tokens beyond them that no prompt needs become ordinary text. Raises PrerequisiteError if the vocabulary itself, the end
    of text or the template needs one.
    """
    beyond = {str(token): int(number) for number, token in tokenizer.added_tokens_decoder.items() if int(number) >= rows}
    if tokenizer.vocab_size > rows and set(beyond) < {token for token, number in tokenizer.get_vocab().items() if number >= rows}:
        raise PrerequisiteError(
            f"The tokenizer of '{name}' has {tokenizer.vocab_size:,} tokens, but the model has embeddings for {rows:,}. It belongs to "
            "another model: copy the tokenizer of this one into its folder."
        )
    if not beyond:
        return ()
    needed = {"end of text": tokenizer.eos_token, "beginning of text": tokenizer.bos_token, "unknown": tokenizer.unk_token}
    for use, token in needed.items():
        if token in beyond:
            raise _without(name, token, beyond[token], rows, f"it is its token for {use}")
    for token in beyond:
        if any(token in text for text in _prompts(template)):
            raise _without(name, token, beyond[token], rows, "its template puts it into every prompt")
    if tokenizer.pad_token in beyond:
        tokenizer.pad_token = tokenizer.eos_token
    _take_out(tokenizer, beyond, rows, name)
    first, noun = min(beyond, key=beyond.__getitem__)[:40], "token" if len(beyond) == 1 else "tokens"
    return (
        f"The tokenizer of '{name}' has {len(beyond)} added {noun} that the model has no embedding for (first {first}): read as ordinary "
        "text, and batches are filled up with another token.",
    )


def _prompts(template: ChatTemplate) -> list[str]:
    try:
        return [template.prompt([{"role": "user", "content": text}]) for text in _PROBES]
    except DataError:
        return []


def _take_out(tokenizer: Any, beyond: dict[str, int], rows: int, name: str) -> None:
    from tokenizers import Tokenizer

    try:
        content = json.loads(tokenizer.backend_tokenizer.to_str())
        content["added_tokens"] = [token for token in content["added_tokens"] if token["id"] < rows]
        tokenizer._tokenizer = Tokenizer.from_str(json.dumps(content))
        ids = tokenizer(" ".join(beyond), add_special_tokens=True, verbose=False)["input_ids"]
    except Exception as exc:  # a tokenizer without such a part, or that cannot be made without them: errors of the Rust library
        raise _left(name, beyond, rows) from exc
    if any(token >= rows for token in ids):
        raise _left(name, beyond, rows)


def _left(name: str, beyond: dict[str, int], rows: int) -> PrerequisiteError:
    token = min(beyond, key=beyond.__getitem__)
    return _without(name, token, beyond[token], rows, "a text may hold it")


def _without(name: str, token: str, number: int, rows: int, why: str) -> PrerequisiteError:
    return PrerequisiteError(
        f"The tokenizer of '{name}' has the token {token[:40]} with the number {number:,}, but the model has embeddings for {rows:,}, and "
        f"{why}. Resize the embeddings of the model, or remove the token from its tokenizer."
    )
