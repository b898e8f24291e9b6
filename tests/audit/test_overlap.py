"""Calibration prompts are found in a file in whatever spelling they have there."""

from __future__ import annotations

import pyarrow as pa
import pytest

from reft_studio.audit.overlap import _letters
from reft_studio.data.splits import group_key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Which street?", "  which   STREET"),
        ("Welche Straße?", "WELCHE STRASSE"),
        ("ποιος λόγος;", "ΠΟΙΟΣ ΛΌΓΟΣ"),
        ("ﬁnd it", "find it!"),
        ("Don\u2019t", "don't"),
    ],
)
def test_prompts_of_one_group_have_the_same_letters(one: str, other: str) -> None:
    first, second = _letters(pa.array([one, other])).to_pylist()
    assert group_key(one) == group_key(other) and first == second
