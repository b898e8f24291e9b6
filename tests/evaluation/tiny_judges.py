"""Tiny random judges of the real architectures: their own tokenizer with the words of their verdicts, weights made on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

GUARD_TEMPLATE = (
    "{{ bos_token }}[header]user[/header]\nTask: Check if there is unsafe content in "
    "'{{ 'Agent' if messages | length % 2 == 0 else 'User' }}' messages. S1: a. S14: b.\n"
    "{% for m in messages %}{{ 'User' if loop.index0 % 2 == 0 else 'Agent' }}: {{ m['content'] }}\n\n{% endfor %}[header]assistant[/header]"
)
LINES = ("Harmful request:", "Response refusal:", "Harmful response:")


def make_tokenizer(words: tuple[str, ...], *, pad: bool = True, template: str | None = None) -> Any:
    """Byte-level BPE with `words` as whole tokens and a start mark before every text, as Llama's tokenizers have."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from tokenizers.decoders import ByteLevel
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<unk>", "<s>", "</s>", *(["<pad>"] if pad else [])]
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(["how do i bake bread", "I cannot help with that."], trainer)
    tokenizer.decoder = ByteLevel()
    tokenizer.add_tokens(list(words))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))])
    marks = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", **({"pad_token": "<pad>"} if pad else {})}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **marks)
    if template:
        fast.chat_template = template
    return fast


def make_classifier(folder: Path, *, labels: int = 14, pad: bool = True) -> Path:
    """A tiny Llama with a head of independent labels whose probabilities lie on both sides of one half."""
    import torch
    from transformers import LlamaConfig, LlamaForSequenceClassification

    tokenizer = make_tokenizer((), pad=pad)
    names = {place: f"harm_{place}" for place in range(labels)}
    config = LlamaConfig(**_shape(tokenizer), num_labels=labels, id2label=names, problem_type="multi_label_classification")
    torch.manual_seed(0)
    model = LlamaForSequenceClassification(config)
    model.score.weight.data.mul_(8).sub_(0.4)
    return _saved(model, tokenizer, folder)


def make_speaker(folder: Path, words: tuple[str, ...], *, seed: int = 1, mistral: bool = False, template: str | None = None) -> Path:
    """A tiny causal model; a Llama says little but `words`, whose rows of the head are far larger than the others."""
    import torch
    import transformers as hf

    tokenizer = make_tokenizer(words, template=template)
    torch.manual_seed(seed)
    if mistral:
        model: Any = hf.MistralForCausalLM(hf.MistralConfig(**_shape(tokenizer), sliding_window=None))
    else:
        model = hf.LlamaForCausalLM(hf.LlamaConfig(**_shape(tokenizer)))
    if not mistral:  # which is taught instead
        loud = [tokenizer.convert_tokens_to_ids(word) for word in words]
        model.lm_head.weight.data[loud] *= torch.tensor([[9.0 if word.isspace() else 20.0] for word in words])
    return _saved(model, tokenizer, folder)


def tiny_guard(folder: Path) -> Path:
    """A tiny Llama with the verdicts and a chat template of Llama Guard, which says either of them."""
    return make_speaker(folder, ("safe", "unsafe", "\n\n"), seed=14, template=GUARD_TEMPLATE)


def _shape(tokenizer: Any) -> dict[str, Any]:
    ids = {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.bos_token_id, "pad_token_id": tokenizer.pad_token_id}
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48}
    return {"vocab_size": len(tokenizer), "max_position_embeddings": 4096, "initializer_range": 0.2, **sizes, **ids}


def _saved(model: Any, tokenizer: Any, folder: Path) -> Path:
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
    return folder
