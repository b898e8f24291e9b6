"""User data whose poison is put in disguise, row for row: as much of it, in the same places; and test prompts asked in the same frame."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from reft_studio import seeding
from reft_studio.attacks import ATTACKS
from reft_studio.attacks.attack import Attack, Lent
from reft_studio.data.dataset import Dataset, Row, write_dataset
from reft_studio.errors import DataError
from reft_studio.workspace import Workspace

PLAIN = "plain"
COLUMNS = ("prompt", "response", "origin", "category", "known_harmful")


def disguised(rows: Iterable[Row], attack: str, *, seed: int = 0, lent: Lent | None = None) -> list[Row]:
    """The rows with each harmful one in disguise; harmless ones stay.

    Raises DataError if there is no harmless row to hide in, SpecError if the attack chooses with a model and none is lent.
    """
    known, way = list(rows), ATTACKS.get(attack)()
    draw = seeding.generator(seed, "attack", attack)
    hidden = iter(way.rows([row for row in known if row.get("known_harmful")], harmless(known), draw, lent))
    return [next(hidden) if row.get("known_harmful") else row for row in known]


def harmless(rows: Sequence[Row]) -> list[Row]:
    """The rows to hide in. Raises DataError if there are none."""
    found = [row for row in rows if not row.get("known_harmful")]
    if not found:
        raise DataError("All rows are harmful, so there is nothing harmless to hide them in. Take a lower share of poison.")
    return found


def disguise(workspace: Workspace, user: Dataset, attack: str, *, seed: int = 0, lent: Lent | None = None) -> Dataset:
    """User data with known poison as a dataset in which the poison is in disguise; with `plain` the dataset itself."""
    if attack == PLAIN:
        return user
    facts: dict[str, Any] = {name: user.manifest[name] for name in ("task", "poison_ratio", "seed", "made_by") if name in user.manifest}
    source = {"made_by": "attack", "attack": attack, "of": user.id}
    name = f"{user.name}, {ATTACKS.get(attack).info.title}"
    rows = disguised(rows_of(user), attack, seed=seed, lent=lent)
    return write_dataset(workspace, rows, name=name, role="user", extra={**facts, "attack": attack, "source": source})


def rows_of(user: Dataset) -> list[Row]:
    """The rows of user data with what is known of them, without their ids."""
    found: list[Any] = [{name: row[name] for name in COLUMNS} for row in user.read(list(COLUMNS))]
    return found


def has_frame(attack: str) -> bool:
    """Whether a model that was finetuned on this attack's rows is to be asked in a frame of its own."""
    return ATTACKS.get(attack).framed is not Attack.framed


def in_frame(prompts: Iterable[Row], benign: Sequence[Row], attack: str, *, seed: int = 0) -> list[Row]:
    """Test prompts as the attacker asks them; the rest of each row stays. `benign` are rows of the task, which some frames are made of."""
    way, draw = ATTACKS.get(attack)(), seeding.generator(seed, "frame", attack)
    return [{**row, "prompt": way.framed(row["prompt"], draw.choice(benign), draw)} for row in prompts]
