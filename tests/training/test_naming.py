"""Names of runs: as short as they can be, one for each run, the same in whatever order the runs come."""

from __future__ import annotations

from typing import Any

import pytest

from reft_studio.training.naming import Known, RunName, describe, name_all, number, settings
from reft_studio.training.spec import RunSpec


def spec(method: str = "sft", **changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"dataset": "d1", "method": method, "harmful": "h", "helpful": "e"}
    given |= {"teacher": "t"} if method in ("ref_teacher", "filter_only", "distill_only") else {}
    optim = {key: changes.pop(key) for key in ("steps", "epochs", "learning_rate", "batch_size", "packing") if key in changes}
    lora = {key: changes.pop(key) for key in ("rank", "targets") if key in changes}
    found = RunSpec.checked(**{**given, "filter": method in ("ref_teacher", "filter_only"), "optim": optim, "lora": lora, **changes})
    return found.model_dump(mode="json")


def titles(*specs: dict[str, Any]) -> list[str]:
    return [name.title for name in names(*specs)]


def names(*specs: dict[str, Any]) -> list[RunName]:
    found = name_all({f"r{place}": describe(one) for place, one in enumerate(specs)})
    return [found[f"r{place}"] for place in range(len(specs))]


def test_a_run_that_stands_alone_has_the_name_of_its_method() -> None:
    assert titles(spec("ref_teacher", seed=3)) == ["Ref-Teacher"]
    assert titles(spec("sft"), spec("ref_teacher")) == ["Plain SFT", "Ref-Teacher"]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ({"steps": 80}, {}, ["Plain SFT, 80 steps", "Plain SFT, 160 steps"]),
        ({"steps": None}, {}, ["Plain SFT, 3 epochs", "Plain SFT, 160 steps"]),
        ({"learning_rate": 1e-4}, {}, ["Plain SFT, learning rate 1e-4", "Plain SFT, learning rate 0.003"]),
        ({"seed": 2}, {}, ["Plain SFT, seed 2", "Plain SFT, seed 0"]),
        ({"rank": 8}, {}, ["Plain SFT, LoRA rank 8", "Plain SFT, LoRA rank 16"]),
        ({"packing": False}, {}, ["Plain SFT, no packing", "Plain SFT, packing"]),
        ({"model": "smollm2-135m"}, {}, ["Plain SFT, base smollm2-135m", "Plain SFT, base lab"]),
        ({"dataset": "d2"}, {}, ["Plain SFT, on d2", "Plain SFT, on d1"]),
        ({"filter": True, "teacher": "t"}, {}, ["Plain SFT + filter", "Plain SFT"]),
        ({"steps": 80, "seed": 1}, {}, ["Plain SFT, 80 steps", "Plain SFT, 160 steps"]),
    ],
)
def test_two_runs_of_a_method_say_what_differs_and_no_more(one: dict[str, Any], other: dict[str, Any], expected: list[str]) -> None:
    assert titles(spec(**one), spec(**other)) == expected


def test_a_filter_by_chance_or_at_another_threshold_is_always_said() -> None:
    chance = spec("filter_only", scorer="random", drop=104)
    assert titles(chance, spec("filter_only", threshold=0.25)) == ["Filter only (104 rows by chance)", "Filter only (from +0.250)"]
    assert titles({**spec("ref_teacher"), "filter": False}) == ["Ref-Teacher without filter"]


def test_seeds_of_one_setting_are_one_family() -> None:
    found = names(*(spec(seed=seed) for seed in range(3)), spec(steps=80))
    assert [one.title for one in found] == [f"Plain SFT, 160 steps, seed {seed}" for seed in range(3)] + ["Plain SFT, 80 steps"]
    assert [one.family for one in found] == ["Plain SFT, 160 steps"] * 3 + ["Plain SFT, 80 steps"]


def test_no_two_names_are_the_same_and_the_order_of_the_runs_does_not_matter() -> None:
    grid = [
        spec(method, steps=steps, learning_rate=rate, seed=seed, dataset=data)
        for method in ("sft", "ref_teacher")
        for steps in (80, 160)
        for rate in (1e-4, 3e-3)
        for seed in (0, 1)
        for data in ("d1", "d2")
    ]
    described = {f"r{place}": describe(one) for place, one in enumerate(grid)}
    found = name_all(described)
    assert len({name.title for name in found.values()}) == len(grid)
    assert name_all(dict(reversed(described.items()))) == found


def test_another_draw_of_the_same_data_is_told_by_its_id() -> None:
    def resolve(field: str, value: str) -> Known:
        return Known("lab, 10 % poison", "lab, 10 % poison")

    found = name_all({"r1": describe(spec(dataset="d1"), resolve), "r2": describe(spec(dataset="d2"), resolve)})
    assert [name.title for name in found.values()] == ["Plain SFT (r1)", "Plain SFT (r2)"]
    assert {name.family for name in found.values()} == {"Plain SFT"}


def test_audited_data_is_part_of_the_name() -> None:
    audited = describe(spec(), lambda field, value: Known(value, value, audited=True))
    assert name_all({"r1": audited})["r1"].title == "Plain SFT, audited data"


def test_settings_that_an_older_run_does_not_have_are_the_defaults() -> None:
    older = spec()
    del older["drop"], older["optim"]["packing"], older["lora"]
    assert titles(older, spec(seed=1)) == ["Plain SFT, seed 0", "Plain SFT, seed 1"]


def test_a_method_of_another_version_still_has_a_name() -> None:
    assert titles({"method": "long_gone", "dataset": "d1"}) == ["Long gone"]


def test_settings_have_the_labels_of_the_form() -> None:
    found = settings(spec("ref_teacher"))
    assert (found["optim.learning_rate"].group, found["optim.learning_rate"].label) == ("Training", "Learning rate")
    assert "optim.epochs" not in found and found["lora.rank"].words == "16"


def test_numbers_are_written_as_people_write_them() -> None:
    assert [number(value) for value in (1e-4, 2.5e-5, 0.003, 0, 1600, -5e-7)] == ["1e-4", "2.5e-5", "0.003", "0", "1,600", "-5e-7"]
