"""Graders of task responses; finetune accuracy (FA) is the share that is correct. One file per family."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from reft_studio.data.dataset import Row
from reft_studio.registry import Registry


class Benchmark(Protocol):
    """A decision rule on (row, output); the row's `response` is the right answer."""

    name: str
    higher_is_better: bool

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
        "exact_label": "reft_studio.evaluation.benchmarks.labels:ExactLabel",
        "label_match": "reft_studio.evaluation.benchmarks.labels:LabelMatch",
        "last_number": "reft_studio.evaluation.benchmarks.numbers:LastNumber",
    },
)


def benchmark_named(name: str) -> Benchmark:
    """A rule ready to grade. Raises SpecError if there is none of this name."""
    return BENCHMARKS.get(name)()
