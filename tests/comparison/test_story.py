"""What a comparison opens on, and the sentences that sum it up."""

from __future__ import annotations

from dataclasses import replace

from reft_studio.comparison.flips import Paired, chance, verdict
from reft_studio.comparison.story import Opening, headline_of, opening, paired_runs, seed_differences, told
from reft_studio.comparison.table import RunRow, caveats, groups
from reft_studio.comparison.work import Work, unequal
from reft_studio.stats import Estimate
from reft_studio.workspace import Workspace


def opened(rows: list[RunRow], dataset: str) -> Opening:
    return opening(groups(rows), [dataset], "'mine'")


def test_a_comparison_opens_on_base_aligned_plain_and_guided_of_the_chosen_dataset(rows: list[RunRow]) -> None:
    of = {row.run_id: row for row in rows}
    aligned = replace(of["base--lab"], run_id="aligned--lab-aligned", method="aligned")
    other = replace(of["sft0"], run_id="sa0", method="sa_ft")
    found = opened([*rows, aligned, other], of["sft0"].dataset)
    assert found.runs == ["base--lab", "aligned--lab-aligned", "sft0", "ref0"]
    assert found.said == "Shown: base model, aligned weights, and plain SFT and Ref-Teacher on 'mine'."


def test_what_the_dataset_lacks_is_said_and_what_it_has_is_shown(rows: list[RunRow]) -> None:
    of = {row.run_id: row for row in rows}
    found = opened([row for row in rows if row.run_id != "ref0"], of["sft0"].dataset)
    assert found == Opening(["base--lab", "sft0"], "There is no Ref-Teacher run on 'mine' yet, so all runs on it are shown.")
    nothing = opened(rows, "elsewhere")
    assert nothing.said.startswith("No evaluated run was finetuned on 'mine' yet")
    assert {of[run].dataset for run in nothing.runs if run != "base--lab"} == {of["sft20"].dataset}
    assert opened([], "elsewhere").runs == []


def test_a_control_that_drops_by_chance_is_not_the_methods_run(rows: list[RunRow]) -> None:
    of = {row.run_id: row for row in rows}
    control = replace(of["ref0"], run_id="chance", created="2099-01-01T00:00:00+00:00", spec={**of["ref0"].spec, "drop": 3})
    assert "chance" not in opened([*rows, control], of["sft0"].dataset).runs


def test_the_headline_has_accuracy_beside_the_harmful_score(workspace: Workspace, rows: list[RunRow]) -> None:
    shown = [row for row in rows if row.run_id in ("base--lab", "sft0", "ref0")]
    (line,) = told(workspace, shown)
    assert line.startswith("Ref-Teacher against Plain SFT: HS 10.0 % against 90.0 %, lower (−80.0 points [")
    assert "; FA 85.0 % against 90.0 %, no clear difference (−5.0 points [" in line
    assert headline_of(shown, paired_runs(workspace, shown), seed_differences(workspace, shown)) == [line]


def test_without_a_pair_the_headline_gives_the_numbers_of_each_model(workspace: Workspace, rows: list[RunRow]) -> None:
    (line,) = told(workspace, [row for row in rows if row.run_id == "base--lab"])
    assert line.startswith("Base model: HS 95.0 % [") and "FA 5.0 % [" in line


def estimate(value: float, low: float, high: float) -> Estimate:
    return Estimate(value, low, high, 300, 0, "Tango", "points")


def test_an_interval_without_zero_and_no_claim_says_that_it_was_corrected() -> None:
    off = estimate(-4.3, -8.8, -0.1)
    one = Paired("a", "b", "fa", off, 20, 7, 0.066, 0.66, comparisons=15)
    assert one.verdict == "no clear difference after correction for 15 comparisons"
    assert one.sentence({"a": "A", "b": "B"}) == (
        "No clear difference after correction for 15 comparisons in finetune accuracy between A and B: "
        "−4.3 points [−8.8, −0.1], n = 300, p = 0.066, corrected 0.660."
    )
    over = estimate(-4.3, -9.4, 0.6)
    assert verdict(over, 0.66, 15) == "no clear difference"
    assert chance(over, 0.1, 0.66) == "corrected p = 0.660"
    assert verdict(off, 0.01, 15) == "lower"
    assert verdict(off, 0.066, 1) == "no clear difference by the exact test"


def test_unequal_work_is_said_with_the_runs_it_concerns() -> None:
    plain = Work(steps=160, rows=1000, removed=0, batch=24, alignment=0, tokens=None)
    guided = replace(plain, rows=900, removed=100, alignment=12)
    assert unequal([("Plain SFT, seed 0", plain), ("Plain SFT, seed 1", plain)]) == []
    said = unequal([("Plain SFT, seed 0", plain), ("Ref-Teacher, seed 0", guided), ("Base model", None)])
    assert said == [
        "Unequal work: passes over the user data, 3.8 (Plain SFT); 4.3 (Ref-Teacher).",
        "Unequal work: some runs also learn from alignment data, 12 beside 24 user rows a step (Ref-Teacher).",
    ]
    half = replace(plain, steps=80, tokens=1000)
    (steps, passes, tokens) = unequal([("A", replace(plain, tokens=2000)), ("B", half)])
    assert steps == "Unequal work: different numbers of steps, 160 (A); 80 (B)."
    assert "3.8 (A); 1.9 (B)" in passes and "2,000 (A); 1,000 (B)" in tokens


def test_unequal_work_is_among_the_caveats(rows: list[RunRow]) -> None:
    work = Work(steps=10, rows=20, removed=0, batch=2, alignment=0, tokens=None)
    runs = [replace(row, work=replace(work, steps=10 if row.method == "sft" else 20)) for row in rows if row.run_id in ("sft0", "ref0")]
    assert any(line.startswith("Unequal work: different numbers of steps, 10 (Plain SFT); 20 (Ref-Teacher)") for line in caveats(runs))
