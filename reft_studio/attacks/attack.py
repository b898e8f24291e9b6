"""What an attack is: a way to word or place poison so that a filter does not see it. Rows stay as toothless as the ones it is given."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar, Literal

from reft_studio.data.dataset import Row

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


class Attack:
    """One way to disguise a poison row; as it stands there is no disguise."""

    info: ClassVar[AttackInfo]

    def row(self, harmful: Row, benign: Row, draw: random.Random) -> Row:
        """The poison row in disguise; `benign` is a row of the user's task to hide in, `draw` all that it leaves to chance."""
        return harmful
