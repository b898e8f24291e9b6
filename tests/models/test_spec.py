"""Presets carry the name of what they are, and passes over the data mean the same number of steps for every method."""

from __future__ import annotations

from typing import Any

import pytest

from reft_studio.errors import SpecError
from reft_studio.models.spec import PRESETS, LoraSpec, OptimSpec, preset_named
from reft_studio.teacher.spec import TeacherSpec
from reft_studio.training.spec import RunSpec

RUN = {"dataset": "d" * 16, "method": "sft"}


def test_no_preset_claims_to_be_the_papers() -> None:
    assert not any("paper" in word.lower() for name, preset in PRESETS.items() for word in (name, preset.title))
    with pytest.raises(SpecError, match=r"'paper' is now called 'kaist' .KAIST lineage: a guess."):
        preset_named("paper")
    with pytest.raises(SpecError, match=r"no preset 'fast'\. Choose one of: lab, lab-quick, real, kaist, booster"):
        preset_named("fast")


def test_a_preset_brings_its_adapter_and_its_length() -> None:
    kaist, booster = preset_named("kaist"), preset_named("booster")
    assert (kaist.lora.rank, kaist.lora.alpha, kaist.lora.dropout, kaist.optim.max_length) == (32, 64, 0.1, 512)
    assert (booster.lora.rank, booster.lora.alpha, booster.optim.max_length) == (32, 4, 256)
    assert booster.lora.targets == ("q_proj", "k_proj", "v_proj")
    assert preset_named("lab").lora == preset_named("real").lora == LoraSpec()


def test_passes_are_counted_over_the_uploaded_rows_unless_stored_settings_say_kept() -> None:
    passes = OptimSpec(steps=None, epochs=2, batch_size=10)
    assert passes.steps_for(uploaded=100, kept=50) == 20
    assert passes.model_copy(update={"epochs_of": "kept"}).steps_for(uploaded=100, kept=50) == 10
    assert OptimSpec(steps=7).steps_for(uploaded=100, kept=50) == 7
    assert OptimSpec(steps=None, epochs=0.1, batch_size=64).steps_for(uploaded=3, kept=3) == 1


@pytest.mark.parametrize("steps", [None, 40])
def test_a_run_of_an_earlier_version_keeps_its_id_and_its_meaning(steps: int | None) -> None:
    stored: dict[str, Any] = RunSpec(**RUN, optim=OptimSpec(steps=steps, epochs_of="kept")).model_dump(mode="json")
    stored["optim"].pop("epochs_of", None)  # as it was written before there was a choice
    before = RunSpec(**stored)
    assert before.optim.steps_for(uploaded=100, kept=48) == (steps or 6)
    today = RunSpec(**RUN, optim=OptimSpec(steps=steps))
    assert (today.run_id == before.run_id) == (steps is not None), "with a number of steps nothing has changed"
    assert RunSpec(**before.model_dump(mode="json")).run_id == before.run_id
    assert RunSpec(**today.model_dump(mode="json")) == today
    assert before.run_id == ("rf4dc29c32f9f" if steps else "r61c1474b280f"), "as an earlier version called it"


def test_a_teacher_keeps_its_id() -> None:
    sets = dict.fromkeys(("harmful", "helpful", "calibration_harmful", "calibration_harmless"), "a" * 16)
    ids = {TeacherSpec(**sets, optim=OptimSpec(steps=None, epochs_of=rows)).id for rows in ("uploaded", "kept")}
    assert ids == {"t9ed05d8e49c2"}, "as an earlier version called it"
