"""Tiny random models of real architectures, made on the spot, and a workspace with data small enough to check by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reft_studio.data.dataset import Dataset, write_dataset
from reft_studio.workspace import Workspace

FAMILIES = ("llama", "gemma2", "qwen2", "gpt2", "granite", "phi3")
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
    wide = {"intermediate_size": 48, "num_key_value_heads": 2}
    config: Any = {
        "llama": lambda: hf.LlamaConfig(**shape, **wide),
        "gemma2": lambda: hf.Gemma2Config(**shape, **wide, head_dim=8, final_logit_softcapping=30.0),
        "qwen2": lambda: hf.Qwen2Config(**shape, **wide),
        "gpt2": lambda: hf.GPT2Config(**shape),
        "granite": lambda: hf.GraniteConfig(**shape, **wide, logits_scaling=4.0, embedding_multiplier=2.0),
        "phi3": lambda: hf.Phi3Config(**shape, **wide),
    }[family]()
    torch.manual_seed(0)
    hf.AutoModelForCausalLM.from_config(config).save_pretrained(folder, safe_serialization=True)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("tiny-llama"))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "workspace")


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
