"""Tokenises rows and collates padded batches: prompt, response, and the position of the last prompt token."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from reft_studio.data.chat.marks import answer_place
from reft_studio.errors import DataError, SpecError
from reft_studio.models.loading import LoadedModel

IGNORE = -100
"""Label of an unsupervised token."""
TAIL = 24
"""Prompt tokens kept at the end when a prompt is cut: the template's header and the last words."""

LEAST_CONTEXT = 64
"""Minimum context length of a model: a cut prompt keeps its first and last tokens, and leaves space for a response."""


@dataclass(frozen=True)
class Example:
    """One tokenised row: prompt, then response and end of text; `prompt` is the number of prompt tokens."""

    ids: list[int]
    prompt: int
    index: int  # position in its set; keys the teacher's cache

    @property
    def answered(self) -> bool:
        """Whether there is a response besides the end of text."""
        return len(self.ids) > self.prompt + 1


@dataclass(frozen=True)
class Batch:
    """Examples that are processed together; tensors are built on demand.

    The tensors are padded on the right: input_ids, attention_mask, labels are (n, t) int64, labels are IGNORE on prompt and
    padding; last_prompt is (n,), the index of the last prompt token.
    """

    examples: tuple[Example, ...]
    pad_id: int
    device: torch.device | str = "cpu"

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def index(self) -> list[int]:
        """Positions of the examples in their set."""
        return [example.index for example in self.examples]

    @property
    def tokens(self) -> int:
        return sum(len(example.ids) for example in self.examples)

    @property
    def supervised(self) -> int:
        """Number of supervised tokens."""
        return sum(len(example.ids) - max(example.prompt, 1) for example in self.examples)

    @property
    def last_prompt(self) -> Tensor:
        return torch.tensor([example.prompt - 1 for example in self.examples], device=self.device)

    @property
    def input_ids(self) -> Tensor:
        return self._padded([example.ids for example in self.examples], self.pad_id)

    @property
    def attention_mask(self) -> Tensor:
        return self._padded([[1] * len(example.ids) for example in self.examples], 0)

    @property
    def labels(self) -> Tensor:
        return self._padded([[IGNORE] * example.prompt + example.ids[example.prompt :] for example in self.examples], IGNORE)

    def part(self, rows: Sequence[int]) -> Batch:
        """A batch of some of the rows, by position."""
        return Batch(tuple(self.examples[row] for row in rows), self.pad_id, self.device)

    def _padded(self, rows: Sequence[list[int]], fill: int) -> Tensor:
        width = max(map(len, rows))
        return torch.tensor([row + [fill] * (width - len(row)) for row in rows], device=self.device)


class Encoder:
    """Tokenises rows for one model; counts truncated rows."""

    def __init__(self, model: LoadedModel, *, max_length: int = 512) -> None:
        if max_length < 2 * TAIL:
            raise SpecError(f"max_length is {max_length}; it must be at least {2 * TAIL} tokens.")
        if model.context < LEAST_CONTEXT:
            raise SpecError(
                f"The model '{model.source}' has positions for {model.context} tokens; at least {LEAST_CONTEXT} are needed for a prompt "
                "and the beginning of an answer. Choose a model with a longer context."
            )
        self.model = model
        self.max_length = min(max_length, model.context)
        self.truncated = 0

    @property
    def longest_prompt(self) -> int:
        """Maximum prompt tokens; the rest is reserved for a response, in training and generation."""
        return self.max_length - TAIL

    def prompt_ids(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        """Tokens of the rendered prompt, up to the last turn of the user or of a tool, template header included."""
        return self._ids(self.model.template.prompt(list(messages)))

    def _ids(self, text: str) -> list[int]:
        """Tokens of a rendered prompt.

        A prompt that is too long loses tokens from its middle, so that the header, whose last token carries the refusal feature, stays.
        """
        ids: list[int] = self.model.tokenizer(text, add_special_tokens=self.model.template.special_tokens, verbose=False)["input_ids"]
        while ids and ids[-1] == self.model.eos_id and self.model.template.special_tokens:
            ids.pop()  # some tokenizers end every text with eos; a prompt must not
        if len(ids) > self.longest_prompt:
            self.truncated += 1
            ids = ids[: self.longest_prompt - TAIL] + ids[-TAIL:]
        return ids

    def example(self, row: Mapping[str, Any], index: int) -> Example:
        """Tokens of one dataset row. Prompt and response are tokenised separately, so no token spans both."""
        messages = json.loads(row["messages"]) if isinstance(row["messages"], str) else row["messages"]
        turn = answer_place(messages)  # all turns before it are context, all after it train nothing
        context = messages[:turn] if turn >= 0 else [{"role": "user", "content": row["prompt"]}]
        prompt = self._ids(self.model.template.before_answer(context))
        response: list[int] = self.model.tokenizer(row["response"], add_special_tokens=False, verbose=False)["input_ids"]
        room = self.max_length - len(prompt)
        if len(response) + 1 > room:
            self.truncated += 1
            response = response[: room - 1]
        return Example([*prompt, *response, self.model.eos_id], len(prompt), index)

    def examples(self, rows: Iterable[Mapping[str, Any]]) -> list[Example]:
        """Tokens of all rows, in order. Raises DataError, naming the row, if the template rejects one."""
        examples = []
        for index, row in enumerate(rows):
            try:
                examples.append(self.example(row, index))
            except DataError as exc:
                raise DataError(f"Row {row.get('row_id', index)}: {exc}") from exc
        return examples

    def answered(self, rows: Iterable[Mapping[str, Any]], *, name: str) -> list[Example]:
        """`examples` of alignment data. Raises DataError if rows have no response: a model would learn to generate nothing."""
        examples = self.examples(rows)
        if silent := sum(not example.answered for example in examples):
            raise DataError(f"{silent} of the {len(examples)} rows of the alignment data '{name}' have no response. Give every row one.")
        return examples


def collate(examples: Sequence[Example], *, pad_id: int, device: torch.device | str = "cpu") -> Batch:
    """Examples as one batch."""
    return Batch(tuple(examples), pad_id, device)


def join(batches: Sequence[Batch], *, pad_id: int | None = None) -> Batch:
    """One batch of all rows in order, for a single forward pass."""
    pad_id = batches[0].pad_id if pad_id is None else pad_id
    return Batch(tuple(example for batch in batches for example in batch.examples), pad_id, batches[0].device)


class Stream:
    """Endless batches of `size` examples, shuffled anew each epoch, without replacement; a batch may span two epochs.

    Batches depend on examples, size and the generator's seed alone, so the number of draws determines the state.
    """

    def __init__(self, examples: Sequence[Example], *, size: int, rng: random.Random) -> None:
        if not examples:
            raise SpecError("There is no row to draw a batch from.")
        self._examples, self._size, self._rng = list(examples), size, rng
        self._order: list[Example] = []
        self._at = 0
        self.drawn = 0
        """Draws so far."""

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> list[Example]:
        self._advance()
        return self._order[self._at - self._size : self._at]

    def skip_to(self, drawn: int) -> None:
        """Continue as if `drawn` batches had been drawn. Raises SpecError if more were drawn already."""
        if drawn < self.drawn:
            raise SpecError(f"A stream cannot go back from draw {self.drawn} to {drawn}. Make it anew.")
        while self.drawn < drawn:
            self._advance()

    def state(self) -> dict[str, int]:
        """Number of draws, for a snapshot."""
        return {"drawn": self.drawn}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from that number of draws."""
        self.skip_to(int(state["drawn"]))

    def _advance(self) -> None:
        while len(self._order) - self._at < self._size:
            self._order = self._order[self._at :] + self._rng.sample(self._examples, len(self._examples))
            self._at = 0
        self._at += self._size
        self.drawn += 1


def by_length(lengths: Sequence[int], *, token_budget: int = 8192, max_rows: int = 256) -> list[list[int]]:
    """Batches of positions, sorted by length, each of at most `token_budget` padded tokens."""
    plan: list[list[int]] = []
    current: list[int] = []
    for position in sorted(range(len(lengths)), key=lambda item: (lengths[item], item)):
        if current and ((len(current) + 1) * lengths[position] > token_budget or len(current) == max_rows):
            plan.append(current)
            current = []
        current.append(position)
    return [*plan, current] if current else plan
