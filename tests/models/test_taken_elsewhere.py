"""What is written is taken elsewhere: by plain PEFT, and by what vLLM, llama.cpp and Ollama ask of a folder.

PEFT loads for real. The others are not installed here; each test names the repository and file whose demand it checks, as read there.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from reft_studio.models.loading import load
from reft_studio.models.merged_folder import fold, write_folder
from reft_studio.models.session import Session
from reft_studio.models.source import locate
from reft_studio.models.spec import PRESETS, LoadSpec, LoraSpec
from reft_studio.progress import Silent
from tests.models.trained import asked, logits, trained, with_peft
from tests.tiny_models import FAMILIES

VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""vllm-project/vllm, vllm/config/lora.py: MaxLoRARanks."""
GGUF = {"llama2": "LLAMA", "llama3": "LLAMA", "gemma2": "GEMMA2", "gemma3": "GEMMA3", "qwen2": "QWEN2", "qwen3": "QWEN3", "phi3": "PHI3"}
OLLAMA = {
    "base_model.model.": "",
    "model.layers": "blk",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.down_proj": "ffn_down",
    "mlp.up_proj": "ffn_up",
    "lora_A.weight": "weight.lora_a",
    "lora_B.weight": "weight.lora_b",
}
"""ollama/ollama, convert/convert_llama_adapter.go: what it writes for parts of names."""


def config_of(adapter: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((adapter / "adapter_config.json").read_text("utf-8"))
    return found


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    return {name: value for file in sorted(folder.glob("*.safetensors")) for name, value in load_file(file).items()}


# --- PEFT ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_plain_peft_says_what_the_app_says(tmp_path: Path, family: str) -> None:
    """Gemma 3 is the case that failed: its text model lies in a wrapper, where layers have other names, and PEFT only warns."""
    session, base, adapter = trained(tmp_path, family)
    with_adapter, bare = logits(session, "student"), logits(session, None)
    assert (asked(with_peft(base, adapter)) - with_adapter).abs().max() < 1e-5
    assert (with_adapter - bare).abs().max() > 0.02
    again = Session.open(str(base), loading=LoadSpec(device="cpu"))
    again.ensure("student", adapter)
    assert torch.equal(logits(again, "student"), with_adapter), "nor does the app itself read it otherwise"


@pytest.mark.parametrize("family", ["llama3", "gemma3"])
def test_plain_peft_says_it_beside_a_base_in_bfloat16_too(tmp_path: Path, family: str) -> None:
    session, base, adapter = trained(tmp_path, family, dtype="bfloat16")
    with_adapter, bare = logits(session, "student"), logits(session, None)
    assert (asked(with_peft(base, adapter, dtype="bfloat16")) - with_adapter).abs().max() < 0.02 * (with_adapter - bare).abs().max()


def test_an_adapter_that_names_layers_of_the_text_model_alone_is_still_read(tmp_path: Path) -> None:
    """As versions before wrote them on a wrapped base."""
    session, base, adapter = trained(tmp_path, "gemma3")
    path, prefix = adapter / "adapter_model.safetensors", "model.language_model."
    save_file({name.replace(prefix, "model."): value for name, value in load_file(path).items()}, path, metadata={"format": "pt"})
    config = config_of(adapter)
    names = sorted({name.rpartition(".")[2] for name in config["target_modules"]})
    (adapter / "adapter_config.json").write_text(json.dumps({**config, "target_modules": names}))
    again = Session.open(str(base), loading=LoadSpec(device="cpu"))
    again.ensure("student", adapter)
    assert torch.equal(logits(again, "student"), logits(session, "student"))


# --- vLLM ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_vllm_has_every_setting_it_requires_and_none_that_it_refuses(tmp_path: Path, family: str) -> None:
    """vllm-project/vllm, vllm/lora/peft_helper.py: required fields of PEFTHelper, _validate_features and validate_legal."""
    _, _, adapter = trained(tmp_path, family)
    config = config_of(adapter)
    assert isinstance(config["r"], int) and isinstance(config["lora_alpha"], int) and isinstance(config["target_modules"], list)
    assert not config["modules_to_save"] and config["use_dora"] is False and config["bias"] == "none"
    assert config.get("trainable_token_indices") is None
    assert max([config["r"], *config["rank_pattern"].values()]) <= VLLM_RANKS[-1]


def test_no_adapter_can_be_asked_for_that_vllm_has_no_rank_for() -> None:
    """vllm-project/vllm, vllm/config/lora.py: max_lora_rank is at most 512; the presets fit into the ranks it is usually started with."""
    most = next(one.le for one in LoraSpec.model_fields["rank"].metadata if hasattr(one, "le"))
    assert most == VLLM_RANKS[-1]
    assert all(preset.lora.rank in VLLM_RANKS for preset in PRESETS.values())


@pytest.mark.parametrize("family", FAMILIES)
def test_vllm_finds_the_file_and_knows_every_tensor_in_it(tmp_path: Path, family: str) -> None:
    """vllm-project/vllm, vllm/lora/utils.py: parse_fine_tuned_lora_name; vllm/lora/lora_model.py: from_local_checkpoint."""
    _, base, adapter = trained(tmp_path, family)
    with safe_open(adapter / "adapter_model.safetensors", "pt") as file:
        names = list(file.keys())
    assert len(names) == len(set(names)) and len(names) % 2 == 0
    weights = {name.removesuffix(".weight") for name in locate(str(base)).tensors}
    for name in names:
        parts = name.split(".")
        assert parts[:2] == ["base_model", "model"] and parts[-1] == "weight" and parts[-2] in ("lora_A", "lora_B")
        assert parts[-3] in {weight.rpartition(".")[2] for weight in weights}, "the last part of a layer's name is one the base has"


# --- llama.cpp -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", sorted(GGUF))
def test_llama_cpp_can_place_every_tensor(tmp_path: Path, family: str) -> None:
    """ggml-org/llama.cpp, convert_lora_to_gguf.py: file names, get_base_tensor_name, pairs of A and B; names by its package `gguf`."""
    _, _, adapter = trained(tmp_path, family)
    found = tensors_of(adapter)
    names = gguf.get_tensor_name_map(getattr(gguf.MODEL_ARCH, GGUF[family]), 3)
    pairs: dict[str, set[str]] = {}
    for name in found:
        assert ".lora_A.weight" in name or ".lora_B.weight" in name, "anything else ends the conversion"
        base_name = name.replace("base_model.model.", "").replace(".lora_A.weight", ".weight").replace(".lora_B.weight", ".weight")
        pairs.setdefault(base_name.replace("model.language_model.", "model."), set()).add(name.split(".")[-2])
    assert all(kinds == {"lora_A", "lora_B"} for kinds in pairs.values())
    assert [name for name in pairs if names.get_name(name, (".weight",)) is None] == []
    for name, down in found.items():
        if "lora_A" in name:
            up = found[name.replace("lora_A", "lora_B")]
            assert down.dtype == up.dtype and down.ndim == up.ndim == 2 and down.shape[0] == up.shape[1]


def test_llama_cpp_finds_scale_and_base_in_the_configuration(tmp_path: Path) -> None:
    """ggml-org/llama.cpp, convert_lora_to_gguf.py: lora_alpha, base_model_name_or_path; it knows the scale alpha / rank alone."""
    _, _, adapter = trained(tmp_path)
    config = config_of(adapter)
    assert config["lora_alpha"] == 8 and config["base_model_name_or_path"] == "someone/some-base"
    assert config["use_rslora"] is False and not config["alpha_pattern"] and not config["rank_pattern"]
    assert config.get("alora_invocation_tokens") is None


# --- Ollama --------------------------------------------------------------------------------------------------------------------------


def test_ollama_can_convert_the_adapter_of_a_llama(tmp_path: Path) -> None:
    """ollama/ollama, convert/convert.go: AdapterParameters; convert/reader.go; convert/convert_llama_adapter.go: Replacements, Tensors.

    Its converter knows adapters of llama and gemma2 only.
    """
    _, _, adapter = trained(tmp_path)
    assert isinstance(config_of(adapter)["lora_alpha"], int), "read into a uint32"
    assert [path.name for path in adapter.glob("*.safetensors")] == ["adapter_model.safetensors"], "all that match are read"
    for name, value in tensors_of(adapter).items():
        renamed = name
        for old, new in OLLAMA.items():
            renamed = renamed.replace(old, new)
        head, block, layer, weight, part = renamed.split(".")
        assert (head, weight) == ("blk", "weight") and block.isdecimal() and layer.startswith(("attn_", "ffn_"))
        turned = value.shape[0] > value.shape[1] if part == "lora_a" else value.shape[0] < value.shape[1]
        assert part in ("lora_a", "lora_b") and not turned, "what looks transposed to it is turned round"


@pytest.mark.parametrize("family", ["llama3", "gemma2", "gemma3", "qwen2", "phi3"])
def test_ollama_and_llama_cpp_find_all_they_read_in_a_merged_folder(tmp_path: Path, family: str) -> None:
    """ollama/ollama, parser/parser.go: filesForModel; convert/convert.go: LoadModelMetadata.

    The version read looks for model*.safetensors only, so that an adapter's folder is not found (ollama/ollama#13314): the merged one is.
    """
    _, base, adapter = trained(tmp_path, family)
    target = tmp_path / "merged"
    target.mkdir()
    model = load(str(base), loading=LoadSpec(device="cpu"))
    write_folder(model, fold(model, adapter, Silent()), target, Silent(), shard=40_000)
    assert list(target.glob("model*.safetensors")) and {path.suffix for path in target.iterdir()} <= {".safetensors", ".json", ".jinja"}
    for path in (*target.glob("*.json"), target / "chat_template.jinja"):
        assert path.read_text("utf-8").isprintable() or "\n" in path.read_text("utf-8")
    config = json.loads((target / "config.json").read_text("utf-8"))
    known = {"LlamaForCausalLM", "Gemma2ForCausalLM", "Gemma3ForCausalLM", "Qwen2ForCausalLM", "Phi3ForCausalLM"}
    assert config["architectures"][0] in known and config["vocab_size"] == 331
    assert (target / "tokenizer.json").is_file() and "quantization_config" not in config
    names = gguf.get_tensor_name_map(getattr(gguf.MODEL_ARCH, GGUF[family]), 3)
    assert [name for name in tensors_of(target) if names.get_name(name, (".weight", ".bias")) is None] == []
