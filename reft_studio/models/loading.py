"""Loads a causal language model and checks it before and after; the number format it is loaded in is part of every record."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from reft_studio.data.chat.templates import ChatTemplate, template_for
from reft_studio.errors import PrerequisiteError
from reft_studio.models import memory
from reft_studio.models.architecture import BlockParts, check_logits, examine, find_parts, text_backbone_name, text_only
from reft_studio.models.source import LAB, ModelSource, fetch, locate, resolve
from reft_studio.models.spec import DEFAULT, LoadSpec
from reft_studio.models.vocabulary import embeddings, fit_tokens

__all__ = ["LAB", "LoadedModel", "free_memory", "load", "load_tokenizer", "resolve", "settled", "weights_fingerprint"]


@dataclass(frozen=True)
class LoadedModel:
    """A frozen base with its tokenizer, template and the parts that training and scoring use.

    `blocks[l - 1]` is decoder block l, counted from 1; `final_norm` maps the last block's output to `last_hidden_state`.
    """

    source: str
    base: Any  # a transformers PreTrainedModel; the library ships no types
    tokenizer: Any
    template: ChatTemplate
    blocks: nn.ModuleList
    fingerprint: str
    stop_ids: tuple[int, ...]
    """Tokens that end a response: end of text, and others in the model's generation settings, such as end of turn."""
    final_norm: nn.Module
    loading: LoadSpec = field(default=DEFAULT)
    """The resolved settings: nothing is "auto" any more."""
    remarks: tuple[str, ...] = ()
    """Warnings about the model's folder and how it was read, for the person who uses it."""
    wrapper: str = ""
    """Of a text model inside a multimodal wrapper: the name of its backbone there, such as `model.language_model`."""

    @property
    def device(self) -> torch.device:
        return torch.device(next(self.base.parameters()).device)

    @property
    def layers(self) -> int:
        return len(self.blocks)

    @cached_property
    def parts(self) -> list[BlockParts]:
        """Names of attention and MLP within each block, determined on first use."""
        return find_parts(self.base, self.blocks)

    @property
    def context(self) -> int:
        """Maximum number of tokens; very large if the configuration does not say."""
        return int(getattr(self.base.config.get_text_config(), "max_position_embeddings", None) or 1 << 20)

    def room(self, prompt: int, wanted: int) -> int:
        """Tokens left for a response after a prompt of `prompt` tokens, at most `wanted`."""
        return max(1, min(wanted, self.context - prompt))

    @property
    def pad_id(self) -> int:
        """The padding token; end of text where the tokenizer has none, or one without an embedding."""
        pad = self.tokenizer.pad_token_id
        return int(pad) if pad is not None and int(pad) < embeddings(self.base) else self.eos_id

    @property
    def eos_id(self) -> int:
        return int(self.tokenizer.eos_token_id)

    def outside(self, layer: str) -> str:
        """A layer's name in the model as transformers loads it, under which adapters are stored."""
        inner = f"{self.base.base_model_prefix}."
        return f"{self.wrapper}.{layer.removeprefix(inner)}" if self.wrapper and layer.startswith(inner) else layer

    def inside(self, layer: str) -> str:
        """Inverse of `outside`; internal names, stored by earlier versions, stay as they are."""
        outer = f"{self.wrapper}."
        return f"{self.base.base_model_prefix}.{layer.removeprefix(outer)}" if self.wrapper and layer.startswith(outer) else layer

    def logits(self, hidden: Tensor) -> Tensor:
        """(…, d_model) after the final norm -> (…, vocabulary), float32, with the model's own scale (Cohere, Granite) and soft cap."""
        return _logits(self.base, hidden)


def load(source: str, *, loading: LoadSpec = DEFAULT, template: str = "auto", work: memory.MemoryWork | None = None) -> LoadedModel:
    """Load a model folder or Hub id with its tokenizer, frozen and in eval mode.

    `dtype` "auto" is float32, but on a CUDA device, or a CPU that multiplies bfloat16, weights stored in half precision are loaded as
    bfloat16: half the memory, and about twice as fast. An explicit float16 stays float16, for scoring and chat; `work` that trains
    refuses it, since gradients need the range of bfloat16. Weights must be complete safetensors; code that a model ships is never run.
    Missing or oversized models are reported before a weight is read. Raises PrerequisiteError, with what to do, or SpecError for settings
    that contradict each other.
    """
    located = locate(source, revision=loading.revision)
    settings = settled(located, loading)
    memory.check(located, settings, free_memory(settings.device), work=work)
    located = fetch(located)
    _check_configuration(located)
    _check_buffers(located)
    tokenizer = _tokenizer(located)
    chat_template = template_for(tokenizer, template)
    network = _weights(located, settings)
    base = text_only(network)
    remarks = (*located.remarks, *fit_tokens(tokenizer, chat_template, embeddings(base), name=source))
    base.requires_grad_(False).eval()
    base.config.use_cache = False
    ends = _stop_ids(base, tokenizer)
    from transformers import GenerationConfig

    base.generation_config = GenerationConfig()  # greedy is greedy: no repetition penalty or sampling that a model suggests
    anatomy = examine(base)
    check_logits(anatomy, lambda hidden: _logits(base, hidden), name=source)
    _read_whole_rows(base)
    resolved = settings.model_copy(update={"revision": located.revision, "attention": base.config.get_text_config()._attn_implementation})
    weights_hash = weights_fingerprint(base)
    wrapper = text_backbone_name(network, base)
    return LoadedModel(
        source, base, tokenizer, chat_template, anatomy.blocks, weights_hash, ends, anatomy.final_norm, resolved, remarks, wrapper
    )


def load_tokenizer(source: str, *, revision: str | None = None) -> Any:
    """The tokenizer of a model. Raises PrerequisiteError without an end-of-text token, which training needs to teach the model to stop."""
    return _tokenizer(fetch(locate(source, revision=revision)))


def _tokenizer(source: ModelSource) -> Any:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(source.folder), trust_remote_code=False, local_files_only=True)
    except Exception as exc:  # a missing or damaged tokenizer ends in a plain Exception too, of the Rust library
        raise PrerequisiteError(
            f"The model '{source.name}' has no tokenizer that can be read ({_first_line(exc)}). Copy tokenizer.json and "
            "tokenizer_config.json of the model into its folder."
        ) from exc
    if tokenizer.eos_token_id is None:
        raise PrerequisiteError(
            f"The tokenizer of '{source.name}' names no eos_token, so a model could not learn to stop. Set it in tokenizer_config.json."
        )
    return tokenizer


SAMPLED = 65_536
"""Numbers of each tensor in the fingerprint, evenly spaced; all of a smaller one."""


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


def settled(source: ModelSource, loading: LoadSpec) -> LoadSpec:
    """The settings with every "auto" resolved except the attention kernel, which the model chooses. Refuses what this machine lacks."""
    device = _device(loading.device)
    cuda = device.startswith("cuda")
    if loading.quantization == "nf4":
        _check_four_bit(cuda=cuda)
    if loading.attention == "flash_attention_2":
        _check_flash(loading, cuda=cuda)
    _check_native(source)
    return loading.model_copy(update={"device": device, "dtype": memory.weights_dtype(source, loading, cuda=cuda)})


def _device(choice: str) -> str:
    """The chosen device. Raises PrerequisiteError if this machine does not have it."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    apple = torch.backends.mps.is_available()
    if choice == "auto":
        return "cuda:0" if count else "mps" if apple else "cpu"
    number = int(choice.partition(":")[2] or 0) if choice.startswith("cuda") else None
    if (number is not None and number >= count) or (choice == "mps" and not apple):
        available = [f"cuda:{index}" for index in range(count)] + (["mps"] if apple else []) + ["cpu"]
        raise PrerequisiteError(f"device is {choice}, but PyTorch sees only {', '.join(available)} here. Choose one of these, or auto.")
    return choice if number is None else f"cuda:{number}"


def _check_four_bit(*, cuda: bool) -> None:
    if not cuda:
        raise PrerequisiteError("4-bit weights (nf4) need an NVIDIA GPU, and the model would run on none. Choose quantization none.")
    if find_spec("bitsandbytes") is None:
        raise PrerequisiteError(
            "4-bit weights (nf4) need the package bitsandbytes: run .venv/bin/pip install 'bitsandbytes>=0.49' in the app's folder, or "
            "choose none."
        )


def _check_flash(loading: LoadSpec, *, cuda: bool) -> None:
    if not cuda or loading.dtype == "float32":
        raise PrerequisiteError("flash_attention_2 needs an NVIDIA GPU and bfloat16 or float16. Choose attention sdpa, or auto.")
    if find_spec("flash_attn") is None:
        raise PrerequisiteError("flash_attention_2 needs the package flash-attn: pip install flash-attn, or choose attention sdpa.")


def _check_native(source: ModelSource) -> None:
    """Raises PrerequisiteError unless transformers has the model's class and the weights are unquantised; shipped code is never run."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    kind = str(source.config.get("model_type", ""))
    if packed := source.config.get("quantization_config"):
        method = packed.get("quant_method", "?") if isinstance(packed, dict) else "?"
        raise PrerequisiteError(
            f"The weights of '{source.name}' are quantised already ({str(method)[:20]}), which cannot be finetuned with certainty. Give "
            "the model with its full weights; quantization nf4 makes 4 bits of them while they are loaded."
        )
    if kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return
    if source.config.get("auto_map"):
        raise PrerequisiteError(
            f"The model '{source.name}' needs program code of its own (auto_map in config.json), which is never run here, and transformers "
            f"has no class for its type '{kind[:40]}'. Choose a version of the model that transformers knows."
        )
    raise PrerequisiteError(
        f"The model '{source.name}' is of type '{kind[:40]}', which is no causal language model that transformers knows. Choose a "
        "decoder-only model, such as of the families Llama, Gemma, Qwen, Mistral or Phi."
    )


def _check_configuration(source: ModelSource) -> None:
    """Raises PrerequisiteError if config.json is invalid for its model type, before the tokenizer fails on it."""
    from transformers import AutoConfig

    try:
        AutoConfig.from_pretrained(str(source.folder), trust_remote_code=False, local_files_only=True)
    except Exception as exc:  # checks of the library, and whatever a wrong value does to them
        reason = " ".join(str(exc).split())[:200]
        raise PrerequisiteError(
            f"The config.json of '{source.name}' does not describe a model of its type ({type(exc).__name__}: {reason}). Copy or download "
            "it again."
        ) from exc


_MOST_BUFFERS = 2e9
"""Maximum bytes of buffers, such as masks and position tables, that a model may allocate besides its weights."""


def _check_buffers(source: ModelSource) -> None:
    """Raises PrerequisiteError if the model of this config.json would be far larger than its files, as built on the meta device."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(str(source.folder), trust_remote_code=False, local_files_only=True)
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except Exception as exc:  # whatever a wrong value does to the model's class
        raise PrerequisiteError(
            f"The model '{source.name}' cannot be loaded ({type(exc).__name__}: {_first_line(exc)}). Its config.json describes no model "
            "that can be built: copy or download it again."
        ) from exc
    stored = sum(facts.numbers for facts in source.tensors.values())
    weights = sum(value.numel() for value in model.parameters())
    buffers = sum(value.numel() * value.element_size() for value in model.buffers())
    if weights > 1.05 * stored + 1e6 or buffers > _MOST_BUFFERS:
        raise PrerequisiteError(
            f"The config.json of '{source.name}' describes a model of {weights:,} numbers and {buffers / 1e9:.1f} GB of tables, but its "
            f"weight files hold {stored:,} numbers. It belongs to another model, or was changed: copy or download it again."
        )


def free_memory(device: str) -> memory.Room:
    """Free memory of a device, as the accelerator reports it."""
    if device.startswith("cuda"):
        free, total = torch.cuda.mem_get_info(device)
        return memory.Room(device, float(free), float(total))
    host = memory.room(device)
    assert host is not None, "the processor's memory is always known"
    return host


def _weights(source: ModelSource, loading: LoadSpec) -> Any:
    """The network with all weights loaded, on its device."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging as chatter

    chatter.disable_progress_bar()  # our own progress says what happens; bars of a library would cut through it
    chatter.set_verbosity_error()  # what its report of the weights would warn of, we refuse
    options: dict[str, Any] = {"dtype": getattr(torch, loading.dtype)}
    # transformers would put an adapter that lies in the folder into the base, or load another base that it names; it looks for none there
    options["adapter_kwargs"] = {"subfolder": "no adapter is looked for"}
    if loading.attention != "auto":
        options["attn_implementation"] = loading.attention
    if loading.device.startswith("cuda"):
        options["device_map"] = {"": loading.device}  # straight to the GPU: no copy of the whole in the machine's memory
    if loading.quantization == "nf4":
        options["quantization_config"] = _four_bit(options["dtype"])
    try:
        base, info = AutoModelForCausalLM.from_pretrained(
            str(source.folder),
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # it would refuse without a reason; we refuse below, with one
            **options,
        )
    except Exception as exc:  # a wrong value in config.json fails wherever the model's class first uses it, as anything
        raise PrerequisiteError(
            f"The model '{source.name}' cannot be loaded ({type(exc).__name__}: {_first_line(exc)}). A model is a folder (or Hub id) with "
            "config.json, safetensors weights and a tokenizer, of a causal language model architecture that transformers knows."
        ) from exc
    missing = sorted(info["missing_keys"]) + sorted(key[0] for key in info["mismatched_keys"])
    if missing:  # transformers fills them with random numbers and goes on
        raise PrerequisiteError(
            f"{len(missing)} weights that the model '{source.name}' needs are not in its files or have another shape, first "
            f"{missing[0][:100]}. Its config.json belongs to another model, or the files are not whole: copy or download it again."
        )
    return base if loading.device.startswith("cuda") else base.to(loading.device)


def _four_bit(compute: torch.dtype) -> Any:
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=compute)


def _logits(base: Any, hidden: Tensor) -> Tensor:
    config = base.config.get_text_config()
    logits: Tensor = base.get_output_embeddings()(hidden)
    if scale := getattr(config, "logit_scale", None):
        logits = logits * scale
    if divisor := getattr(config, "logits_scaling", None):
        logits = logits / divisor
    logits = logits.float()
    if cap := getattr(config, "final_logit_softcapping", None):
        logits = torch.tanh(logits / cap) * cap
    return logits


def _read_whole_rows(base: Any) -> None:
    """Make the head read contiguous states, also when only the last positions of a batch are projected.

    PyTorch multiplies a strided slice (rows, 1, d_model) by a copy of the head for each row: 64 copies of 57 MB were three quarters of
    the time of 64 short responses.
    """
    if (head := base.get_output_embeddings()) is not None:
        head.register_forward_pre_hook(
            lambda _, inputs: tuple(value.contiguous() if isinstance(value, Tensor) else value for value in inputs)
        )


def _stop_ids(base: Any, tokenizer: Any) -> tuple[int, ...]:
    named = base.generation_config.eos_token_id if base.generation_config is not None else None
    others = [token for token in (named if isinstance(named, list) else [named]) if isinstance(token, int)]
    return tuple(dict.fromkeys([int(tokenizer.eos_token_id), *others]))


def _first_line(exc: BaseException) -> str:
    return (str(exc).strip().splitlines() or [type(exc).__name__])[0][:200]
