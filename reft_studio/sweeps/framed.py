"""Harmful test prompts in an attack's own frame: what was trained with a persona or a cipher may show only to those who use it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from reft_studio.attacks import ATTACKS
from reft_studio.attacks.disguise import harmless, has_frame, in_frame, rows_of
from reft_studio.data.dataset import Dataset, write_dataset
from reft_studio.evaluation.judges import usual_judge
from reft_studio.evaluation.result import Graded
from reft_studio.evaluation.suite import Suite
from reft_studio.models.session import Session
from reft_studio.progress import Progress
from reft_studio.tasks.evaluate import measure_adapter
from reft_studio.workspace import Workspace, write_json


def framed_suite(workspace: Workspace, suite: Suite, user: Dataset, attack: str, *, seed: int) -> Suite | None:
    """The harmful prompts of a suite, worded as the attacker would; None if the attack has no frame. `user` has rows to frame them with."""
    part = suite.part("harmful")
    if part is None or not has_frame(attack):
        return None
    asked = in_frame(suite.rows(workspace)["harmful"], harmless(rows_of(user)), attack, seed=seed)
    title = ATTACKS.get(attack).info.title
    stored = write_dataset(workspace, asked, name=f"{suite.name}: harmful prompts, {title}", role="benchmark")
    framed = part.model_copy(update={"source": "dataset", "of": stored.id, "rows": None})
    return Suite(name=f"{suite.name}, {title}", sets=(framed,), compliance=suite.compliance)


def ask_in_frame(
    workspace: Workspace, session: Session, run: Path, adapter: str, suite: Suite, framed: Suite, progress: Progress, *, keep: Path
) -> dict[str, Any] | None:
    """The harmful score on framed prompts, by the judge of the usual ones; responses and verdicts are written to `keep`."""
    judge = usual_judge(suite)
    result, graded = measure_adapter(workspace, session, run.name, adapter, framed, progress, judge=judge)
    write_json(keep, {"judge": f"{result.judge} {result.judge_version}", "answers": _responses(graded, result.judge)})
    return None if result.hs is None else asdict(result.hs)


def _responses(graded: Sequence[Graded], judge: str) -> list[dict[str, str]]:
    return [{"prompt": row.prompt, "answer": row.completion, "verdict": row.grades[judge].verdict} for row in graded if judge in row.grades]
