"""What a page shows, kept with the page: two tabs have one workspace, so what is in use may not be what a person sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reft_studio.errors import SpecError, StoreError
from ui.text import number, show

if TYPE_CHECKING:
    from reft_studio.studio.project import State
    from reft_studio.studio.studio import Studio


NO_DATASET = {
    "title": "No dataset yet",
    "text": "Bring a finetuning file, or make a poisoned sample from the embedded lab.",
    "action": "Go to Data",
    "page": "/data",
}
"""The empty state of a page that works on a dataset."""


@dataclass(frozen=True)
class Shown:
    """The dataset of a page, its scores and their threshold; empty, None: there are none."""

    dataset: str = ""
    key: str = ""
    threshold: float | None = None

    @classmethod
    def of(cls, state: State) -> Shown:
        return cls(state.dataset.id if state.dataset else "", state.score.key if state.score else "", state.threshold)

    def take(self, studio: Studio, *, line: bool = False) -> str:
        """The dataset to act on: the one that the page shows, which is then in use again if another tab chose another.

        With `line` the act rests on scores and threshold too. Raises SpecError if these were changed elsewhere, StoreError without a
        dataset.
        """
        if not self.dataset:
            raise StoreError("There is no dataset in work. Choose one on the Data page.")
        state = studio.state()
        if state.dataset is None or state.dataset.id != self.dataset:
            studio.choose(dataset=self.dataset)
            state = studio.state()
        if line and Shown.of(state) != self:
            raise SpecError(f"Nothing was done. {self.change(state)} Look at what the page says now, then press again.")
        return self.dataset

    def change(self, state: State) -> str:
        """What is in use now and was not when the page was drawn, in a sentence; empty if nothing changed."""
        now = Shown.of(state)
        if now.dataset != self.dataset:
            return f"“{show(state.dataset.name, 80)}” is in use now: chosen elsewhere, or made by a job." if state.dataset else ""
        if now.key != self.key:
            return "Other scores of this dataset are in use now."
        if now.threshold == self.threshold:
            return ""
        return f"The threshold in use was changed elsewhere, from {number(self.threshold)} to {number(now.threshold)}."
