"""The protocol of an attack: rewords, places or chooses poison so that a filter misses it. Rows are no more harmful than those given."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from reft_studio.data.dataset import Row
from reft_studio.errors import SpecError

Where = Literal["prompt", "response", "both", "nowhere"]
"""Where the harm of an attacked row is visible: in its prompt, in its response, in both, or in neither."""


@dataclass(frozen=True)
class AttackInfo:
    """Description of an attack. `shows`: where its harm is visible, which determines the filters that can detect it."""

    name: str
    title: str
    summary: str
    shows: Where
    paper: str

    @property
    def harmless_by_label(self) -> bool:
        """Whether each of its rows is harmless by itself: a filter's recall then counts rows of the attack instead of harmful rows."""
        return self.shows == "nowhere"


class AttackerModel(Protocol):
    """A white-box attacker's access: the weights that finetuning starts from, a filter, and reference rows."""

    @property
    def pool(self) -> Sequence[Row]:
        """Harmless rows like those of the user data, but none of them, to choose from."""

    @property
    def harmful(self) -> Sequence[Row]:
        """Anchors: harmful prompts with compliant responses."""

    @property
    def safe(self) -> Sequence[Row]:
        """Anchors: refusals, and responses to harmless prompts."""

    def states(self, rows: Sequence[Row]) -> NDArray[np.float32]:
        """(n, d_model) hidden states at the last token of the whole row."""

    def gradients(self, rows: Sequence[Row]) -> Iterator[NDArray[np.float32]]:
        """Row by row, the gradient of its training loss, (weights,)."""

    def suspicion(self, prompts: Sequence[str]) -> NDArray[np.float32]:
        """(n,) scores of prompts by the filter, in -1..1; higher is more harmful."""


def required_model(attacker: AttackerModel | None) -> AttackerModel:
    """The attacker's model. Raises SpecError if there is none: only sweeps have one."""
    if attacker is None:
        raise SpecError("This attack chooses its rows with a model, but it has none here. Run it in a sweep.")
    return attacker


class Attack:
    """One way to disguise poison; the base class does not disguise it."""

    info: ClassVar[AttackInfo]

    def framed(self, prompt: str, benign: Row, draw: random.Random) -> str:
        """A prompt in the attack's frame, which its rows train on and its user asks the finetuned model in; without a frame, the prompt."""
        return prompt

    def row(self, harmful: Row, benign: Row, draw: random.Random) -> Row:
        """The disguised poison row; `benign` is a row of the user's task to hide in, `draw` the source of randomness."""
        return {**harmful, "prompt": self.framed(harmful["prompt"], benign, draw)}

    def rows(self, harmful: Sequence[Row], benign: Sequence[Row], draw: random.Random, attacker: AttackerModel | None) -> list[Row]:
        """One row per poison row, in order; `attacker` is for attacks that choose rows with a model (`required_model`)."""
        return [self.row(row, draw.choice(benign), draw) for row in harmful]
