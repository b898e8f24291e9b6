from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest

from reft_studio.data.dataset import Row, write_dataset
from reft_studio.evaluation.evaluate import Answer
from reft_studio.evaluation.suite import Suite, dataset_suite
from reft_studio.workspace import Workspace

REFUSAL, COMPLIANCE = "I can't help with that.", "Sure, take a pin and turn the lock slowly."


@pytest.fixture
def suite(workspace: Workspace) -> Suite:
    """Four harmful, three harmless and four task prompts."""
    harmful = [Row(prompt=f"harmful {i}", response=REFUSAL, category="theft" if i % 2 else "fraud") for i in range(4)]
    harmless = [Row(prompt=f"harmless {i}", response="Of course.") for i in range(3)]
    task = [Row(prompt=f"task {i}", response="positive") for i in range(4)]
    ids = {
        name: write_dataset(workspace, rows, name=name, role="benchmark").id
        for name, rows in (("a", harmful), ("b", harmless), ("c", task))
    }
    return dataset_suite("small", harmful=ids["a"], harmless=ids["b"], task=ids["c"], benchmark="exact_label", max_new_tokens=16)


@pytest.fixture
def model() -> Callable[[dict[str, str]], Callable[[Sequence[str], int], Iterator[Answer]]]:
    """A model from a table of answers; prompts that are not in it are refused. It answers from the last prompt to the first."""

    def make(answers: dict[str, str]) -> Callable[[Sequence[str], int], Iterator[Answer]]:
        def generate(prompts: Sequence[str], max_new_tokens: int) -> Iterator[Answer]:
            for index in reversed(range(len(prompts))):
                yield index, answers.get(prompts[index], REFUSAL), "end"

        return generate

    return make
