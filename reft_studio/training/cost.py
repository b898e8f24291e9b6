"""The cost of a run: time and peak memory by stage, passes and tokens through the model, floating-point operations.

Passes and tokens are counted by hooks on the backbone, in every step. Operations are counted in a few steps only, by intercepting tensor
operations (matrix products and attention, two operations per multiply-add); those steps give operations per token of each kind of pass,
from which the rest is extrapolated. Results do not change.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import register_multi_grad_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from reft_studio.models.architecture import first_output
from reft_studio.models.fit import peak_memory
from reft_studio.training.ledger import BACKWARD, CPU, FORWARD, TEACHER

VERSION = 2
KINDS = (TEACHER, FORWARD, BACKWARD)
"""Kinds of pass: without a gradient (the teacher's, the starting weights'), forward for training (the student's), and backward."""
_ATTENTION = "_scaled_dot_product"
_PRODUCTS = {"forward": 2, "backward": 5}
"""Matrix products of one attention; the backward pass recomputes one of the forward pass."""


def counted_at(step: int) -> bool:
    """Whether operations are counted in this step: the first two, then the 10th, the 100th, the 1,000th and so on."""
    return step <= 2 or 10 ** round(math.log10(step)) == step


class Costs:
    """The ledger of one run while it goes on; `state` and `restore` carry it over an interruption."""

    def __init__(self, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._seconds: dict[str, float] = {}
        self._memory: dict[str, float] = {}
        self._open: list[tuple[str, float]] = []
        self._passes = dict.fromkeys(KINDS, 0)
        self._tokens = dict.fromkeys(KINDS, 0)
        self._counted = {kind: [0, 0] for kind in KINDS}
        self._steps = 0
        self._mode: _Operations | None = None
        self._aside = False
        self._share = 1.0
        self._user: float | None = 0.0

    @property
    def seconds(self) -> float:
        """Seconds of all stages, including open ones."""
        return sum(self._so_far().values())

    def of(self, name: str) -> float:
        """Seconds of one stage so far."""
        return self._so_far().get(name, 0.0)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block under `name`; a nested stage is subtracted from the outer one. Memory is measured for outer stages only."""
        outermost = not self._open
        if outermost:
            reset_peak()
        self._pause()
        self._open.append((name, self._clock()))
        try:
            yield
        finally:
            self._pause()
            self._open.pop()
            if self._open:
                self._open[-1] = (self._open[-1][0], self._clock())
            if outermost:
                self._memory[name] = max(self._memory.get(name, 0.0), peak())

    @contextmanager
    def aside(self, name: str) -> Iterator[None]:
        """Time the block under `name` without counting its passes: it is not part of the training."""
        self._aside = True
        try:
            with self.stage(name):
                yield
        finally:
            self._aside = False

    @contextmanager
    def watching(self, backbone: nn.Module, blocks: Iterable[nn.Module] = ()) -> Iterator[None]:
        """Count the passes through `backbone` inside; a backward pass counts when a gradient reaches its output or that of a block.

        A loss of hidden states alone gives the last output no gradient.
        """
        before, answers = 0, list[Tensor]()

        def begin(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
            nonlocal before
            before = self._mode.total if self._mode is not None else 0
            answers.clear()

        def answered(module: nn.Module, args: Any, output: Any) -> None:
            answers.append(first_output(output))

        def end(module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
            states: Tensor = output.last_hidden_state
            tokens = states.shape[0] * states.shape[1]
            self._pass(FORWARD if states.requires_grad else TEACHER, tokens, before)
            watched = [value for value in (states, *answers) if value.requires_grad]
            answers.clear()
            if watched:
                register_multi_grad_hook(watched, lambda gradient: self._pass(BACKWARD, tokens), mode="any")

        hooks = [backbone.register_forward_pre_hook(begin, with_kwargs=True), backbone.register_forward_hook(end, with_kwargs=True)]
        hooks += [block.register_forward_hook(answered) for block in blocks]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    @contextmanager
    def sharing(self, share: float) -> Iterator[None]:
        """Attribute this share of the tokens the student reads inside, padding included, to user rows: what plain finetuning would read."""
        before, self._share = self._share, share
        try:
            yield
        finally:
            self._share = before

    @contextmanager
    def step(self, number: int) -> Iterator[None]:
        """One optimizer step; in a few of them every operation is counted."""
        if not counted_at(number):
            yield
            return
        before = {kind: list(values) for kind, values in self._counted.items()}
        self._mode = _Operations()
        try:
            with self._mode:
                yield
        except BaseException:
            self._counted = before
            raise
        else:
            inside = sum(self._counted[kind][1] - before[kind][1] for kind in (TEACHER, FORWARD))
            self._counted[BACKWARD][1] += self._mode.total - inside  # the head's share belongs to the pass that goes back
            self._steps += 1
        finally:
            self._mode = None

    @contextmanager
    def operations(self) -> Iterator[None]:
        """Count every operation of the passes inside, which belong to no step and have no backward pass."""
        self._mode = _Operations()
        try:
            with self._mode:
                yield
        finally:
            self._mode = None

    def state(self) -> dict[str, Any]:
        """The costs so far, as JSON values."""
        counts = {"passes": dict(self._passes), "tokens": dict(self._tokens), "counted": {k: list(v) for k, v in self._counted.items()}}
        return {"seconds": self._so_far(), "memory": dict(self._memory), "steps": self._steps, "user": self._user, **counts}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Add the costs up to the checkpoint to those of this attempt so far."""
        for name, seconds in state["seconds"].items():
            self._seconds[name] = self._seconds.get(name, 0.0) + float(seconds)
        for name, memory in state["memory"].items():
            self._memory[name] = max(self._memory.get(name, 0.0), float(memory))
        self._passes, self._tokens = dict(state["passes"]), dict(state["tokens"])
        self._user = state.get("user")  # a checkpoint of an earlier version did not tell user rows from others
        self._counted, self._steps = {kind: list(values) for kind, values in state["counted"].items()}, int(state["steps"])

    def ledger(self) -> dict[str, Any]:
        """The content of cost.json."""
        return {
            "version": VERSION,
            **self.spent(),
            "passes": dict(self._passes),
            "tokens": dict(self._tokens),
            "user_tokens": None if self._user is None else round(self._user),
            "flops": {kind: round(self._flops(kind)) for kind in KINDS} if self._steps else None,
            "counted_steps": self._steps,
        }

    def spent(self) -> dict[str, Any]:
        """The device, and seconds and peak memory by stage."""
        return {
            "device": device_name(),
            "stages": [
                {"stage": name, "seconds": round(seconds, 3), "memory_mb": round(self._memory[name]) if name in self._memory else None}
                for name, seconds in self._so_far().items()
            ],
        }

    def _pass(self, kind: str, tokens: int, before: int = 0) -> None:
        if self._aside:
            return
        self._passes[kind] += 1
        self._tokens[kind] += tokens
        if kind == FORWARD and self._user is not None:
            self._user += self._share * tokens
        if self._mode is not None:
            self._counted[kind][0] += tokens
            self._counted[kind][1] += self._mode.total - before if kind != BACKWARD else 0

    def _flops(self, kind: str) -> float:
        """Operations per token in the counted steps, times all tokens; a teacher that ran in none of them counts like a student."""
        tokens, operations = self._counted[kind] if self._counted[kind][0] else self._counted[FORWARD]
        return operations / max(1, tokens) * self._tokens[kind]

    def _pause(self) -> None:
        """Book the time of the innermost open stage up to now."""
        if self._open:
            name, since = self._open[-1]
            self._seconds[name] = self._seconds.get(name, 0.0) + self._clock() - since

    def _so_far(self) -> dict[str, float]:
        seconds = dict(self._seconds)
        if self._open:
            name, since = self._open[-1]
            seconds[name] = seconds.get(name, 0.0) + self._clock() - since
        return seconds


class _Operations(TorchDispatchMode):
    """Adds up the floating-point operations inside; the computation itself is unchanged."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        packet = getattr(func, "_overloadpacket", None)
        name = getattr(packet, "__name__", "")
        if name.startswith(_ATTENTION):
            self.total += _attention(name, args)
        elif packet in flop_registry:
            self.total += int(flop_registry[packet](*args, **(kwargs or {}), out_val=out))
        return out


def _attention(name: str, args: Any) -> int:
    """Operations of one attention kernel over the full square: q (batch, heads, tokens, d), k (batch, heads, tokens, d)."""
    back = name.endswith("_backward")
    query, key = args[1:3] if back else args[:2]
    batch, heads, tokens, width = query.shape
    return int(2 * _PRODUCTS["backward" if back else "forward"] * batch * heads * tokens * key.shape[-2] * width)


def peak() -> float:
    """Peak memory in MB since `reset_peak`: of tensors on a GPU, else of this process."""
    return peak_memory(torch.device("cuda" if _on_gpu() else "cpu"))


def reset_peak() -> None:
    """Reset `peak`. For CPU memory only Linux supports this; elsewhere the peak is that of the process's lifetime."""
    if _on_gpu():
        torch.cuda.reset_peak_memory_stats()
        return
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def device_name() -> str:
    """The name of the training device; `CPU` without a GPU."""
    return torch.cuda.get_device_name() if _on_gpu() else CPU


def _on_gpu() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]
