"""Language models as judges: their output, and the probability of the word that decides."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from reft_studio.errors import PrerequisiteError
from reft_studio.models.batching import by_length
from reft_studio.models.generation import halving, left_padded
from reft_studio.models.loading import LoadedModel, load
from reft_studio.models.spec import DEFAULT, LoadSpec

Kind = Literal["positive", "negative", "space", "other"]


@dataclass(frozen=True)
class GeneratedToken:
    """One generated token: its kind of word, and the probability of the positive word against the negative one (0 to 1).

    `score` is above one half exactly when the positive word is more likely.
    """

    kind: Kind
    score: float


@dataclass(frozen=True)
class Spoken:
    """The model's greedy output for one prompt."""

    text: str
    steps: tuple[GeneratedToken, ...]

    @property
    def first(self) -> GeneratedToken:
        """The first token that is not white space: where a one-word verdict is."""
        return next((step for step in self.steps if step.kind != "space"), self.steps[-1])


class Speaker:
    """A causal language model that answers with one of two words, such as yes and no."""

    def __init__(self, model: LoadedModel, *, positive: str, negative: str) -> None:
        self.model = model
        words = [model.tokenizer.decode([token]).strip().lower() for token in range(len(model.tokenizer))]
        self._positive, self._negative = (_writings(model.tokenizer, words, word) for word in (positive, negative))
        if not self._positive or not self._negative or self._positive & self._negative:
            raise PrerequisiteError(
                f"The tokenizer of '{model.source}' has no tokens that tell '{positive}' from '{negative}', so this model is not the "
                "judge it was taken for. Give the folder or Hub id of the judge's own model."
            )
        self._spaces = {token for token, word in enumerate(words) if not word} - set(model.stop_ids)

    @classmethod
    def open(cls, source: str, *, positive: str, negative: str, loading: LoadSpec = DEFAULT) -> Speaker:
        """Load a judge's model. Raises PrerequisiteError if that fails."""
        return cls(load(source, loading=loading), positive=positive, negative=negative)

    def tokens(self, text: str, *, special_tokens: bool) -> list[int]:
        """Tokens of a rendered prompt, truncated in its middle if longer than the model's context."""
        ids: list[int] = self.model.tokenizer(text, add_special_tokens=special_tokens, verbose=False)["input_ids"]
        room = self.model.context - 64
        return ids if len(ids) <= room else ids[: room // 2] + ids[-(room - room // 2) :]

    @torch.no_grad()
    def say(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        token_budget: int,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> list[Spoken]:
        """The output for each prompt, in order; independent of the batching except for rounding."""
        by_position: dict[int, Spoken] = {}
        plan = by_length([len(prompt) + max_new_tokens for prompt in prompts], token_budget=token_budget, max_rows=64)
        for position, spoken in halving(plan, lambda batch: self._batch(prompts, batch, max_new_tokens)):
            by_position[position] = spoken
            progress(len(by_position), len(prompts))
        return [by_position[position] for position in range(len(prompts))]

    def _batch(self, prompts: Sequence[Sequence[int]], batch: list[int], max_new_tokens: int) -> list[tuple[int, Spoken]]:
        from transformers import LogitsProcessorList

        ids, mask = left_padded([prompts[position] for position in batch], pad_id=self.model.pad_id)
        watch = _WordWatch(self._positive, self._negative, self.model.device)
        output = self.model.base.generate(
            input_ids=ids.to(self.model.device),
            attention_mask=mask.to(self.model.device),
            max_new_tokens=max_new_tokens,
            do_sample=False,
            use_cache=True,
            pad_token_id=self.model.pad_id,
            eos_token_id=list(self.model.stop_ids),
            logits_processor=LogitsProcessorList([watch]),
        )
        answers: list[list[int]] = output[:, ids.shape[1] :].tolist()
        scores = torch.stack(watch.scores, dim=1).tolist()
        return [(position, self._spoken(answers[row], scores[row])) for row, position in enumerate(batch)]

    def _spoken(self, ids: list[int], scores: list[float]) -> Spoken:
        end = next((index for index, token in enumerate(ids) if token in self.model.stop_ids), len(ids))
        steps = [GeneratedToken(self._kind(token), score) for token, score in zip(ids[:end], scores, strict=False)]
        text = self.model.tokenizer.decode(ids[:end], skip_special_tokens=True)
        return Spoken(text, tuple(steps) or (GeneratedToken("other", scores[0]),))

    def _kind(self, token: int) -> Kind:
        if token in self._positive:
            return "positive"
        if token in self._negative:
            return "negative"
        return "space" if token in self._spaces else "other"


class _WordWatch:
    """Records the scores of the two words at every step; changes nothing."""

    def __init__(self, positive: Iterable[int], negative: Iterable[int], device: torch.device) -> None:
        self.positive, self.negative = (torch.tensor(sorted(ids), device=device) for ids in (positive, negative))
        self.scores: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        logits = scores.float()
        margin = logits[:, self.positive].amax(1) - logits[:, self.negative].amax(1)
        self.scores.append(torch.sigmoid(margin).cpu())
        return scores


def _writings(tokenizer: Any, words: Sequence[str], word: str) -> set[int]:
    """Tokens that are the word, in any case and with or without a leading space; else the first token of the word's encodings."""
    whole = {token for token, written in enumerate(words) if written == word}
    return whole or {ids[0] for text in (word, f" {word}") if (ids := tokenizer(text, add_special_tokens=False)["input_ids"])}
