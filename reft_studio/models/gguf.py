"""Converts a GGUF file to a Hugging Face folder: transformers reads and dequantises it once, and the result is saved."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from reft_studio.errors import PrerequisiteError
from reft_studio.models import memory
from reft_studio.models.gguf_header import GgufFacts
from reft_studio.models.transformers_io import readable_disk_errors, with_progress
from reft_studio.progress import Progress

Format = Literal["auto", "bfloat16", "float32"]
_WIDTH = {"bfloat16": 2, "float32": 4}
_LIBRARIES = 0.4e9
"""Memory of torch and transformers themselves, in bytes."""
_SPARE_DISK = 100e6


def format_of(facts: GgufFacts, wanted: Format = "auto") -> str:
    """The number format of the written weights; auto: bfloat16, but float32 for a file of float32 only."""
    return wanted if wanted != "auto" else "float32" if facts.types == ("F32",) else "bfloat16"


def written_size(facts: GgufFacts, kind: str) -> int:
    """Bytes of the weights that a conversion writes."""
    return facts.parameters * _WIDTH[kind]


def check_room(facts: GgufFacts, kind: str, folder: Path) -> None:
    """Raises PrerequisiteError if disk space or memory does not suffice."""
    size = written_size(facts, kind)
    free = shutil.disk_usage(next(parent for parent in (folder, *folder.parents) if parent.exists())).free
    if size + _SPARE_DISK > free:
        raise PrerequisiteError(
            f"{facts.path.name} becomes {size / 1e9:.2f} GB of {kind} weights, but {free / 1e9:.2f} GB are free in {folder}. Free some, or "
            "set REFT_STUDIO_MODELS to a folder on another disk."
        )
    # All weights in the new format, the file itself in the page cache, and the largest tensor some times over in float32.
    required = size + 12 * facts.largest + _LIBRARIES
    space = memory.room("cpu")
    if space is not None and required > space.free:
        raise PrerequisiteError(
            f"Turning {facts.path.name} into {kind} weights takes about {required / 1e9:.1f} GB of memory; {space.free / 1e9:.1f} GB are "
            "free. Close other programs, or take a smaller model."
        )


def convert(facts: GgufFacts, target: Path, progress: Progress, *, kind: str) -> None:
    """Write weights, configuration, tokenizer and chat template to the existing folder `target`.

    Raises PrerequisiteError for an architecture, a tokenizer or weights that transformers cannot read, and if the disk is full.
    """
    check_architecture(facts)
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers import modeling_gguf_pytorch_utils as reader
    from transformers.utils import logging as chatter

    chatter.disable_progress_bar()
    chatter.set_verbosity_error()
    dtype = getattr(torch, kind)
    with _parsed_once(), with_progress(reader, progress):
        tokenizer = _tokenizer(facts)
        progress.check()
        state, config = _read(facts, AutoModelForCausalLM, dtype)
    progress.check()
    # Weights that were read from GGUF count as quantised and are refused by save_pretrained; a fresh model of the same shape does not.
    fresh = AutoConfig.for_model(**config.to_dict())
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(fresh, dtype=dtype)
    model.load_state_dict(state, strict=True, assign=True)
    model.tie_weights()
    with readable_disk_errors(target):
        model.save_pretrained(target, safe_serialization=True)
        tokenizer.save_pretrained(target)


def check_architecture(facts: GgufFacts) -> None:
    """Raises PrerequisiteError unless transformers reads this architecture from GGUF and has it as a causal language model."""
    from transformers.integrations import GGUF_CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    other = {"qwen2moe": "qwen2_moe", "qwen3moe": "qwen3_moe", "gemma3": "gemma3_text", "gemma4": "gemma4_text", "gpt-oss": "gpt_oss"}
    readable = set(GGUF_CONFIG_MAPPING) - {"general", "tokenizer"}
    name = facts.architecture
    if (name in readable or other.get(name) in readable) and other.get(name, name) in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return
    usual = sorted(
        readable & {"llama", "mistral", "qwen2", "qwen3", "phi3", "gemma2", "gemma3", "falcon", "stablelm", "gpt2", "starcoder2"}
    )
    raise PrerequisiteError(
        f"{facts.path.name} holds a model of the architecture '{name[:40] or 'unnamed'}', which cannot be read from GGUF here. It can for "
        f"{', '.join(usual)}. Take the model as a Hugging Face folder instead."
    )


def _tokenizer(facts: GgufFacts) -> Any:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(facts.path.parent), gguf_file=facts.path.name, local_files_only=True)
    except Exception as exc:  # whatever a strange vocabulary does to the library
        raise PrerequisiteError(
            f"The tokenizer in {facts.path.name} ({str(facts.values.get('tokenizer.ggml.model'))[:20]}) cannot be read "
            f"({type(exc).__name__}: {_line(exc)}). Take the model as a Hugging Face folder instead."
        ) from exc
    tokenizer.init_kwargs.pop("local_files_only", None)  # how it was read is no property of it
    return tokenizer


def _read(facts: GgufFacts, loader: Any, dtype: Any) -> tuple[dict[str, Any], Any]:
    """All weights by name, and the configuration. Raises PrerequisiteError if one is missing: transformers would draw it at random."""
    try:
        model, info = loader.from_pretrained(
            str(facts.path.parent), gguf_file=facts.path.name, dtype=dtype, local_files_only=True, output_loading_info=True
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, IndexError) as exc:
        raise PrerequisiteError(
            f"{facts.path.name} cannot be read as a model ({type(exc).__name__}: {_line(exc)}). Take another file of the model, or its "
            "Hugging Face folder."
        ) from exc
    missing = sorted(info["missing_keys"]) + sorted(str(key[0]) for key in info["mismatched_keys"])
    if missing:
        raise PrerequisiteError(
            f"{len(missing)} weights that the model needs are not in {facts.path.name}, first {missing[0][:100]}. Take another file of "
            "the model."
        )
    config = model.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    return model.state_dict(), config


@contextmanager
def _parsed_once() -> Iterator[None]:
    """Cache repeated calls that transformers makes to the package `gguf` while it reads one file.

    For SmolLM2 (30 blocks, 49,152 tokens) it parses the header 3 times and builds the name map 397 times: 23 of 33 s of CPU.
    """
    import gguf as package

    plain = package.GGUFReader, package.get_tensor_name_map
    package.GGUFReader, package.get_tensor_name_map = (lru_cache(maxsize=1)(function) for function in plain)
    try:
        yield
    finally:
        package.GGUFReader, package.get_tensor_name_map = plain


def _line(exc: BaseException) -> str:
    return " ".join(str(exc).split())[:200]
