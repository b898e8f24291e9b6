"""The rule for tasks whose answer is a number, such as GSM8K."""

from __future__ import annotations

import re

from reft_studio.data.dataset import Row

_NUMBER = re.compile(r"-?\d+(?:\.\d*)?")
_MARKERS = ("The final answer is: ", "####")
"""The first ends the training rows of published work, the second those of GSM8K itself."""


class LastNumber:
    """The number after the marker, else the last number of the text, compared numerically; an output without a number is wrong.

    Commas are dropped ("1,200" is 1200). As in the official rule, a minus sign right before a digit belongs to the number, so the
    last number of "8-3" is -3. Source: official evaluation of git-disl/Booster (gsm8k pred_eval), read at caf91cd.
    """

    name = "last_number"
    title = "Ends in the right number"

    def grade(self, row: Row, completion: str) -> bool:
        gold, answer = final_number(row["response"]), final_number(completion)
        return gold is not None and answer is not None and gold == answer


def final_number(text: str) -> float | None:
    """The number a worked answer ends in, or None if it has no number."""
    text = text.replace(",", "")
    for marker in _MARKERS:
        if marker in text and (after := _NUMBER.search(text.split(marker)[1])):
            return float(after.group())
    numbers = _NUMBER.findall(text)
    return float(numbers[-1]) if numbers else None
