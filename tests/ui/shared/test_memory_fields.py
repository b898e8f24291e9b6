"""The group "Model in memory" gives a spec its loading settings and template, and says in words what is unusual."""

from __future__ import annotations

import gradio as gr
import pytest

from reft_studio.errors import SpecError
from reft_studio.models.spec import LoadSpec
from ui.shared.memory_fields import MemoryFields, draw_memory_fields, held


@pytest.fixture
def fields() -> MemoryFields:
    with gr.Blocks():
        return draw_memory_fields(prefix="teacher")


def test_untouched_fields_are_the_defaults(fields: MemoryFields) -> None:
    values = [component.value for component in fields.components]
    assert fields.read(*values) == {"loading": LoadSpec(), "template": "auto"}


def test_what_was_typed_becomes_loading_and_template(fields: MemoryFields) -> None:
    own = "Q: {prompt}\nA:"
    read = fields.read("main", "bfloat16", "nf4", "eager", "cuda:1", own)
    assert read["loading"] == LoadSpec(revision="main", dtype="bfloat16", quantization="nf4", attention="eager", device="cuda:1")
    assert read["template"] == own and fields.read("", "auto", "none", "auto", "auto", "  ")["template"] == "auto"
    with pytest.raises(SpecError, match="Device is 'tpu'"):
        fields.read("", "auto", "none", "auto", "tpu", "auto")


@pytest.mark.parametrize("template", ["custom:no place", "custom:{{ nothing() }}{{ prompt }}"])
def test_a_template_that_cannot_be_used_is_refused_before_a_job_is_queued(fields: MemoryFields, template: str) -> None:
    with pytest.raises(SpecError, match="Your template"):
        fields.read("", "auto", "none", "auto", "auto", template)
    assert fields.read("", "auto", "none", "auto", "auto", "custom:{{ bos_token + prompt }}")["template"].startswith("custom")


def test_words_for_how_a_model_is_held() -> None:
    assert held(LoadSpec()) == ""
    assert held(LoadSpec(dtype="bfloat16", quantization="nf4", attention="sdpa", device="cuda:1", revision="v2")) == (
        "bfloat16, 4-bit NF4, sdpa attention, on cuda:1, revision v2"
    )
