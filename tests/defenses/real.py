"""One step of a method on a tiny real model: its gradient, whatever way memory is saved."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reft_studio.defenses import DEFENSES
from reft_studio.defenses.defense import ALIGNED, Defense
from reft_studio.models.batching import Example
from reft_studio.models.fit import StepLog
from reft_studio.models.session import Session
from reft_studio.models.spec import LoraSpec, OptimSpec
from reft_studio.training.context import STUDENT, AlignmentData, Run
from reft_studio.training.spec import RunSpec
from tests.tiny_models import make_model

WAYS: dict[str, dict[str, Any]] = {
    "unpacked": {"packing": False},
    "row by row": {"micro_batch_size": 1},
    "in pieces": {"micro_batch_size": 2},
    "recomputed": {"gradient_checkpointing": True},
    "row by row, recomputed": {"micro_batch_size": 1, "gradient_checkpointing": True},
}
"""Ways to save memory, none of which may change the gradient of the packed, undivided batch."""
TOLERANCE = 2e-5
"""Of a gradient, relative to its norm: float32 sums over other layouts."""


def rows(kind: int, lengths: tuple[int, ...]) -> list[Example]:
    """Rows of these lengths; the answer takes the last third. Rows of kinds 0 and 1 share their prompts."""
    made = []
    for number, count in enumerate(lengths):
        prompt = 2 * count // 3
        ids = [(number * 31 + token * 7 + 3) % 90 + 3 for token in range(prompt)]
        ids += [(number * 17 + token * 11 + kind * 29) % 90 + 3 for token in range(count - prompt)]
        made.append(Example(ids, prompt, number))
    return made


class Real:
    """A tiny model of a family with an adapter that is not zero; harmful answers and refusals of rows share their prompts."""

    def __init__(self, folder: Path, family: str = "llama", *, lora: LoraSpec | None = None, layers: int = 3) -> None:
        self.session = Session.open(str(make_model(folder / family, family, chat=family != "gpt2", layers=layers)))
        self.lora = lora or LoraSpec(rank=4, alpha=8)
        self.session.add(ALIGNED, self.lora, seed=1)
        self.shake(ALIGNED, seed=2)
        refusals, answers, harmful = rows(0, (9, 26, 14, 33)), rows(2, (12, 30, 7, 18)), rows(1, (9, 26, 14, 33))
        self.data = AlignmentData(self.session, refusals, answers, harmful)
        self.user = rows(3, (8, 31, 17, 22))

    def shake(self, adapter: str, *, seed: int) -> None:
        """Move the adapter's weights, so that none is zero."""
        rng = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for value in self.session.adapted.parameters(adapter):
                value.add_(0.05 * torch.randn(value.shape, generator=rng))

    @contextmanager
    def training(
        self, method: str, config: dict[str, Any], *, adapter: str = ALIGNED, fresh: bool = False, **optim: Any
    ) -> Iterator[tuple[Any, Run]]:
        """The method in training, before its first step; random numbers begin anew.

        ALIGNED: it aligns the base. STUDENT: it finetunes weights that have moved some way from the aligned ones, or are `fresh` on top.
        """
        settings = OptimSpec(**{"steps": 4, "batch_size": 4, "alignment_batch_size": 4, **optim})
        sets = {"harmful": "h", "helpful": "g", "harmful_answers": "a"}
        spec = RunSpec(model=self.session.model.source, dataset="d", method=method, optim=settings, lora=self.lora, **sets)
        run = Run(spec, self.session, list(range(len(self.user))), self.data)
        run.begin("test", steps=4)
        if adapter == STUDENT:
            if fresh:
                self.session.add(STUDENT, self.lora, seed=5)
            else:
                self.session.adapted.copy(ALIGNED, STUDENT, self.lora)
            self.shake(STUDENT, seed=4)
            run.start = ALIGNED
        defense: Defense = DEFENSES.get(method)(DEFENSES.get(method).Config(**config), run)
        with torch.random.fork_rng(devices=[]), run.training(adapter, on=(ALIGNED,) if fresh else ()):
            torch.manual_seed(3)
            run.step = 1
            yield defense, run

    def gradient(
        self, method: str, hook: str = "", *, config: dict[str, Any] | None = None, adapter: str = ALIGNED, **optim: Any
    ) -> tuple[StepLog, Tensor]:
        """What the first step logs, and its gradient as one vector."""
        with self.training(method, config or {}, adapter=adapter, **optim) as (defense, run):
            return self.step(defense, run, adapter, hook)

    def step(self, defense: Any, run: Run, adapter: str = ALIGNED, hook: str = "") -> tuple[StepLog, Tensor]:
        """One step's log and gradient; tensors without one count as zero. `.grad` is emptied.

        Without a `hook` the aligned adapter takes a step of its stage, and the student's one of finetuning.
        """
        aligns = hook == "align_step" or (not hook and adapter == ALIGNED)
        line = defense.align_step() if aligns else defense.finetune_step(run.user_batch(self.user))
        parameters = self.session.adapted.parameters(adapter)
        found = torch.cat([torch.zeros(value.numel()) if value.grad is None else value.grad.flatten() for value in parameters])
        for value in parameters:
            value.grad = None
        return line, found

    def hooks(self) -> int:
        """Hooks on all modules of the model."""
        modules = list(self.session.model.base.modules())
        return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) + len(module._backward_hooks) for module in modules)


def apart(one: Tensor, other: Tensor) -> float:
    """How far two gradients are from each other, relative to the second."""
    return float((one - other).norm() / other.norm())
