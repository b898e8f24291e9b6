"""Graders of task responses; finetune accuracy (FA) is the share that is correct. One file per family."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from reft_studio.data.dataset import Row
from reft_studio.registry import Registry


class Benchmark(Protocol):
    """A decision rule on (row, output); the row's `response` is the right answer.

    `title` says when an answer is right, as a form offers it; "" for a rule that fits the lab's own tasks alone.
    """

    name: str
    title: str

    def grade(self, row: Row, completion: str) -> bool: ...


@runtime_checkable
class LenientBenchmark(Benchmark, Protocol):
    """A rule that also says whether a wordy answer means the right label; `labels` are all labels of the task."""

    def grade_lenient(self, row: Row, completion: str, labels: Sequence[str]) -> bool: ...


BENCHMARKS: Registry[type[Benchmark]] = Registry(
    "benchmark",
    {
        "lab_sentiment": "reft_studio.evaluation.benchmarks.lab:LabSentiment",
        "lab_topic": "reft_studio.evaluation.benchmarks.lab:LabTopic",
        "lab_arithmetic": "reft_studio.evaluation.benchmarks.lab:LabArithmetic",
        "label_match": "reft_studio.evaluation.benchmarks.labels:LabelMatch",
        "exact_label": "reft_studio.evaluation.benchmarks.labels:ExactLabel",
        "last_number": "reft_studio.evaluation.benchmarks.numbers:LastNumber",
    },
)

USUAL = "label_match"
"""The rule for a task of one's own where no other was chosen."""


def own_rules() -> dict[str, str]:
    """Names and titles of the rules for tasks of one's own."""
    return {name: rule.title for name, rule in BENCHMARKS.all().items() if rule.title}


def benchmark_named(name: str) -> Benchmark:
    """A rule ready to grade. Raises SpecError if there is none of this name."""
    return BENCHMARKS.get(name)()
