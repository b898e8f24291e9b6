"""The command of a run says all of it, and the command line reads all of that again."""

from __future__ import annotations

import itertools
import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from reft_studio.errors import SpecError, StoreError
from reft_studio.evaluation.judges.spec import JudgeSpec
from reft_studio.models.spec import LoadSpec, LoraSpec, OptimSpec, preset_named
from reft_studio.studio.run_command import changed, chosen, command, filtering, specs_in
from reft_studio.studio.run_form import RunForm
from reft_studio.training.spec import RunSpec


def read(text: str) -> dict[str, Any]:
    """Options of a command, `--set` as a list."""
    pairs = [pair for pair in itertools.pairwise(shlex.split(text)[3:]) if pair[0].startswith("--")]
    return {**dict(pairs), "set": [value for name, value in pairs if name == "--set"]}


@pytest.mark.parametrize(
    "own",
    [
        {},
        {"optim": OptimSpec(steps=None, epochs=2.5, batch_size=4, learning_rate=1e-4, micro_batch_size=2, packing=False)},
        {"lora": LoraSpec(rank=8, targets=("q_proj", "v_proj"))},
        {"method_config": {"alpha": 0.25}},
        {"judge": JudgeSpec(name="wildguard", model="/own/guard")},
        {"loading": LoadSpec(revision="v2", dtype="bfloat16", quantization="nf4", attention="eager", device="cuda:1")},
    ],
)
def test_what_the_command_says_is_the_form_again(own: dict[str, Any]) -> None:
    form = RunForm(dataset="d" * 16, method="ref_teacher", **own)
    options = read(command(form, teacher="lab", preset="real", filtered=True))
    assert (options["--dataset"], options["--method"], options["--teacher"], options["--preset"]) == (
        form.dataset,
        form.method,
        "lab",
        "real",
    )
    again = chosen(options["set"], method=form.method, preset=options["--preset"])
    assert {name: again[name] for name in own} == (own if "method_config" not in own else {"method_config": again["method_config"]})
    assert again.get("method_config", {}).get("alpha", None) == own.get("method_config", {}).get("alpha")


def test_a_folder_with_a_space_and_a_switch_are_said_as_a_shell_reads_them() -> None:
    text = command(RunForm(dataset="d" * 16, method="sft", model="/my models/x", filter=False), teacher=None, preset="real", filtered=False)
    assert "--model '/my models/x'" in text and "--no-filter" in text and "--teacher" not in text


def test_a_filter_is_named_or_left_out() -> None:
    assert filtering("tfidf", none=False) == {"filter": True, "scorer": "tfidf"}
    assert filtering("refusal_feature", none=False) == {"filter": True, "scorer": None}
    assert filtering(None, none=True) == {"filter": False} and filtering(None, none=False) == {"filter": None}
    with pytest.raises(SpecError, match="contradict each other"):
        filtering("tfidf", none=True)


def test_own_alignment_data_are_said_and_take_the_place_of_those_in_a_file() -> None:
    options = read(command(RunForm(dataset="d", refusals="r", answers="a"), teacher="lab", preset="lab", filtered=True))
    assert (options["--refusals"], options["--answers"]) == ("r", "a")
    stored = RunSpec(dataset="d", method="sa_ft", harmful="h", helpful="g")
    again = changed(stored, {"refusals": "r"}, [])
    assert (again.harmful, again.helpful) == ("r", "g")


def test_settings_go_on_top_of_the_preset() -> None:
    found = chosen(["optim.batch_size=4", "lora.r=8", "optim.steps=none"], method="sft", preset="real")
    assert found["optim"] == preset_named("real").optim.model_copy(update={"batch_size": 4, "steps": None})
    assert found["lora"].rank == 8
    assert chosen([], method="sft", preset="lab", steps=7)["optim"].steps == 7
    assert chosen([], method="sft", preset="lab") == {}


@pytest.mark.parametrize(
    ("pair", "told"),
    [
        ("optim.step=4", r"'optim\.step=4' is no setting of a run with sft\. Write GROUP\.NAME=VALUE"),
        ("optim.steps", "no setting"),
        ("steps=4", "no setting"),
        ("optim.steps=-1", "steps is '-1'"),
        ("lora.rank=many", "rank is 'many'"),
        ("judge.threshold=7", "threshold is '7'"),
    ],
)
def test_what_is_no_setting_is_named_with_what_there_is(pair: str, told: str) -> None:
    with pytest.raises(SpecError, match=told):
        chosen([pair], method="sft", preset="lab")


def test_a_scorer_is_named_only_where_rows_are_filtered() -> None:
    form = RunForm(dataset="d" * 16, method="ref_teacher", scorer="tfidf")
    assert "--filter tfidf" in command(form, teacher="lab", preset="lab", filtered=True)
    assert "--filter" not in command(form, teacher="lab", preset="lab", filtered=False)


STORED = RunSpec(
    dataset="d" * 16, method="distill_only", method_config={"alpha": 0.25}, teacher="lab", harmful="a" * 16, helpful="b" * 16,
    filter=True, threshold=0.25, optim=OptimSpec(steps=None, epochs=2, batch_size=4), lora=LoraSpec(rank=4), seed=3,
)  # fmt: skip


def test_a_stored_run_is_the_same_run_again_unless_something_is_changed(tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text(json.dumps(STORED.model_dump(mode="json")), "utf-8")
    (read_again,) = specs_in(tmp_path / "spec.json")
    assert read_again == STORED and changed(read_again, {}, []).run_id == STORED.run_id
    found = changed(STORED, {"seed": 4}, ["optim.steps=400", "loading.dtype=bfloat16", "lora.r=8", "method_config.alpha=0.75"])
    assert (found.seed, found.optim.steps, found.loading.dtype, found.lora.rank) == (4, 400, "bfloat16", 8)
    assert found.method_config["alpha"] == 0.75 and found.threshold == 0.25


def test_options_take_the_place_of_what_a_file_says_and_of_what_hangs_on_it() -> None:
    assert changed(STORED, {"drop": 5}, []).threshold is None
    without = changed(STORED, {"filter": False}, [])
    assert (without.filter, without.threshold) == (False, None)
    assert changed(STORED, {"method": "sft"}, []).method_config == {}
    with pytest.raises(SpecError, match="--preset has nothing to say"):
        changed(STORED, {"preset": "real"}, [])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[]", "holds no settings"),
        ("7", "holds no settings"),
        ('{"dataset": "d", "speed": 9}', "speed is 9"),
        ("{", "is damaged|not read|JSON"),
    ],
)
def test_a_file_that_is_no_spec_is_said_to_be_none(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "spec.json").write_text(text, "utf-8")
    with pytest.raises((SpecError, StoreError), match=told):
        specs_in(tmp_path / "spec.json")
    with pytest.raises(SpecError, match="There is no file"):
        specs_in(tmp_path / "other.json")


def test_decisions_are_heeded_unless_the_command_says_otherwise() -> None:
    form = RunForm(dataset="d" * 16, method="filter_only")
    assert "decisions" not in command(form, teacher="lab", preset="lab", filtered=True)
    alone = form.model_copy(update={"heed_decisions": False})
    assert "--no-decisions" in command(alone, teacher="lab", preset="lab", filtered=True)
    assert "decisions" not in command(alone, teacher=None, preset="lab", filtered=False), "nothing is filtered"


def test_a_stored_run_loses_its_decisions_with_its_filter_and_when_that_is_asked_for() -> None:
    spec = RunSpec(dataset="d", method="filter_only", teacher="lab", filter=True, decisions="0" * 64)
    assert changed(spec, {}, []).decisions == spec.decisions
    for options in ({"filter": False}, {"drop": 5}, {"heed_decisions": False}):
        assert changed(spec, options, []).decisions is None
