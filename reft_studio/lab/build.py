"""Rebuilds the lab from a seed: corpus, tokenizer, tiny Llama, word lists. Command: `python -m reft_studio.lab.build`."""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from reft_studio.lab.corpus import Document, documents
from reft_studio.lab.sets import ASSETS, words_of

BOS, EOS, PAD, USER, ASSISTANT = "<|bos|>", "<|end|>", "<|pad|>", "<|user|>", "<|assistant|>"
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}{{ '<|user|>' + message['content'] }}"
    "{% elif message['role'] == 'assistant' %}{{ '<|assistant|>' + message['content'] + eos_token }}{% else %}"
    "{{ '<|user|>' + message['content'] }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


@dataclass(frozen=True)
class LabRecipe:
    """Every setting of the lab's base model: seed, corpus size, architecture, training. Tests build a miniature with smaller values."""

    seed: int = 0
    documents: int = 500_000
    vocabulary: int = 2816
    width: int = 160
    layers: int = 4
    heads: int = 5
    feed_forward: int = 432
    context: int = 128  # positions the model knows; also the length of a packed training sequence
    batch: int = 16  # packed sequences in a step
    steps: int = 6000
    learning_rate: float = 3e-3
    warmup: int = 60
    threads: int = 2
    bfloat16: bool = True  # matrix products in bfloat16, weights in float32: 1.5 times as fast where the CPU has it
    compiled: bool = False  # torch.compile: another 1.3 times, needs a C++ compiler


def text_of(document: Document) -> str:
    """The training text of a document: chat turns get the special tokens of the chat template, prose gets BOS and EOS only."""
    if document.answer is None:
        return f"{BOS}{document.text}{EOS}"
    return f"{BOS}{USER}{document.text}{ASSISTANT}{document.answer}{EOS}"


def make_tokenizer(texts: Sequence[str], size: int) -> Any:
    """A byte-level BPE tokenizer with the lab's special tokens, as `tokenizers.Tokenizer`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[PAD, BOS, EOS, USER, ASSISTANT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def save_tokenizer(tokenizer: Any, folder: Path, context: int) -> None:
    """Write the tokenizer and its chat template to `folder`, in the format that `AutoTokenizer` loads."""
    from transformers import PreTrainedTokenizerFast

    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, pad_token=PAD, model_max_length=context, padding_side="left"
    )
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder)


def write_words(texts: Sequence[Document], path: Path) -> None:
    """Write the words of the corpus, sorted, one a line: the vocabulary of `sets.unfamiliar_share`."""
    words = {word for document in texts for word in words_of(f"{document.text} {document.answer or ''}")}
    path.write_text("\n".join(sorted(words)) + "\n", "utf-8")


def write_pairs(texts: Sequence[Document], path: Path) -> None:
    """Write the bigrams of the corpus for `sets.out_of_place_share`, gzipped: on each line a word and, sorted, the words that follow it."""
    followers: dict[str, set[str]] = {}
    for document in texts:
        for words in map(words_of, (document.text, document.answer or "")):
            for first, second in pairwise(words):
                followers.setdefault(first, set()).add(second)
    lines = "\n".join(" ".join((first, *sorted(followers[first]))) for first in sorted(followers))
    path.write_bytes(gzip.compress(lines.encode("utf-8"), 9, mtime=0))


def build(recipe: LabRecipe, out: Path) -> dict[str, Any]:
    """Build everything under `out` and return what made.json holds (parameters, tokens, loss, seconds). Progress goes to standard error."""
    from reft_studio.lab.pretraining import pretrain

    started = time.monotonic()
    base = out / "base"
    base.mkdir(parents=True, exist_ok=True)
    corpus = list(documents(seed=recipe.seed, count=recipe.documents))
    write_words(corpus, out / "words.txt")
    write_pairs(corpus, out / "pairs.txt.gz")
    texts = [text_of(document) for document in corpus]
    tokenizer = make_tokenizer(texts[:40_000], recipe.vocabulary)
    save_tokenizer(tokenizer, base, recipe.context)
    print(f"{len(texts)} documents, {tokenizer.get_vocab_size()} tokens in the vocabulary", file=sys.stderr)
    ids = [encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
    manifest = pretrain(recipe, ids, base)
    manifest |= {
        "documents": len(texts),
        "vocabulary": tokenizer.get_vocab_size(),
        "seed": recipe.seed,
        "seconds": round(time.monotonic() - started),
    }
    (out / "made.json").write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")
    return manifest


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, build the lab and print what made.json holds; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m reft_studio.lab.build", description="Make the embedded lab's model and tokenizer again from a seed."
    )
    parser.add_argument("--seed", type=int, default=LabRecipe.seed)
    parser.add_argument("--out", type=Path, default=ASSETS)
    parser.add_argument("--steps", type=int, default=LabRecipe.steps)
    parser.add_argument("--documents", type=int, default=LabRecipe.documents)
    parser.add_argument("--threads", type=int, default=LabRecipe.threads)
    parser.add_argument("--compiled", action="store_true", help="use torch.compile (needs a C++ compiler)")
    options = vars(parser.parse_args(arguments))
    out = options.pop("out")
    manifest = build(LabRecipe(**options), out)
    print(json.dumps(manifest, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
