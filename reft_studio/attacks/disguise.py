"""User data with disguised poison, row for row: as many poison rows, in the same positions; and test prompts in the same frame."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from reft_studio import seeding
from reft_studio.attacks import ATTACKS
from reft_studio.attacks.attack import Attack, AttackerModel
from reft_studio.data.dataset import Dataset, Row, write_dataset
from reft_studio.errors import DataError
from reft_studio.workspace import Workspace

PLAIN = "plain"
COLUMNS = ("prompt", "response", "origin", "category", "known_harmful")


def disguised(rows: Iterable[Row], attack: str, *, seed: int = 0, attacker: AttackerModel | None = None) -> list[Row]:
    """The rows with each harmful one disguised; harmless ones are unchanged.

    Raises DataError if there is no harmless row to hide in, SpecError if the attack needs a model and none is given.
    """
    all_rows, disguiser = list(rows), ATTACKS.get(attack)()
    draw = seeding.generator(seed, "attack", attack)
    poison = iter(disguiser.rows([row for row in all_rows if row.get("known_harmful")], harmless(all_rows), draw, attacker))
    return [next(poison) if row.get("known_harmful") else row for row in all_rows]


def harmless(rows: Sequence[Row]) -> list[Row]:
    """The harmless rows. Raises DataError if there are none."""
    benign = [row for row in rows if not row.get("known_harmful")]
    if not benign:
        raise DataError("All rows are harmful, so there is nothing harmless to hide them in. Take a lower share of poison.")
    return benign


def disguise(workspace: Workspace, user: Dataset, attack: str, *, seed: int = 0, attacker: AttackerModel | None = None) -> Dataset:
    """A copy of a dataset with known poison in which the poison is disguised; with `plain` the dataset itself."""
    if attack == PLAIN:
        return user
    facts: dict[str, Any] = {name: user.manifest[name] for name in ("task", "poison_ratio", "seed", "made_by") if name in user.manifest}
    source = {"made_by": "attack", "attack": attack, "of": user.id}
    name = f"{user.name}, {ATTACKS.get(attack).info.title}"
    rows = disguised(rows_of(user), attack, seed=seed, attacker=attacker)
    return write_dataset(workspace, rows, name=name, role="user", extra={**facts, "attack": attack, "source": source})


def rows_of(user: Dataset) -> list[Row]:
    """The rows of user data with their labels, without ids."""
    rows: list[Any] = [{name: row[name] for name in COLUMNS} for row in user.read(list(COLUMNS))]
    return rows


def has_frame(attack: str) -> bool:
    """Whether a model finetuned on this attack's rows is to be asked in a frame."""
    return ATTACKS.get(attack).framed is not Attack.framed


def in_frame(prompts: Iterable[Row], benign: Sequence[Row], attack: str, *, seed: int = 0) -> list[Row]:
    """Test prompts as the attacker asks them; other columns are unchanged. `benign` are rows of the task, which some frames need."""
    way, draw = ATTACKS.get(attack)(), seeding.generator(seed, "frame", attack)
    return [{**row, "prompt": way.framed(row["prompt"], draw.choice(benign), draw)} for row in prompts]
