"""Evaluation prompts as a person names them on the command line: files, datasets, published sets, or what ships."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from reft_studio.cli.verbs import dataset_named
from reft_studio.errors import SpecError
from reft_studio.evaluation.benchmarks import USUAL
from reft_studio.lab.sets import TASKS
from reft_studio.studio.evaluations import Suite, dataset_suite, lab_suite, preset_named
from reft_studio.studio.studio import Studio


@dataclass(frozen=True)
class Prompts:
    """What a person chose to ask; nothing but a task of the lab means the lab's suite."""

    suite: str = ""
    harmful: str | None = None
    harmless: str | None = None
    task: str = "sentiment"
    benchmark: str = USUAL
    rows: int | None = None
    max_new_tokens: int = 256
    split: Literal["validation", "test"] = "test"
    model: str = "lab"
    """The base that is asked; any other than the lab is asked the prompts of ours that ship, unless own ones are named."""

    @property
    def is_own(self) -> bool:
        """Whether files, datasets or published sets were named."""
        return bool(self.suite or self.harmful or self.harmless or self.own_task)

    @property
    def own_task(self) -> str | None:
        return self.task if self.task not in TASKS and ("." in self.task or "/" in self.task or len(self.task) == 16) else None


def suite_of(studio: Studio, prompts: Prompts) -> Suite:
    """The suite that was chosen; files become datasets of the workspace."""
    if not prompts.is_own and prompts.model != "lab":
        return studio.evaluations.shipped(prompts.task, prompts=prompts.rows or 200, task_prompts=prompts.rows or 200)
    if not prompts.is_own:
        sizes = dict.fromkeys(("harmful", "harmless", "task"), prompts.rows) if prompts.rows else None
        return lab_suite(prompts.task, split=prompts.split, sizes=sizes)  # type: ignore[arg-type]  # the three set names
    named = [preset_named(name.strip()) for name in prompts.suite.split(",") if name.strip()]
    if len({preset.set for preset in named}) < len(named):
        raise SpecError(f"--suite is '{prompts.suite}', but an evaluation has one set of each kind. Name one harmful set and one task.")
    sources = {"harmful": prompts.harmful, "harmless": prompts.harmless, "task": prompts.own_task}
    parts = []
    for preset in named:
        if not (source := sources.pop(preset.set)):
            raise SpecError(
                f"{preset.title} does not ship with the app. Give its file with --{preset.set} (columns {preset.columns})"
                + (", or --harmful PKU-Alignment/BeaverTails to download it." if preset.name == "beavertails" else ".")
            )
        parts.append(studio.evaluations.published(preset.name, source, rows=prompts.rows))
    own = {name: dataset_named(studio, source, role="benchmark") for name, source in sources.items() if source}
    if own:
        parts += dataset_suite(
            "own prompts",
            harmful=own.get("harmful"),
            harmless=own.get("harmless"),
            task=own.get("task"),
            benchmark=prompts.benchmark,
            rows=prompts.rows,
            max_new_tokens=prompts.max_new_tokens,
        ).sets
    name = ", ".join([preset.title for preset in named] + (["own prompts"] if own else []))
    return Suite(name=name, sets=tuple(parts))
