from __future__ import annotations

from typing import Any

import pyarrow as pa

from reft_studio.data.dataset import SCHEMA, ColumnDigest

ROW = {"row_id": 0, "prompt": "ab", "response": "", "messages": "[]", "origin": "", "category": None, "known_harmful": None}


def _digest(*batches: pa.RecordBatch, role: str = "user", salt: str = "") -> str:
    digest = ColumnDigest(SCHEMA, role=role, salt=salt)
    for batch in batches:
        digest.add(batch)
    return digest.hexdigest()


def _rows(*rows: dict[str, Any]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([{**ROW, **row} for row in rows], schema=SCHEMA)


def test_the_digest_does_not_depend_on_how_rows_are_cut() -> None:
    rows = [
        {"row_id": n, "prompt": "é" * n, "category": "c" if n % 3 else None, "known_harmful": [None, True, False][n % 3]} for n in range(20)
    ]
    whole = _rows(*rows)
    assert _digest(whole) == _digest(_rows(*rows[:7]), _rows(*rows[7:])) == _digest(whole.slice(0, 3), whole.slice(3, 0), whole.slice(3))


def test_any_change_changes_the_digest() -> None:
    base = {"prompt": "ab"}
    changes: list[dict[str, Any]] = [
        *({name: "x"} for name in ("prompt", "response", "messages", "origin", "category")),
        *({"row_id": 1}, {"known_harmful": True}, {"known_harmful": False}, {"category": ""}, {"prompt": "a", "response": "b"}),
    ]
    found = {_digest(_rows(base)), _digest(_rows(base), role="harmful"), _digest(_rows(base), salt="x"), _digest(_rows(base, base))}
    found |= {_digest(_rows({**base, **change})) for change in changes}
    assert len(found) == 4 + len(changes)
    two, moved = _rows({"prompt": "a"}, {"prompt": "bc"}), _rows({"prompt": "ab"}, {"prompt": "c"})
    assert _digest(two) != _digest(moved), "the same bytes, cut at another place"
