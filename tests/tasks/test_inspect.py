from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from reft_studio.data.index.inspect import inspection
from reft_studio.jobs.kinds import BACKGROUND, job_function
from reft_studio.jobs.queue import JobQueue
from reft_studio.progress import Silent
from reft_studio.tasks import lab_data
from reft_studio.tasks.index import prepare
from reft_studio.tasks.inspect import inspect_dataset
from reft_studio.workspace import Workspace


@dataclass
class Context(Silent):
    workspace: Workspace
    job_id: str = "inspect-1"
    warnings: list[str] = field(default_factory=list)


def test_a_sample_is_inspected_with_the_tokenizer_of_the_lab(tmp_path: Path) -> None:
    context = Context(Workspace.open(tmp_path))
    dataset = lab_data.sample(context.workspace, rows=40)
    result = job_function("inspect")(context, {"dataset": dataset.id})
    found = inspection(dataset)
    assert found is not None and found.tokens is not None
    assert result["near"] == found.near and found.tokens.tokenizer == "lab" and 0 < found.tokens.quantiles["row"]["max"] < 1000


def test_a_teacher_that_is_gone_costs_the_tokens_only(tmp_path: Path) -> None:
    context = Context(Workspace.open(tmp_path))
    dataset = lab_data.sample(context.workspace, rows=10)
    inspect_dataset(context, {"dataset": dataset.id, "teacher": "gone"})
    found = inspection(dataset)
    assert found is not None and found.tokens is None and "gone" in context.warnings[0]


def test_a_new_dataset_is_inspected_once_in_the_background(tmp_path: Path) -> None:
    context = Context(Workspace.open(tmp_path))
    dataset = lab_data.sample(context.workspace, rows=10)
    for _ in range(2):
        prepare(context, dataset)
    waiting = JobQueue(context.workspace).list()
    assert [(job.kind, job.params["dataset"]) for job in waiting] == [("inspect", dataset.id)] and "inspect" in BACKGROUND
