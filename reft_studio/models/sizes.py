"""Checks that config.json agrees with the weight files: a model of a billion layers is refused before anything is built. No torch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from reft_studio.errors import PrerequisiteError

_BLOCK = re.compile(r"\.(\d+)\.")
_DEPTH = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_WIDTH = ("hidden_size", "n_embd", "d_model", "vocab_size")
_SIZE = re.compile(r"^(num|n)_|_(size|dim|rank|heads|layers|experts)$")
_POSITIONS = ("position_embeddings", "n_positions", "n_ctx", "max_seq_len")
_MOST_POSITIONS = 1 << 27
_SMALL = 65_536
"""Larger numbers must be covered by the tensors; smaller ones may be counts, or the width of a view."""


def check_sizes(name: str, config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise PrerequisiteError if layers or sizes in `config` exceed what tensors of these names and shapes can fill."""
    text = config.get("text_config")
    text = text if isinstance(text, Mapping) else config
    depth = 1 + max((int(number) for key in shapes for number in _BLOCK.findall(key) if len(number) < 10), default=-1)
    dimensions = {size for shape in shapes.values() for size in shape}
    for key in _DEPTH:
        if key in text and not (_is_whole(text[key]) and text[key] <= depth):
            raise _absurd(name, key, text[key], f"the weight files hold {depth:,} layers")
    for key in _WIDTH:
        if key in text and not (_is_whole(text[key]) and text[key] in dimensions):
            raise _absurd(name, key, text[key], "no tensor of the weight files has that size")
    largest = max([_SMALL, *dimensions])
    for key, value in _numbers(config):
        positions = key.endswith(_POSITIONS)
        if _SIZE.search(key) and not positions and not value <= largest:
            raise _absurd(name, key, value, f"the largest size of a tensor in the weight files is {max(dimensions, default=0):,}")
        if positions and not value <= _MOST_POSITIONS:
            raise _absurd(name, key, value, f"a model may have {_MOST_POSITIONS:,} positions")


def _numbers(config: Any, depth: int = 0) -> Iterator[tuple[str, float]]:
    """Every number of a configuration with its key, nested ones included."""
    if isinstance(config, Mapping) and depth < 8:
        for key, value in config.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                yield str(key), value
            else:
                yield from _numbers(value, depth + 1)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _absurd(name: str, key: str, value: Any, but: str) -> PrerequisiteError:
    return PrerequisiteError(
        f"The config.json of '{name[:80]}' says {key} = {str(value)[:30]}, but {but}. It belongs to another model, or was changed: copy or "
        "download it again."
    )
