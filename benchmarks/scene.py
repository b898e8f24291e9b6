"""A scene for scoring races: a random model of a real architecture, a teacher for it, and prompts of realistic lengths."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from reft_studio.data.dataset import Dataset, Row, write_dataset
from reft_studio.models.session import Session
from reft_studio.models.spec import LoraSpec
from reft_studio.progress import Silent
from reft_studio.scoring import refusal_similarity
from reft_studio.teacher.refusal_feature import RefusalFeature
from reft_studio.teacher.teacher import TeacherInfo
from reft_studio.workspace import ASSETS, Workspace

ROWS = 160
DUPLICATES = 0.18
LAYERS, LAYER = 24, 12
HEADER, FOOTER = 32, 5
"""Tokens of the template before and after what the user says."""
SHAPE = {"hidden_size": 192, "intermediate_size": 512, "num_attention_heads": 6, "num_key_value_heads": 2, "vocab_size": 24_576}
ABOUT = (
    f"{ROWS} prompts of about 45 tokens, {DUPLICATES:.0%} of them said before, in a template of {HEADER} + {FOOTER} tokens; "
    f"layer {LAYER} of a random Qwen2 with {LAYERS} blocks, d {SHAPE['hidden_size']}, processor time of one thread"
)


@dataclass
class Scene:
    """What is raced; everything is drawn from fixed seeds."""

    workspace: Workspace
    session: Session
    teacher: TeacherInfo
    dataset: Dataset

    def score(self) -> None:
        """Score the dataset as the app does."""
        refusal_similarity.score(self.workspace, self.dataset, self.teacher, self.session, Silent())

    def score_anew(self) -> None:
        """The same as if nothing had been scored before."""
        for kind in ("scores", "cache"):
            shutil.rmtree(self.workspace.folder(kind), ignore_errors=True)
        self.score()

    def batches(self, size: int, *, by_length: bool = False) -> Iterator[dict[str, torch.Tensor]]:
        """All rows, tokenised one by one and padded to their batch, as a plain loop does it."""
        rows = [self.session.encoder.prompt_ids([{"role": "user", "content": row["prompt"]}]) for row in self.dataset.read(["prompt"])]
        if by_length:
            rows.sort(key=len)
        for start in range(0, len(rows), size):
            yield padded(rows[start : start + size], self.session.model.pad_id)


def padded(rows: Sequence[Sequence[int]], pad: int) -> dict[str, torch.Tensor]:
    """Token ids and mask of one batch, padded on the right to its longest."""
    width = max(map(len, rows))
    ids = torch.tensor([[*row, *[pad] * (width - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return {"input_ids": ids, "attention_mask": mask}


@contextmanager
def scene() -> Iterator[Scene]:
    """Build it in a temporary folder. All that is raced in it has one thread: two on a busy machine mostly wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        words = [word for word in (ASSETS / "lab" / "words.txt").read_text("utf-8").split() if len(word) > 3]
        _write_model(folder / "model", words)
        workspace = Workspace.open(folder / "workspace")
        session = Session.open(str(folder / "model"))
        teacher = _teacher(folder / "teacher", session)
        try:
            yield Scene(workspace, session, teacher, _dataset(workspace, words))
        finally:
            torch.set_num_threads(threads)


def _write_model(folder: Path, words: list[str]) -> None:
    import transformers as hf

    tokenizer: Any = hf.AutoTokenizer.from_pretrained(str(ASSETS / "lab" / "base"))
    header, footer = (" ".join(words[start : start + count]) for start, count in ((0, HEADER), (HEADER, FOOTER)))
    tokenizer.chat_template = f"{header} {{% for m in messages %}}{{{{ m['content'] }}}}{{% endfor %}} {footer}"
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = hf.Qwen2Config(**SHAPE, num_hidden_layers=LAYERS, max_position_embeddings=1024, tie_word_embeddings=True, eos_token_id=2)
    hf.AutoModelForCausalLM.from_config(config).save_pretrained(folder, safe_serialization=True)


def _teacher(folder: Path, session: Session) -> TeacherInfo:
    """A teacher with a random adapter on all linear layers and a random direction."""
    session.add("made", LoraSpec(), seed=1)
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for value in session.adapted.parameters("made"):
            value.add_(torch.randn(value.shape, generator=draw) * 0.01)
    session.adapted.save("made", folder / "adapter", base_name=session.model.source)
    RefusalFeature(torch.randn(SHAPE["hidden_size"], generator=draw), LAYER).save(folder / "refusal_feature.safetensors")
    model = session.model
    spec = {"optim": {"max_length": 512}}
    return TeacherInfo(
        "raced", folder, "raced", model.source, LAYER, 0.0, True, "chat", model.template.hash, model.fingerprint, {}, spec, "now"
    )


def _dataset(workspace: Workspace, words: list[str]) -> Dataset:
    draw = random.Random(3)
    prompts: list[str] = []
    for _ in range(ROWS):
        if prompts and draw.random() < DUPLICATES:
            prompts.append(draw.choice(prompts))
        else:
            prompts.append(" ".join(draw.choices(words, k=min(max(round(draw.lognormvariate(3.6, 0.6)), 4), 300))))
    rows: list[Row] = [{"prompt": prompt, "response": "yes"} for prompt in prompts]
    return write_dataset(workspace, rows, name="prompts", role="user")
