"""A ledger read back: stages in their order, and how much more than plain finetuning was done, by hand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import reft_studio
from reft_studio.comparison.costs import GROUPS
from reft_studio.evaluation.costs import ANSWER, GRADE
from reft_studio.training.card import cost_lines
from reft_studio.training.ledger import OF_TRAINING, STAGES, Ledger, StageSeconds

SOURCES = Path(reft_studio.__file__).parent

COSTS: dict[str, Any] = {
    "version": 2,
    "device": "CPU",
    "stages": [
        {"stage": "train", "seconds": 60.0, "memory_mb": 700},
        {"stage": "load", "seconds": 2.0, "memory_mb": 500},
        {"stage": "teacher states", "seconds": 10.0, "memory_mb": None},
        {"stage": "filter", "seconds": 0.01, "memory_mb": 400},
    ],
    "passes": {"teacher": 10, "forward": 20, "backward": 21},
    "tokens": {"teacher": 1_000, "forward": 3_000, "backward": 3_150},
    "user_tokens": 2_000,
    "flops": {"teacher": 10_000, "forward": 30_000, "backward": 63_000},
    "counted_steps": 3,
}


def test_stages_stand_in_the_order_in_which_they_are_done_and_those_of_the_evaluation_come_last() -> None:
    ledger = Ledger.read(COSTS, 20).also(
        [StageSeconds("grade", 1.0, 90), StageSeconds("answer", 30.0, 900), StageSeconds("load again", 2.5, 480)]
    )
    assert [stage.name for stage in ledger.stages] == ["load", "filter", "train", "teacher states", "load again", "answer", "grade"]
    assert ledger.seconds == pytest.approx(105.51) and ledger.memory_mb == 900
    assert ledger.time_of("train", "teacher states") == 70 and ledger.peak_of("train", "teacher states") == 700
    assert ledger.peak_of("teacher states") is None and ledger.per_step("backward") == 1.05


def test_every_stage_that_is_timed_has_a_title_a_place_and_one_group() -> None:
    sources = [path for part in ("training", "tasks", "evaluation") for path in (SOURCES / part).glob("*.py")]
    timed = {name for path in sources for name in re.findall(r"costs\.(?:stage|aside)\(\"([^\"]+)\"", path.read_text("utf-8"))}
    assert timed | {ANSWER, GRADE, "load again"} == set(STAGES), "a stage of alignment is named after what it trains, and stands apart"
    assert sorted(name for group in GROUPS.values() for name in group) == sorted(STAGES)
    assert set(STAGES) - set(OF_TRAINING) == {"load", "looks", "load again", "answer", "grade"}


def test_extra_work_is_all_that_went_through_the_model_over_user_tokens_forward_and_back() -> None:
    extra = Ledger.read(COSTS, 20).extra
    assert extra.tokens == pytest.approx((1_000 + 3_000 + 3_150) / (2 * 2_000))
    assert extra.flops == pytest.approx(103_000 / (2_000 * (10 + 20)))  # 10 operations a token forward, 20 back
    assert extra.words == "1.72 × by operations, 1.79 × by tokens"


def test_plain_finetuning_is_once_itself() -> None:
    plain = {
        "tokens": {"teacher": 0, "forward": 500, "backward": 500},
        "user_tokens": 500,
        "flops": {"teacher": 0, "forward": 7, "backward": 9},
    }
    extra = Ledger.read({**COSTS, **plain}, 20).extra
    assert (extra.tokens, extra.flops) == (1.0, pytest.approx(1.0))


def test_what_was_not_counted_is_withheld_with_the_reason() -> None:
    older = {name: value for name, value in COSTS.items() if name != "user_tokens"}
    assert Ledger.read(older, 20).extra.words == "Not known: its ledger was written by a version that did not tell user rows from others."
    assert "no user row" in Ledger.read({**COSTS, "user_tokens": 0}, 20).extra.words
    without = Ledger.read({**COSTS, "flops": None}, 20)
    assert without.extra.flops is None and without.operations is None and without.extra.words == "1.79 × by tokens"


def test_a_processor_counts_the_process_and_a_gpu_its_tensors() -> None:
    on_cpu, on_gpu = (Ledger.read({**COSTS, "device": device}, 20) for device in ("CPU", "NVIDIA L4"))
    assert on_cpu.memory_words == "of the whole process, on the CPU"
    assert on_gpu.memory_words == "of tensors on the NVIDIA L4"
    lines = cost_lines(on_cpu)
    assert lines[0] == "time: 1.20 minutes on CPU: load the model 2.0 s, train 60.0 s, teacher's answers 10.0 s"
    assert lines[1] == "peak memory: 700 MB of the whole process, on the CPU"
    assert cost_lines(None) == ["not known: this run was made by a version that kept no ledger"]
