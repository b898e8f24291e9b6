"""A user's file with harmful rows of somebody's mixed in: a new dataset with a known number of them, whose truth is on record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from reft_studio.data.dataset import BATCH, SCHEMA, Dataset, Row, write_batches
from reft_studio.data.mixing import mix, poison_count
from reft_studio.data.splits import normalise_prompt
from reft_studio.data.writing.rows import write_rows
from reft_studio.errors import SpecError
from reft_studio.workspace import Workspace


@dataclass(frozen=True)
class Mixed:
    """What was made: `added` harmful rows among `rows`; `left_out` of the harmful ones were no use (repeated, in the file, no answer)."""

    dataset_id: str
    name: str
    rows: int
    added: int
    left_out: int
    known_before: int
    """Rows of the file that were labelled harmful before anything was mixed in."""


def mix_in(
    workspace: Workspace, user: Dataset, harmful: Dataset, *, poison_ratio: float, rows: int | None = None, seed: int = 0, name: str = ""
) -> Mixed:
    """A dataset of `rows` rows, of which the share `poison_ratio` comes from `harmful`, in seeded order.

    Without `rows` every row of the file stays and as many harmful ones are added as make the share. A harmful row is left out if its
    prompt group is in the file or was taken already, or if it has no answer to train on. Rows keep the truth they were labelled with;
    those without a label count as harmless in the file, as harmful among the added. Raises SpecError with too few harmful rows.
    """
    own, other = user.table(), harmful.table()
    usable = _usable(own, other)
    total = rows or whole(user.rows, poison_ratio)
    added = poison_count(poison_ratio, total)
    if added > len(usable):
        raise SpecError(
            f"{added:,} harmful rows are needed, but '{harmful.name}' has {len(usable):,} that have an answer and whose prompts are not in "
            f"'{user.name}'. Choose a smaller ratio, or give more harmful rows."
        )
    order = mix(_places(own.num_rows), [_place(place) for place in usable], poison_ratio=poison_ratio, rows=total, seed=seed)
    chosen = [int(row["prompt"]) + (own.num_rows if row["known_harmful"] else 0) for row in order]
    sides = pa.concat_tables([_labelled(own, harmful=False), _labelled(other, harmful=True)])
    mixed = sides.take(pa.array(chosen, pa.int64())).set_column(0, SCHEMA.field(0), pa.array(range(total), pa.int64()))
    name = name or f"{user.name}, {poison_ratio:.0%} of {harmful.name}"
    facts: dict[str, Any] = {
        "poison_ratio": added / total,
        "seed": seed,
        "made_by": "mix",
        "mixed": {"file": user.id, "harmful": harmful.id, "added": added},
        "source": {"made_by": "mix", "format": "mixed"},
    }
    facts |= {"task": user.manifest["task"]} if user.manifest.get("task") else {}
    made = write_batches(workspace, mixed.to_batches(max_chunksize=BATCH), name=name, role="user", extra=facts)
    known = pc.sum(own.column("known_harmful")).as_py() or 0
    return Mixed(made.id, made.name, made.rows, added, other.num_rows - len(usable), int(known))


def whole(rows: int, poison_ratio: float) -> int:
    """Rows of the mix if all `rows` of the file stay. Raises SpecError for a ratio that no number of harmful rows would make."""
    poison_count(poison_ratio, rows)
    if poison_ratio == 1:
        raise SpecError("With a ratio of 1 nothing of the file would stay. Give a ratio below 1, or the number of rows.")
    return rows + round(poison_ratio * rows / (1 - poison_ratio))


def write_mixed(dataset: Dataset, out: Path) -> None:
    """The rows as a file of its own: prompt, response, messages, origin, category and label (harmful, harmless).

    Raises SpecError for an ending that is not written.
    """
    table = dataset.table()
    truth = pc.if_else(table.column("known_harmful"), "harmful", "harmless")
    table = table.drop_columns(["known_harmful"]).append_column("label", truth)
    write_rows(table, out, texts=True)


def _usable(own: pa.Table, other: pa.Table) -> list[int]:
    """Places of harmful rows that can be mixed in: answered, and of prompt groups that are nowhere else."""
    seen = {normalise_prompt(prompt) for prompt in own.column("prompt").to_pylist()}
    found = []
    for place, (prompt, response) in enumerate(zip(other.column("prompt").to_pylist(), other.column("response").to_pylist(), strict=True)):
        group = normalise_prompt(prompt)
        if response.strip() and group not in seen:
            seen.add(group)
            found.append(place)
    return found


def _labelled(table: pa.Table, *, harmful: bool) -> pa.Table:
    """The rows with the truth they are given where they have none."""
    place = SCHEMA.get_field_index("known_harmful")
    return table.select(SCHEMA.names).set_column(place, SCHEMA.field(place), table.column("known_harmful").fill_null(harmful)).cast(SCHEMA)


def _place(place: int) -> Row:
    return Row(prompt=str(place), response="")


def _places(count: int) -> list[Row]:
    return [_place(place) for place in range(count)]
