"""The texts of the lab: words and sentences in assets/lab/words, a TOML file for each module that puts them together."""

from __future__ import annotations

import tomllib
from functools import cache
from typing import Any

from reft_studio.workspace import ASSETS

FOLDER = ASSETS / "lab" / "words"


@cache
def words(name: str) -> dict[str, Any]:
    """The lists and tables of a file by name; arrays as tuples, since nobody may change them."""
    return {key: _frozen(value) for key, value in tomllib.loads((FOLDER / f"{name}.toml").read_text("utf-8")).items()}


def _frozen(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_frozen(one) for one in value)
    return {key: _frozen(one) for key, one in value.items()} if isinstance(value, dict) else value
