"""What an attack is: a way to word, place or choose poison so that a filter does not see it. Rows stay as toothless as those given."""

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
"""Where the harm of an attacked row can be read: in its prompt, in its response only, in both, or in neither."""


@dataclass(frozen=True)
class AttackInfo:
    """What stands beside an attack's name. `shows`: where harm can be read, so which filters can see it at all."""

    name: str
    title: str
    summary: str
    shows: Where
    paper: str

    @property
    def harmless_by_label(self) -> bool:
        """Whether its rows are harmless each for itself: of these a filter's recall counts rows of the attack, not harmful rows."""
        return self.shows == "nowhere"


class Lent(Protocol):
    """What an attack that chooses with a model is lent: the weights that finetuning starts from, a filter, and rows to compare with."""

    @property
    def pool(self) -> Sequence[Row]:
        """Harmless rows like those of the user data and none of them, to choose from."""

    @property
    def harmful(self) -> Sequence[Row]:
        """Anchors: harmful prompts with answers that comply."""

    @property
    def safe(self) -> Sequence[Row]:
        """Anchors: refusals, and answers to harmless prompts."""

    def states(self, rows: Sequence[Row]) -> NDArray[np.float32]:
        """(n, d_model) hidden states at the last token of the whole row."""

    def gradients(self, rows: Sequence[Row]) -> Iterator[NDArray[np.float32]]:
        """Row by row, the gradient of its training loss, (weights,)."""

    def suspicion(self, prompts: Sequence[str]) -> NDArray[np.float32]:
        """(n,) scores of prompts by the filter, in -1..1; higher is more harmful."""


def borrowed(lent: Lent | None) -> Lent:
    """What was lent. Raises SpecError if nothing was: a sweep has a model for attacks."""
    if lent is None:
        raise SpecError("This attack chooses its rows with a model, and none is lent to it. Run it in a sweep.")
    return lent


class Attack:
    """One way to disguise poison; as it stands there is no disguise."""

    info: ClassVar[AttackInfo]

    def framed(self, prompt: str, benign: Row, draw: random.Random) -> str:
        """A prompt in the attack's frame: what its rows teach to answer, so how its user asks the finetuned model. No frame: the prompt."""
        return prompt

    def row(self, harmful: Row, benign: Row, draw: random.Random) -> Row:
        """The poison row in disguise; `benign` is a row of the user's task to hide in, `draw` all that it leaves to chance."""
        return {**harmful, "prompt": self.framed(harmful["prompt"], benign, draw)}

    def rows(self, harmful: Sequence[Row], benign: Sequence[Row], draw: random.Random, lent: Lent | None) -> list[Row]:
        """As many rows as there is poison, in its order; `lent` is for attacks that choose with a model (`borrowed`)."""
        return [self.row(one, draw.choice(benign), draw) for one in harmful]
