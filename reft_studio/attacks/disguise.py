"""User data whose poison is put in disguise, row for row: as much of it, in the same places."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from reft_studio import seeding
from reft_studio.attacks import ATTACKS
from reft_studio.data.dataset import Dataset, Row, write_dataset
from reft_studio.errors import DataError
from reft_studio.workspace import Workspace

PLAIN = "plain"


def disguised(rows: Iterable[Row], attack: str, *, seed: int = 0) -> list[Row]:
    """The rows with each harmful one in disguise; harmless ones stay. Raises DataError if there is no harmless row to hide in."""
    known, way = list(rows), ATTACKS.get(attack)()
    draw = seeding.generator(seed, "attack", attack)
    benign = [row for row in known if not row.get("known_harmful")]
    if not benign:
        raise DataError("All rows are harmful, so there is nothing harmless to hide them in. Take a lower share of poison.")
    return [way.row(row, draw.choice(benign), draw) if row.get("known_harmful") else row for row in known]


def disguise(workspace: Workspace, user: Dataset, attack: str, *, seed: int = 0) -> Dataset:
    """User data with known poison as a dataset in which the poison is in disguise; with `plain` the dataset itself."""
    if attack == PLAIN:
        return user
    columns = ("prompt", "response", "origin", "category", "known_harmful")
    given: list[Any] = [{name: row[name] for name in columns} for row in user.read(list(columns))]
    facts: dict[str, Any] = {name: user.manifest[name] for name in ("task", "poison_ratio", "seed", "made_by") if name in user.manifest}
    source = {"made_by": "attack", "attack": attack, "of": user.id}
    name = f"{user.name}, {ATTACKS.get(attack).info.title}"
    return write_dataset(
        workspace, disguised(given, attack, seed=seed), name=name, role="user", extra={**facts, "attack": attack, "source": source}
    )
