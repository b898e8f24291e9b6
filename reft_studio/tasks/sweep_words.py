"""Names of variants in tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reft_studio.defenses import DEFENSES
from reft_studio.scoring import SCORERS
from reft_studio.training.naming import number


def titled(method: str, *, config: Mapping[str, Any], filtered: str, start: str, adapters: str, label: str | None) -> str:
    """`Ref-Teacher, alpha 0.3, filter: tfidf`: the method, or its label, with what was changed."""
    info = DEFENSES.get(method).info
    words = [label or info.title]
    words += [f"{name} {_value(value)}" for name, value in config.items()] if label is None else []
    if filtered == "none" and info.uses_filter:
        words.append("without filter")
    elif filtered == "refusal_feature" and not info.uses_filter:
        words.append("+ filter")
    elif filtered not in ("own", "none", "refusal_feature"):
        words.append(f"+ filter {SCORERS.get(filtered).info.title}")
    words += {"aligned": ["from aligned weights"], "base": ["from the base"]}.get(start, [])
    words += ["fresh adapter"] if adapters == "fresh" else []
    return ", ".join(words).replace(", + ", " + ")


def _value(value: Any) -> str:
    return number(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
