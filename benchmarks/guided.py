"""Our side of the training races: the real loop of a run on a random model, with rows that are all alike in length.

The scene is the worst case for a guide: a head as large as all decoder blocks together. Rows of one length give neither
side anything to gain from packing.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from benchmarks.clock import now
from reft_studio.defenses import DEFENSES
from reft_studio.models.accumulate import MicroBatches
from reft_studio.models.batching import Example
from reft_studio.models.session import Session
from reft_studio.models.spec import LoraSpec, OptimSpec
from reft_studio.progress import Silent
from reft_studio.training.context import AlignmentData, Run
from reft_studio.training.run import finetune
from reft_studio.training.spec import RunSpec
from reft_studio.workspace import ASSETS

ROWS, LENGTH = 8, 64
"""User rows of a step, and as many alignment rows; tokens of a row, the second half of which is supervised."""
LORA = LoraSpec(rank=16, alpha=32)
RATE = 1e-4
SHAPE = {"hidden_size": 384, "intermediate_size": 1024, "num_attention_heads": 6, "num_key_value_heads": 2, "vocab_size": 49_152}
ABOUT = f"a step on {2 * ROWS} rows of {LENGTH} tokens, half supervised; random Qwen2, d 384, 12 blocks, V 49k, LoRA 16, all linear"


@contextmanager
def model_folder() -> Iterator[Path]:
    """A folder with the random model and a tokenizer."""
    import transformers as hf

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "model"
        tokenizer: Any = hf.AutoTokenizer.from_pretrained(str(ASSETS / "lab" / "base"))
        tokenizer.save_pretrained(folder)
        torch.manual_seed(0)
        config = hf.Qwen2Config(**SHAPE, num_hidden_layers=12, max_position_embeddings=1024, tie_word_embeddings=True, eos_token_id=2)
        hf.AutoModelForCausalLM.from_config(config).save_pretrained(folder, safe_serialization=True)
        yield folder


def examples(count: int, *, seed: int) -> list[Example]:
    """Random rows, the same on both sides of a race."""
    draw = random.Random(seed)
    return [Example([draw.randrange(10, SHAPE["vocab_size"]) for _ in range(LENGTH)], LENGTH // 2, index) for index in range(count)]


class _Clock(Silent):
    """Notes when each step was logged."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def progress(self, done: int, total: int, **metrics: float) -> None:
        self.times.append(now())


class Ours:
    """Runs of `method` on one session; each call of `steps` is a run of its own."""

    def __init__(self, folder: Path, method: str) -> None:
        self.session = Session.open(str(folder), max_length=LENGTH)
        self.session.add("teacher", LORA, seed=1)
        self.session.add("student", LORA, seed=2)
        with torch.no_grad():
            for value in self.session.adapted.parameters("teacher"):
                value.add_(0.01 * torch.randn(value.shape, generator=torch.Generator().manual_seed(3)))
        self.method, self.alignment = method, self._alignment()
        self._turn = 0

    def _alignment(self, *, seed: int = 4) -> AlignmentData:
        made = AlignmentData(self.session, examples(8 * ROWS, seed=seed), examples(8 * ROWS, seed=seed + 1))
        made.cache_teacher("teacher")
        return made

    def weights(self) -> Iterator[torch.Tensor]:
        """All there are in memory."""
        yield from self.session.model.base.parameters()

    def answer_all(self) -> None:
        """Fill the teacher's cache, as a first pass over the alignment data does."""
        run = Run(self._spec(1), self.session, [], self.alignment)
        with run.training():
            self.alignment.ask(run.collate(self.alignment.examples), packer=None, pieces=MicroBatches(ROWS))

    def forget(self) -> None:
        """Alignment rows that the teacher has never seen: what a first pass finds."""
        self._turn += 1
        self.alignment = self._alignment(seed=10 * self._turn)

    def steps(self, count: int) -> list[float]:
        """Train; milliseconds of each step but the first, from one log line to the next."""
        spec = self._spec(count)
        guided = DEFENSES.get(self.method).info.needs_alignment
        run = Run(spec, self.session, [], self.alignment if guided else None)
        defense = DEFENSES.get(self.method)(DEFENSES.get(self.method).Config(), run)
        clock = _Clock()
        finetune(spec, run, defense, examples(8 * spec.optim.batch_size, seed=6), clock)
        return [later - earlier for earlier, later in pairwise(clock.times)]

    def _spec(self, steps: int) -> RunSpec:
        info = DEFENSES.get(self.method).info
        rows = ROWS if info.needs_alignment else 2 * ROWS
        optim = OptimSpec(steps=steps, batch_size=rows, alignment_batch_size=ROWS, learning_rate=RATE, max_length=LENGTH)
        guide = {"teacher": "raced", "harmful": "raced", "helpful": "raced"} if info.needs_alignment else {}
        return RunSpec(dataset="raced", method=self.method, optim=optim, lora=LORA, **guide)
