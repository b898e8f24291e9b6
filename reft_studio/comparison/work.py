"""The amount of training of each run, since a comparison of unequal amounts says less than it seems to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reft_studio.workspace import Workspace, read_json

ALIKE = 0.05
"""Relative difference in passes or tokens below which they count as equal."""


@dataclass(frozen=True)
class RunWork:
    """The amount of training of one run. `rows` were trained on and `removed` were not; a step has `batch` user and `alignment` rows.

    `tokens` counts prompt and response tokens of all steps, None for runs from before they were counted.
    """

    steps: int
    rows: int
    removed: int
    batch: int
    alignment: int
    tokens: int | None

    @property
    def passes(self) -> float:
        """Average number of times the run saw each of its user rows."""
        return self.steps * self.batch / max(1, self.rows)


def work_of(workspace: Workspace, run_id: str, spec: Mapping[str, Any]) -> RunWork | None:
    """From the files of a run; None for models that are no run, and if the result is gone."""
    path = workspace.folder("runs", run_id) / "result.json"
    if not spec or not path.is_file():
        return None
    result, optim = read_json(path), spec.get("optim") or {}
    if not (result.get("steps") and result.get("kept") and optim.get("batch_size")):
        return None
    alignment = int(optim.get("alignment_batch_size") or 0) if spec.get("harmful") and spec.get("helpful") else 0
    removed = int(result.get("removed") or 0)
    return RunWork(int(result["steps"]), int(result["kept"]), removed, int(optim["batch_size"]), alignment, result.get("tokens"))


def unequal(runs: Sequence[tuple[str, RunWork | None]]) -> list[str]:
    """How the runs, each with the name of its setting, differ in their amount of training; one sentence each."""
    known = [(title, work) for title, work in runs if work is not None]
    sentences = []
    if len({work.steps for _, work in known}) > 1:
        sentences.append(f"Unequal work: different numbers of steps, {_each(known, lambda work: f'{work.steps:,}')}.")
    if len({work.batch for _, work in known}) > 1:
        sentences.append(f"Unequal work: different numbers of user rows in a step, {_each(known, lambda work: f'{work.batch}')}.")
    if _differ([work.passes for _, work in known]):
        sentences.append(f"Unequal work: passes over the user data, {_each(known, lambda work: f'{work.passes:.1f}')}.")
    guided = [(title, work) for title, work in known if work.alignment]
    if guided and len(guided) < len(known):
        rows = _each(guided, lambda work: f"{work.alignment} beside {work.batch} user rows a step")
        sentences.append(f"Unequal work: some runs also learn from alignment data, {rows}.")
    tokens = [work.tokens for _, work in known if work.tokens]
    if len(tokens) == len(known) and _differ(tokens):
        sentences.append(f"Unequal work: tokens read in training, {_each(known, lambda work: f'{work.tokens:,}')}.")
    return sentences


def _differ(values: Sequence[float]) -> bool:
    return len(values) > 1 and max(values) > (1 + ALIKE) * min(values)


def _each(known: Sequence[tuple[str, RunWork]], words: Callable[[RunWork], str]) -> str:
    """`160 (Plain SFT), 80 (Ref-Teacher)`: every value once, with the runs that have it."""
    by_value: dict[str, list[str]] = {}
    for title, work in known:
        names = by_value.setdefault(words(work), [])
        if title not in names:
            names.append(title)
    return "; ".join(f"{value} ({', '.join(names)})" for value, names in by_value.items())
