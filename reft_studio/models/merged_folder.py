"""Merges an adapter into its base and writes a plain transformers folder, readable without PEFT or this app."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from reft_studio.errors import PrerequisiteError, StoreError
from reft_studio.models.adapter_file import WEIGHTS, AdapterFile, read_adapter
from reft_studio.models.adapters import check_numbers, linear_layers
from reft_studio.models.loading import LoadedModel
from reft_studio.models.merged_size import Format, check_disk, copied, format_of
from reft_studio.models.source import ModelSource, fetch, locate, read_folder
from reft_studio.models.transformers_io import readable_disk_errors, with_progress
from reft_studio.progress import Progress

SHARD = 4_000_000_000
"""Maximum bytes per weight file; progress and cancellation are handled between files."""
_TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id")


@dataclass(frozen=True)
class Folded:
    """The result of a merge. `rounding` is the part of the update lost to the number format, as a share of its norm."""

    dtype: str
    layers: int
    rounding: float


def fold(model: LoadedModel, adapter: Path, progress: Progress, *, dtype: Format = "auto") -> Folded:
    """Merge the adapter in the folder `adapter` into the weights of `model`, in place.

    W + scale·B·A is computed in float32 and rounded once, to `dtype` (auto: that of the base's files). Raises StoreError for an
    adapter that is damaged or of another model, PrerequisiteError where a weight exceeds the number format.
    """
    kind = format_of(locate(model.source, revision=model.loading.revision), dtype)
    parsed = read_adapter(adapter).renamed(model.inside)
    parsed.check_fits(linear_layers(model.base))
    check_numbers(parsed)
    return Folded(kind, len(parsed.layers), _fold(model.base, parsed, getattr(torch, kind), progress))


def write_folder(model: LoadedModel, folded: Folded, target: Path, progress: Progress, *, shard: int = SHARD) -> int:
    """Write a merged model to the existing folder `target`: weights, configuration, tokenizer, chat template; returns the weights' bytes.

    Raises PrerequisiteError if the disk has no room.
    """
    source = fetch(locate(model.source, revision=model.loading.revision))
    check_disk(source, folded.dtype, target)
    _write(model.base, source, target, progress, shard=shard)
    return read_folder(target, target.name).size


@torch.no_grad()
def _fold(base: Any, parsed: AdapterFile, dtype: torch.dtype, progress: Progress) -> float:
    """Convert every weight to its new number format, adapted layers with their update; returns the rounding as a share of the update."""
    weights, lost, size, folded = dict(base.named_parameters()), 0.0, 0.0, 0
    with safe_open(parsed.folder / WEIGHTS, "pt") as file:
        for done, (name, value) in enumerate(weights.items()):
            progress.progress(done, len(weights))
            layer, merged = name.removesuffix(".weight"), value
            if layer in parsed.layers:
                update = _update(base.get_submodule(layer), file, parsed, layer)
                merged, folded = value.float() + update, folded + 1
                lost, size = lost + _square(merged.to(dtype).float() - merged), size + _square(update)
            value.data = merged.to(dtype)
            if not bool(torch.isfinite(value).all()):
                raise PrerequisiteError(f"The weights of {name[-80:]} are too large for {dtype}. Choose bfloat16 or float32.")
    if folded != len(parsed.layers):
        raise StoreError(f"{len(parsed.layers) - folded} layers of the adapter are no weights of this model. Nothing was written.")
    return math.sqrt(lost / size) if size else 0.0


def _update(module: Any, file: Any, parsed: AdapterFile, layer: str) -> Tensor:
    """scale·B·A of one layer in float32, in the layout of its weight."""
    from transformers.pytorch_utils import Conv1D

    down, up = (file.get_tensor(parsed.key(layer, part)).float() for part in "AB")
    rank, alpha = parsed.layers[layer]
    update: Tensor = alpha / (math.sqrt(rank) if parsed.rslora else rank) * (up @ down)
    return (update.T if isinstance(module, Conv1D) else update).to(module.weight.device)  # GPT-2's Conv1D keeps inputs first


def _square(value: Tensor) -> float:
    return float(value.double().square().sum())


def _write(base: Any, source: ModelSource, target: Path, progress: Progress, *, shard: int) -> None:
    """Weights, configuration, tokenizer and chat template, as transformers reads them."""
    from transformers.utils import logging as chatter

    _restore_settings(base.config, source)
    with readable_disk_errors(target):
        with with_progress(chatter, progress):
            base.save_pretrained(target, max_shard_size=shard)
        (target / "generation_config.json").unlink(missing_ok=True)  # ours is greedy; the base's own goes along where it has one
        for path in copied(source.folder) if source.folder is not None else ():
            shutil.copyfile(path, target / path.name)
        readable = (target / "config.json").stat().st_mode
        for path in target.glob("*.safetensors"):  # their library writes them for one user alone
            path.chmod(readable)


def _restore_settings(config: Any, source: ModelSource) -> None:
    """Restore settings that loading changed, and those known only to a wrapper around the text model."""
    given: Mapping[str, Any] = source.config
    text = given.get("text_config") if isinstance(given.get("text_config"), dict) else given
    config.use_cache = bool((text or given).get("use_cache", True))
    for name in _TOKENS:
        if given.get(name) is not None:
            setattr(config, name, given[name])
    if hasattr(config, "auto_map"):  # code of the model's own, which is never run and does not go along
        del config.auto_map
