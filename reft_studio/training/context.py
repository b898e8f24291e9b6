"""What a run lends to its defense: batches, one forward pass, the teacher's states, gradients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from reft_studio import seeding
from reft_studio.errors import SpecError
from reft_studio.models.batching import Batch, Example, collate, endless
from reft_studio.models.fit import StepLog, backward
from reft_studio.models.session import Session
from reft_studio.models.supervised import Supervised, hidden_states, supervise
from reft_studio.training.spec import RunSpec

STUDENT = "student"
CONFLICT_EVERY = 20
"""Steps between two measurements of the gradient conflict; each costs one more backward pass."""
CACHE_BATCH = 64


class AlignmentData:
    """Tokenised alignment rows of both kinds, and the teacher's hidden states on them once they are asked for.

    Harmful rows come first; an example's index is its position in `examples`.
    """

    def __init__(self, session: Session, harmful: Sequence[Example], helpful: Sequence[Example]) -> None:
        self.session = session
        rows = [*harmful, *helpful]
        self.examples = [Example(row.ids, row.prompt, index) for index, row in enumerate(rows)]
        self.harmful = self.examples[: len(harmful)]
        self.helpful = self.examples[len(harmful) :]
        self._states: list[Tensor] = []

    def cache_teacher(self, adapter: str | None) -> None:
        """Run the teacher (None: the base itself) once over every row and keep its states, (tokens, d_model) each.

        States are exact for any temperature, at d_model numbers per token instead of a vocabulary (docs/methods.md).
        """
        if self._states:
            return
        model = self.session.model
        with self.session.adapted.active(adapter) as backbone:
            for start in range(0, len(self.examples), CACHE_BATCH):
                batch = collate(self.examples[start : start + CACHE_BATCH], pad_id=model.pad_id, device=model.device)
                self._states += hidden_states(model, backbone, batch)

    def states(self, batch: Batch) -> Tensor:
        """The teacher's states of a batch's supervised tokens, in order. Raises SpecError if none were cached."""
        if not self._states:
            raise SpecError("This run has no teacher, so there is nothing to distil. Choose a teacher.")
        return torch.cat([self._states[index] for index in batch.index])


class Run:
    """The context of one run; implements `RunContext` of the defenses."""

    def __init__(self, spec: RunSpec, session: Session, user: Sequence[Example], kept: list[int], alignment: AlignmentData | None) -> None:
        self.spec, self.session, self.user, self.alignment = spec, session, user, alignment
        self.backbone: nn.Module | None = None
        self.step = 0
        self._kept = kept
        self._streams = self._alignment_streams()

    def kept(self) -> list[int]:
        return self._kept

    def supervise(self, *batches: Batch) -> list[Supervised]:
        assert self.backbone is not None, "a run trains inside `active`"
        return supervise(self.session.model, self.backbone, batches)

    def alignment_batch(self) -> Batch:
        self._data()
        return self.collate([example for stream in self._streams for example in next(stream)])

    def collate(self, examples: Sequence[Example]) -> Batch:
        return collate(examples, pad_id=self.session.model.pad_id, device=self.session.model.device)

    def teacher_states(self, batch: Batch) -> Tensor:
        return self._data().states(batch)

    def backward(self, losses: dict[str, Tensor]) -> StepLog:
        return backward(losses, self.session.adapted.parameters(STUDENT), conflict=self.step % CONFLICT_EVERY == 1)

    def _data(self) -> AlignmentData:
        if self.alignment is None:
            raise SpecError("This run has no alignment data. Choose a set of refusals and of helpful answers.")
        return self.alignment

    def _alignment_streams(self) -> list[Iterator[list[Example]]]:
        if self.alignment is None:
            return []
        half = max(1, self.spec.optim.alignment_batch_size // 2)
        kinds = (("harmful", self.alignment.harmful), ("helpful", self.alignment.helpful))
        return [endless(rows, size=half, rng=seeding.generator(self.spec.seed, "alignment", name)) for name, rows in kinds]
