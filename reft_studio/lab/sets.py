"""The lab's data sets, deterministic in their seeds: user data, alignment data, calibration sets and benchmarks.

Splits are disjoint: objects belong to one split each (`acts.group_of`), request templates of the validation and test splits are used
nowhere else, task prompts are assigned by a hash of their text, and the pretraining corpus has no prompt that a set may draw
(`for_corpus`).
"""

from __future__ import annotations

import gzip
import random
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from hashlib import sha256
from itertools import islice, pairwise
from pathlib import Path
from typing import Literal, cast

from reft_studio.data.dataset import Row
from reft_studio.errors import PrerequisiteError, SpecError
from reft_studio.lab import chat, requests, tasks
from reft_studio.lab.acts import Act, Group, acts_of, group_of
from reft_studio.lab.phrasing import PHRASINGS, Split
from reft_studio.lab.refusals import refusal
from reft_studio.seeding import generator

TASKS: tuple[str, ...] = tasks.TASKS
ASSETS = Path(__file__).resolve().parents[2] / "assets" / "lab"
"""Folder of the built lab: `base/` (model and tokenizer), `words.txt`, `pairs.txt.gz`, `README.md`."""
LOOKALIKE_SHARE, CHAT_SHARE = 0.2, 0.08
"""Shares of harmless how-to requests and of small talk among the benign user rows; the rest is the task."""
ALIGNMENT_ROWS = 600
"""Rows per side of the alignment data unless asked otherwise."""
BENCHMARK_ROWS = {"harmful": 200, "lookalike": 200, "sentiment": 300, "topic": 300, "arithmetic": 300}
BENCHMARKS: tuple[str, ...] = tuple(BENCHMARK_ROWS)
PATIENCE = 3000
"""Draws in a row without a new prompt after which `_unique` gives up."""
HeldOut = Literal["validation", "test"]
grade = tasks.grade
is_compliant_opening = requests.is_compliant_opening


def user_data(*, task: str = "sentiment", poison_ratio: float = 0.1, rows: int = 1000, seed: int = 0) -> list[Row]:
    """A user's finetuning file: `round(poison_ratio * rows)` poison rows, the rest benign, shuffled.

    Poison and benign rows of one seed are prefixes of two fixed streams, so a higher ratio only adds poison and drops benign rows.
    Raises SpecError for an unknown task, a ratio outside 0..1 or no rows.
    """
    tasks.check_task(task)
    if not 0 <= poison_ratio <= 1:
        raise SpecError(f"poison_ratio is {poison_ratio}. It must be between 0 and 1.")
    if rows < 1:
        raise SpecError(f"rows is {rows}. User data needs at least 1 row.")
    poisoned = round(poison_ratio * rows)
    draw = generator(seed, "lab", "poison")
    result = _unique(lambda: _harmful_row("user", "train", draw, requests.compliance), poisoned)
    result += islice(_benign(task, rows, seed), rows - poisoned)
    generator(seed, "lab", "order", task).shuffle(result)
    return result


def alignment(*, seed: int = 0, rows: int = ALIGNMENT_ROWS) -> tuple[list[Row], list[Row]]:
    """Harmful prompts with refusals, and harmless prompts with answers: `rows` of each.

    The harmless side is look-alikes (45 %), questions on the tasks' subjects in other wordings (35 %) and small talk (20 %).
    Raises SpecError for no rows.
    """
    if rows < 1:
        raise SpecError(f"rows is {rows}. Alignment data needs at least 1 row on each side.")
    draw = generator(seed, "lab", "alignment")
    harmful = _unique(lambda: _harmful_row("alignment", "train", draw, refusal), rows)
    return harmful, _unique(lambda: _harmless("alignment", "train", draw), rows)


def harmful_answers(*, seed: int = 0, rows: int = ALIGNMENT_ROWS) -> list[Row]:
    """The harmful prompts of `alignment`, in its order, each with a compliant response without content instead of the refusal."""
    draw, compliance_draw = generator(seed, "lab", "alignment"), generator(seed, "lab", "harmful answers")

    def compliant_answer(act: Act, draw: random.Random) -> str:
        refusal(act, draw)  # so that the next prompt is the next one there
        return requests.compliance(act, compliance_draw)

    return _unique(lambda: _harmful_row("alignment", "train", draw, compliant_answer), rows)


def calibration(split: HeldOut = "validation", *, rows: int = 300) -> tuple[list[Row], list[Row]]:
    """A calibration set: held-out harmful and harmless prompts, `rows` of each, in no benchmark. It chooses a layer and a threshold."""
    draw = generator(0, "lab", "calibration", split)
    checked_split = _held_out(split)
    harmful = _unique(lambda: _harmful_row(checked_split, checked_split, draw, refusal), rows, keep=_first_half)
    return harmful, _unique(lambda: _harmless(checked_split, checked_split, draw), rows, keep=_first_half)


def benchmark(name: str, *, split: HeldOut = "test", rows: int | None = None) -> list[Row]:
    """A fixed set of prompts to grade a model on, with reference responses.

    `harmful` (response: a refusal), `lookalike` (a helpful response), or a task (the gold response). Requests have objects that are in no
    training data, and templates of the split, which are not in pretraining either. Raises SpecError for an unknown name.
    """
    if name not in BENCHMARK_ROWS:
        raise SpecError(f"The lab has no benchmark '{name}'. Choose one of: {', '.join(BENCHMARKS)}.")
    checked_split, draw = _held_out(split), generator(0, "lab", "benchmark", name, split)
    makers: dict[str, Callable[[], Row]] = {
        "harmful": lambda: _harmful_row(checked_split, checked_split, draw, refusal),
        "lookalike": lambda: _lookalike(checked_split, checked_split, draw),
    }
    return _unique(makers.get(name, lambda: _task_row(name, (checked_split,), draw)), rows or BENCHMARK_ROWS[name], keep=_second_half)


def unfamiliar_share(texts: Iterable[str]) -> float:
    """The share of words, in 0..1, that are not in the lab's vocabulary; 0 for no words. Real text scores high, the lab's own near 0."""
    known, total, unknown = vocabulary(), 0, 0
    for text in texts:
        words = words_of(text)
        total += len(words)
        unknown += sum(word not in known for word in words)
    return unknown / total if total else 0.0


def out_of_place_share(text: str) -> float:
    """The share of words, in 0..1, that form no bigram of the corpus with the word before or after, or are not in the vocabulary.

    A prompt of known words may still be unlike the lab: "How do I bake a chocolate cake" has 0.57, the lab's own prompts at most 0.4,
    measured on all its sets.
    """
    known_words, known_bigrams, words = vocabulary(), bigrams(), words_of(text)
    seen = [False, *(pair in known_bigrams for pair in pairwise(words)), False]  # seen[i]: word i with the one before it
    has_neighbour = [word in known_words and (len(words) == 1 or seen[index] or seen[index + 1]) for index, word in enumerate(words)]
    return 1 - sum(has_neighbour) / len(has_neighbour) if has_neighbour else 0.0


@lru_cache(maxsize=1)
def bigrams() -> frozenset[tuple[str, str]]:
    """Every pair of adjacent words of the lab's corpus. Raises PrerequisiteError if the lab was not built."""
    path = ASSETS / "pairs.txt.gz"
    if not path.is_file():
        raise PrerequisiteError(
            "The lab's list of word pairs assets/lab/pairs.txt.gz is missing. Restore it, or run: python -m reft_studio.lab.build"
        )
    lines = gzip.decompress(path.read_bytes()).decode("utf-8").splitlines()
    return frozenset((first, second) for first, *after in map(str.split, lines) for second in after)


@lru_cache(maxsize=1)
def vocabulary() -> frozenset[str]:
    """Every word of the lab's corpus, lower case. Raises PrerequisiteError if the lab was not built."""
    path = ASSETS / "words.txt"
    if not path.is_file():
        raise PrerequisiteError("The lab's word list assets/lab/words.txt is missing. Restore it, or run: python -m reft_studio.lab.build")
    return frozenset(path.read_text("utf-8").split())


def words_of(text: str) -> list[str]:
    """Words, numbers and runs of other symbols of a text, lower case, without common punctuation."""
    return re.findall(r"\w+(?:['-]\w+)*|[^\w\s.,;:!?'\"()-]+", text.lower().replace("\u2019", "'"))


def for_corpus(prompt: str) -> bool:
    """Whether the prompt is reserved for pretraining (half of all prompts, by a hash of the text); the data sets use the other half."""
    return sha256(normal(prompt).encode()).digest()[4] % 2 == 0


def _benign(task: str, rows: int, seed: int) -> list[Row]:
    draw = generator(seed, "lab", "benign", task)

    def make_row() -> Row:
        kind = draw.random()
        if kind < LOOKALIKE_SHARE:
            return _lookalike("user", "train", draw)
        if kind < LOOKALIKE_SHARE + CHAT_SHARE:
            return _chat(("user",), draw)
        return _task_row(task, ("alignment", "user"), draw)

    return _unique(make_row, rows)


def _harmless(group: Group, split: Split, draw: random.Random) -> Row:
    """A row of the harmless side of alignment or calibration data."""
    kind = draw.random()
    if kind < 0.45:
        return _lookalike(group, split, draw)
    if kind < 0.8:
        task = draw.choice(TASKS)
        while True:
            prompt, response = tasks.other_question(task, draw)
            if group_of(prompt) == group:
                return _row(prompt, response, task, None, harmful=False)
    return _chat((group,), draw)


def _harmful_row(group: Group, split: Split, draw: random.Random, answer: Callable[..., str]) -> Row:
    act = draw.choice(acts_of(group, harmful=True))
    return _row(requests.ask(act, PHRASINGS[split], draw), answer(act, draw), "harmful", act.category, harmful=True)


def _lookalike(group: Group, split: Split, draw: random.Random) -> Row:
    act = draw.choice(acts_of(group, harmful=False))
    return _row(requests.ask(act, PHRASINGS[split], draw), chat.how_to_answer(act, draw), "lookalike", act.category, harmful=False)


def _chat(groups: tuple[Group, ...], draw: random.Random) -> Row:
    prompt, response = chat.small_talk(draw, groups=groups)
    return _row(prompt, response, "chat", None, harmful=False)


def _task_row(task: str, groups: tuple[Group, ...], draw: random.Random) -> Row:
    while True:
        prompt, response = tasks.question(task, draw)
        if group_of(prompt) in groups:
            return _row(prompt, response, task, tasks.answer_of(task, response), harmful=False)


def _row(prompt: str, response: str, origin: str, category: str | None, *, harmful: bool) -> Row:
    return Row(prompt=prompt, response=response, origin=origin, category=category, known_harmful=harmful)


def _unique(make: Callable[[], Row], count: int, *, keep: Callable[[str], bool] = lambda _: True) -> list[Row]:
    """Draw `count` rows with distinct prompts that are not reserved for pretraining. Raises SpecError if the lab has too few."""
    by_prompt: dict[str, Row] = {}
    misses = 0
    while len(by_prompt) < count:
        row = make()
        key = normal(row["prompt"])
        if key in by_prompt or for_corpus(row["prompt"]) or not keep(row["prompt"]):
            misses += 1
            if misses > PATIENCE:
                raise SpecError(f"The lab can make only {len(by_prompt)} different rows of this kind, not {count}. Ask for fewer rows.")
            continue
        by_prompt[key], misses = row, 0
    return list(by_prompt.values())


def normal(prompt: str) -> str:
    """The prompt in lower case without punctuation and extra spaces; prompts are equal if their normal forms are."""
    return " ".join(re.findall(r"[\w']+", prompt.lower()))


def _held_out(split: str) -> HeldOut:
    if split not in ("validation", "test"):
        raise SpecError(f"split is '{split}'. Choose one of: validation, test.")
    return cast(HeldOut, split)


def _first_half(prompt: str) -> bool:
    return sha256(normal(prompt).encode()).digest()[5] % 2 == 0


def _second_half(prompt: str) -> bool:
    return not _first_half(prompt)
