"""How likely the weights that training began from find each response token of the user's rows: asked once for each row, then kept.

What is kept goes into checkpoints: its last digits depend on the rows that were read together, so a training that goes on must find it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from reft_studio.models.batching import Batch


class StartLogProbabilities:
    """log p of the label of each supervised token, by the index of the row; float32, on the CPU."""

    def __init__(self) -> None:
        self._rows: dict[int, Tensor] = {}

    def missing(self, batch: Batch) -> list[int]:
        """Places in `batch` of the rows that are not known, each row once."""
        first = {index: place for place, index in reversed(list(enumerate(batch.index)))}
        return sorted(place for index, place in first.items() if index not in self._rows)

    def keep(self, batch: Batch, found: Sequence[Tensor]) -> None:
        """Take in what was found for each row of `batch`."""
        for index, values in zip(batch.index, found, strict=True):
            self._rows[index] = values.float().cpu()

    def of(self, batch: Batch) -> Tensor:
        """Of all supervised tokens of `batch`, in order, (tokens,)."""
        return torch.cat([self._rows[index] for index in batch.index])

    def state(self) -> dict[str, Any]:
        """All that is known, for a snapshot."""
        if not self._rows:
            return {}
        rows, values = torch.tensor(list(self._rows)), list(self._rows.values())
        return {"rows": rows, "counts": torch.tensor([len(one) for one in values]), "values": torch.cat(values)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Know what was known then."""
        self._rows = {}
        if state:
            values = torch.split(state["values"], state["counts"].tolist())
            self._rows = dict(zip(state["rows"].tolist(), values, strict=True))
