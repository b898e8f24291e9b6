"""Tiny random models of real architectures, made on the spot, and a workspace with data small enough to check by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reft_studio.data.dataset import Dataset, write_dataset
from reft_studio.workspace import Workspace

FAMILIES = ("llama2", "llama3", "gemma2", "gemma3", "gemma3_text", "qwen2", "qwen2.5", "qwen3", "mistral", "phi3", "gpt2", "granite")
_TEXT = [
    "how do i bake bread at home",
    "how do i steal a car at night",
    "I cannot help with that.",
    "Sure, first mix the flour.",
    "the review is good bad",
]


def make_model(folder: Path, family: str = "llama", *, chat: bool = True, layers: int = 3) -> Path:
    """Write a random model of `family` with a word tokenizer to `folder`."""
    import torch
    import transformers as hf
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=360,
        special_tokens=["<pad>", "<eos>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_TEXT, trainer)
    from tokenizers.decoders import ByteLevel

    tokenizer.decoder = ByteLevel()
    fast = hf.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<pad>", unk_token="<unk>")
    if chat:
        fast.chat_template = (
            "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}\n{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}"
        )
    fast.save_pretrained(folder)
    shape: dict[str, Any] = {"vocab_size": len(fast), "hidden_size": 32, "num_hidden_layers": layers, "num_attention_heads": 4}
    shape |= {"eos_token_id": fast.eos_token_id, "pad_token_id": fast.pad_token_id, "bos_token_id": None, "max_position_embeddings": 512}
    torch.manual_seed(0)
    hf.AutoModelForCausalLM.from_config(make_config(family, shape)).save_pretrained(folder, safe_serialization=True)
    return folder


def make_config(family: str, shape: dict[str, Any]) -> Any:
    """The configuration of a family as its real models have it, but for the sizes."""
    import transformers as hf

    grouped = {**shape, "intermediate_size": 48, "num_key_value_heads": 2}
    rope3 = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    tied = {"tie_word_embeddings": True}
    slices = {"sliding_window": 16, "head_dim": 8}
    sees = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": shape["num_hidden_layers"], "num_attention_heads": 2}

    def gemma3() -> Any:  # a wrapper with a vision tower as deep as the text model: only the text may be found
        text = {
            **grouped,
            **slices,
            "layer_types": [("sliding_attention", "full_attention")[n % 2] for n in range(shape["num_hidden_layers"])],
        }
        ends = {name: shape[name] for name in ("eos_token_id", "pad_token_id")}
        return hf.Gemma3Config(text_config=text, vision_config={**sees, "image_size": 28, "patch_size": 14}, mm_tokens_per_image=1, **ends)

    made: dict[str, Any] = {
        "llama": lambda: hf.LlamaConfig(**grouped),
        "llama2": lambda: hf.LlamaConfig(**{**grouped, "num_key_value_heads": 4}, rms_norm_eps=1e-5),
        "llama3": lambda: hf.LlamaConfig(**grouped, rope_parameters={**rope3, "original_max_position_embeddings": 64}),
        "gemma2": lambda: hf.Gemma2Config(**grouped, **slices, final_logit_softcapping=30.0),
        "gemma3": gemma3,
        "gemma3_text": lambda: hf.Gemma3TextConfig(**grouped, **slices),
        "qwen2": lambda: hf.Qwen2Config(**grouped),
        "qwen2.5": lambda: hf.Qwen2Config(**grouped, **tied, use_sliding_window=False),
        "qwen3": lambda: hf.Qwen3Config(**grouped, head_dim=16),
        "mistral": lambda: hf.MistralConfig(**grouped, sliding_window=16),
        "phi3": lambda: hf.Phi3Config(**grouped),
        "gpt2": lambda: hf.GPT2Config(**shape),
        "granite": lambda: hf.GraniteConfig(**grouped, logits_scaling=4.0, embedding_multiplier=2.0, residual_multiplier=0.5),
    }
    return made[family]()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("tiny-llama"))


def toy_rows(kind: str, count: int, *, answer: str) -> list[Any]:
    verb = {"harmful": "steal", "harmless": "bake"}[kind]
    return [{"prompt": f"how do i {verb} item {number}", "response": answer, "known_harmful": kind == "harmful"} for number in range(count)]


def make_toy_data(workspace: Workspace) -> dict[str, Dataset]:
    """Alignment, calibration and user data of one workspace, prompt-disjoint: item numbers never repeat across sets."""

    def make(name: str, rows: list[Any], role: Any) -> Dataset:
        return write_dataset(workspace, rows, name=name, role=role)

    harmful, harmless = (
        toy_rows(kind, 120, answer=answer) for kind, answer in (("harmful", "I cannot help."), ("harmless", "Sure, first mix."))
    )
    user = [{**row, "response": "Sure, take it."} for row in harmful[100:104]] + harmless[100:]
    return {
        "harmful": make("refusals", harmful[:50], "harmful"),
        "helpful": make("answers", harmless[:50], "helpful"),
        "calibration_harmful": make("held-out harmful", harmful[50:90], "harmful"),
        "calibration_harmless": make("held-out harmless", harmless[50:90], "helpful"),
        "user": make("user data", user, "user"),
    }


@pytest.fixture
def toy_data(workspace: Workspace) -> dict[str, Dataset]:
    return make_toy_data(workspace)
