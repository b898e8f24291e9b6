"""A config class as a form: what is written on its fields appears once, and wrong values are answered in words."""

from __future__ import annotations

from typing import Literal

import gradio as gr
import pytest
from pydantic import BaseModel, Field

from reft_studio.errors import SpecError
from ui.forms import Form, form


class Recipe(BaseModel):
    steps: int = Field(100, ge=1, le=5000, description="optimizer steps")
    learning_rate: float = Field(0.001, gt=0, lt=1)
    threshold: float | None = Field(None, ge=-1, le=1)
    mode: Literal["soft", "hard"] = "soft"
    modules: list[str] = Field(default_factory=lambda: ["q", "v"])
    filter: bool = True


@pytest.fixture
def recipe() -> Form[Recipe]:
    with gr.Blocks():
        return form(Recipe, labels={"filter": "Drop flagged rows"})


def test_label_help_and_bounds_come_from_the_field(recipe: Form[Recipe]) -> None:
    assert recipe.inputs["steps"].label == "Steps"
    assert recipe.inputs["steps"].info == "Optimizer steps; 1 to 5,000"
    assert recipe.inputs["learning_rate"].label == "Learning rate"
    assert recipe.inputs["learning_rate"].info == "Above 0 and below 1"
    assert recipe.inputs["filter"].label == "Drop flagged rows"


def test_the_kind_of_a_field_decides_its_input(recipe: Form[Recipe]) -> None:
    kinds = [type(part) for part in recipe.components]
    assert kinds == [gr.Number, gr.Number, gr.Textbox, gr.Radio, gr.Textbox, gr.Checkbox]


def test_typed_values_come_back_as_the_model(recipe: Form[Recipe]) -> None:
    read = recipe.read(50, 0.1, None, "hard", "q, k ,", False)
    assert read == Recipe(steps=50, learning_rate=0.1, threshold=None, mode="hard", modules=["q", "k"], filter=False)


def test_a_number_that_may_be_empty_is_empty_and_not_0(recipe: Form[Recipe]) -> None:
    assert recipe.inputs["threshold"].value == ""
    assert [recipe.read(50, 0.1, typed, "hard", "q", False).threshold for typed in ("", " ", "0", "-0.5", 0.5)] == [
        None,
        None,
        0.0,
        -0.5,
        0.5,
    ]


def test_a_wrong_value_is_named_with_what_is_allowed(recipe: Form[Recipe]) -> None:
    with pytest.raises(SpecError, match=r"Steps is 0\. Allowed: 1 to 5,000\. Learning rate is empty\."):
        recipe.read(0, None, None, "soft", "q", True)


def test_fields_left_out_keep_their_values() -> None:
    with gr.Blocks():
        short = form(Recipe, value=Recipe(steps=7, mode="hard"), only=["learning_rate"])
    assert short.read(0.5) == Recipe(steps=7, mode="hard", learning_rate=0.5)


def test_a_preset_fills_the_form(recipe: Form[Recipe]) -> None:
    shown = [update["value"] for update in recipe.updates(Recipe(steps=9, modules=["a", "b"]))]
    assert shown == [9, 0.001, None, "soft", "a, b", True]


def test_a_field_that_no_input_can_show_is_refused() -> None:
    class Nested(BaseModel):
        inner: Recipe = Recipe()

    with gr.Blocks(), pytest.raises(SpecError, match="inner"):
        form(Nested)
