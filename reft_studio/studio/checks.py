"""Checks as the Review page meets them: known harmful prompts in a random draw, shown as any other row, and what readers made of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from reft_studio.audit.checks import Check, Reader, readers, texts
from reft_studio.audit.decision import Action
from reft_studio.audit.draw import Draw
from reft_studio.audit.held import ACTIONS
from reft_studio.audit.record import AuditRecord
from reft_studio.data.dataset import open_dataset
from reft_studio.data.index.rowstore import row_store
from reft_studio.data.origin.answer_pairs import AnswerPair
from reft_studio.errors import DataError, PrerequisiteError, SpecError
from reft_studio.store import records
from reft_studio.studio import review
from reft_studio.studio.draws import Draws


@dataclass(frozen=True)
class Checked:
    """What came of a decision on a check: the action that stands, whether it found the prompt, and whether it was this one.

    `revealed` is False where the text was not on the screen: nothing is told then, and the check waits for somebody who reads it.
    """

    check: Check
    action: Action
    found: bool
    stands: bool
    revealed: bool


@dataclass(frozen=True)
class Checking:
    """The checks of one dataset."""

    sampling: Draws

    def card(self, check_id: int) -> review.Card:
        """The check as the row it stands for: its number, score and origin, with the text of the shipped prompt."""
        draw, check = self._of(check_id)
        pair, score = _text(check), self.sampling.score
        like = check.shown if self._inside(draw, check.shown) else draw.rows[check.place % len(draw.rows)]
        card = review.card(self.sampling.workspace, self.sampling.log, score.dataset, like, score, self.sampling.threshold)
        messages: list[dict[str, Any]] = [{"role": "user", "content": pair.prompt}, {"role": "assistant", "content": pair.response}]
        return replace(
            card,
            row_id=check.shown,
            prompt=pair.prompt,
            response=pair.response,
            messages=messages,
            effective="keep",
            decision=None,
            history=[],
            opinions=[],
        )

    def decide(self, check_id: int, action: Action, *, by: str, seen: bool) -> Checked:
        """Record a decision on a check; the first one with the text on the screen stands."""
        _, check = self._of(check_id)
        if action == "clear":
            raise SpecError("This row cannot be given back to the threshold: choose keep, remove, relabel or unsure.")

        def body(before: list[AuditRecord], head: tuple[int, str]) -> dict[str, Any]:
            code = ACTIONS.index(action) + 1
            return {"check": check_id, "text": check.text, "code": code, "seen": seen, "decisions": head}

        said = next((one for one in self.sampling.readings() if one.check == check_id), None)
        if said is None:
            records.append(self.sampling.workspace, self.sampling.score.dataset, "check", by, body)
            said = next((one for one in self.sampling.readings() if one.check == check_id), None)
        if said is None:
            return Checked(check, action, found=False, stands=True, revealed=False)
        held: Action = ACTIONS[said.code - 1]
        return Checked(check, held, said.found, stands=held == action, revealed=True)

    def shown(self, check_ids: list[int]) -> dict[int, tuple[int, float | None]]:
        """For each of these checks the number and the score that it is shown with."""
        return {one: (card.row_id, card.score) for one in check_ids if (card := self.card(one))}

    def readers(self) -> list[Reader]:
        """What all readers together, and each of them, found of the checks."""
        return readers(self.sampling.readings())

    def _inside(self, draw: Draw, row: int) -> bool:
        score = self.sampling.score
        place = int(row_store(open_dataset(self.sampling.workspace, score.dataset)).positions([row])[0])
        return place >= 0 and bool(draw.place.holds(score.bins()[[place]])[0])

    def _of(self, check_id: int) -> tuple[Draw, Check]:
        for draw in self.sampling.draws():
            for check in draw.checks:
                if check.id == check_id:
                    return draw, check
        raise DataError(f"There is no row {check_id}. Rows are numbered from 0.")


def _text(check: Check) -> AnswerPair:
    if check.text not in texts():
        raise PrerequisiteError(
            "A known harmful prompt of this draw does not ship with this version. Draw anew, or use the version that drew it."
        )
    return texts()[check.text]
