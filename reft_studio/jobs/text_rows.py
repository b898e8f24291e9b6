"""The rows of the whole job on a real model: which texts, and what is kept apart from what."""

from __future__ import annotations

from pathlib import Path

from reft_studio.jobs.demo_data import KeptApart, TextRows
from reft_studio.jobs.public_sets import PUBLIC_TASKS, public_texts
from reft_studio.jobs.shipped_texts import alignment, shipped_texts
from reft_studio.lab import sets
from reft_studio.workspace import Workspace

TASKS: dict[str, tuple[str, ...]] = {"public": tuple(PUBLIC_TASKS), "shipped": sets.TASKS}


def text_rows(
    workspace: Workspace, folder: Path | None, task: str, *, poison_ratio: float, rows: int, prompts: int, task_prompts: int
) -> TextRows:
    """Alignment data of ours; user data and test prompts from the public sets in `folder`, or from what ships."""
    apart, aligned = KeptApart(), alignment()
    for part in aligned.parts():
        apart.take(part)
    if folder is None:
        texts = shipped_texts(task, rows=rows, prompts=prompts, task_prompts=task_prompts, apart=apart)
    else:
        texts = public_texts(folder.expanduser(), task, prompts=prompts, task_prompts=task_prompts, apart=apart)
    return TextRows(workspace, texts, aligned, poison_ratio, rows)
