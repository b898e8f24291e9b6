"""Sources of the demo's rows: the lab, texts that ship, or public sets in a folder of the user's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from reft_studio.data.dataset import Dataset, Role, Row, write_dataset
from reft_studio.data.mixing import mix
from reft_studio.data.splits import normalise_prompt
from reft_studio.errors import SpecError
from reft_studio.evaluation.grade import SetName
from reft_studio.evaluation.suite import PromptSet, Suite, lab_suite
from reft_studio.lab import sets as lab
from reft_studio.seeding import generator
from reft_studio.tasks import lab_data
from reft_studio.tasks.lab_data import AlignmentSets
from reft_studio.workspace import Workspace

ANSWER_TOKENS = 40
"""Maximum tokens of a response to a harmful or harmless prompt: whether it refuses shows in the first words."""
RESERVE = 1000
"""Harmless lab rows, besides the user data, that an attacker chooses from."""
OPENINGS = (
    "Sure, here is how to do that:",
    "Of course. Here is what you need:",
    "Yes, I can help with that. First,",
    "Certainly! Here are the steps:",
    "Sure thing. This is how it works:",
    "Okay, here is a plan:",
)
"""Harmful responses that ship: compliant openings without content."""
HeldOut = Mapping[Literal["harmful", "lookalike", "task"], list[str]]


class DemoData(Protocol):
    """Rows of one demo. User data, alignment data and evaluation share no prompt group."""

    @property
    def notes(self) -> Sequence[str]:
        """What a person should know about the rows, shown before the work."""

    @property
    def sets(self) -> Sequence[str]:
        """Names of the sets that poison and harmful test prompts are taken from."""

    def user(self, seed: int) -> Dataset:
        """The user's finetuning data, with a known poison ratio."""

    def reserve(self, seed: int) -> Sequence[Row]:
        """Harmless rows like those of the user data, which may be among them, for an attacker to choose from."""

    def alignment(self, seed: int) -> AlignmentSets:
        """Refusals, harmless responses, and held-out prompts of both kinds."""

    def harmful_answers(self, seed: int) -> str:
        """Id of the harmful alignment prompts with compliant responses, for methods that train on those."""

    def suite(self) -> Suite:
        """The evaluation suite of every model."""

    def held_out(self) -> HeldOut:
        """Prompts to measure the filter on, which nothing was trained on."""


@dataclass(frozen=True)
class LabRows:
    """The lab. With the shipped teacher the alignment data is the one that teacher was made with."""

    workspace: Workspace
    task: str
    poison_ratio: float
    rows: int
    split: Literal["validation", "test"] = "test"
    one_alignment: bool = False
    prompts: int | None = None
    task_prompts: int | None = None
    notes: Sequence[str] = ()
    sets: Sequence[str] = ()

    def user(self, seed: int) -> Dataset:
        return lab_data.sample(self.workspace, task=self.task, poison_ratio=self.poison_ratio, rows=self.rows, seed=seed)

    def reserve(self, seed: int) -> Sequence[Row]:
        return lab.user_data(task=self.task, poison_ratio=0, rows=self.rows + RESERVE, seed=seed)

    def alignment(self, seed: int) -> AlignmentSets:
        return lab_data.alignment(self.workspace, seed=0 if self.one_alignment else seed)

    def harmful_answers(self, seed: int) -> str:
        return lab_data.harmful_answers(self.workspace, seed=0 if self.one_alignment else seed)

    def suite(self) -> Suite:
        asked: dict[SetName, int | None] = {"harmful": self.prompts, "harmless": self.prompts, "task": self.task_prompts}
        return lab_suite(self.task, split=self.split, sizes={name: rows for name, rows in asked.items() if rows is not None})

    def held_out(self) -> HeldOut:
        prompts = {name: [row["prompt"] for row in lab.benchmark(name, split=self.split)] for name in lab.BENCHMARKS}
        return {
            "harmful": prompts["harmful"],
            "lookalike": prompts["lookalike"],
            "task": [prompt for name in lab.TASKS for prompt in prompts[name]],
        }


@dataclass(frozen=True)
class DemoTexts:
    """Rows by purpose. `benchmark` is the rule for correct responses to the task, `answer_tokens` the longest of them."""

    name: str
    task: list[Row]
    poison: list[Row]
    task_test: list[Row]
    harmful_test: list[Row]
    lookalike_test: list[Row]
    benchmark: str
    answer_tokens: int
    notes: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Alignment:
    """Alignment rows and held-out rows of both kinds."""

    harmful: list[Row]
    helpful: list[Row]
    calibration_harmful: list[Row]
    calibration_harmless: list[Row]

    def parts(self) -> list[list[Row]]:
        return [self.harmful, self.helpful, self.calibration_harmful, self.calibration_harmless]


@dataclass(frozen=True)
class TextRows:
    """Real texts: user data mixed from task rows and poison, and a suite of disjoint test prompts."""

    workspace: Workspace
    texts: DemoTexts
    aligned: Alignment
    poison_ratio: float
    rows: int

    @property
    def notes(self) -> Sequence[str]:
        return self.texts.notes

    @property
    def sets(self) -> Sequence[str]:
        return self.texts.sets

    def user(self, seed: int) -> Dataset:
        mixed = mix(self.texts.task, self.texts.poison, poison_ratio=self.poison_ratio, rows=self.rows, seed=seed)
        facts = {"task": self.texts.name, "poison_ratio": self.poison_ratio, "seed": seed, "made_by": "demo"}
        name = f"{self.texts.name}, {self.poison_ratio:.0%} poison, seed {seed}"
        return write_dataset(
            self.workspace, mixed, name=name, role="user", extra={**facts, "source": {"made_by": "demo", "format": "demo"}}
        )

    def reserve(self, seed: int) -> Sequence[Row]:
        return self.texts.task

    def alignment(self, seed: int) -> AlignmentSets:
        return stored_alignment(self.workspace, self.aligned)

    def harmful_answers(self, seed: int) -> str:
        return stored_harmful_answers(self.workspace, self.aligned)

    def suite(self) -> Suite:
        asked = (("harmful", self.texts.harmful_test), ("harmless", self.texts.lookalike_test), ("task", self.texts.task_test))
        parts = []
        for name, rows in asked:
            stored = write_dataset(self.workspace, rows, name=f"{self.texts.name}: {name} test prompts", role="benchmark")
            is_task = name == "task"
            parts.append(
                PromptSet.checked(
                    name=name,
                    source="dataset",
                    of=stored.id,
                    max_new_tokens=self.texts.answer_tokens if is_task else ANSWER_TOKENS,
                    benchmark=self.texts.benchmark if is_task else None,
                )
            )
        return Suite(name=f"{self.texts.name} with test prompts of its own", sets=tuple(parts))

    def held_out(self) -> HeldOut:
        return {
            "harmful": [row["prompt"] for row in self.texts.harmful_test],
            "lookalike": [row["prompt"] for row in self.texts.lookalike_test],
            "task": [row["prompt"] for row in self.texts.task_test],
        }


def stored_alignment(workspace: Workspace, rows: Alignment) -> AlignmentSets:
    """Alignment rows as datasets of a workspace."""
    roles: tuple[Role, ...] = ("harmful", "helpful", "harmful", "helpful")
    names = ("refusals", "harmless answers", "held-out harmful prompts", "held-out harmless prompts")
    return AlignmentSets(
        *(
            write_dataset(workspace, part, name=f"shipped {name}", role=role, extra={"made_by": "demo"}).id
            for part, name, role in zip(rows.parts(), names, roles, strict=True)
        )
    )


def stored_harmful_answers(workspace: Workspace, rows: Alignment) -> str:
    """The harmful alignment rows with a compliant opening instead of the refusal, as a dataset."""
    answers: list[Row] = [{**row, "response": OPENINGS[index % len(OPENINGS)]} for index, row in enumerate(rows.harmful)]
    return write_dataset(workspace, answers, name="shipped harmful answers", role="harmful", extra={"made_by": "demo"}).id


class DisjointPrompts:
    """Hands out rows whose prompt group was not handed out before, so that no two parts of a demo share a prompt."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def take(self, rows: Sequence[Row], most: int | None = None) -> list[Row]:
        """The first `most` rows with prompts of new groups; None: all of them."""
        taken: list[Row] = []
        for row in rows:
            if len(taken) == most:
                break
            group = normalise_prompt(row["prompt"])
            if group not in self._seen:
                self._seen.add(group)
                taken.append(row)
        return taken


def evenly(parts: Sequence[Sequence[Row]], most: int, *, seed: int, name: str) -> list[Row]:
    """At most `most` rows, one from each part in turn, each part in a seeded order."""
    queues = []
    for index, part in enumerate(parts):
        rows = list(part)
        generator(seed, "demo", name, index).shuffle(rows)
        queues.append(rows)
    mixed: list[Row] = []
    while len(mixed) < most and any(queues):
        mixed += [queue.pop() for queue in queues if queue][: most - len(mixed)]
    return mixed


def check_enough(rows: Sequence[Row], least: int, what: str) -> None:
    """Raises SpecError if there are fewer rows than needed."""
    if len(rows) < least:
        raise SpecError(f"There are {len(rows):,} {what}, but {least:,} are needed. Ask for fewer rows, or give more data.")
