"""Whether two models have the same tokens, told from their files alone; no torch. The job compares the tokenizers themselves."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from reft_studio import fingerprint
from reft_studio.models.source import ModelSource

FILE = "tokenizer.json"


def vocabulary_of(source: ModelSource) -> str | None:
    """A fingerprint of the tokens of a model and their numbers; None if its files do not tell."""
    path = source.folder / FILE if source.folder is not None else None
    try:
        return None if path is None else _vocabulary(path, path.stat().st_mtime_ns)
    except OSError:
        return None


def differ(one: ModelSource, other: ModelSource) -> bool:
    """Whether two models surely have other tokens."""
    mine, its = vocabulary_of(one), vocabulary_of(other)
    return mine is not None and its is not None and mine != its


@lru_cache(maxsize=64)
def _vocabulary(path: Path, changed: int) -> str | None:
    """Of a file as it was at that time."""
    try:
        told: dict[str, Any] = json.loads(path.read_bytes())
        vocabulary = told["model"]["vocab"]
        pairs = vocabulary.items() if isinstance(vocabulary, dict) else ((token, place) for place, (token, _) in enumerate(vocabulary))
        numbers = {str(token): int(place) for token, place in pairs} | {str(one["content"]): int(one["id"]) for one in told["added_tokens"]}
        return fingerprint.of_value(sorted(numbers.items()))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
