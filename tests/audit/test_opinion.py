"""Agreement between people."""

from __future__ import annotations

import numpy as np
import pytest

from reft_studio.audit.opinion import krippendorff_alpha, overruling
from reft_studio.errors import SpecError

# Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), section C: four observers, twelve units, five values, some missing.
OBSERVERS = (
    "1 2 3 3 2 1 4 1 2 . . .",
    "1 2 3 3 2 2 4 1 2 5 . 3",
    ". 3 3 3 2 3 4 2 2 5 1 .",
    "1 2 3 3 2 4 4 1 2 5 1 .",
)


def test_alpha_is_that_of_the_published_example() -> None:
    given = [(unit, int(value)) for row in OBSERVERS for unit, value in enumerate(row.split()) if value != "."]
    assert krippendorff_alpha(*zip(*given, strict=True)) == pytest.approx(0.743, abs=0.0005)


def test_full_agreement_is_one_and_chance_is_about_zero() -> None:
    assert krippendorff_alpha([1, 1, 2, 2], [1, 1, 2, 2]) == 1.0
    draw = np.random.default_rng(0)
    assert krippendorff_alpha(np.repeat(np.arange(5000), 2), draw.integers(1, 4, 10_000)) == pytest.approx(0, abs=0.05)


def test_where_nothing_can_be_told_there_is_no_alpha() -> None:
    assert krippendorff_alpha([], []) is None
    assert krippendorff_alpha([1, 2, 3], [1, 2, 1]) is None  # nobody decided a row of another
    assert krippendorff_alpha([1, 1], [2, 2]) is None  # one value only: chance would agree as well


def test_overruling_needs_a_reason() -> None:
    with pytest.raises(SpecError, match="Give a reason"):
        overruling(" ")
