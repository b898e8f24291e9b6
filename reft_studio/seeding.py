"""One seed in a spec, named generators derived from it: two uses of the seed never share a stream."""

from __future__ import annotations

import hashlib
import random


def derive(seed: int, *names: str | int) -> int:
    """A 63-bit seed for one purpose, e.g. `derive(spec.seed, "poison")`. Stable across machines and versions."""
    text = ":".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *names: str | int) -> random.Random:
    """A Python generator for one purpose."""
    return random.Random(derive(seed, *names))
