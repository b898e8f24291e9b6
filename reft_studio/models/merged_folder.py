"""A base with an adapter folded into its weights, as a plain transformers folder: whoever reads it needs neither PEFT nor this app."""

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
from reft_studio.models.transformers_io import disk_errors_told, told
from reft_studio.progress import Progress

SHARD = 4_000_000_000
"""Most bytes of one weight file: progress is told, and a cancellation heard, between two of them."""
_TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id")


@dataclass(frozen=True)
class Folded:
    """What became of the weights. `rounding` is the part of the adapter's update that the number format cut off, as a share of its size."""

    dtype: str
    layers: int
    rounding: float


def fold(model: LoadedModel, adapter: Path, progress: Progress, *, dtype: Format = "auto") -> Folded:
    """Fold the adapter in the folder `adapter` into the weights of `model`, which holds the merged ones from then on.

    W + scale·B·A is computed in float32 and rounded once, to `dtype` (auto: as the base's files have it). Raises StoreError for an
    adapter that is damaged or of another model, PrerequisiteError where a weight is beyond the number format.
    """
    kind = format_of(locate(model.source, revision=model.loading.revision), dtype)
    found = read_adapter(adapter).renamed(model.inside)
    found.check_fits(linear_layers(model.base))
    check_numbers(found)
    return Folded(kind, len(found.layers), _fold(model.base, found, getattr(torch, kind), progress))


def write_folder(model: LoadedModel, folded: Folded, target: Path, progress: Progress, *, shard: int = SHARD) -> int:
    """Write a folded model to `target`, a folder that is there: weights, configuration, tokenizer, chat template; bytes of the weights.

    Raises PrerequisiteError where the disk has no room.
    """
    source = fetch(locate(model.source, revision=model.loading.revision))
    check_disk(source, folded.dtype, target)
    _write(model.base, source, target, progress, shard=shard)
    return read_folder(target, target.name).size


@torch.no_grad()
def _fold(base: Any, found: AdapterFile, dtype: torch.dtype, progress: Progress) -> float:
    """Put every weight into its new number format, those of adapted layers with their update; the share of it that rounding took."""
    weights, lost, size, folded = dict(base.named_parameters()), 0.0, 0.0, 0
    with safe_open(found.folder / WEIGHTS, "pt") as file:
        for done, (name, value) in enumerate(weights.items()):
            progress.progress(done, len(weights))
            layer, whole = name.removesuffix(".weight"), value
            if layer in found.layers:
                update = _update(base.get_submodule(layer), file, found, layer)
                whole, folded = value.float() + update, folded + 1
                lost, size = lost + _square(whole.to(dtype).float() - whole), size + _square(update)
            value.data = whole.to(dtype)
            if not bool(torch.isfinite(value).all()):
                raise PrerequisiteError(f"The weights of {name[-80:]} are too large for {dtype}. Choose bfloat16 or float32.")
    if folded != len(found.layers):
        raise StoreError(f"{len(found.layers) - folded} layers of the adapter are no weights of this model. Nothing was written.")
    return math.sqrt(lost / size) if size else 0.0


def _update(module: Any, file: Any, found: AdapterFile, layer: str) -> Tensor:
    """scale·B·A of one layer in float32, laid out as its weight is."""
    from transformers.pytorch_utils import Conv1D

    down, up = (file.get_tensor(found.key(layer, part)).float() for part in "AB")
    rank, alpha = found.layers[layer]
    update: Tensor = alpha / (math.sqrt(rank) if found.rslora else rank) * (up @ down)
    return (update.T if isinstance(module, Conv1D) else update).to(module.weight.device)  # GPT-2's Conv1D keeps inputs first


def _square(value: Tensor) -> float:
    return float(value.double().square().sum())


def _write(base: Any, source: ModelSource, target: Path, progress: Progress, *, shard: int) -> None:
    """Weights, configuration, tokenizer and chat template, as transformers reads them."""
    from transformers.utils import logging as chatter

    _restore_settings(base.config, source)
    with disk_errors_told(target):
        with told(chatter, progress):
            base.save_pretrained(target, max_shard_size=shard)
        (target / "generation_config.json").unlink(missing_ok=True)  # ours is greedy; the base's own goes along where it has one
        for path in copied(source.folder) if source.folder is not None else ():
            shutil.copyfile(path, target / path.name)
        readable = (target / "config.json").stat().st_mode
        for path in target.glob("*.safetensors"):  # their library writes them for one user alone
            path.chmod(readable)


def _restore_settings(config: Any, source: ModelSource) -> None:
    """What loading changed for this app's own work, and what a wrapper around the text model alone knew."""
    given: Mapping[str, Any] = source.config
    text = given.get("text_config") if isinstance(given.get("text_config"), dict) else given
    config.use_cache = bool((text or given).get("use_cache", True))
    for name in _TOKENS:
        if given.get(name) is not None:
            setattr(config, name, given[name])
    if hasattr(config, "auto_map"):  # code of the model's own, which is never run and does not go along
        del config.auto_map
