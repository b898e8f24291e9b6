"""The tasks of the embedded lab, graded by the lab's own exact extraction."""

from __future__ import annotations

from typing import ClassVar

from reft_studio.data.dataset import Row
from reft_studio.lab import sets


class LabSentiment:
    """The lab's sentiment task: the answer must name the right feeling."""

    name = "lab_sentiment"
    title = ""
    task: ClassVar[str] = "sentiment"

    def grade(self, row: Row, completion: str) -> bool:
        return sets.grade(self.task, completion, row["response"])


class LabTopic(LabSentiment):
    """The lab's topic task: the answer must name the right section."""

    name = "lab_topic"
    task = "topic"


class LabArithmetic(LabSentiment):
    """The lab's arithmetic task: the answer must end in the right number."""

    name = "lab_arithmetic"
    task = "arithmetic"
