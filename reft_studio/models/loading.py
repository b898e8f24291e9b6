"""Load a causal language model once, and find its parts by structure, never by name."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from reft_studio.data.templates import Template, template_for
from reft_studio.errors import PrerequisiteError, SpecError
from reft_studio.models.spec import DEFAULT, LoadSpec
from reft_studio.workspace import ASSETS

LAB = "lab"
"""The name of the embedded model."""


@dataclass(frozen=True)
class LoadedModel:
    """A frozen base with its tokenizer, template and the three parts that training and scoring use.

    `backbone` maps token ids to hidden states after the final norm; `blocks[l - 1]` is decoder block l, counted from 1.
    """

    source: str
    base: Any  # a transformers PreTrainedModel; the library ships no types
    tokenizer: Any
    template: Template
    blocks: nn.ModuleList
    fingerprint: str
    stop_ids: tuple[int, ...]
    """Tokens that end an answer: end of text, and what else the model's generation settings name, such as end of turn."""

    @property
    def device(self) -> torch.device:
        return torch.device(next(self.base.parameters()).device)

    @property
    def layers(self) -> int:
        return len(self.blocks)

    @property
    def context(self) -> int:
        """Tokens the model has positions for; very many if its configuration does not say."""
        return int(getattr(self.base.config.get_text_config(), "max_position_embeddings", None) or 1 << 20)

    def room(self, prompt: int, wanted: int) -> int:
        """Tokens an answer may have after a prompt of so many: `wanted`, or what the model still has positions for."""
        return max(1, min(wanted, self.context - prompt))

    @property
    def pad_id(self) -> int:
        pad = self.tokenizer.pad_token_id
        return int(pad if pad is not None else self.eos_id)

    @property
    def eos_id(self) -> int:
        return int(self.tokenizer.eos_token_id)

    def logits(self, hidden: Tensor) -> Tensor:
        """(…, d_model) after the final norm -> (…, vocabulary), float32, with the model's own scale (Cohere, Granite) and soft cap."""
        config = self.base.config.get_text_config()
        logits: Tensor = self.base.get_output_embeddings()(hidden)
        if scale := getattr(config, "logit_scale", None):
            logits = logits * scale
        if divisor := getattr(config, "logits_scaling", None):
            logits = logits / divisor
        logits = logits.float()
        if cap := getattr(config, "final_logit_softcapping", None):
            logits = torch.tanh(logits / cap) * cap
        return logits


def resolve(source: str) -> str:
    """`lab` is the embedded model's folder; anything else is a local folder or a Hub id, as it is."""
    return str(ASSETS / "lab" / "base") if source == LAB else str(Path(source).expanduser()) if source.startswith("~") else source


def load(source: str, *, loading: LoadSpec = DEFAULT, template: str = "auto") -> LoadedModel:
    """Load a model folder or Hub id with its tokenizer, frozen and in eval mode.

    `dtype` "auto" is float32, but on a CUDA device weights stored in half precision stay so (as bfloat16, whose range
    gradients need), or an 8 B model would take 32 GB. Weights must be safetensors; code that a model ships is never run.
    Raises PrerequisiteError, with what to do, if something is missing.
    """
    from transformers import AutoModelForCausalLM, GenerationConfig
    from transformers.utils import logging as chatter

    chatter.disable_progress_bar()  # our own progress says what happens; bars of a library would cut through it
    path = resolve(source)
    _check_folder(path, source)
    tokenizer = load_tokenizer(source)
    place, dtype = _device(loading.device), loading.dtype
    kept = "auto" if dtype == "auto" and place.startswith("cuda") else getattr(torch, "float32" if dtype == "auto" else dtype)
    try:
        base = AutoModelForCausalLM.from_pretrained(
            path, dtype=kept, use_safetensors=True, trust_remote_code=False, local_files_only=_offline()
        )
        base = (base.bfloat16() if base.dtype == torch.float16 else base).to(place)
    except (OSError, ValueError, RuntimeError, ImportError, SafetensorError) as exc:
        raise PrerequisiteError(
            f"The model '{source}' cannot be loaded: {_first_line(exc)} A model is a folder (or Hub id) with config.json, "
            "safetensors weights and a tokenizer, of a causal language model architecture that transformers knows."
        ) from exc
    base.requires_grad_(False).eval()
    base.config.use_cache = False
    ends = _stop_ids(base, tokenizer)
    base.generation_config = GenerationConfig()  # greedy is greedy: no repetition penalty or sampling that a model suggests
    return LoadedModel(source, base, tokenizer, template_for(tokenizer, template), find_blocks(base), weights_fingerprint(base), ends)


def load_tokenizer(source: str) -> Any:
    """The tokenizer of a model; its end-of-text token must exist, since training teaches the model to stop."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(resolve(source), trust_remote_code=False, local_files_only=_offline())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:  # transformers answers a missing tokenizer in all these ways
        raise PrerequisiteError(
            f"The model '{source}' has no tokenizer that can be read ({_first_line(exc)}). Copy tokenizer.json and "
            "tokenizer_config.json of the model into its folder."
        ) from exc
    if tokenizer.eos_token_id is None:
        raise PrerequisiteError(
            f"The tokenizer of '{source}' names no eos_token, so a model could not learn to stop. Set it in tokenizer_config.json."
        )
    return tokenizer


def find_blocks(base: nn.Module) -> nn.ModuleList:
    """The decoder blocks: the list of equal modules as long as the configuration says the model is deep."""
    depth = int(base.config.get_text_config().num_hidden_layers)  # type: ignore[union-attr, operator]
    for module in base.modules():
        if isinstance(module, nn.ModuleList) and len(module) == depth and len({type(block) for block in module}) == 1:
            return module
    raise SpecError(f"{type(base).__name__} has no list of {depth} equal decoder blocks, so its refusal feature cannot be read.")


SAMPLED = 65_536
"""Numbers of each tensor that the fingerprint reads, evenly spread; all of a smaller one."""


def weights_fingerprint(base: nn.Module) -> str:
    """A fingerprint of the base weights: name, type, shape and bytes of every tensor, of large ones a fixed sample.

    Bytes, not sums: a sum differs in its last digits from machine to machine.
    """
    digest = hashlib.sha256()
    for name, value in base.state_dict().items():
        step = max(1, value.numel() // SAMPLED)
        sample = value.detach().flatten()[::step].contiguous().cpu()
        digest.update(f"{name}:{value.dtype}:{list(value.shape)}:".encode())
        digest.update(sample.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _stop_ids(base: Any, tokenizer: Any) -> tuple[int, ...]:
    named = base.generation_config.eos_token_id if base.generation_config is not None else None
    others = named if isinstance(named, list) else [] if named is None else [named]
    return tuple(dict.fromkeys([int(tokenizer.eos_token_id), *map(int, others)]))


def _check_folder(path: str, source: str) -> None:
    folder = Path(path).expanduser()
    if not folder.exists():
        if path.startswith((".", "/", "~")) or "\\" in path:
            raise PrerequisiteError(
                f"There is no model folder {path}. Give the folder that holds config.json, or a Hub id such as org/name."
            )
        if _offline():
            raise PrerequisiteError(f"'{source}' is not a folder here, and offline mode forbids asking the model hub. Give a local folder.")
        return
    if not (folder / "config.json").is_file():
        raise PrerequisiteError(f"{path} has no config.json, so it is not a model folder.")
    if not list(folder.glob("*.safetensors")):
        raise PrerequisiteError(f"{path} has no *.safetensors weights. Pickled weights are refused, since loading them can run code.")
    try:
        json.loads((folder / "config.json").read_text("utf-8"))
    except ValueError as exc:
        raise PrerequisiteError(f"{path}/config.json is not valid JSON. Copy it again from where the model came from.") from exc


def _offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "0").lower() in {"1", "true", "yes", "on"}


def _device(choice: str) -> str:
    if choice != "auto":
        return choice
    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


def _first_line(exc: BaseException) -> str:
    return (str(exc).strip().splitlines() or [type(exc).__name__])[0][:200]
