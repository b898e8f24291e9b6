"""Sequence classifiers with independent labels, such as PKU's beaver-dam: a linear head on a language model's last hidden state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from reft_studio.errors import PrerequisiteError
from reft_studio.models import memory
from reft_studio.models.batching import by_length
from reft_studio.models.generation import halving
from reft_studio.models.loading import free_memory, load_tokenizer, settled
from reft_studio.models.source import ModelSource, fetch, locate
from reft_studio.models.spec import DEFAULT, LoadSpec


class Classifier:
    """One probability per label and text; the label of a text does not depend on padding or on the rest of its batch."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.labels: list[str] = [model.config.id2label[index] for index in range(model.config.num_labels)]

    @classmethod
    def open(cls, source: str, *, labels: int, loading: LoadSpec = DEFAULT) -> Classifier:
        """Load a classifier with `labels` labels from a folder or Hub id. Raises PrerequisiteError if it is none, or not of safetensors."""
        located = locate(source, revision=loading.revision)
        settings = settled(located, loading)
        memory.check(located, settings, free_memory(settings.device))
        model = _weights(fetch(located), settings)
        if model.config.num_labels != labels or not hasattr(model, "score"):
            raise PrerequisiteError(
                f"The model '{source}' gives {model.config.num_labels} labels where this judge has {labels}, so it is another model. "
                "Give the folder or Hub id of the judge's own model."
            )
        return cls(model, load_tokenizer(source, revision=loading.revision))

    def tokens(self, text: str, *, max_length: int) -> list[int]:
        """Tokens of a text and the end-of-text token, truncated at `max_length` from the right, which cuts that token off too."""
        end = self.tokenizer.eos_token
        ended = text if text.endswith(end) else text + end
        ids: list[int] = self.tokenizer(ended, truncation=True, max_length=max_length, verbose=False)["input_ids"]
        return ids

    @torch.no_grad()
    def probabilities(
        self,
        texts: Sequence[str],
        *,
        max_length: int,
        token_budget: int,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> list[list[float]]:
        """(texts, labels): the sigmoid of each label, from the state of each text's last token, in order."""
        ids = [self.tokens(text, max_length=max_length) for text in texts]
        by_position: dict[int, list[float]] = {}
        plan = by_length([len(tokens) for tokens in ids], token_budget=token_budget, max_rows=128)
        for position, row in halving(plan, lambda batch: self._batch(ids, batch)):
            by_position[position] = row
            progress(len(by_position), len(texts))
        return [by_position[position] for position in range(len(texts))]

    def _batch(self, ids: Sequence[Sequence[int]], batch: list[int]) -> list[tuple[int, list[float]]]:
        width = max(len(ids[position]) for position in batch)
        pad = self.tokenizer.pad_token_id
        tokens = torch.full((len(batch), width), self.tokenizer.eos_token_id if pad is None else pad, dtype=torch.long)
        mask = torch.zeros_like(tokens)
        for row, position in enumerate(batch):
            tokens[row, : len(ids[position])] = torch.tensor(ids[position])
            mask[row, : len(ids[position])] = 1
        device = next(self.model.parameters()).device
        states: Tensor = self.model.base_model(input_ids=tokens.to(device), attention_mask=mask.to(device)).last_hidden_state
        # By the mask and not, as the library does, by the padding token: that would skip the end mark where the two are one token.
        last = states[torch.arange(len(batch), device=device), mask.sum(1).to(device) - 1]
        return list(zip(batch, torch.sigmoid(self.model.score(last).float()).tolist(), strict=True))


def _weights(source: ModelSource, loading: LoadSpec) -> Any:
    """The classifier with all weights loaded, in eval mode on its device."""
    from safetensors import SafetensorError
    from transformers import AutoModelForSequenceClassification
    from transformers.utils import logging as chatter

    chatter.disable_progress_bar()  # our own progress says what happens; bars of a library would cut through it
    options: dict[str, Any] = {"dtype": getattr(torch, loading.dtype)}
    try:
        model, info = AutoModelForSequenceClassification.from_pretrained(
            str(source.folder), use_safetensors=True, trust_remote_code=False, local_files_only=True, output_loading_info=True, **options
        )
    except (OSError, ValueError, RuntimeError, ImportError, SafetensorError) as exc:
        raise PrerequisiteError(
            f"The classifier '{source.name}' cannot be loaded ({type(exc).__name__}). It is a folder with config.json, safetensors weights "
            "and a tokenizer, of a sequence classifier that transformers knows."
        ) from exc
    if missing := sorted(info["missing_keys"]):
        raise PrerequisiteError(
            f"The classifier '{source.name}' lacks {len(missing)} weights, first {missing[0]}, so its labels would be chance. Give the "
            "judge's own model."
        )
    model.requires_grad_(False)
    return model.to(loading.device).eval()
