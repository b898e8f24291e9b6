"""LoRA adapters on one shared, frozen base: teacher, aligned model and students, by name."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from reft_studio.errors import SpecError, StoreError
from reft_studio.models.adapter_file import CONFIG, MOST_WEIGHT, WEIGHTS, AdapterFile, read_adapter
from reft_studio.models.fused_lora import fuse_lora
from reft_studio.models.loading import LoadedModel
from reft_studio.models.spec import LoraSpec
from reft_studio.workspace import read_json, write_json

_MARKED = 512
"""Numbers of each base tensor compared before and after an adapter is loaded."""


class AdaptedModel:
    """The base with its adapters. `None` names the bare base."""

    def __init__(self, model: LoadedModel) -> None:
        self.model = model
        self._peft: Any = None
        self._names: set[str] = set()
        self._entered: list[tuple[str | None, tuple[str, ...], bool, bool]] = []
        self._recomputing = False
        self._layers = linear_layers(model.base)

    @property
    def names(self) -> set[str]:
        return set(self._names)

    def add(self, name: str, spec: LoraSpec, *, seed: int) -> None:
        """A fresh adapter: A random from `seed`, B zero, so that it starts exactly at the base. Replaces one of that name.

        Raises SpecError if its targets are not linear layers of this model, or are its head or embeddings.
        """
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(
            r=spec.rank,
            lora_alpha=spec.alpha,
            lora_dropout=spec.dropout,
            target_modules=spec.targets if spec.targets == "all-linear" else list(spec.targets),
            task_type="CAUSAL_LM",
        )
        self._delete(name)
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # peft remarks on tied heads that no adapter touches
            torch.manual_seed(seed)
            try:
                if self._peft is None:
                    self._peft = get_peft_model(self.model.base, config, adapter_name=name).eval()  # peft's own mode: `mixed` needs it
                else:
                    self._peft.add_adapter(name, config)
            except ValueError as exc:
                if spec.targets == "all-linear":
                    raise SpecError(
                        f"{type(self.model.base).__name__} cannot take adapters on all of its linear layers: {str(exc)[:200]} Name others."
                    ) from exc
                raise SpecError(f"targets are {spec.targets}, but not all are linear layers of this model. Use 'all-linear'.") from exc
        self._taken_in(name)

    def load(self, name: str, folder: Path) -> None:
        """Load an adapter from a folder written by PEFT; it is checked before anything is built and must fit this model exactly.

        Raises StoreError, and leaves the other adapters as they were, if it is damaged, of another model, or not allowed.
        """
        adapter = read_adapter(folder).renamed(self.model.inside)
        adapter.check_fits(self._layers)
        check_numbers(adapter)
        self._delete(name)
        with base_untouched(self.model.base), torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # peft and transformers remark on each other's deprecated names
            try:
                self._fill(name, adapter)
            except Exception:
                self._forget(name)
                raise
        self._taken_in(name)

    def _fill(self, name: str, adapter: AdapterFile) -> None:
        """Build the adapter from the checked settings: PEFT never gets the untrusted file."""
        from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
        from peft.utils import get_peft_model_state_dict

        config = LoraConfig(
            r=adapter.rank,
            lora_alpha=adapter.alpha,
            lora_dropout=adapter.dropout,
            target_modules=sorted(adapter.layers),
            rank_pattern={re.escape(layer): rank for layer, (rank, _) in adapter.layers.items() if rank != adapter.rank},
            alpha_pattern={re.escape(layer): alpha for layer, (_, alpha) in adapter.layers.items() if alpha != adapter.alpha},
            use_rslora=adapter.rslora,
            task_type="CAUSAL_LM",
        )
        if self._peft is None:
            self._peft = get_peft_model(self.model.base, config, adapter_name=name).eval()
        else:
            self._peft.add_adapter(name, config)
        stored = load_file(adapter.folder / WEIGHTS)
        weights = {_key(layer, part): stored[adapter.key(layer, part)] for layer in adapter.layers for part in "AB"}
        set_peft_model_state_dict(self._peft, weights, adapter_name=name)
        built = get_peft_model_state_dict(self._peft, adapter_name=name, save_embedding_layers=False)
        if set(built) != set(weights):
            raise StoreError(f"The adapter in {adapter.folder.name} was made for other layers than this model has. Prepare it again.")

    def _forget(self, name: str) -> None:
        """Remove what a failed load left behind."""
        if self._peft is not None and name in self._peft.peft_config:
            self._names.add(name)
            self._delete(name)

    def copy(self, source: str, target: str, spec: LoraSpec) -> None:
        """A new adapter `target` with the weights of `source`. Raises StoreError unless `spec` is how `source` was made."""
        self.add(target, spec, seed=0)
        old, new = self.parameters(source), self.parameters(target)
        config = self._peft.peft_config[source]
        if [value.shape for value in old] != [value.shape for value in new] or config.lora_alpha != spec.alpha:
            raise StoreError(
                f"The adapter '{source}' was made with other LoRA settings (rank {config.r}, alpha {config.lora_alpha}) than this run "
                f"asks for (rank {spec.rank}, alpha {spec.alpha}). Use the same."
            )
        with torch.no_grad():
            for value, copied in zip(old, new, strict=True):
                copied.copy_(value)

    def parts(self, name: str) -> dict[str, Any]:
        """PEFT's layers of one adapter, in the order of the model, by the name of the linear layer in the base."""
        return {key: module for key, module in self.model.base.named_modules() if name in getattr(module, "lora_A", ())}

    def parameters(self, name: str) -> list[Tensor]:
        """The trainable tensors of one adapter, in module order."""
        mark = f".{name}."
        return [value for key, value in self._peft.named_parameters() if "lora_" in key and mark in f"{key}."]

    @torch.no_grad()
    def round_to_base(self, name: str) -> None:
        """Round an adapter to the base's number format: half the file size, and the weights on disk are the ones measured."""
        dtype = next(self.model.base.parameters()).dtype
        for value in self.parameters(name):
            value.copy_(value.to(dtype))

    def save(self, name: str, folder: Path, *, base_name: str, rounded: bool = False) -> None:
        """Write the adapter in PEFT's format: adapter_config.json and adapter_model.safetensors in `folder`.

        `rounded`: in the base's number format, for an adapter that `round_to_base` has rounded.
        """
        config = self._peft.peft_config[name]
        config.base_model_name_or_path = base_name
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # peft looks for the base's config on the hub
            self._peft.save_pretrained(str(folder), selected_adapters=[name], safe_serialization=True, save_embedding_layers=False)
        nested = folder / name
        if nested.is_dir():
            for path in list(nested.iterdir()):
                path.replace(folder / path.name)
            nested.rmdir()
        if rounded:
            dtype = next(self.model.base.parameters()).dtype
            _rewrite(folder / WEIGHTS, {key: value.to(dtype) for key, value in load_file(folder / WEIGHTS).items()})
        if self.model.wrapper:
            _name_for_wrapper(folder, self.model)
        (folder / "README.md").unlink(missing_ok=True)  # peft's names the folder on this machine that the base came from

    @contextmanager
    def active(self, name: str | None, *, on: Sequence[str] = (), train: bool = False, checkpointing: bool = False) -> Iterator[nn.Module]:
        """The backbone (ids -> hidden states after the final norm) with one adapter, or none, active.

        Adapters `on` are active too, frozen: `name` is trained on top of them.

        PEFT keeps the active adapter as global state and makes it trainable: this sets both, and restores the previous state, so that a
        teacher can run while a student trains. With `checkpointing` the backward pass recomputes each decoder block instead of keeping its
        activations: about a third more time for a fraction of the memory.
        """
        for wanted in (*on, *([] if name is None else [name])):
            if wanted not in self._names:
                raise StoreError(f"The adapter '{wanted}' is not loaded.")
        self._entered.append((name, tuple(on), train, checkpointing))
        try:
            self._apply()
            yield self.model.base.base_model
        finally:
            self._entered.pop()
            self._apply()

    def _apply(self) -> None:
        """Activate the innermost `active`; outside of all, everything is frozen and in eval mode."""
        name, on, train, checkpointing = self._entered[-1] if self._entered else (None, (), False, False)
        base = self.model.base
        base.eval()
        self._checkpoint(checkpointing)
        if self._peft is None:
            return
        tuner = self._peft.base_model
        # outside of `active`, PEFT's own state is left switched on: others may call its models
        if self._entered and name is None and not on:
            tuner.disable_adapter_layers()
        else:
            tuner.enable_adapter_layers()
        if on:
            tuner.set_adapter([*on, *([] if name is None else [name])])
        elif name is not None:
            self._peft.set_adapter(name)
        self._freeze()  # after the switches above, which make the adapter trainable
        if name is None or not train:
            return
        for value in self.parameters(name):
            value.requires_grad_(True)
        for module in base.modules():  # the frozen base stays in eval mode: only the adapter's own dropout may be on
            if name in (dropout := getattr(module, "lora_dropout", {})):
                dropout[name].train()

    def _checkpoint(self, wanted: bool) -> None:
        """Turn recomputation of the blocks on or off. A block counts as training only for this; its dropout stays off."""
        blocks: Any = self.model.blocks
        if wanted and not all(isinstance(block, GradientCheckpointingLayer) for block in blocks):
            raise SpecError(f"{type(self.model.base).__name__} cannot recompute its blocks. Switch gradient_checkpointing off.")
        for block in blocks if wanted or self._recomputing else ():
            block.gradient_checkpointing = block.training = wanted
            block._gradient_checkpointing_func = partial(_recomputed, block)
        self._recomputing = wanted

    @contextmanager
    def generating(self, name: str | None, *, on: Sequence[str] = ()) -> Iterator[Any]:
        """The model with its head, for `generate`, with one adapter or none active, and those it was trained on top of."""
        with self.active(name, on=on):
            yield self.model.base

    @contextmanager
    def mixed(self, names: Sequence[str | None]) -> Iterator[Any]:
        """The model with its head, for a batch whose row i uses adapter `names[i]` (None: the base)."""
        if self._peft is None or all(name is None for name in names):
            with self.active(None):
                yield self.model.base
            return
        rows = ["__base__" if name is None else name for name in names]
        with self.active(next(name for name in names if name is not None)):
            yield lambda **inputs: self._peft(**inputs, adapter_names=rows)

    def _delete(self, name: str) -> None:
        if name in self._names:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # peft remarks that it makes another adapter active; we always set our own
                self._peft.delete_adapter(name)
            self._names.discard(name)

    def _taken_in(self, name: str) -> None:
        """Register a new adapter, frozen. Raises SpecError if it changes the head or the embeddings, which cached states rely on."""
        self._names.add(name)
        self._freeze()
        base = self.model.base
        fuse_lora(base)
        for module in (base.get_input_embeddings(), base.get_output_embeddings()):
            if name in getattr(module, "lora_A", ()) or name in getattr(module, "lora_embedding_A", ()):
                self._delete(name)
                raise SpecError(
                    f"The adapter '{name}' changes the head or the embeddings of the model, which all models of a run share. "
                    "Leave them out of its targets."
                )

    def _freeze(self) -> None:
        self._peft.requires_grad_(False)


def linear_layers(base: Any) -> dict[str, tuple[int, int]]:
    """Inputs and outputs of every linear layer (including GPT-2's Conv1D) except the head, by name."""
    from transformers.pytorch_utils import Conv1D

    head, sizes = base.get_output_embeddings(), {}
    for name, module in base.named_modules():
        if module is head or ".lora_" in name:
            continue
        plain = name.removesuffix(".base_layer")
        if isinstance(module, nn.Linear):
            sizes[plain] = (int(module.in_features), int(module.out_features))
        elif isinstance(module, Conv1D):
            sizes[plain] = (int(module.weight.shape[0]), int(module.weight.shape[1]))
    return sizes


def _key(layer: str, part: str) -> str:
    """PEFT's name of an adapter's tensor."""
    return f"base_model.model.{layer}.lora_{part}.weight"


def _rewrite(path: Path, weights: dict[str, Tensor]) -> None:
    save_file(weights, path, metadata={"format": "pt"})


def _name_for_wrapper(folder: Path, model: LoadedModel) -> None:
    """Rename an adapter's layers to those of the wrapper around the text model, which other programs load.

    Full names are needed: a short name (q_proj) would also match layers of the wrapper's other towers.
    """
    adapter = read_adapter(folder)
    stored = load_file(folder / WEIGHTS)
    weights = {_key(model.outside(layer), part): stored[adapter.key(layer, part)] for layer in adapter.layers for part in "AB"}
    _rewrite(folder / WEIGHTS, weights)
    config = read_json(folder / CONFIG)
    write_json(folder / CONFIG, {**config, "target_modules": sorted(map(model.outside, adapter.layers))})


def check_numbers(adapter: AdapterFile) -> None:
    """Raise StoreError for values that no training produces; reads one tensor at a time."""
    largest = 0.0
    try:
        with safe_open(adapter.folder / WEIGHTS, "pt") as file:
            for key in file.keys():  # noqa: SIM118  no mapping: it has only `keys`
                value = float(file.get_tensor(key).abs().max())
                if not math.isfinite(value):
                    raise StoreError(f"The adapter in {adapter.folder.name} holds numbers that are not finite. Prepare it again.")
                largest = max(largest, value)
    except (OSError, SafetensorError) as exc:
        raise StoreError(f"The adapter in {adapter.folder.name} is damaged or was made for another model. Prepare it again.") from exc
    if largest > MOST_WEIGHT:
        raise StoreError(
            f"The adapter in {adapter.folder.name} holds numbers as large as {largest:.2g}; those of a trained one stay below "
            f"{MOST_WEIGHT:,.0f}. Prepare it again."
        )


@contextmanager
def base_untouched(base: nn.Module) -> Iterator[None]:
    """Assert that the block leaves the base unchanged: the same tensors, at the same version, with the same sample of values.

    A change is a bug of ours, not of a file: no setting that could change the base is passed to PEFT.
    """
    before = _marks(base)
    yield
    if _marks(base) != before:
        raise RuntimeError("The weights of the base changed while an adapter was loaded. Nothing may be computed with them any more.")


@torch.no_grad()
def _marks(base: nn.Module) -> list[tuple[int, int, bytes]]:
    """Of each base tensor, without adapters: its address, its version and a sample of its bytes."""
    marks = []
    for name, value in [*base.named_parameters(), *base.named_buffers()]:
        if ".lora_" not in name:
            sample = value.detach().flatten()[:: max(1, value.numel() // _MARKED)].contiguous().cpu()
            marks.append((value.data_ptr(), value._version, sample.view(torch.uint8).numpy().tobytes()))
    return marks


def _recomputed(block: nn.Module, forward: Callable[..., Any], *inputs: Any) -> Any:
    """A block with recomputed activations. It runs in eval mode both times: some blocks (OPT, Falcon) apply dropout by their own mode."""

    def quiet(*again: Any) -> Any:
        before, block.training = block.training, False
        try:
            return forward(*again)
        finally:
            block.training = before

    return checkpoint(quiet, *inputs, use_reentrant=False)
