"""A recipe as a grid, the runs of it done once and shared by processes, and what the table says of them."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from reft_studio.errors import SpecError, TrainingError
from reft_studio.progress import Silent
from reft_studio.stats import Estimate
from reft_studio.sweeps import run as sweeping
from reft_studio.sweeps import table as sweep_table
from reft_studio.sweeps.recipe_text import read_recipe
from reft_studio.sweeps.record import FOLDER, lines
from reft_studio.sweeps.run import sweep
from reft_studio.sweeps.spec import Cell, Share, SweepSpec, Variant
from reft_studio.training.run_folder import open_run
from reft_studio.workspace import Workspace, read_json

RECIPES = Path(__file__).resolve().parents[2] / "recipes"


def spec(**changes: Any) -> SweepSpec:
    return SweepSpec.checked(**{"variants": ({"method": "sft"},), **changes})


def test_lists_multiply_and_each_variant_has_a_name_of_its_own() -> None:
    found = spec(
        poison_ratios=(0, 0.1),
        seeds=(0, 1, 2),
        variants=(
            {"method": "sft", "filter": ["none", "refusal_feature", "tfidf"]},
            {"method": "ref_teacher", "config": {"alpha": [0.1, 1]}},
        ),
    )
    assert [one.title for one in found.expanded] == [
        "Plain SFT",
        "Plain SFT + filter",
        "Plain SFT + filter Words (TF-IDF)",
        "Ref-Teacher, alpha 0.1",
        "Ref-Teacher, alpha 1",
    ]
    assert len(found.cells) == 2 * 3 * 5
    assert {cell.variant.config.get("alpha") for cell in found.cells} == {None, 0.1, 1}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("variants: [", r"line 1: This is no YAML"),
        ("- one", "holds no recipe"),
        ("variants: []", "variants"),
        ("variants: [{method: magic}]", "ref_teacher"),
        ("variants: [{method: sft, filter: nobody}]", "Choose one of"),
        ("variants: [{method: sft, filter: ensemble}]", r"refusal_feature\+tfidf"),
        ("variants: [{method: sft, filter: tfidf+nobody}]", "'nobody' in filter 'tfidf"),
        ("variants: [{method: sft, filter: tfidf|random}]", "'random' in filter 'tfidf"),
        ("variants: [{method: ref_teacher, config: {beta: 1}}]", "beta"),
        ("variants: [{method: ref_teacher, config: {alpha: [0.1, -1]}}]", "alpha"),
        ("variants: [{method: sft}]\nagainst: [Lisa]", "against names 'Lisa'"),
        ("variants: [{method: sft}, {method: sft}]", "two variants are called 'Plain SFT'"),
        ("variants: [{method: sft}]\npoison_ratios: [10]", "from 0 to 1"),
        ("variants: [{method: sft}]\noptim: {speed: 3}", "speed"),
        ("variants: [{method: sft}]\nmethodes: 3", "methodes"),
    ],
)
def test_a_recipe_that_asks_for_what_there_is_not_says_so(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(SpecError, match=told):
        read_recipe(path)
    with pytest.raises(SpecError, match="no recipe"):
        read_recipe(tmp_path / "other.yaml")


def test_two_processes_share_the_groups_and_never_the_same_one() -> None:
    first, second = Share.read("1/2"), Share.read("2/2")
    assert [first.takes(n) for n in range(4)] == [True, False, True, False] == [not second.takes(n) for n in range(4)]
    for wrong in ("0/2", "3/2", "half", "1"):
        with pytest.raises(SpecError, match="1/2"):
            Share.read(wrong)


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_that_ships_can_be_read(path: Path) -> None:
    assert read_recipe(path).cells


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, SweepSpec]:
    """A small sweep of the lab, done."""
    workspace = Workspace.open(tmp_path_factory.mktemp("sweep"))
    found = spec(
        optim={"steps": 2},
        rows=(60,),
        prompts=20,
        task_prompts=20,
        poison_ratios=(0.1,),
        variants=(
            {"method": "sft", "filter": ["none", "oracle", "random"]},
            {"method": "booster", "config": {"lam": 5}, "label": "Booster"},
            {"method": "safe_lora", "adapters": "fresh"},
        ),
    )
    sweep(workspace, found, Silent())
    return workspace, found


def test_every_cell_is_trained_and_evaluated_with_its_filter_and_the_same_steps(done: tuple[Workspace, SweepSpec]) -> None:
    found = {line["cell"]["variant"]: line for line in lines(*done)}
    assert all("error" not in line for line in found.values()), found
    runs = {name: open_run(done[0], line["run"]) for name, line in found.items()}
    assert {run.result["steps"] for run in runs.values()} == {2}
    assert len({run.spec.dataset for run in runs.values()}) == 1
    oracle = found["Plain SFT + filter Oracle (control)"]["filter"]
    assert (oracle["removed"], oracle["harmful"], oracle["harmless"]) == (6, 6, 54)
    assert (oracle["recall"], oracle["false_positive_rate"]) == (100.0, 0.0)
    assert sum(one["rows"] for one in oracle["origins"].values()) == 54 and "harmful" not in oracle["origins"]
    assert not any(one["removed"] for one in oracle["origins"].values())
    chance = runs["Plain SFT + filter Random (control)"].spec
    assert chance.drop is not None and chance.drop > 0
    assert runs["Booster"].result["stages"][0]["rule"] == "booster"
    assert found["Booster"]["result"]["hs"]["n"] == 20


def test_what_was_done_is_not_done_again_but_a_cell_that_failed_is(
    done: tuple[Workspace, SweepSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, found = done

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("nothing is left to do")

    with monkeypatch.context() as patch:
        patch.setattr(sweeping, "train", never)
        before = lines(workspace, found)
        assert sweep(workspace, found, Silent()) == before

    other, asked = spec(optim={"steps": 1}, rows=(60,)), list[int]()

    def failing(*_: Any, **__: Any) -> Any:
        asked.append(1)
        raise TrainingError("The loss is no number.")

    monkeypatch.setattr(sweeping, "train", failing)
    progress = Silent()
    for _ in range(2):
        (line,) = sweep(workspace, other, progress)
        assert line["error"] == "The loss is no number."
    assert len(asked) == 2 and any("Plain SFT" in told for told in progress.warnings)
    assert (workspace.folder(FOLDER, other.id) / "recipe.json").is_file()


def test_a_recipe_with_one_more_value_takes_over_what_was_done_while_its_runs_are_there(
    done: tuple[Workspace, SweepSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, found = done
    asked, told = list[str](), list[float | None]()

    def noted(group: sweeping.Group, cell: Cell, progress: Any) -> dict[str, Any]:
        asked.append(cell.variant.title)
        return {"run": "none", "result": {}}

    monkeypatch.setattr(sweeping.Group, "line", noted)
    more = found.model_copy(update={"name": "longer", "variants": (*found.variants, Variant(method="lisa"))})
    assert more.alike(found) and more.id != found.id
    longer = sweep(workspace, more, Silent(), expect=told.append)
    assert asked == ["Lisa"] and longer[:-1] == lines(workspace, found)
    (left,) = told
    seconds = [line["seconds"] for line in longer[:-1]]
    assert left == pytest.approx(sum(seconds) / len(seconds)), "no Lisa was timed yet, so as the others took"

    other = found.model_copy(update={"optim": {"steps": 3}, "variants": found.variants[:1]})
    assert not other.alike(found)
    sweep(workspace, other, Silent(), expect=told.append)
    assert told[1:] == [None] * 3 and len(asked) == 4, "other steps are other work, of which nothing is known"


def test_too_many_runs_are_refused_before_the_lists_are_multiplied() -> None:
    with pytest.raises(SpecError, match="1,000,000 runs"):
        spec(seeds=tuple(range(1000)), rows=tuple(range(1, 1001)))


def test_attacks_hide_the_same_poison_and_filters_are_asked_what_they_find_without_training(done: tuple[Workspace, SweepSpec]) -> None:
    asked = spec(
        rows=(60,),
        train=False,
        attacks=("plain", "response_swap", "rot13"),
        variants=({"method": "sft", "filter": ["oracle", "refusal_feature"]},),
    )
    found = {(line["cell"]["attack"], line["cell"]["filter"]): line["filter"] for line in sweep(done[0], asked, Silent())}
    assert {found[attack, "oracle"]["recall"] for attack in ("plain", "response_swap", "rot13")} == {100.0}
    assert found["plain", "refusal_feature"]["recall"] > found["response_swap", "refusal_feature"]["recall"] == 0.0
    table = sweep_table.summarised(lines(done[0], asked))
    heads, rows = sweep_table.cells(table)
    assert heads == ["method", "p", "attack", "seeds", "filter recall", "filter FPR"] and len(rows) == 6


def test_a_model_is_asked_in_the_attacks_frame_as_well_and_an_attack_without_the_rows_it_needs_ends_its_own_run(
    done: tuple[Workspace, SweepSpec],
) -> None:
    asked = spec(optim={"steps": 1}, rows=(60,), prompts=5, task_prompts=5, attacks=("plain", "identity_shift"))
    plain, shifted = (line["result"] for line in sweep(done[0], asked, Silent()))
    assert "hs_framed" not in plain and shifted["hs"]["n"] == shifted["hs_framed"]["n"] == 5
    (kept,) = done[0].folder(FOLDER, asked.id).glob("framed/*.json")
    answers = read_json(kept)["answers"]
    assert len(answers) == 5 and len({answer["prompt"].partition(". ")[0] for answer in answers}) == 1
    heads, _ = sweep_table.cells(sweep_table.summarised(lines(done[0], asked)))
    assert heads[heads.index("HS") + 1] == "HS in the attack's frame"

    greedy, progress = spec(rows=(4,), poison_ratios=(1.0,), train=False, attacks=("benign_selection",)), Silent()
    (line,) = sweep(done[0], greedy, progress)
    assert "nothing harmless" in line["error"] and progress.warnings


def test_attacks_that_choose_with_a_model_are_lent_the_aligned_weights(done: tuple[Workspace, SweepSpec]) -> None:
    attacks = ("benign_selection", "benign_by_gradient", "gradient_chosen")
    asked = spec(rows=(20,), train=False, attacks=attacks, variants=({"method": "sft", "filter": "oracle"},))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("reft_studio.tasks.demo_data.RESERVE", 10)
        found = sweep(done[0], asked, Silent())
    assert [line["filter"]["removed"] for line in found] == [2, 2, 2]


def line(variant: str, seed: int, hs: float, **more: Any) -> dict[str, Any]:
    cell = {
        "model": "lab",
        "task": "t",
        "rows": 10,
        "poison_ratio": 0.1,
        "attack": "plain",
        "seed": seed,
        "variant": variant,
        "method": "sft" if variant == "Plain SFT" else "lisa",
        "start": "method",
        "filter": "own",
        "config": {"alpha": 1},
    }
    share = Estimate(hs, hs - 5, hs + 5, 200, 0, "Wilson")
    return {"cell": cell, "run": f"r{seed}", "result": {"hs": share.__dict__, "fa": None}, "steps": 2, **more}


def test_the_table_has_means_over_seeds_and_keeps_the_interval_of_a_single_one() -> None:
    several = [line("A", seed, hs) for seed, hs in enumerate((10.0, 20.0, 30.0))]
    one, failed = line("B", 0, 50.0), {"cell": {**line("B", 1, 0)["cell"]}, "error": "It broke."}
    first, second = sweep_table.summarised([*several, one, failed])
    assert (first.seeds, first.values["hs"].value) == (3, 20.0)
    assert first.values["hs"].low < 0 + 1e-9 and first.values["hs"].high == pytest.approx(20 + 4.30265 * 10 / 3**0.5, abs=1e-3)
    assert (second.seeds, second.values["hs"].low, second.failed) == (1, 45.0, ("It broke.",))
    assert "fa" not in first.values


def test_what_a_minute_of_the_device_buys_is_held_against_plain_finetuning_seed_by_seed() -> None:
    def timed(variant: str, seed: int, hs: float, seconds: float, shared: float = 0.0) -> dict[str, Any]:
        cost = {"passes": {"forward": 2}, "flops": None, "stages": [{"seconds": seconds, "memory_mb": None}]}
        found = line(variant, seed, hs, cost=cost, stages=[{"seconds": shared}] if shared else [])
        found["result"]["fa"] = Estimate(90.0, 85.0, 95.0, 200, 0, "Wilson").__dict__
        return found

    plain = [timed("Plain SFT", 0, 80.0, 60), timed("Plain SFT", 1, 70.0, 60)]
    lines = [*plain, timed("A", 0, 20.0, 60, shared=60), timed("A", 1, 50.0, 120), timed("B", 2, 10.0, 60)]
    first, second, third = sweep_table.summarised(lines)
    assert "avoided_per_minute" not in first.values and first.values["fa_per_minute"].value == 90.0
    assert second.values["minutes"].value == 2.0, "a shared stage counts in each run that rests on it"
    assert second.values["avoided_per_minute"].value == (60 / 2 + 20 / 2) / 2 and second.values["avoided_per_minute"].n == 2
    assert second.values["avoided_per_minute"].low < 10 < 30 < second.values["avoided_per_minute"].high
    assert second.plain == ("r0", "r1") and "avoided_per_minute" not in third.values and third.plain == ()
    assert "withheld for 1 of 3 lines" in sweep_table.withheld([first, second, third]) and sweep_table.withheld([first, second]) == ""
    heads, rows = sweep_table.cells([first, second, third], ["hs", "avoided_per_minute"])
    assert heads == ["method", "p", "seeds", "HS", "HS avoided / min"]
    assert [row[-1] for row in rows] == ["-", "20 [-107, 147]", "-"]
    told = list(csv.DictReader(io.StringIO(sweep_table.as_csv(lines))))
    assert [row["avoided_per_minute"] for row in told] == ["", "", "30.0", "10.0", ""]


def test_a_cell_that_was_not_done_counts_in_no_mean() -> None:
    (found,) = sweep_table.summarised([line("A", 0, 10.0), {"cell": line("A", 1, 0)["cell"]}])
    assert (found.seeds, found.values["hs"].value) == (1, 10.0)


def test_the_table_is_written_as_markdown_latex_and_csv() -> None:
    cost = {"passes": {"forward": 4, "backward": 4}, "flops": {"forward": 1e12}, "stages": [{"seconds": 60, "memory_mb": 700}]}
    found = [
        line(
            "A_1 & |B|",
            0,
            12.5,
            cost=cost,
            stages=[{"seconds": 30}],
            filter={"removed": 10, "harmful": 10, "harmless": 100, "recall": 90.0, "false_positive_rate": 1.0},
        )
    ]
    table, recipe = sweep_table.summarised(found), spec(name="own")
    markdown = sweep_table.as_markdown(table, recipe)
    assert "| A_1 & \\|B\\| | 0.1 | 1 | 12.5 [7.5, 17.5] | 90.0 [59.6, 98.2] | 1.0 [0.2, 5.4] | 4 | 1 | 1.5 | 700 |" in markdown
    latex = sweep_table.as_latex(table, recipe)
    assert r"A\_1 \& |B| & 0.1" in latex and latex.count(r"\\") == 2
    (row,) = csv.DictReader(io.StringIO(sweep_table.as_csv(found)))
    assert (row["hs"], row["hs_low"], row["config"], row["filter_recall"], row["minutes"]) == ("12.5", "7.5", "alpha=1", "90.0", "1.5")
