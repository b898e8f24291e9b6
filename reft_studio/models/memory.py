"""Estimates the memory a model needs, from its headers alone, and what would fit if it is too much. No torch at import."""

from __future__ import annotations

import importlib.metadata
import math
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from reft_studio.errors import PrerequisiteError, SpecError
from reft_studio.models import machine
from reft_studio.models.processor import half_precision_is_fast
from reft_studio.models.source import ModelSource
from reft_studio.models.spec import LoadSpec, LoraSpec, OptimSpec

GB = 1e9
_NF4 = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Bytes a number takes in NF4 with doubly quantised scales: 4 bits, a byte per 64 numbers, a float per 64 · 256."""
_WIDTH = {"float32": 4, "bfloat16": 2, "float16": 2}
_TRAINED, _KEPT = 16, 4
"""Bytes of an adapter's parameter in training (weight, gradient and two moments of AdamW, in float32) and at rest."""
_KEPT_PER_TOKEN = {"float32": (32, 16), "half": (20, 8), "nf4": (40, 10)}
"""Bytes that one decoder block keeps for the backward pass per token and unit of d_model, and of the feed-forward width. Measured with
saved-tensor hooks on Llama blocks with LoRA on all linear layers (torch 2.13, PEFT 0.21); Qwen 3 and Phi 3 keep about a fifth more,
Gemma 2 up to twice as much. 4-bit layers run as PEFT writes them, whose adapters keep float32 copies of their inputs."""
_KEPT_PER_SCORE = {4: 4, 2: 6}
"""Bytes per attention score that the eager kernel keeps, by bytes of the weights; the other kernels keep none."""
PER_TOKEN = 44
"""Bytes of this machine's own memory for a token of a row that is trained on, as a list of Python's whole numbers; measured."""
_ON_GPU, _LOADERS, _COPIES = 2.0 * GB, 4, 6
"""Of the machine's own memory, where a GPU computes: what the process takes with CUDA's libraries (pytorch/pytorch#12873 saw 1.9 GB, of a
version that loaded all of them; not measured by us), weights that transformers has in hand at once while it loads, and copies of the
adapter in float32 for a checkpoint: its numbers and AdamW's two, each once as numbers and once as the bytes of the file."""
_LOGIT_TOKENS, _LOGIT_TOKENS_CPU = 1024, 128
"""Tokens whose logits are in memory at once; three float32 numbers each."""
_PROCESS, _SLACK = 0.55 * GB, 1.25
"""On a processor: what Python with PyTorch and transformers takes by itself, and how much more than it needs the allocator holds after
batches of many widths. Measured with SmolLM2-135M in bfloat16, 16 rows of SST-2 a step: 2.1 GB after three steps, 3.1 after 35."""
_SIGNS, _AROUND = 3.5, 48
"""Characters of a token of English, and tokens that a chat template adds to a row: for lengths that nobody has tokenised yet."""


@dataclass(frozen=True)
class MemoryWork:
    """The work done with the model: `rows` of `length` tokens at once, training an adapter of `rank` (0: no training).

    `usual` is the length of most rows, 0 if unknown; `total_tokens` the number of tokens of all rows, kept in host memory.
    """

    rows: int = 16
    length: int = 512
    rank: int = 0
    checkpointing: bool = False
    usual: int = 0
    total_tokens: int = 0

    @classmethod
    def training(cls, optim: OptimSpec, lora: LoraSpec, *, alignment: bool = False) -> MemoryWork:
        """One forward and backward pass of a run; with `alignment`, alignment rows are in the same step."""
        rows = optim.batch_size + (optim.alignment_batch_size if alignment else 0)
        return cls(min(rows, optim.micro_batch_size or rows), optim.max_length, lora.rank, optim.gradient_checkpointing)

    def on(self, characters: Sequence[int], *, rows: int = 0) -> MemoryWork:
        """For data of these lengths in characters: the maximum is that of the longest row, the usual length their mean; `rows` in all."""
        if not characters:
            return self
        longest, mean = (_AROUND + math.ceil(value / _SIGNS) for value in (max(characters), sum(characters) / len(characters)))
        usual = min(self.length, mean)
        return replace(self, length=min(self.length, longest), usual=usual, total_tokens=rows * usual)


@dataclass(frozen=True)
class Need:
    """Bytes: of the loaded weights; `least` is certain (weights, adapter, a short row), `most` is with the longest rows.

    `usual` is with rows of their usual length, 0 if unknown.
    """

    weights: float
    least: float
    most: float
    usual: float = 0.0


@dataclass(frozen=True)
class HostBytes:
    """Bytes of host memory used by work on a GPU: its process, the rows, and transient buffers."""

    process: float
    rows: float
    passing: float

    @property
    def total(self) -> float:
        return self.process + self.rows + self.passing


@dataclass(frozen=True)
class Room:
    """Memory of a device, in bytes."""

    device: str
    free: float
    total: float


def weights_dtype(source: ModelSource, loading: LoadSpec, *, cuda: bool) -> str:
    """The dtype that "auto" resolves to for this model.

    bfloat16 if stored in half precision and computed on CUDA or on a CPU that multiplies bfloat16, else float32.
    """
    if loading.dtype != "auto":
        return loading.dtype
    if loading.quantization != "none":
        return "bfloat16"
    halves = sum(facts.numbers for facts in source.tensors.values() if facts.dtype in {"BF16", "F16"})
    stored_in_half = 2 * halves > sum(facts.numbers for facts in source.tensors.values())
    return "bfloat16" if stored_in_half and (cuda or half_precision_is_fast()) else "float32"


def need(source: ModelSource, loading: LoadSpec, *, cuda: bool, work: MemoryWork | None = None) -> Need:
    """Memory of a model loaded with `loading`, and of `work` with it.

    Weights are exact to the allocator's rounding; activations kept for the backward pass are estimated for Llama-like blocks.
    """
    work = work or MemoryWork()
    width = _WIDTH[weights_dtype(source, loading, cuda=cuda)]
    packed = linear = adapter = 0.0
    vocabulary = _count(_text(source.config), "vocab_size")
    for facts in source.tensors.values():
        inner = len(facts.shape) == 2 and vocabulary not in facts.shape
        linear += facts.numbers if inner else 0
        packed += facts.numbers * (_NF4 if inner and loading.quantization == "nf4" else width)
        adapter += work.rank * sum(facts.shape) if inner else 0
    adapter_bytes = adapter * (_TRAINED if work.rank else _KEPT)
    logits = _LOGIT_TOKENS if cuda else _LOGIT_TOKENS_CPU
    row, usual, full = (
        _activations(source.config, loading, width, tokens=tokens, work=work, logits=logits)
        for tokens in (64, work.rows * work.usual, work.rows * work.length)
    )
    process, slack = (0.0, 1.0) if cuda else (_PROCESS + PER_TOKEN * work.total_tokens, _SLACK)
    fixed = packed + adapter_bytes + process
    return Need(packed, packed + adapter_bytes + row, fixed + slack * full, fixed + slack * usual if work.usual else 0.0)


def host_memory(source: ModelSource, *, work: MemoryWork) -> HostBytes:
    """Host memory used by work on a GPU; weights are read through the file cache, which counts as free."""
    vocabulary = _count(_text(source.config), "vocab_size")
    inner = [facts for facts in source.tensors.values() if len(facts.shape) == 2 and vocabulary not in facts.shape]
    adapter = sum(work.rank * sum(facts.shape) for facts in inner)
    largest_one = max((facts.numbers for facts in source.tensors.values()), default=0)
    stored = source.size / max(1, sum(facts.numbers for facts in source.tensors.values()))
    return HostBytes(_ON_GPU, float(PER_TOKEN * work.total_tokens), max(_LOADERS * largest_one * stored, _COPIES * 4.0 * adapter))


def _activations(
    config: Mapping[str, Any], loading: LoadSpec, width: int, *, tokens: int, work: MemoryWork, logits: int = _LOGIT_TOKENS
) -> float:
    """Peak bytes of a pass over this many tokens."""
    text = _text(config)
    size, layers = _count(text, "hidden_size", "n_embd"), _count(text, "num_hidden_layers", "n_layer")
    inner = _count(text, "intermediate_size", "n_inner") or 4 * size
    by_size, by_inner = _KEPT_PER_TOKEN["nf4" if loading.quantization == "nf4" else "float32" if width == 4 else "half"]
    block = tokens * (by_size * size + by_inner * inner)
    if loading.attention == "eager" or text.get("attn_logit_softcapping"):  # a soft cap on scores is beyond the other kernels
        heads = _count(text, "num_attention_heads", "n_head") or 1
        block += tokens * min(work.length, tokens) * heads * _KEPT_PER_SCORE[width]
    head = min(tokens, logits) * _count(text, "vocab_size") * 12.0
    if not work.rank:
        return block
    return block + layers * tokens * size * width + head if work.checkpointing else layers * block + head


def room(device: str = "auto") -> Room | None:
    """Free memory of the device a model would be loaded on, without loading torch; None if an accelerator does not report it."""
    if device == "auto" or device.startswith("cuda"):
        cards = gpus()
        number = int(device.partition(":")[2] or 0)
        if number < len(cards):
            return cards[number]
        if device != "auto":
            return None
    free, total = machine.memory()
    return Room(device if device != "auto" else "cpu", free, total)


def gpus() -> list[Room]:
    """Every NVIDIA GPU that its driver reports and this build of PyTorch can use, numbered as by CUDA_VISIBLE_DEVICES."""
    program = shutil.which("nvidia-smi")
    if program is None or importlib.metadata.version("torch").endswith("+cpu"):
        return []
    command = [program, "--query-gpu=uuid,memory.free,memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
        fields = [[part.strip() for part in line.split(",")] for line in done.stdout.splitlines() if line.strip()]
        cards = [(uuid, float(free), float(total)) for uuid, free, total in fields]
        visible = _visible([uuid for uuid, _, _ in cards], os.environ.get("CUDA_VISIBLE_DEVICES"))
        return [Room(f"cuda:{number}", cards[index][1] * 2**20, cards[index][2] * 2**20) for number, index in enumerate(visible)]
    except (OSError, ValueError, subprocess.SubprocessError):  # a driver that cannot say ("[N/A]") is as good as none
        return []


def _visible(uuids: list[str], visible_devices: str | None) -> list[int]:
    """Indices of the driver's GPUs that CUDA_VISIBLE_DEVICES exposes, in order: by number or prefix of the UUID, up to an unknown one."""
    indices: list[int] = []
    for name in range(len(uuids)) if visible_devices is None else visible_devices.split(","):
        name = str(name).strip()
        known = [index for index, uuid in enumerate(uuids) if name == str(index) or (name.startswith("GPU-") and uuid.startswith(name))]
        if len(known) != 1:
            break
        indices += known
    return indices


def check(source: ModelSource, loading: LoadSpec, space: Room, *, work: MemoryWork | None = None) -> Need:
    """Whether a model and the least of its work can fit. Raises PrerequisiteError, with alternatives, if they certainly do not.

    Raises SpecError for work that trains on a base whose number format loses gradients.
    """
    if work and work.rank and loading.dtype == "float16":
        raise SpecError(
            "dtype is float16, but small gradients vanish in it. Train with bfloat16, which needs no more memory, or float32; float16 "
            "is for scoring and chat."
        )
    cuda = space.device.startswith("cuda")
    wanted = need(source, loading, cuda=cuda, work=work)
    if wanted.least > space.free:
        raise PrerequisiteError(
            f"'{source.name}' {_size_words(source, loading, wanted.least, cuda=cuda)}, but {_gb(space.free)} of {_gb(space.total)} are "
            f"free on {space.device}. {advice(source, loading, space, work=work)}"
        )
    return wanted


def warning(source: ModelSource, loading: LoadSpec, space: Room, *, work: MemoryWork) -> str:
    """A sentence if full-length rows would not fit although the model does; empty if they would."""
    wanted = need(source, loading, cuda=space.device.startswith("cuda"), work=work)
    if wanted.most <= space.free:
        return ""
    return (
        f"Batches of {work.rows} rows need up to {_gb(wanted.most)} if all have {work.length} tokens; {_gb(space.free)} are free on "
        f"{space.device}. {advice(source, loading, space, work=work)}"
    )


def summary(source: ModelSource, loading: LoadSpec, space: Room, *, work: MemoryWork | None = None) -> str:
    """`about 15.0 GB of 141.0 GB`, and the maximum while it works; a narrower range where row lengths are known."""
    wanted = need(source, loading, cuda=space.device.startswith("cuda"), work=work)
    if wanted.usual:
        most = "" if wanted.most < 1.1 * wanted.usual else f" to {_gb(wanted.most)}"
        return f"about {_gb(wanted.usual)}{most} of {_gb(space.total)} on {space.device}, by the lengths of the rows"
    up_to = f", up to {_gb(wanted.most)} with full-length rows" if work and wanted.most > 1.1 * wanted.least else ""
    return f"about {_gb(wanted.least)} of {_gb(space.total)} on {space.device}{up_to}"


def advice(source: ModelSource, loading: LoadSpec, space: Room, *, work: MemoryWork | None = None) -> str:
    """What would fit, cheapest change first; or the largest possible model."""
    cuda = space.device.startswith("cuda")
    width = _WIDTH[weights_dtype(source, loading, cuda=cuda)]
    fitting = []
    for change, other, less in _ways(loading, work or MemoryWork(), width=width, cuda=cuda):
        required = need(source, other, cuda=cuda, work=less)
        worst = required.most if less.rank else required.least
        if worst <= space.free:
            fitting.append(f"{change} (about {_gb(worst)})")
    if fitting:
        return f"What would fit: {'; '.join(fitting[:3])}."
    return f"Nothing fits it here: free memory, or choose a model of at most about {largest(space):.1f} billion parameters."


def largest(space: Room, *, quantization: str | None = None) -> float:
    """Billions of parameters whose weights take seven tenths of the free memory: in 4 bits on CUDA, else in bfloat16."""
    packed = quantization == "nf4" if quantization else space.device.startswith("cuda")
    return 0.7 * space.free / (0.62 if packed else 2.0) / 1e9  # 0.62: embeddings, head and norms stay in bfloat16


def _ways(loading: LoadSpec, work: MemoryWork, *, width: int, cuda: bool) -> Iterator[tuple[str, LoadSpec, MemoryWork]]:
    """Changes that reduce memory, each with its name."""
    shorter = replace(work, checkpointing=True)
    single = replace(work, rows=1, checkpointing=True)
    loadings: list[tuple[str, LoadSpec]] = [("", loading)]
    if loading.quantization == "none":
        loadings += [("dtype bfloat16", loading.model_copy(update={"dtype": "bfloat16"}))] if width > 2 else []
        loadings += [("quantization nf4", loading.model_copy(update={"quantization": "nf4", "dtype": "auto"}))] if cuda else []
    for name, other in loadings:
        if name:
            yield name, other, work
        if work.rank and not work.checkpointing:
            yield f"{name} with gradient_checkpointing".strip(), other, shorter
        if work.rank and work.rows > 1:
            yield f"{name} with gradient_checkpointing and micro_batch_size 1".strip(), other, single


def _size_words(source: ModelSource, loading: LoadSpec, required: float, *, cuda: bool) -> str:
    kind = "4-bit NF4" if loading.quantization == "nf4" else weights_dtype(source, loading, cuda=cuda)
    return f"needs about {_gb(required)} in {kind}"


def _gb(size: float) -> str:
    return f"{size / GB:.1f} GB" if size >= 0.05 * GB else f"{math.ceil(size / 1e6)} MB"


def _text(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The language model's part of a configuration; multimodal models wrap it."""
    inner = config.get("text_config")
    return inner if isinstance(inner, dict) else config


def _count(config: Mapping[str, Any], *names: str) -> int:
    """The first of these settings in the configuration, 0 if there is none. Values that are not numbers are left for loading to refuse."""
    return next((value for name in names if isinstance(value := config.get(name), int)), 0)
