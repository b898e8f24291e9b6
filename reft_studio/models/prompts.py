"""Tokenises many single-turn prompts at once: rendered by splicing where that is equivalent, tokenised in one call."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from jinja2 import Environment, TemplateError, nodes
from numpy.typing import NDArray

from reft_studio.data.chat.own_template import MARK
from reft_studio.data.chat.templates import ChatTemplate
from reft_studio.errors import DataError
from reft_studio.models.batching import TAIL, Encoder

CHUNK = 2048
"""Texts rendered and tokenised in one call."""
READY, CUT, REFUSED, NO_TOKENS = range(4)
"""Outcome per text: complete; truncated in its middle; rejected by the template; without a token."""
_MARK = "\ue000prompt\ue001"
_PROBES = ("x", " x", "x\n", "two\n\nlines", "{{ x }} {% y %}", "</s><|end|>[INST]", "user: x\nassistant: y", "é漢字🙂", "<b>&amp;</b>")
_NAMES = frozenset(
    ("role", "content", "type", "text", "user", "assistant", "system", "developer", "tool", "tools", "function", "ipython", "image")
)
"""Keys and roles that templates compare with; never a test of a message's text."""


@dataclass(frozen=True)
class TokenLists:
    """Many lists of token ids in one array: list i is ids[starts[i] : starts[i + 1]]; ids int32, starts (n + 1,) int64."""

    ids: NDArray[np.int32]
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, lists: Sequence[Sequence[int]]) -> TokenLists:
        starts = np.zeros(len(lists) + 1, dtype=np.int64)
        np.cumsum([len(ids) for ids in lists], out=starts[1:])
        return cls(np.fromiter(chain.from_iterable(lists), dtype=np.int32, count=int(starts[-1])), starts)

    @classmethod
    def joined(cls, parts: Sequence[TokenLists]) -> TokenLists:
        """All lists of `parts`, in order."""
        if not parts:
            return cls.of([])
        lengths = np.concatenate([part.lengths for part in parts])
        return cls(np.concatenate([part.ids for part in parts]), np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, index: int) -> NDArray[np.int32]:
        return self.ids[self.starts[index] : self.starts[index + 1]]

    def pick(self, positions: NDArray[np.integer[Any]]) -> TokenLists:
        """The lists at these positions, in this order."""
        lengths, parts = self.lengths[positions], [self[int(position)] for position in positions]
        ids = np.concatenate(parts) if parts else np.zeros(0, dtype=np.int32)
        return TokenLists(ids, np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)]))

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.diff(self.starts)


class PromptEncoder:
    """`Encoder.prompt_ids` for many texts, each the one user turn of a conversation; the same ids, many times faster."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.template = encoder.model.template
        self.splice = _splice(self.template, encoder.model.tokenizer)

    def encode(self, texts: Sequence[str]) -> tuple[TokenLists, NDArray[np.uint8]]:
        """Token ids and outcome of each text (READY, CUT, REFUSED, NO_TOKENS); the last two have no ids."""
        parts, fates = [], np.zeros(len(texts), dtype=np.uint8)
        for start in range(0, len(texts), CHUNK):
            lists = self._chunk(texts[start : start + CHUNK], fates[start : start + CHUNK])
            parts.append(TokenLists.of(lists))
        return TokenLists.joined(parts), fates

    def _chunk(self, texts: Sequence[str], fates: NDArray[np.uint8]) -> list[list[int]]:
        model, longest = self.encoder.model, self.encoder.longest_prompt
        rendered = self._rendered(texts)
        usable = [text for text in rendered if text is not None]
        options = {"padding": False, "truncation": False, "return_attention_mask": False, "verbose": False}
        encoded: list[list[int]] = (
            model.tokenizer(usable, add_special_tokens=self.template.special_tokens, **options)["input_ids"] if usable else []
        )
        lists, remaining = [], iter(encoded)
        for index, text in enumerate(rendered):
            ids = next(remaining) if text is not None else []
            while ids and ids[-1] == model.eos_id and self.template.special_tokens:
                ids.pop()
            if len(ids) > longest:
                ids = ids[: longest - TAIL] + ids[-TAIL:]
                fates[index] = CUT
            if not ids:
                fates[index] = REFUSED if text is None else NO_TOKENS
            lists.append(ids)
        return lists

    def _rendered(self, texts: Sequence[str]) -> list[str | None]:
        """Each text rendered; None where the template rejects it."""
        spliced = None if self.splice is None else [self.splice(text) for text in texts]
        if spliced is not None:  # a few real ones of every chunk, to be sure
            sample = sorted(
                {0, min(range(len(texts)), key=lambda at: len(texts[at])), max(range(len(texts)), key=lambda at: len(texts[at]))}
            )
            real = self._really([texts[index] for index in sample])
            if any(spliced[index] not in (None, text) for index, text in zip(sample, real, strict=True)):
                self.splice = spliced = None
        if spliced is None:
            return self._really(texts)
        unrendered = [index for index, text in enumerate(spliced) if text is None]
        for index, text in zip(unrendered, self._really([texts[index] for index in unrendered]), strict=True):
            spliced[index] = text
        return spliced

    def _really(self, texts: Sequence[str]) -> list[str | None]:
        return self.template.prompts([[{"role": "user", "content": text}] for text in texts])


@dataclass(frozen=True)
class Splice:
    """A template around one user turn, as constant text before and after it."""

    before: str
    after: str
    trims: bool
    """The template strips white space around the text."""
    tested: re.Pattern[str] | None
    """Words that the template searches for: a text with one of them is rendered by the template itself."""

    def __call__(self, text: str) -> str | None:
        """The rendered prompt, or None if the template itself must render it."""
        if self.tested is not None and self.tested.search(text):
            return None
        return f"{self.before}{text.strip() if self.trims else text}{self.after}"

    @classmethod
    def of(cls, template: ChatTemplate, source: str | None) -> Splice | None:
        """The splice of a template; None where it does more than strip and insert the text."""
        try:
            words = _tested_words(source) if source is not None else set()
            rendered, spaced = (template.prompt([{"role": "user", "content": text}]) for text in (_MARK, f" {_MARK}\n"))
            if rendered.count(_MARK) != 1:
                return None
            before, after = rendered.split(_MARK)
            tested = re.compile("|".join(map(re.escape, sorted(words)))) if words else None
            splice = cls(before, after, spaced == rendered, tested)
            real = template.prompts([[{"role": "user", "content": probe}] for probe in _PROBES])
            right = [text is not None and splice(probe) in (None, text) for probe, text in zip(_PROBES, real, strict=True)]
        except (DataError, TemplateError, RecursionError):
            return None  # a template that refuses an ordinary turn is asked row by row
        return splice if all(right) and spaced in (rendered, f"{before} {_MARK}\n{after}") else None


def _tested_words(source: str) -> set[str]:
    """Strings that a template compares with, searches for or filters by, if they can occur in a message."""
    parsed = Environment(extensions=["jinja2.ext.loopcontrols"], autoescape=False).parse(source)
    tests = [node for kind in (nodes.Compare, nodes.Call, nodes.Filter, nodes.Test) for node in parsed.find_all(kind)]
    words = {const.value for node in tests for const in node.find_all(nodes.Const) if isinstance(const.value, str)}
    return {word for word in words if word and word not in _NAMES}


def _splice(template: ChatTemplate, tokenizer: Any) -> Splice | None:
    """The splice of a model's template; None for a person's own Jinja, which may do anything with a text."""
    if template.name.startswith(MARK):
        return None
    source = tokenizer.chat_template if template.name == "chat" else None
    return Splice.of(template, source.get("default") if isinstance(source, dict) else source)
