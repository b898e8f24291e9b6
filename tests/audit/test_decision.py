from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from reft_studio.audit.decision import HASHED, Action, Decision, check_chain, entry_hash
from reft_studio.fingerprint import of_value

Decide = Callable[[int, Action], Decision]


def chain(decide: Decide) -> list[Decision]:
    return [decide(row_id, "keep") for row_id in range(5)]


def test_a_chain_as_made_is_whole_and_so_is_any_beginning_of_it(decide: Decide) -> None:
    made = chain(decide)
    for length in range(6):
        assert check_chain(made[:length]).ok
    assert check_chain(made).heads == {made[0].dataset: made[-1].hash}


def test_every_field_of_an_entry_is_covered(decide: Decide) -> None:
    made = chain(decide)
    other: dict[str, Any] = {
        "dataset": "x",
        "row_id": 9,
        "action": "remove",
        "reason": "x",
        "decided_by": "x",
        "at": "x",
        "score": 0.1,
        "threshold": 0.1,
        "previous": made[0].hash[::-1],
        "hash": made[0].hash,
        "kind": "undo",
        "step": 9,
        "seen": True,
        "seq": 9,
    }
    assert set(other) == set(Decision.__dataclass_fields__)
    for name, value in other.items():
        changed = [*made[:2], replace(made[2], **{name: value}), *made[3:]]
        report = check_chain(changed)
        assert not report.ok and report.first_bad in (value if name == "seq" else 3, 3, 4), name


def test_an_entry_missing_inserted_or_swapped_breaks_the_chain(decide: Decide) -> None:
    made = chain(decide)
    assert check_chain([*made[:2], *made[3:]]).first_bad == 4
    assert check_chain([*made[:2], made[1], *made[2:]]).first_bad == 2
    assert check_chain([made[1], made[0], *made[2:]]).first_bad == 2
    assert check_chain(made[1:]).first_bad == 2


def test_values_that_no_log_ever_holds_are_damage_not_a_crash(decide: Decide) -> None:
    for value in (float("inf"), b"bytes", None):
        assert not check_chain([replace(decide(1, "keep"), row_id=value)]).ok  # type: ignore[arg-type]


@given(
    st.text(),
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
    st.integers(0, 2**40),
)
def test_the_hash_is_that_of_the_canonical_json_of_the_fields(text: str, number: float | None, row_id: int) -> None:
    values = dict.fromkeys(HASHED, text) | {"score": number, "threshold": number, "seq": row_id, "row_id": row_id, "step": row_id}
    for seen in (True, False):
        values["seen"] = seen
        assert entry_hash(values) == of_value([values[name] for name in HASHED])


def test_an_entry_that_does_not_say_whether_the_text_was_shown_keeps_the_hash_it_was_written_with(decide: Decide) -> None:
    values = vars(decide(1, "keep")) | {"seen": None}
    old = HASHED[:12]
    assert HASHED[12:] == ("seen",)
    assert entry_hash(values) == of_value([values[name] for name in old])
    assert "seen" not in Decision(**{**values, "hash": "h"}).as_dict()


def test_nobody_can_say_afterwards_that_a_row_was_read_or_that_it_was_not(decide: Decide) -> None:
    old = decide(1, "keep")
    new = replace(old, seen=False, hash=entry_hash(vars(old) | {"seen": False}))
    assert check_chain([old]).ok and check_chain([new]).ok
    for entry, claims in ((old, (True, False, 2)), (new, (True, None, 2, "true"))):
        for claim in claims:
            assert not check_chain([replace(entry, seen=claim)]).ok  # type: ignore[arg-type]
