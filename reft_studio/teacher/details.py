"""How well a teacher separates the kinds, as stored in its folder; read without torch, for pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from reft_studio.errors import StoreError
from reft_studio.teacher.teacher import TeacherInfo
from reft_studio.workspace import read_json

LAYERS, MAP, NEIGHBOURS = "layers.safetensors", "separation.json", "neighbours.parquet"
"""Direction of every layer; AUROC by layer and position; calibration prompts with their features."""
FILES = (LAYERS, MAP, NEIGHBOURS)
MISSING = (
    "This teacher was prepared by an older version, without scores by layer, separation map and neighbours. Prepare it again with the "
    "same settings: nothing is trained anew, only these are added."
)


@dataclass(frozen=True)
class Separation:
    """AUROC of the similarity between held-out harmful and harmless prompts, by block and token position.

    `auroc[row][column]` (0 to 1, None: too few prompts have that token) belongs to block `layers[row]` and position
    `positions[column]`, counted from the end of the prompt: -1 is its last token. `bands` holds, per kind and block, the 5 %, 50 %
    and 95 % quantile of the last token's similarity.
    """

    layers: list[int]
    positions: list[int]
    auroc: list[list[float | None]]
    layer: int
    position: int
    harmful: int
    harmless: int
    bands: dict[str, list[list[float]]]

    def at(self, layer: int, position: int) -> float | None:
        return self.auroc[self.layers.index(layer)][self.positions.index(position)]


def is_complete(teacher: TeacherInfo) -> bool:
    """Whether the folder holds all of `FILES`."""
    return all((teacher.folder / name).is_file() for name in FILES)


def separation_of(teacher: TeacherInfo) -> Separation | None:
    """The separation map of a teacher; None if it was prepared without one. Raises StoreError if the file is damaged."""
    if not (teacher.folder / MAP).is_file():
        return None
    facts: Any = read_json(teacher.folder / MAP)
    try:
        separation = Separation(**facts)
        consistent = len(separation.auroc) == len(separation.layers) and all(
            len(line) == len(separation.positions) for line in separation.auroc
        )
        consistent = consistent and all(
            len(band) == len(separation.layers) for band in (separation.bands["harmful"], separation.bands["harmless"])
        )
    except (TypeError, KeyError) as exc:
        raise StoreError(f"{MAP} of '{teacher.id}' is damaged. Delete it and prepare the teacher again.") from exc
    if not consistent:
        raise StoreError(f"{MAP} of '{teacher.id}' is damaged. Delete it and prepare the teacher again.")
    return separation
