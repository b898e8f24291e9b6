"""Finds the parts of a causal language model by their behaviour in one forward pass of a few tokens; never by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from reft_studio.errors import PrerequisiteError

_TOKENS = 5
"""Length of the probe."""
_MIXED = 0.02
"""Relative change of the last token above which it depends on earlier tokens; less is rounding."""


@dataclass(frozen=True)
class Anatomy:
    """`blocks[l - 1]` is decoder block l, counted from 1; `final_norm` maps the raw output of the last to `last_hidden_state`."""

    blocks: nn.ModuleList
    final_norm: nn.Module
    hidden: Tensor
    """(2, t, d_model) `last_hidden_state` of the probe."""
    logits: Tensor
    """(2, t, vocabulary) the model's own logits of the probe, float32."""


@dataclass(frozen=True)
class BlockParts:
    """Names of the attention and the MLP within one decoder block; None: it has no such part.

    Where a block has several of a kind, the last one.
    """

    attention: str | None
    mlp: str | None


@torch.no_grad()
def examine(base: Any) -> Anatomy:
    """Run a few tokens through the model and identify its parts.

    Raises PrerequisiteError if no list of equal decoder blocks, or no norm after them, can be identified, or if tokens see later ones.
    """
    config = base.config.get_text_config()
    depth, device = int(config.num_hidden_layers), next(base.parameters()).device
    lists = [module for module in base.modules() if _is_stack(module, depth)]
    raw: dict[int, Tensor] = {}
    norms: dict[nn.Module, tuple[Tensor, Tensor]] = {}
    ids = torch.arange(_TOKENS, device=device).repeat(2, 1) % int(config.vocab_size)
    ids[1, -1] = 0  # the second text differs in its last token only
    handles = [stack[-1].register_forward_hook(_keep_raw(raw, number)) for number, stack in enumerate(lists)]
    handles += [module.register_forward_hook(_keep_pair(norms)) for module in base.modules() if _is_norm(module)]
    head: list[Tensor] = []
    handles.append(base.get_output_embeddings().register_forward_pre_hook(lambda _, inputs: head.append(inputs[0].detach())))
    try:
        logits = base(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits.float()
    finally:
        for handle in handles:
            handle.remove()
    for number, stack in enumerate(lists):
        for norm, (inputs, outputs) in norms.items():
            if number in raw and inputs.shape == raw[number].shape and torch.equal(inputs, raw[number]) and torch.equal(outputs, head[0]):
                _check_causal(base, head[0])
                return Anatomy(stack, norm, head[0], logits)
    if not bool(torch.isfinite(logits).all()):
        raise PrerequisiteError(
            f"{type(base).__name__} answers ordinary tokens with numbers that are not finite. Its weights are damaged, or their "
            "number format is too narrow: copy or download it again, or load it in bfloat16 or float32."
        )
    raise PrerequisiteError(
        f"{type(base).__name__} has no list of {depth} equal decoder blocks followed by one norm and the head, so its refusal feature "
        "cannot be read. Choose a decoder-only model, such as of the families Llama, Gemma, Qwen, Mistral or Phi."
    )


def _check_causal(base: Any, hidden: Tensor) -> None:
    first, second = hidden[:, :-1].float()
    if not torch.allclose(first, second, rtol=1e-2, atol=1e-3 * float(first.abs().max())):
        raise PrerequisiteError(
            f"{type(base).__name__} lets a token see those after it, so it cannot write. Choose a decoder-only model, such as of the "
            "families Llama, Gemma, Qwen, Mistral or Phi."
        )


def check_logits(anatomy: Anatomy, logits: Callable[[Tensor], Tensor], *, name: str) -> None:
    """Raises PrerequisiteError unless `logits(last_hidden_state)` are the model's own: losses are computed with them."""
    computed = logits(anatomy.hidden)
    allowed = 2e-2 if anatomy.hidden.dtype != torch.float32 else 1e-4
    if computed.shape != anatomy.logits.shape or (computed - anatomy.logits).abs().max() > allowed * (1 + anatomy.logits.abs().max()):
        raise PrerequisiteError(
            f"The model '{name}' does something between its last hidden state and its logits that this app does not know, so its losses "
            "would be wrong. Choose another model."
        )


@torch.no_grad()
def find_parts(base: Any, blocks: nn.ModuleList) -> list[BlockParts]:
    """The attention and the MLP of every block: parts with a weight matrix whose output has the model's width.

    Each part is run a second time with other states of all tokens but the last: if its output for the last token changes, it is the
    attention (or an equivalent recurrence). Uses no random numbers, and is no pass that is counted.
    """
    config = base.config.get_text_config()
    width, device = int(config.hidden_size), next(base.parameters()).device
    ids = torch.arange(_TOKENS, device=device).repeat(2, 1) % int(config.vocab_size)
    calls: dict[nn.Module, tuple[Any, dict[str, Any]]] = {}

    def keep(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        calls[module] = (args, kwargs)

    parts = [child for block in blocks for child in block.children() if any(weight.dim() > 1 for weight in child.parameters())]
    handles = [part.register_forward_pre_hook(keep, with_kwargs=True) for part in parts]
    cuda = {value.device for value in base.parameters() if value.is_cuda}
    with torch.random.fork_rng(devices=cuda):
        try:
            base.base_model.forward(input_ids=ids, use_cache=False)  # not called as a module: hooks that count passes see nothing
        finally:
            for handle in handles:
                handle.remove()
        mixes = {part: _mixes(part, *call, width=width) for part, call in calls.items()}
    of_blocks = []
    for block in blocks:
        names = {child: name for name, child in block.named_children()}
        of_block = {names[part]: mixed for part, mixed in mixes.items() if part in names and mixed is not None}
        attention, mlp = ([name for name, mixed in of_block.items() if mixed is is_attention] for is_attention in (True, False))
        of_blocks.append(BlockParts(attention[-1] if attention else None, mlp[-1] if mlp else None))
    return of_blocks


def _mixes(part: nn.Module, args: Any, kwargs: dict[str, Any], *, width: int) -> bool | None:
    """Whether the part's output for a token depends on earlier tokens; None if its output does not have that width."""
    arguments = [*enumerate(args), *kwargs.items()]
    per_token = [key for key, value in arguments if isinstance(value, Tensor) and value.is_floating_point() and 2 <= value.dim() <= 3]
    values: dict[Any, Any] = dict(arguments)
    preferred = [key for key in per_token if values[key].shape[-1] == width]  # OPT's last matrix gets wider ones
    key = next((key for key in (*preferred, *per_token) if values[key].shape[:-1].numel() == 2 * _TOKENS), None)
    if key is None:
        return None
    sign = -torch.ones(2, _TOKENS, 1, device=values[key].device, dtype=values[key].dtype)
    sign[:, -1] = 1
    edited = {**values, key: (values[key].reshape(2, _TOKENS, -1) * sign).view_as(values[key])}
    outputs = []
    for inputs in (values, edited):
        torch.manual_seed(0)  # an adapter in training drops out, the same both times
        output = first_output(part(*(inputs[number] for number in range(len(args))), **{name: inputs[name] for name in kwargs}))
        if not isinstance(output, Tensor) or output.shape[-1:] != (width,) or output.numel() != 2 * _TOKENS * width:
            return None
        outputs.append(output.reshape(2, _TOKENS, width).float())
    change = outputs[0] - outputs[1]
    return bool(change[:, -1].norm() > _MIXED * change[:, :-1].norm())


def first_output(output: Any) -> Any:
    """The states in a module's output, which may be the first of a tuple."""
    return output[0] if isinstance(output, Sequence) else output


def _is_stack(module: nn.Module, depth: int) -> bool:
    return isinstance(module, nn.ModuleList) and len(module) == depth and len({type(block) for block in module}) == 1


def _is_norm(module: nn.Module) -> bool:
    """A module whose own weights are all vectors, such as LayerNorm and every RMSNorm."""
    weights = list(module.parameters())
    return bool(weights) and not list(module.children()) and all(weight.dim() == 1 for weight in weights)


def _keep_raw(raw: dict[int, Tensor], number: int) -> Callable[[nn.Module, Any, Any], None]:
    def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
        raw[number] = first_output(output).detach()

    return hook


def _keep_pair(norms: dict[nn.Module, tuple[Tensor, Tensor]]) -> Callable[[nn.Module, Any, Any], None]:
    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        if inputs and isinstance(inputs[0], Tensor) and isinstance(output, Tensor):
            norms[module] = (inputs[0].detach(), output.detach())

    return hook


def text_only(base: Any) -> Any:
    """The language model inside a multimodal wrapper (Gemma 3), as the class of its text configuration; others unchanged.

    The wrapper's other towers are released. Raises PrerequisiteError if the text model's output differs from the wrapper's.
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    config = base.config.get_text_config()
    if config is base.config:
        return base
    kind = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    if kind is None or isinstance(base, kind):
        return base
    with torch.device("meta"):
        text = kind(config)
    inner = next((module for module in base.modules() if type(module) is type(text.base_model)), None)
    if inner is None:
        raise PrerequisiteError(f"{type(base).__name__} holds no {type(text.base_model).__name__}, so its text cannot be used alone.")
    setattr(text, text.base_model_prefix, inner)
    text.set_output_embeddings(base.get_output_embeddings())
    text.generation_config = base.generation_config
    for mark in ("is_loaded_in_4bit", "is_quantized", "hf_quantizer", "quantization_method"):
        if hasattr(base, mark):
            setattr(text, mark, getattr(base, mark))
    if any(value.is_meta for value in text.parameters()):
        raise PrerequisiteError(f"{type(base).__name__} has text weights outside its {type(inner).__name__}. Choose a text-only model.")
    return text.eval()


def text_backbone_name(whole: Any, text: Any) -> str:
    """The name of the text model's backbone inside a wrapper, such as `model.language_model`; "" if there is no wrapper."""
    if whole is text:
        return ""
    return next(str(name) for name, module in whole.named_modules() if module is text.base_model)
