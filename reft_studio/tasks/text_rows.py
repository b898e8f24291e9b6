"""The rows of the demo on a real model: which texts, and which parts are kept disjoint."""

from __future__ import annotations

from pathlib import Path

from reft_studio.evaluation.suite import Suite
from reft_studio.lab import sets
from reft_studio.tasks.demo_data import Alignment, DisjointPrompts, TextRows, stored_alignment, stored_harmful_answers
from reft_studio.tasks.lab_data import AlignmentSets
from reft_studio.tasks.public_sets import PUBLIC_TASKS, public_texts
from reft_studio.tasks.shipped_texts import alignment, shipped_texts
from reft_studio.workspace import Workspace

TASKS: dict[str, tuple[str, ...]] = {"public": tuple(PUBLIC_TASKS), "shipped": sets.TASKS}


def text_rows(
    workspace: Workspace, folder: Path | None, task: str, *, poison_ratio: float, rows: int, prompts: int, task_prompts: int
) -> TextRows:
    """Shipped alignment data; user data and test prompts from the public sets in `folder`, or from the shipped texts."""
    disjoint, aligned = DisjointPrompts(), alignment()
    for part in aligned.parts():
        disjoint.take(part)
    if folder is None:
        texts = shipped_texts(task, rows=rows, prompts=prompts, task_prompts=task_prompts, disjoint=disjoint)
    else:
        texts = public_texts(folder.expanduser(), task, prompts=prompts, task_prompts=task_prompts, disjoint=disjoint)
    return TextRows(workspace, texts, aligned, poison_ratio, rows)


def shipped_alignment(workspace: Workspace) -> AlignmentSets:
    """The shipped alignment data, for a base that has none of its own."""
    return stored_alignment(workspace, alignment())


def shipped_harmful_answers(workspace: Workspace) -> str:
    """Id of the harmful prompts of that alignment data with compliant responses without content."""
    return stored_harmful_answers(workspace, alignment())


def shipped_suite(workspace: Workspace, task: str, *, prompts: int, task_prompts: int) -> Suite:
    """Shipped harmful and harmless prompts and a task of the lab, for a real base without prompts of its user's."""
    texts = shipped_texts(task, rows=1, prompts=prompts, task_prompts=task_prompts, disjoint=DisjointPrompts())
    return TextRows(workspace, texts, Alignment([], [], [], []), 0.0, 1).suite()
