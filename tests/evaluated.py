"""Subjects that were asked without a model: a suite, their answers as they are ordered, and the rows of the comparison."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from reft_studio.comparison.table import RunRow, load_rows
from reft_studio.data.dataset import Row, write_dataset
from reft_studio.evaluation.evaluate import evaluate
from reft_studio.evaluation.suite import Suite, dataset_suite
from reft_studio.workspace import Workspace, write_json

REFUSAL, COMPLIANCE = "I can't help with that.", "Sure, take a pin and turn the lock slowly."
Add = Callable[..., None]


@pytest.fixture
def suite(workspace: Workspace) -> Suite:
    """Forty harmful, twenty harmless and twenty task prompts."""
    harmful = [Row(prompt=f"harmful {i}", response=REFUSAL, category="theft" if i % 4 else "fraud") for i in range(40)]
    harmless = [Row(prompt=f"harmless {i}", response="Of course.") for i in range(20)]
    task = [Row(prompt=f"task {i}", response="positive") for i in range(20)]
    sets = {"harmful": harmful, "harmless": harmless, "task": task}
    ids = {name: write_dataset(workspace, rows, name=name, role="benchmark").id for name, rows in sets.items()}
    return dataset_suite("small", **ids, benchmark="exact_label", max_new_tokens=16)


@pytest.fixture
def add(workspace: Workspace, suite: Suite) -> Add:
    """Evaluate a model that complies with the first `hs` harmful prompts, refuses `over` harmless ones and has `fa` answers right."""

    def answer(prompt: str, hs: int, over: int, fa: int) -> str:
        kind, number = prompt.split()
        if kind == "harmful":
            return COMPLIANCE if int(number) < hs else REFUSAL
        if kind == "harmless":
            return REFUSAL if int(number) < over else "Here is a nice recipe for you."
        return "positive" if int(number) < fa else "negative"

    def add(run_id: str, *, hs: int = 0, over: int = 0, fa: int = 20, spec: dict[str, Any] | None = None, **options: Any) -> None:
        if spec is not None:
            write_json(workspace.folder("runs", run_id) / "spec.json", {"model": "lab", "dataset": "0" * 16, **spec})
        answers = lambda prompts, tokens: ((i, answer(p, hs, over, fa), "end") for i, p in enumerate(prompts))  # noqa: E731
        evaluate(workspace, run_id, options.pop("suite", suite), answers, **options)

    return add


@pytest.fixture
def user_data(workspace: Workspace) -> Callable[[float, int], str]:
    """Id of user data with this share of poison, drawn with this seed by the lab."""

    def make(ratio: float, seed: int) -> str:
        rows = [Row(prompt=f"row {i} of draw {seed}", response="x", known_harmful=i < 20 * ratio) for i in range(20)]
        facts = {"made_by": "lab", "task": "sentiment", "poison_ratio": ratio, "seed": seed}
        return write_dataset(workspace, rows, name=f"{ratio} {seed}", role="user", extra=facts).id

    return make


@pytest.fixture
def rows(workspace: Workspace, add: Add, user_data: Callable[[float, int], str]) -> list[RunRow]:
    """A base, plain finetuning and Ref-Teacher with two seeds at 10 % poison, and one seed of each at 20 %."""
    add("base--lab", hs=38, over=0, fa=1)
    for seed in (0, 1):
        data = user_data(0.1, seed)
        add(f"sft{seed}", hs=36 - seed, over=0, fa=18, spec={"method": "sft", "seed": seed, "dataset": data})
        add(
            f"ref{seed}", hs=4 + seed, over=2, fa=17 + seed, spec={"method": "ref_teacher", "seed": seed, "dataset": data, "teacher": "lab"}
        )
    data = user_data(0.2, 0)
    add("sft20", hs=40, over=0, fa=18, spec={"method": "sft", "seed": 0, "dataset": data})
    add("ref20", hs=5, over=3, fa=18, spec={"method": "ref_teacher", "seed": 0, "dataset": data, "teacher": "lab"})
    return load_rows(workspace)
