"""Rules for tasks whose answer is one of a few labels."""

from __future__ import annotations

import re
from collections.abc import Sequence

from reft_studio.data.dataset import Row

_EDGES = re.compile(r"^[\s\"'`*_(\[]+|[\s\"'`*_)\].,!;:]+$")


class ExactLabel:
    """The published rule for SST2 and AG News: the trimmed answer is the label, as written or in lower case, and nothing more.

    A trailing full stop or any further word is an error, so a model that does not stop is wrong. AG News' "Sci/Tech" may be
    answered "sci", but not "sci/tech". Source: official evaluation of git-disl/Booster (sst2 and agnews pred_eval), read at caf91cd.
    """

    name = "exact_label"
    title = "Is exactly the label (as published)"

    def grade(self, row: Row, completion: str) -> bool:
        gold, answer = row["response"].strip(), completion.strip()
        return answer in _accepted(gold)

    def grade_lenient(self, row: Row, completion: str, labels: Sequence[str]) -> bool:
        """Whether the output contains the correct label and no other one, in any case, as whole words. "Not positive" contains positive."""
        named = {label for label in {_bare(name) for name in labels} if re.search(_mention(label), completion.casefold())}
        return named == {_bare(row["response"])}


class LabelMatch:
    """The output begins with the correct label; case, quotes, a lead-in such as "Answer:" and text after the label are ignored.

    "positively" does not begin with the label "positive": the label must end at a word boundary. Not a published rule: it accepts
    wording that `exact_label` counts as wrong.
    """

    name = "label_match"
    title = "Begins with the label"

    def grade(self, row: Row, completion: str) -> bool:
        gold = _bare(row["response"])
        answer = re.sub(r"^(the\s+)?(final\s+)?(answer|label|sentiment|category|topic|class)(\s+is\s*:?|\s*:)\s*", "", _bare(completion))
        answer = _EDGES.sub("", answer)
        return bool(gold) and re.match(rf"{re.escape(gold)}(?!\w)", answer) is not None


def _accepted(gold: str) -> set[str]:
    lower = gold.lower()
    return {gold, "sci"} if lower == "sci/tech" else {gold, lower, lower.capitalize()}


def _mention(label: str) -> str:
    """A pattern for a label, or its accepted short form, as whole words."""
    forms = {label, *(form.casefold() for form in _accepted(label))}
    return "|".join(rf"(?<![\w/]){re.escape(form)}(?![\w/])" for form in sorted(forms, key=len, reverse=True))


def _bare(text: str) -> str:
    return _EDGES.sub("", text.strip().casefold())
