"""Parses a LoRA adapter's folder: the supported settings and tensors, and the reason why others are refused. Needs no torch.

PEFT interprets adapter_config.json: some settings change the base, some take unbounded memory, a target may be a regular expression that
never ends. So PEFT never gets an untrusted file; it gets the checked settings listed here.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from reft_studio.errors import PrerequisiteError, StoreError
from reft_studio.models.source import TensorFacts, read_header

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
MOST_RANK = 2048
"""Four times the largest rank that a run trains: merges add ranks up."""
MOST_ALPHA = 100_000.0
MOST_WEIGHT = 1000.0
"""Largest plausible magnitude of a weight: those of trained adapters are below 10."""
_MOST_BYTES = 1_000_000
"""Maximum size of adapter_config.json, and a quarter of that of the weights' header."""
_PLAIN = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")
_TENSOR = re.compile(r"base_model\.model\.([A-Za-z0-9_.]{1,300})\.lora_([AB])\.weight")
_BLOCK = re.compile(r"\.(\d+)\.")
_Value = TypeVar("_Value", int, float)
_Any = TypeVar("_Any")
_FLOATS = frozenset({"F32", "F16", "BF16"})
_READ = {"peft_type", "task_type", "r", "lora_alpha", "rank_pattern", "alpha_pattern", "target_modules", "layers_to_transform"} | {
    *("layers_pattern", "use_rslora", "init_lora_weights", "bias", "lora_dropout")
}
_INERT = {"base_model_name_or_path", "revision", "peft_version", "inference_mode", "auto_mapping", "runtime_config"} | {
    *("megatron_core", "qalora_group_size", "fan_in_fan_out")
}
"""Settings that PEFT writes but nothing here depends on; they are not passed on."""
_WHY = {
    "init_lora_weights": "such an adapter belongs to a base whose weights it changes, which all models share here",
    "layer_replication": "it repeats layers of the base, which all models share here",
    "modules_to_save": "whole layers of its own would replace those of the base, which all models share here",
    "trainable_token_indices": "it changes the embeddings of the base, which all models share here",
    "bias": "it changes biases of the base, which all models share here",
    "use_dora": "DoRA cannot answer beside other models in one batch",
}


@dataclass(frozen=True)
class AdapterFile:
    """A LoRA adapter checked as far as its folder allows. `layers`: rank and alpha by name of a linear layer."""

    folder: Path
    rank: int
    alpha: float
    dropout: float
    rslora: bool
    layers: Mapping[str, tuple[int, float]]
    sizes: Mapping[str, tuple[int, int]]
    """Inputs and outputs of the tensors, by name of a linear layer."""
    targets: frozenset[str] | None
    """Layer names that its configuration targets; None: all linear layers."""
    blocks: frozenset[int] | None
    """Decoder blocks (from 0) that it targets; None: all."""
    stored: Mapping[str, str]
    """Name in the file, by name of a linear layer."""

    def renamed(self, name: Callable[[str], str]) -> AdapterFile:
        """A copy with other layer names."""

        def among(values: Mapping[str, _Any]) -> dict[str, _Any]:
            return {name(layer): value for layer, value in values.items()}

        targets = None if self.targets is None else frozenset(map(name, self.targets))
        return replace(self, layers=among(self.layers), sizes=among(self.sizes), stored=among(self.stored), targets=targets)

    def key(self, layer: str, part: str) -> str:
        """The name of a tensor in the file: `part` is A or B."""
        return f"base_model.model.{self.stored[layer]}.lora_{part}.weight"

    def check_fits(self, layers: Mapping[str, tuple[int, int]]) -> None:
        """Raise StoreError unless a model with these linear layers (inputs, outputs; without its head) matches these tensors exactly."""
        if unknown := sorted(set(self.sizes) - set(layers)):
            if any(name.rpartition(".")[2] in ("lm_head", "embed_out") for name in unknown):
                raise _refused(self.folder, "it changes the head of the model, which all models of a run share")
            raise _foreign(self.folder, f"this model has no linear layer '{unknown[0][-80:]}'")
        for name, size in self.sizes.items():
            if size != layers[name]:
                actual, expected = (" to ".join(f"{number:,}" for number in numbers) for numbers in (size, layers[name]))
                raise _damaged(
                    self.folder, f"its tensors for '{name[-80:]}' lead from {actual} numbers, but the layer of this model from {expected}"
                )
        missing = sorted(name for name in layers if self._wants(name) and name not in self.sizes)
        if missing:  # PEFT would leave them at zero: half of an adapter
            raise _foreign(self.folder, f"it has no tensors for {len(missing)} layers that it asks for, first '{missing[0][-80:]}'")

    def _wants(self, layer: str) -> bool:
        block = _BLOCK.search(layer)
        if self.blocks is not None and (block is None or int(block[1]) not in self.blocks):
            return False
        return self.targets is None or any(name in self.targets for name in _endings(layer))


def read_adapter(folder: Path) -> AdapterFile:
    """The adapter in a folder written by PEFT. Raises StoreError, naming the setting or tensor, for what is damaged or not allowed."""
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise _damaged(folder, f"it has no {name}")
    config = _config(folder)
    _check_settings(folder, config)
    rank = _whole(folder, "r", config.get("r", 8))
    alpha = _number(folder, "lora_alpha", config.get("lora_alpha", 8))
    ranks = {
        name: (index, _whole(folder, "rank_pattern", value)) for index, (name, value) in enumerate(_pattern(folder, config, "rank_pattern"))
    }
    alphas = {
        name: (index, _number(folder, "alpha_pattern", value))
        for index, (name, value) in enumerate(_pattern(folder, config, "alpha_pattern"))
    }
    sizes, ranks_in_file = _tensors(folder)
    layers = {name: (_of(ranks, name, rank), _of(alphas, name, alpha)) for name in sizes}
    for name, stored in ranks_in_file.items():
        if stored != layers[name][0]:
            raise _damaged(folder, f"its tensors for '{name[-80:]}' have rank {stored:,}, but its configuration says {layers[name][0]:,}")
    targets, blocks = _targets(folder, config), _blocks(folder, config)
    names = {name: name for name in sizes}
    scaled = bool(config.get("use_rslora"))
    adapter = AdapterFile(folder, rank, alpha, _dropout(folder, config), scaled, layers, sizes, targets, blocks, names)
    if unasked := [name for name in sizes if not adapter._wants(name)]:
        raise _damaged(folder, f"it holds tensors for '{unasked[0][-80:]}', which its configuration does not name")
    return adapter


def _config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    if path.stat().st_size > _MOST_BYTES:
        raise _refused(folder, f"{CONFIG} has {path.stat().st_size:,} bytes; at most {_MOST_BYTES:,} are read")
    try:
        config = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as exc:
        raise _damaged(folder, f"{CONFIG} is not valid JSON") from exc
    if not isinstance(config, dict):
        raise _damaged(folder, f"{CONFIG} is no JSON object")
    return config


def _check_settings(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse every setting that is not supported here, unless it is switched off."""
    if config.get("peft_type") != "LORA":
        raise _refused(folder, f"peft_type is {_seen(config.get('peft_type'))}; only LORA is taken")
    if config.get("task_type") not in (None, "CAUSAL_LM"):
        raise _refused(folder, f"task_type is {_seen(config['task_type'])}; only CAUSAL_LM is taken")
    init = config.get("init_lora_weights", True)
    if not isinstance(init, bool) and init != "gaussian":  # how it once started does not matter, unless the base was changed for it
        raise _refused(folder, f"init_lora_weights is {_seen(init)}, but {_WHY['init_lora_weights']}")
    if config.get("bias", "none") != "none":
        raise _refused(folder, f"bias is {_seen(config['bias'])}, but {_WHY['bias']}")
    if not isinstance(config.get("use_rslora", False), bool):
        raise _refused(folder, f"use_rslora is {_seen(config['use_rslora'])}; it must be true or false")
    for name, value in config.items():
        if name in _READ or name in _INERT or value in (None, False, "") or value == {} or value == []:
            continue
        why = f", but {_WHY[name]}" if name in _WHY else "; adapters with this setting are not taken"
        raise _refused(folder, f"{name[:60]} is {_seen(value)}{why}")


def _tensors(folder: Path) -> tuple[dict[str, tuple[int, int]], dict[str, int]]:
    """Inputs and outputs by layer, and rank by layer, from the header alone."""
    try:
        header = read_header(folder / WEIGHTS, most=4 * _MOST_BYTES)
    except PrerequisiteError as exc:
        raise _damaged(folder, str(exc).partition(". ")[0]) from exc
    pairs: dict[str, dict[str, TensorFacts]] = {}
    for name, facts in header.items():
        match = _TENSOR.fullmatch(name)
        if match is None:
            raise _refused(folder, f"it holds the tensor '{name[:80]}', which is none of LoRA on a linear layer")
        if facts.dtype not in _FLOATS or len(facts.shape) != 2 or not all(isinstance(size, int) and size > 0 for size in facts.shape):
            raise _damaged(folder, f"the tensor '{name[:80]}' is no matrix of numbers in float32, float16 or bfloat16")
        pairs.setdefault(match[1], {})[match[2]] = facts
    for layer, pair in pairs.items():
        if set(pair) != {"A", "B"} or pair["A"].shape[0] != pair["B"].shape[1]:
            raise _damaged(folder, f"the two tensors for '{layer[-80:]}' are not both there, or do not fit each other")
    if not pairs:
        raise _damaged(folder, "it holds no tensor")
    return (
        {layer: (pair["A"].shape[1], pair["B"].shape[0]) for layer, pair in pairs.items()},
        {layer: pair["A"].shape[0] for layer, pair in pairs.items()},
    )


def _targets(folder: Path, config: Mapping[str, Any]) -> frozenset[str] | None:
    value = config.get("target_modules")
    if value == "all-linear":
        return None
    if not isinstance(value, list) or not value:
        raise _refused(folder, f"target_modules is {_seen(value)}; 'all-linear' or a list of names is taken, no pattern")
    for name in value:
        _check_plain(folder, "target_modules", name)
    return frozenset(value)


def _blocks(folder: Path, config: Mapping[str, Any]) -> frozenset[int] | None:
    value, pattern = config.get("layers_to_transform"), config.get("layers_pattern")
    for name in pattern if isinstance(pattern, list) else [pattern]:
        if name is not None and name != "":
            _check_plain(folder, "layers_pattern", name)
    if value is None or value == []:
        return None
    numbers = value if isinstance(value, list) else [value]
    if not all(isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 10_000 for number in numbers):
        raise _refused(folder, f"layers_to_transform is {_seen(value)}; a list of numbers of decoder blocks, from 0, is taken")
    return frozenset(numbers)


def _pattern(folder: Path, config: Mapping[str, Any], key: str) -> Iterator[tuple[str, Any]]:
    value = config.get(key) or {}
    if not isinstance(value, dict):
        raise _refused(folder, f"{key} is {_seen(value)}; an object of names and numbers is taken")
    for name, number in value.items():
        _check_plain(folder, key, name)
        yield name, number


def _check_plain(folder: Path, key: str, name: Any) -> None:
    if not isinstance(name, str) or len(name) > 300 or _PLAIN.fullmatch(name) is None:
        raise _refused(folder, f"{key} names {_seen(name)}; plain names of layers are taken, no pattern")


def _whole(folder: Path, key: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MOST_RANK:
        raise _refused(folder, f"{key} is {_seen(value)}; a rank is a whole number from 1 to {MOST_RANK:,}")
    return value


def _number(folder: Path, key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MOST_ALPHA or not math.isfinite(value):
        raise _refused(folder, f"{key} is {_seen(value)}; a number above 0, up to {MOST_ALPHA:,.0f}, is taken")
    return value


def _dropout(folder: Path, config: Mapping[str, Any]) -> float:
    value = config.get("lora_dropout", 0.0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise _refused(folder, f"lora_dropout is {_seen(value)}; a share from 0 to below 1 is taken")
    return float(value)


def _of(pattern: Mapping[str, tuple[int, _Value]], layer: str, usual: _Value) -> _Value:
    """The value of the first pattern that is a suffix of the layer's name, as PEFT resolves it."""
    return min((pattern[name] for name in _endings(layer) if name in pattern), default=(0, usual))[1]


def _endings(layer: str) -> list[str]:
    """The full name of a layer and its suffixes: what a setting may call it, as PEFT matches it."""
    parts = layer.split(".")
    return [".".join(parts[start:]) for start in range(len(parts))]


def _seen(value: Any) -> str:
    text = json.dumps(value, default=str) if isinstance(value, str | int | float | bool | None) else type(value).__name__
    return text if len(text) <= 60 else text[:57] + "…"


def _damaged(folder: Path, why: str) -> StoreError:
    return StoreError(f"The adapter in {folder.name} is damaged or was made for another model: {why}. Prepare it again.")


def _foreign(folder: Path, why: str) -> StoreError:
    return StoreError(f"The adapter in {folder.name} was made for other layers than this model has: {why}. Prepare it again.")


def _refused(folder: Path, why: str) -> StoreError:
    return StoreError(f"The adapter in {folder.name} is refused: {why}. Use a plain LoRA adapter on linear layers.")
