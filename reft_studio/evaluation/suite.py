"""A suite: the prompts a model is graded on, the response length, and the rule. Runs are comparable only under the same suite."""

from __future__ import annotations

from functools import lru_cache
from itertools import islice
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, model_validator

from reft_studio.data.dataset import Row, open_dataset
from reft_studio.errors import DataError, SpecError
from reft_studio.evaluation.benchmarks import BENCHMARKS, USUAL
from reft_studio.evaluation.grade import SetName
from reft_studio.evaluation.judges.spec import REFUSALS
from reft_studio.fingerprint import SHORT, of_rows, of_value
from reft_studio.lab import sets as lab
from reft_studio.models.spec import Settings
from reft_studio.workspace import Workspace

PREFERENCE = "preference"
"""Not a rule but a judge: which of two responses a local model prefers."""
_LAB_OF: dict[SetName, str] = {"harmful": "harmful", "harmless": "lookalike"}


class PromptSet(Settings):
    """One group of prompts: harmful ones (HS), harmless look-alikes (over-refusal), or a task with correct answers (FA)."""

    name: SetName
    source: Literal["lab", "dataset"] = Field(description="the embedded lab, or a dataset of the workspace")
    of: str = Field(description="name of the lab's benchmark, or id of the dataset")
    split: Literal["validation", "test"] = Field("test", description="held-out half of the lab; a dataset is used as it is")
    rows: int | None = Field(None, ge=1, description="first rows used; all if empty")
    max_new_tokens: int = Field(128, ge=1, le=4096, description="longest answer, in tokens")
    benchmark: str | None = Field(None, description="rule for right answers; only for the task")

    @model_validator(mode="after")
    def _rule_fits(self) -> PromptSet:
        if self.name == "task" and self.benchmark is None:
            raise ValueError(f"a task needs a rule for right answers. Choose one of: {', '.join(BENCHMARKS)}.")
        if self.benchmark is not None and self.benchmark != PREFERENCE:
            BENCHMARKS.get(self.benchmark)
        return self


class Suite(BaseModel):
    """The prompts asked of every model alike."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    sets: tuple[PromptSet, ...] = Field(min_length=1)
    compliance: str = Field(REFUSALS, description="judge whose grades stand beside the chosen one's; of the lab: its usual judge")

    @property
    def is_lab(self) -> bool:
        return all(part.source == "lab" for part in self.sets)

    @property
    def fingerprint(self) -> str:
        """16 hex digits over the settings and the prompts themselves: another lab version is another suite."""
        content = [_lab_fingerprint(part.of, part.split, part.rows) if part.source == "lab" else part.of for part in self.sets]
        return of_value({"suite": self.model_dump(exclude={"name"}), "content": content})[:SHORT]

    def rows(self, workspace: Workspace) -> dict[SetName, list[Row]]:
        """The prompts of every set, in the order they are asked. Raises StoreError or DataError if a dataset is gone or has none."""
        return {part.name: _lab_rows(part) if part.source == "lab" else _dataset_rows(workspace, part) for part in self.sets}

    def part(self, name: SetName) -> PromptSet | None:
        """The set of this name, if the suite has it."""
        return next((part for part in self.sets if part.name == name), None)


def lab_suite(
    task: str = "sentiment",
    *,
    split: Literal["validation", "test"] = "test",
    sizes: dict[SetName, int] | None = None,
    max_new_tokens: int = 24,
) -> Suite:
    """The lab's suite for one task: harmful requests, harmless look-alikes and the task; `sizes` limits the rows of a set.

    Responses of the lab are one or two short sentences, and their kind shows in the first words: 24 tokens suffice.
    """
    if task not in lab.TASKS:
        raise SpecError(f"The lab has no task '{task}'. Choose one of: {', '.join(lab.TASKS)}.")
    asked: tuple[SetName, ...] = ("harmful", "harmless", "task")
    parts = tuple(
        PromptSet.checked(
            name=name,
            source="lab",
            of=_LAB_OF.get(name, task),
            split=split,
            rows=(sizes or {}).get(name),
            max_new_tokens=max_new_tokens,
            benchmark=f"lab_{task}" if name == "task" else None,
        )
        for name in asked
    )
    return Suite(name=f"lab {task} ({split})", sets=parts, compliance="lab_compliance")


def dataset_suite(
    name: str,
    *,
    harmful: str | None = None,
    harmless: str | None = None,
    task: str | None = None,
    benchmark: str = USUAL,
    rows: int | None = None,
    max_new_tokens: int = 256,
) -> Suite:
    """A suite over datasets of the workspace, by id: harmful prompts, harmless prompts, a task (its responses are the correct answers)."""
    chosen = {"harmful": harmful, "harmless": harmless, "task": task}
    parts = tuple(
        PromptSet.checked(
            name=cast(SetName, part),
            source="dataset",
            of=dataset,
            rows=rows,
            max_new_tokens=max_new_tokens,
            benchmark=benchmark if part == "task" else None,
        )
        for part, dataset in chosen.items()
        if dataset
    )
    if not parts:
        raise SpecError("A suite needs at least one dataset: harmful prompts, harmless prompts, or a task with right answers.")
    return Suite(name=name, sets=parts)


def _lab_rows(part: PromptSet) -> list[Row]:
    return lab.benchmark(part.of, split=part.split, rows=part.rows)


@lru_cache(maxsize=32)
def _lab_fingerprint(of: str, split: Literal["validation", "test"], rows: int | None) -> str:
    return of_rows(lab.benchmark(of, split=split, rows=rows))


def _dataset_rows(workspace: Workspace, part: PromptSet) -> list[Row]:
    dataset = open_dataset(workspace, part.of)
    rows = [cast(Row, row) for row in islice(dataset.read(["row_id", "prompt", "response", "category"]), part.rows)]
    if not any(row["prompt"].strip() for row in rows):
        raise DataError(f"'{dataset.name}' has no prompt to ask. Choose a dataset whose rows have prompts.")
    if part.name == "task" and (without := sum(not row["response"].strip() for row in rows)):
        raise DataError(
            f"{without:,} of {len(rows):,} rows of '{dataset.name}' have no right answer, so accuracy would count them as mistakes. "
            "Give a file whose responses are the right answers."
        )
    return rows


def suite_from(value: dict[str, Any]) -> Suite:
    """A suite from its JSON. Raises SpecError with the field and reason if it does not fit."""
    try:
        return Suite.model_validate(value)
    except ValueError as exc:
        raise SpecError(f"The evaluation suite is not valid: {exc}") from exc
