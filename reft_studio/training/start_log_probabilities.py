"""Log probabilities of the user rows' response tokens under the starting weights: computed once per row, then kept.

They go into checkpoints: their last digits depend on the rows batched together, so a resumed training must find the same ones.
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
        """Positions in `batch` of rows without values, each row once."""
        first = {index: position for position, index in reversed(list(enumerate(batch.index)))}
        return sorted(position for index, position in first.items() if index not in self._rows)

    def keep(self, batch: Batch, log_probabilities: Sequence[Tensor]) -> None:
        """Store the values of each row of `batch`."""
        for index, values in zip(batch.index, log_probabilities, strict=True):
            self._rows[index] = values.float().cpu()

    def of(self, batch: Batch) -> Tensor:
        """Values of all supervised tokens of `batch`, in order, (tokens,)."""
        return torch.cat([self._rows[index] for index in batch.index])

    def state(self) -> dict[str, Any]:
        """All values, for a snapshot."""
        if not self._rows:
            return {}
        rows, values = torch.tensor(list(self._rows)), list(self._rows.values())
        return {"rows": rows, "counts": torch.tensor([len(row) for row in values]), "values": torch.cat(values)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore the values of a snapshot."""
        self._rows = {}
        if state:
            values = torch.split(state["values"], state["counts"].tolist())
            self._rows = dict(zip(state["rows"].tolist(), values, strict=True))
