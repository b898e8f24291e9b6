"""The model of an attacker in a sweep: the aligned weights, the refusal feature, anchors and a pool of harmless rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from reft_studio.attacks.disguise import rows_of
from reft_studio.data.dataset import Dataset, Row, open_dataset
from reft_studio.data.splits import normalise_prompt
from reft_studio.scoring.refusal_similarity import score_prompts
from reft_studio.scoring.row_reader import RowReader

if TYPE_CHECKING:
    from reft_studio.sweeps.run import Group


class SweepAttackerModel:
    """Access to the weights that finetuning starts from, to the refusal-feature filter, and to alignment data as anchors."""

    def __init__(self, group: Group, user: Dataset) -> None:
        self.group, self.user = group, user

    @cached_property
    def pool(self) -> list[Row]:
        """Harmless rows of the task whose prompts are not in the user data."""
        taken = {normalise_prompt(row["prompt"]) for row in rows_of(self.user)}
        reserve = self.group.data.reserve(self.group.seed)
        return [row for row in reserve if row["response"].strip() and normalise_prompt(row["prompt"]) not in taken]

    @cached_property
    def harmful(self) -> list[Row]:
        return self._rows(self.group.harmful_answers)

    @cached_property
    def safe(self) -> list[Row]:
        """Refusals and harmless responses, alternating."""
        kinds = (self._rows(self.group.alignment.harmful), self._rows(self.group.alignment.helpful))
        return [row for both in zip(*kinds, strict=False) for row in both]

    def states(self, rows: Sequence[Row]) -> NDArray[np.float32]:
        reader = self._reader
        last = int(reader.model.layers)
        return reader.states([reader.row(row["prompt"], row["response"]) for row in rows], layers=[last])[:, 0]

    def gradients(self, rows: Sequence[Row]) -> Iterator[NDArray[np.float32]]:
        reader = self._reader
        return reader.gradients([reader.row(row["prompt"], row["response"]) for row in rows])

    def suspicion(self, prompts: Sequence[str]) -> NDArray[np.float32]:
        return score_prompts(list(prompts), self.group.pair.teacher, self.group.base.session)

    @cached_property
    def _reader(self) -> RowReader:
        return RowReader(self.group.pair.aligned, self.group.base.session)

    def _rows(self, dataset_id: str) -> list[Row]:
        rows = rows_of(open_dataset(self.group.base.workspace, dataset_id))
        return [row for row in rows if row["response"].strip()]
