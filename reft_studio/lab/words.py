"""Loads the lab's word lists: assets/lab/words has one TOML file for each module that uses them."""

from __future__ import annotations

import tomllib
from functools import cache
from typing import Any

from reft_studio.workspace import ASSETS

FOLDER = ASSETS / "lab" / "words"


@cache
def words(name: str) -> dict[str, Any]:
    """The contents of `<name>.toml`, cached; arrays as tuples, so that no caller changes them."""
    return {key: _frozen(value) for key, value in tomllib.loads((FOLDER / f"{name}.toml").read_text("utf-8")).items()}


def _frozen(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_frozen(item) for item in value)
    return {key: _frozen(item) for key, item in value.items()} if isinstance(value, dict) else value
