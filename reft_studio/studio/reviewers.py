"""What the app remembers for each reviewer: the row in hand, how many masked texts were opened today, how they like to work."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import date
from typing import Any, Literal, get_args

from reft_studio.errors import SpecError
from reft_studio.store import settings
from reft_studio.workspace import Workspace

Reveal = Literal["toggle", "hold"]
MOST_NUDGE, SMALLEST_BATCH, LARGEST_BATCH = 500, 10, 200
NAME_LIMIT = 60


@dataclass(frozen=True)
class Habits:
    """How a person reviews.

    `reveal`: a masked text stays open until it is masked again (`toggle`), or while a key or button is held (`hold`).
    `nudge`: after so many opened texts a break is proposed, 0 for never. `size`: rows of a batch.
    """

    reveal: Reveal = "toggle"
    nudge: int = 40
    size: int = 50

    def __post_init__(self) -> None:
        if self.reveal not in get_args(Reveal):
            raise SpecError(f"A text can be revealed by {' or '.join(get_args(Reveal))}, not by '{str(self.reveal)[:20]}'.")
        if not 0 <= self.nudge <= MOST_NUDGE:
            raise SpecError(f"A break after {self.nudge} texts cannot be set. Give 0 (never) to {MOST_NUDGE}.")
        if not SMALLEST_BATCH <= self.size <= LARGEST_BATCH:
            raise SpecError(f"A batch of {self.size} rows cannot be set. Give {SMALLEST_BATCH} to {LARGEST_BATCH}.")


@dataclass(frozen=True)
class Reviewers:
    """The desks of all reviewers of one workspace, so that another browser, or the next day, begins where this one stopped."""

    workspace: Workspace

    def reviewer(self, given: Any = None) -> str:
        """The name to review under: what the browser gave, else the one of the settings, else `me`. Raises SpecError if too long."""
        name = " ".join(str(given or "").split())
        if len(name) > NAME_LIMIT:
            raise SpecError(f"The name has {len(name)} characters. Give it 1 to {NAME_LIMIT}.")
        return name or str(settings.get(self.workspace, "reviewer", "") or "me")

    def place(self, dataset: str, by: str) -> int | None:
        """The row that this person had on the screen last."""
        held = settings.get(self.workspace, f"place:{dataset}:{by}")
        return held if isinstance(held, int) else None

    def leave_at(self, dataset: str, by: str, row: int) -> None:
        """Remember the row that this person has on the screen; an app that may only read forgets it."""
        if self.workspace.writable:
            settings.set(self.workspace, f"place:{dataset}:{by}", int(row))

    def opened(self, by: str) -> int:
        """Masked texts that this person opened today."""
        return int(settings.get(self.workspace, f"opened:{date.today().isoformat()}:{by}", 0))

    def open_more(self, by: str, texts: int) -> int:
        """Count `texts` more; how many that makes today."""
        if not self.workspace.writable:
            return self.opened(by)
        return settings.add(self.workspace, f"opened:{date.today().isoformat()}:{by}", max(0, min(texts, LARGEST_BATCH)))

    def habits(self, by: str) -> Habits:
        held = settings.get(self.workspace, f"habits:{by}")
        return Habits(**held) if isinstance(held, dict) and held.keys() <= asdict(Habits()).keys() else Habits()

    def keep_habits(self, by: str, **changes: Any) -> Habits:
        """Change some; raises SpecError if a value cannot be."""
        habits = replace(self.habits(by), **changes)
        settings.set(self.workspace, f"habits:{by}", asdict(habits))
        return habits
