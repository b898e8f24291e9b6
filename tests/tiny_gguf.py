"""A tiny Llama written as GGUF, as llama.cpp's converter writes one: for reading it back, and for spoiling it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HIDDEN, INNER, HEADS, KV_HEADS, LAYERS = 64, 128, 4, 2, 2
CHAT = "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}\n{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}"
_TEXT = ["how do i bake bread at home", "how do i steal a car at night", "Sure, first mix the flour.", "the review is good bad"]


@dataclass(frozen=True)
class TinyGguf:
    """The file, and the model it was made from."""

    path: Path
    model: Any
    tokenizer: Any


def make_gguf(path: Path, *, quantisation: str = "F32", architecture: str = "llama", tokenizer: bool = True) -> TinyGguf:
    """Write a random Llama; its matrices in `quantisation`, its norms in float32."""
    import gguf
    import torch
    import transformers as hf

    words = _tokenizer()
    torch.manual_seed(0)
    config = hf.LlamaConfig(
        vocab_size=len(words),
        hidden_size=HIDDEN,
        intermediate_size=INNER,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        rms_norm_eps=1e-5,
        bos_token_id=0,
        eos_token_id=1,
    )
    model = hf.LlamaForCausalLM(config).eval()
    writer = gguf.GGUFWriter(path, architecture)
    _describe(writer)
    if tokenizer:
        _add_tokenizer(writer, words)
    kind = gguf.GGMLQuantizationType[quantisation]
    for name, value in model.state_dict().items():
        if name == "lm_head.weight":
            continue
        data = _permuted(name, value.float()).numpy()
        quantised = data.ndim == 2 and quantisation != "F32"
        if quantised:
            writer.add_tensor(_name(name), gguf.quantize(data, kind), raw_dtype=kind)
        else:
            writer.add_tensor(_name(name), data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return TinyGguf(path, model, words)


def _tokenizer() -> Any:
    import transformers as hf
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    words = Tokenizer(models.BPE())
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<s>", "</s>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    words.train_from_iterator(_TEXT, trainer)
    return hf.PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def _describe(writer: Any) -> None:
    writer.add_name("Tiny Llama")
    writer.add_license("apache-2.0")
    writer.add_languages(["en"])
    writer.add_block_count(LAYERS)
    writer.add_context_length(256)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    writer.add_rope_dimension_count(HIDDEN // HEADS)


def _add_tokenizer(writer: Any, words: Any) -> None:
    content = json.loads(words.backend_tokenizer.to_str())["model"]
    tokens = sorted(content["vocab"], key=content["vocab"].get)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in ("<s>", "</s>", "<unk>") else 1 for token in tokens])
    writer.add_token_merges([pair if isinstance(pair, str) else " ".join(pair) for pair in content["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_unk_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(CHAT)


def _permuted(name: str, value: Any) -> Any:
    """llama.cpp turns pairs of rotary dimensions into neighbours."""
    heads = HEADS if "q_proj" in name else KV_HEADS if "k_proj" in name else 0
    if not heads:
        return value
    return value.reshape(heads, 2, value.shape[0] // heads // 2, value.shape[1]).swapaxes(1, 2).reshape(value.shape).contiguous()


def _name(name: str) -> str:
    """The name that llama.cpp gives a tensor."""
    for ours, theirs in (
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("model.layers.", "blk."),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
    ):
        name = name.replace(ours, theirs)
    return name
