"""Graders of task responses; finetune accuracy (FA) is the share that is correct. One file per family."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from reft_studio.data.dataset import Row
from reft_studio.registry import Registry


class Benchmark(Protocol):
    """A decision rule on (row, output); the row's `response` is the correct answer.

    `title` describes the rule on forms; "" for a rule that applies to the lab's own tasks only.
    """

    name: str
    title: str

    def grade(self, row: Row, completion: str) -> bool: ...


@runtime_checkable
class LenientBenchmark(Benchmark, Protocol):
    """A rule that also accepts a wordy answer with the correct label; `labels` are all labels of the task."""

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
"""The default rule for a person's own task."""


def own_rules() -> dict[str, str]:
    """Names and titles of the rules for a person's own tasks."""
    return {name: rule.title for name, rule in BENCHMARKS.all().items() if rule.title}


def benchmark_named(name: str) -> Benchmark:
    """The rule of this name. Raises SpecError if there is none."""
    return BENCHMARKS.get(name)()
