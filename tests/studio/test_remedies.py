"""What helps where a run does not fit: plain arithmetic on its settings."""

from __future__ import annotations

import pytest

from reft_studio.models.spec import OptimSpec
from reft_studio.studio.remedies import SETTINGS, SHORTEST, SPARE, changes, rows_at_once, tightness


@pytest.mark.parametrize(("wanted", "told"), [(1e9, "ok"), (9e9, "tight"), (10e9, "tight"), (10.1e9, "no")])
def test_room_is_tight_where_little_would_be_left(wanted: float, told: str) -> None:
    assert tightness(wanted, 10e9) == told
    assert tightness(10e9 - SPARE, 10e9) == "ok"


def test_half_the_rows_that_are_in_memory_together_are_proposed_and_no_row_shorter_than_allowed() -> None:
    optim = OptimSpec(batch_size=8, alignment_batch_size=5, max_length=100)
    assert (rows_at_once(optim, guided=False), rows_at_once(optim, guided=True)) == (8, 13)
    assert changes(optim, guided=True) == {"micro": 7, "checkpointing": True, "nf4": "nf4", "length": SHORTEST}
    assert changes(optim.model_copy(update={"micro_batch_size": 4}), guided=True)["micro"] == 2
    assert set(changes(optim, guided=True)) == set(SETTINGS)
