"""What a teacher's model says of whole rows, prompt and response: hidden states, losses and gradients. Brings torch."""

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
"""Padded tokens of one batch."""
Done = Callable[[int], None]
"""Told how many rows are done."""


def unseen(done: int) -> None:
    """Nobody looks how far it is."""


class RowReader:
    """The model of a teacher, with its adapter or without, and its encoder."""

    def __init__(self, teacher: TeacherInfo, session: Session) -> None:
        check_match(session, teacher)
        self.teacher, self.session = teacher, session
        self.model, self.encoder = session.model, session.encoder

    @classmethod
    def open(cls, teacher: TeacherInfo) -> RowReader:
        """Load the model."""
        return cls(teacher, session_of(teacher))

    def row(self, prompt: str, response: str) -> Example:
        """Tokens of an example of one turn."""
        return self.encoded({"messages": [], "prompt": prompt, "response": response})

    def encoded(self, row: Mapping[str, Any]) -> Example:
        """Tokens of a row of a dataset: what came before, the response and the end of text. Raises DataError if the template refuses it."""
        return self.encoder.example(row, 0)

    @contextmanager
    def reading(self) -> Iterator[nn.Module]:
        """The backbone with the teacher's adapter in effect, if it has one."""
        with self.session.adapted.active(self.session.ensure("teacher", self.teacher.adapter)) as backbone:
            yield backbone

    def states(self, rows: Sequence[Example], *, layers: Sequence[int], done: Done = unseen) -> NDArray[np.float32]:
        """(n, len(layers), d_model) states at the last token of the row, the end of text, after blocks `layers` (from 1)."""
        with self.reading() as backbone:
            ids = [row.ids for row in rows]
            return np.asarray(last_prompt_features(self.model, backbone, ids, layers=layers, progress=done).numpy())

    def last_response_states(self, rows: Sequence[Example], *, done: Done = unseen) -> NDArray[np.float32]:
        """(n, d_model) states after the final norm at the last token of the response, which predicts the end of text."""
        found = np.zeros((len(rows), int(self.model.base.config.get_text_config().hidden_size)), dtype=np.float32)
        with self.reading() as backbone:

            def work(places: list[int]) -> list[tuple[int, Tensor]]:
                batch = collate([rows[place] for place in places], pad_id=self.model.pad_id, device=self.model.device)
                return list(zip(places, (one[-1] for one in hidden_states(self.model, backbone, batch)), strict=True))

            for count, (place, state) in enumerate(self._batched(rows, work), 1):
                found[place] = state.float().cpu().numpy()
                done(count)
        return found

    @torch.no_grad()
    def losses(self, rows: Sequence[Example], *, done: Done = unseen) -> NDArray[np.float32]:
        """(n,) mean over the response's tokens, end of text included, of -log p of the token: what training would minimise."""
        found = np.zeros(len(rows), dtype=np.float32)
        with self.reading() as backbone:

            def work(places: list[int]) -> list[tuple[int, Tensor]]:
                batch = collate([rows[place] for place in places], pad_id=self.model.pad_id, device=self.model.device)
                part: Supervised = supervise(self.model, backbone, [batch])[0]
                return list(zip(places, (-one.float().mean() for one in part.log_probabilities()), strict=True))

            for count, (place, loss) in enumerate(self._batched(rows, work), 1):
                found[place] = float(loss)
                done(count)
        return found

    def gradients(self, rows: Sequence[Example], *, at: NDArray[np.float32] | None = None) -> Iterator[NDArray[np.float32]]:
        """Row by row, the gradient of its training loss by the weights of a fresh adapter on what the model is now, (weights,).

        Of a fresh adapter B is zero, so that A has no gradient: only those of B are given. `at`: (weights,), what B is instead of zero.
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
                found = torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)
                yield torch.cat([one.flatten() for one in found]).float().cpu().numpy()

    def _batched(self, rows: Sequence[Example], work: Callable[[list[int]], list[tuple[int, Tensor]]]) -> Iterator[tuple[int, Tensor]]:
        """Results by place, in batches of like length; one that memory cannot hold is halved."""
        return halving(by_length([len(row.ids) for row in rows], token_budget=BUDGET), work)


@torch.no_grad()
def _fill(weights: Sequence[Tensor], values: NDArray[np.float32]) -> None:
    """Put numbers that lie one after the other into the weights, in order."""
    parts = torch.split(torch.from_numpy(values), [one.numel() for one in weights])
    for one, part in zip(weights, parts, strict=True):
        one.copy_(part.view_as(one))
