"""Whether two models have the same vocabulary, from their files alone; no torch. The job compares the tokenizers themselves."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from reft_studio import fingerprint
from reft_studio.models.source import ModelSource

FILE = "tokenizer.json"


def vocabulary_of(source: ModelSource) -> str | None:
    """A fingerprint of a model's tokens and their ids; None if its files do not contain them."""
    path = source.folder / FILE if source.folder is not None else None
    try:
        return None if path is None else _vocabulary(path, path.stat().st_mtime_ns)
    except OSError:
        return None


def differ(first: ModelSource, second: ModelSource) -> bool:
    """Whether two models certainly have different vocabularies."""
    mine, its = vocabulary_of(first), vocabulary_of(second)
    return mine is not None and its is not None and mine != its


@lru_cache(maxsize=64)
def _vocabulary(path: Path, changed: int) -> str | None:
    """Of a file with this modification time."""
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
        vocabulary = content["model"]["vocab"]
        pairs = vocabulary.items() if isinstance(vocabulary, dict) else ((token, index) for index, (token, _) in enumerate(vocabulary))
        numbers = {str(token): int(index) for token, index in pairs} | {
            str(added["content"]): int(added["id"]) for added in content["added_tokens"]
        }
        return fingerprint.of_value(sorted(numbers.items()))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
