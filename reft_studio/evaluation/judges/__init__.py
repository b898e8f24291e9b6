"""Judges grade an output (a *scorer* scores a training row). One file each; a new judge is one file and one line here."""

from __future__ import annotations

from typing import Protocol

from reft_studio.evaluation.grade import Grade
from reft_studio.registry import Registry


class Judge(Protocol):
    """Grades one output; `version` goes up whenever a grade could change, and results of two versions are not compared.

    `known_error` says in a sentence how often the judge was found wrong, and on what; it stands in every report.
    """

    name: str
    version: str
    known_error: str

    def grade(self, prompt: str, completion: str) -> Grade: ...


JUDGES: Registry[type[Judge]] = Registry(
    "judge",
    {
        "refusal_phrases": "reft_studio.evaluation.judges.refusal_phrases:RefusalPhrases",
        "lab_compliance": "reft_studio.evaluation.judges.lab_compliance:LabCompliance",
    },
)


def judge_named(name: str) -> Judge:
    """A judge ready to grade. Raises SpecError if there is none of this name."""
    return JUDGES.get(name)()
