"""Hidden states, losses and gradients of whole rows, prompt and response, under a teacher's model. Imports torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from reft_studio.models.batching import Example, by_length, collate
from reft_studio.models.features import last_prompt_features
from reft_studio.models.generation import halving
from reft_studio.models.session import Session
from reft_studio.models.spec import LoraSpec
from reft_studio.models.supervised import Supervised, hidden_states, supervise
from reft_studio.scoring.prompt_states import session_of
from reft_studio.scoring.refusal_similarity import check_match
from reft_studio.teacher.teacher import TeacherInfo

FRESH, ADAPTER = "gradient", LoraSpec(rank=4, alpha=8)
"""The adapter whose gradient is taken; its rank hardly matters, since it is not trained."""
BUDGET = 4096
"""Padded tokens per batch."""
Done = Callable[[int], None]
"""Called with the number of finished rows."""


def unseen(done: int) -> None:
    """No-op callback."""


class RowReader:
    """The model of a teacher, with or without its adapter, and its encoder."""

    def __init__(self, teacher: TeacherInfo, session: Session) -> None:
        check_match(session, teacher)
        self.teacher, self.session = teacher, session
        self.model, self.encoder = session.model, session.encoder

    @classmethod
    def open(cls, teacher: TeacherInfo) -> RowReader:
        """Load the model."""
        return cls(teacher, session_of(teacher))

    def row(self, prompt: str, response: str) -> Example:
        """Tokens of a single-turn example."""
        return self.encoded({"messages": [], "prompt": prompt, "response": response})

    def encoded(self, row: Mapping[str, Any]) -> Example:
        """Tokens of a dataset row: context, response and end of text. Raises DataError if the template rejects it."""
        return self.encoder.example(row, 0)

    @contextmanager
    def reading(self) -> Iterator[nn.Module]:
        """The backbone with the teacher's adapter active, if it has one."""
        with self.session.adapted.active(self.session.ensure("teacher", self.teacher.adapter)) as backbone:
            yield backbone

    def states(self, rows: Sequence[Example], *, layers: Sequence[int], done: Done = unseen) -> NDArray[np.float32]:
        """(n, len(layers), d_model) states at the last token of the row, the end of text, after blocks `layers` (from 1)."""
        with self.reading() as backbone:
            ids = [row.ids for row in rows]
            return np.asarray(last_prompt_features(self.model, backbone, ids, layers=layers, progress=done).numpy())

    def last_response_states(self, rows: Sequence[Example], *, done: Done = unseen) -> NDArray[np.float32]:
        """(n, d_model) states after the final norm at the last token of the response, which predicts the end of text."""
        last_states = np.zeros((len(rows), int(self.model.base.config.get_text_config().hidden_size)), dtype=np.float32)
        with self.reading() as backbone:

            def work(positions: list[int]) -> list[tuple[int, Tensor]]:
                batch = collate([rows[position] for position in positions], pad_id=self.model.pad_id, device=self.model.device)
                return list(zip(positions, (row_states[-1] for row_states in hidden_states(self.model, backbone, batch)), strict=True))

            for count, (position, state) in enumerate(self._batched(rows, work), 1):
                last_states[position] = state.float().cpu().numpy()
                done(count)
        return last_states

    @torch.no_grad()
    def losses(self, rows: Sequence[Example], *, done: Done = unseen) -> NDArray[np.float32]:
        """(n,) mean -log p over the response tokens, end of text included: the training loss."""
        losses = np.zeros(len(rows), dtype=np.float32)
        with self.reading() as backbone:

            def work(positions: list[int]) -> list[tuple[int, Tensor]]:
                batch = collate([rows[position] for position in positions], pad_id=self.model.pad_id, device=self.model.device)
                part: Supervised = supervise(self.model, backbone, [batch])[0]
                return list(zip(positions, (-log_p.float().mean() for log_p in part.log_probabilities()), strict=True))

            for count, (position, loss) in enumerate(self._batched(rows, work), 1):
                losses[position] = float(loss)
                done(count)
        return losses

    def gradients(self, rows: Sequence[Example], *, at: NDArray[np.float32] | None = None) -> Iterator[NDArray[np.float32]]:
        """Row by row, the gradient of its training loss with respect to a fresh adapter on the current model, (weights,).

        B of a fresh adapter is zero, so A has no gradient: only those of B are returned. `at`: (weights,), values of B instead of zero.
        """
        self.session.add(FRESH, ADAPTER, seed=0)
        below = [name] if (name := self.session.ensure("teacher", self.teacher.adapter)) else []
        with self.session.adapted.active(FRESH, on=below, train=True) as backbone:
            weights = [value for value in self.session.adapted.parameters(FRESH) if not value.any()]
            if at is not None:
                _fill(weights, at)
            for row in rows:
                batch = collate([row], pad_id=self.model.pad_id, device=self.model.device)
                loss = supervise(self.model, backbone, [batch])[0].cross_entropy()
                gradients = torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)
                yield torch.cat([gradient.flatten() for gradient in gradients]).float().cpu().numpy()

    def _batched(self, rows: Sequence[Example], work: Callable[[list[int]], list[tuple[int, Tensor]]]) -> Iterator[tuple[int, Tensor]]:
        """Results by position, in batches of similar length; one that runs out of memory is halved."""
        return halving(by_length([len(row.ids) for row in rows], token_budget=BUDGET), work)


@torch.no_grad()
def _fill(weights: Sequence[Tensor], values: NDArray[np.float32]) -> None:
    """Write concatenated values into the weights, in order."""
    parts = torch.split(torch.from_numpy(values), [weight.numel() for weight in weights])
    for weight, part in zip(weights, parts, strict=True):
        weight.copy_(part.view_as(weight))
