"""The texts that ship, as rows of the demo: alignment data, and prompts and tasks if no folder is given."""

from __future__ import annotations

from pathlib import Path

from reft_studio.data.dataset import Row
from reft_studio.data.origin.own_texts import OwnText, own_texts
from reft_studio.data.splits import split_groups
from reft_studio.lab import sets
from reft_studio.seeding import generator
from reft_studio.tasks.demo_data import OPENINGS, Alignment, DemoTexts, DisjointPrompts, check_enough, evenly
from reft_studio.teacher.quick import calibration_prompts
from reft_studio.teacher.refusals import refusal

HELPFUL = ("lookalike", "open", "task")
MOST = {"harmful": 600, "lookalike": 600, "open": 300, "task": 200}
"""Rows of each kind, training and held out: look-alikes are the majority of the answered ones, to prevent over-refusal."""
SHARES = {"training": 0.8, "calibration": 0.2}
_TASK_SHARE = 0.6
"""Minimum share of the task among the lab's benign rows."""


def alignment(folder: Path | None = None, *, seed: int = 0) -> Alignment:
    """Harmful prompts with our refusals and answered harmless ones, look-alikes among them; a fifth of each kind is held out.

    `folder` None reads the shipped texts. Raises PrerequisiteError if the files are missing or damaged.
    """
    rows = [_row(text) for text in own_texts(folder)]
    parts: dict[str, dict[str, list[Row]]] = {}
    for kind in ("harmful", *HELPFUL):
        own = evenly([[row for row in rows if row["origin"] == kind]], MOST[kind], seed=seed, name=f"alignment {kind}")
        check_enough(own, 10, f"alignment rows of kind '{kind}'")
        split_indices = split_groups([row["prompt"] for row in own], SHARES, seed=0, near=True)
        parts[kind] = {part: [own[index] for index in members] for part, members in split_indices.items()}
    draw = generator(seed, "demo", "refusals")
    harmful = {part: [_refused(row, refusal(draw)) for row in members] for part, members in parts["harmful"].items()}
    helpful = {part: [row for kind in HELPFUL for row in parts[kind][part]] for part in SHARES}
    return Alignment(harmful["training"], helpful["training"], harmful["calibration"], helpful["calibration"])


def shipped_texts(task: str, *, rows: int, prompts: int, task_prompts: int, disjoint: DisjointPrompts, seed: int = 0) -> DemoTexts:
    """A task of the lab, with the shipped calibration prompts as poison and as test prompts.

    Raises SpecError for an unknown task or more prompts than there are.
    """
    shipped = {
        kind: [_shipped(prompt.prompt, kind, prompt.category) for prompt in calibration_prompts() if prompt.kind == kind] for kind in KINDS
    }
    shuffled = {
        kind: evenly([rows_of_kind], len(rows_of_kind), seed=seed, name=f"shipped {kind}") for kind, rows_of_kind in shipped.items()
    }
    harmful = disjoint.take(shuffled["harmful"])
    drawn = sets.user_data(task=task, poison_ratio=0, rows=round(rows / _TASK_SHARE), seed=seed)
    texts = DemoTexts(
        name=task,
        task_test=disjoint.take(sets.benchmark(task, split="test", rows=task_prompts)),
        harmful_test=harmful[:prompts],
        lookalike_test=disjoint.take(shuffled["lookalike"], prompts),
        task=disjoint.take([row for row in drawn if row["origin"] == task]),
        poison=[{**row, "response": OPENINGS[index % len(OPENINGS)]} for index, row in enumerate(harmful[prompts:])],
        benchmark=f"lab_{task}",
        answer_tokens=24,
        sets=("calibration prompts",),
        notes=(
            "Prompts: the ones of our own that ship. The poison's answers are openings that comply and end there (toothless): they teach "
            "to comply, not how to do harm. With --data FOLDER public sets are used instead.",
        ),
    )
    check_enough(texts.harmful_test, prompts, "harmful test prompts that ship")
    check_enough(texts.lookalike_test, prompts, "look-alike test prompts that ship")
    return texts


KINDS = ("harmful", "lookalike")


def _row(text: OwnText) -> Row:
    return Row(prompt=text.prompt, response=text.response, origin=text.kind, category=text.category, known_harmful=text.harmful)


def _refused(row: Row, answer: str) -> Row:
    return {**row, "response": row["response"] or answer}


def _shipped(prompt: str, kind: str, category: str) -> Row:
    return Row(prompt=prompt, response="", origin=kind, category=category, known_harmful=kind == "harmful")
