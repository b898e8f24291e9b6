"""How a base model is held in memory, and the prompt template it reads: a group of fields that is closed until it is needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from reft_studio.data.chat.own_template import check_own, is_own
from reft_studio.models.spec import DEFAULT, LoadSpec
from ui.forms import Form, form

LABELS = {
    "revision": "Revision",
    "dtype": "Number format (dtype)",
    "quantization": "4-bit weights (quantization)",
    "attention": "Attention kernel",
    "device": "Device",
}
_TEMPLATE = "auto: the model's own chat template, else Alpaca. Or chat, alpaca, or your own text with {prompt} in it"
_SPECIALS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
"""Stand-ins for a tokenizer's, to see whether a template can be rendered at all."""


@dataclass(frozen=True)
class MemoryFields:
    """The fields; `components` in the order in which `read` takes their values."""

    loading: Form[LoadSpec]
    template: gr.Textbox

    @property
    def components(self) -> list[Any]:
        """What to pass as `inputs=`."""
        return [*self.loading.components, self.template]

    def read(self, *values: Any) -> dict[str, Any]:
        """`loading` and `template` of a spec. Raises SpecError naming a value that cannot be."""
        template = str(values[-1] or "")
        template = template if template.strip() else "auto"
        if is_own(template):
            check_own(template, specials=_SPECIALS)
        return {"loading": self.loading.read(*values[:-1]), "template": template}


def draw_memory_fields(*, prefix: str, title: str = "Model in memory") -> MemoryFields:
    """Draw the group where the caller stands in the layout."""
    with gr.Accordion(title, open=False, elem_id=f"{prefix}-memory"):
        with gr.Row(elem_classes=["rs-form"]):
            loading = form(LoadSpec, labels=LABELS, prefix=f"{prefix}-loading")
        template = gr.Textbox("auto", label="Prompt template", info=_TEMPLATE, elem_id=f"{prefix}-template", lines=1, max_lines=8)
    return MemoryFields(loading, template)


def held(loading: LoadSpec) -> str:
    """What differs from the usual, in words: `bfloat16, eager attention`; empty for the usual."""
    words = [
        loading.dtype if loading.dtype != DEFAULT.dtype else "",
        "4-bit NF4" if loading.quantization == "nf4" else "",
        f"{loading.attention} attention" if loading.attention != DEFAULT.attention else "",
        f"on {loading.device}" if loading.device != DEFAULT.device else "",
        f"revision {loading.revision}" if loading.revision else "",
    ]
    return ", ".join(word for word in words if word)
