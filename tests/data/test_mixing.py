from __future__ import annotations

import pytest

from reft_studio.data.dataset import Row
from reft_studio.data.mixing import mix, poison_count
from reft_studio.errors import SpecError

BENIGN = [Row(prompt=f"benign {number}", response="b") for number in range(1000)]
HARMFUL = [Row(prompt=f"harmful {number}", response="h") for number in range(300)]


def _poison(ratio: float, *, rows: int = 1000, seed: int = 3) -> list[str]:
    return [row["prompt"] for row in mix(BENIGN, HARMFUL, poison_ratio=ratio, rows=rows, seed=seed) if row["known_harmful"]]


@pytest.mark.parametrize(
    ("ratio", "rows", "count"), [(0, 1000, 0), (0.05, 1000, 50), (0.1, 1000, 100), (0.2, 1000, 200), (0.29, 100, 29), (1, 7, 7)]
)
def test_mixing_puts_exactly_the_promised_number_of_harmful_rows_in(ratio: float, rows: int, count: int) -> None:
    mixed = mix(BENIGN, HARMFUL, poison_ratio=ratio, rows=rows, seed=1)
    assert len(mixed) == rows
    assert sum(bool(row["known_harmful"]) for row in mixed) == count == poison_count(ratio, rows)
    assert len({row["prompt"] for row in mixed}) == rows


def test_a_larger_ratio_adds_poison_and_exchanges_none() -> None:
    assert set(_poison(0.05)) < set(_poison(0.1)) < set(_poison(0.2))


def test_the_same_seed_gives_the_same_rows_in_the_same_order_and_another_seed_does_not() -> None:
    assert _poison(0.1, seed=3) == _poison(0.1, seed=3) != _poison(0.1, seed=4)


def test_mixing_numbers_the_rows_and_leaves_its_sources_alone() -> None:
    mixed = mix(BENIGN, HARMFUL, poison_ratio=0.5, rows=10, seed=0)
    assert [row["row_id"] for row in mixed] == list(range(10))
    assert all("row_id" not in row and "known_harmful" not in row for row in BENIGN + HARMFUL)


def test_poison_stands_anywhere_in_the_data() -> None:
    places = [place for place, row in enumerate(mix(BENIGN, HARMFUL, poison_ratio=0.1, rows=1000, seed=0)) if row["known_harmful"]]
    assert 400 < sum(places) / len(places) < 600


@pytest.mark.parametrize("ratio", [-0.1, 1.1, float("nan"), 10])
def test_a_ratio_that_is_no_share_is_refused_with_what_is_allowed(ratio: float) -> None:
    with pytest.raises(SpecError, match="give 0 to 1"):
        mix(BENIGN, HARMFUL, poison_ratio=ratio, rows=10, seed=0)


def test_too_few_rows_are_refused_with_both_numbers() -> None:
    with pytest.raises(SpecError, match=r"needs 500 harmful rows, but there are 300"):
        mix(BENIGN, HARMFUL, poison_ratio=0.5, rows=1000, seed=0)
    with pytest.raises(SpecError, match="at least one row"):
        mix(BENIGN, HARMFUL, poison_ratio=0.5, rows=0, seed=0)
