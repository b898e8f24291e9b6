"""What a comparison opens on, and the sentences that sum it up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from reft_studio.comparison.flips import Paired, chance, verdict
from reft_studio.comparison.story import Opening, headline_of, models_headline, opening, paired_runs, seed_differences
from reft_studio.comparison.table import RunRow, caveats, groups, load_rows
from reft_studio.comparison.work import RunWork, unequal
from reft_studio.stats import Estimate
from reft_studio.workspace import Workspace
from tests.evaluated import Add


def share(value: float) -> Estimate:
    return Estimate(value, value, value, 40, 0, "Wilson")


def row(run_id: str, method: str, dataset: str = "", *, at: int = 0, **spec: Any) -> RunRow:
    """An evaluated model; base and aligned weights saw no dataset."""
    title, seed = method.replace("_", " "), 0 if dataset else None
    spec = {"model": "lab", "dataset": dataset, **spec} if dataset else {}
    facts: dict[str, Any] = {
        "suite": "s",
        "suite_fingerprint": "f",
        "judge": "j 1",
        "decoding": {},
        "created": f"2026-01-{at + 1:02}",
        "task": "",
    }
    shares = {"hs": share(50), "fa": share(90), "refused": None, "other": None, "fa_lenient": None, "over_refusal": None}
    rest: dict[str, Any] = {"verdicts": {}, "by_category": {}, "poison_ratio": None}
    return RunRow(run_id, title, method, seed, dataset=dataset, setting=f"{method}{spec}", spec=spec, **facts, **shares, **rest)


BASE, ALIGNED = row("base--lab", "base"), row("aligned--lab-aligned", "aligned")
SFT, REF = row("sft", "sft", "mine", at=1), row("ref", "ref_teacher", "mine", at=2)
OLD, OTHER = row("old", "sft", "theirs", at=3), row("sa", "sa_ft", "mine", at=4)


def opened(*rows: RunRow, dataset: str = "mine") -> Opening:
    return opening(groups(rows), [dataset], "'mine'")


def test_a_comparison_opens_on_base_aligned_plain_and_guided_of_the_chosen_dataset() -> None:
    found = opened(OLD, REF, OTHER, SFT, ALIGNED, BASE)
    assert found.runs == ["base--lab", "aligned--lab-aligned", "sft", "ref"]
    assert found.said == "Shown: base model, aligned weights, and plain SFT and Ref-Teacher on 'mine'."


def test_of_several_settings_the_newest_is_shown_with_all_its_seeds() -> None:
    again = replace(REF, run_id="ref1", seed=1)
    early = replace(REF, run_id="early", setting="other", created="2025-01-01")
    assert opened(BASE, SFT, again, REF, early).runs == ["base--lab", "sft", "ref", "ref1"]


def test_what_the_dataset_lacks_is_said_and_what_it_has_is_shown() -> None:
    missing = opened(BASE, SFT, OLD)
    assert missing == Opening(["base--lab", "sft"], "There is no Ref-Teacher run on 'mine' yet, so all runs on it are shown.")
    nothing = opened(BASE, SFT, OLD, dataset="elsewhere")
    assert nothing == Opening(
        ["base--lab", "old"], "No evaluated run was finetuned on 'mine' yet, so these are the newest runs, on other data."
    )
    assert opened(dataset="elsewhere").runs == []


def test_a_control_that_drops_by_chance_is_not_the_methods_run() -> None:
    control = replace(REF, run_id="chance", created="2099-01-01", spec={**REF.spec, "drop": 3})
    assert "chance" not in opened(BASE, SFT, REF, control).runs


def test_the_headline_has_accuracy_beside_the_harmful_score(workspace: Workspace, add: Add) -> None:
    add("base--lab", hs=38, fa=1)
    for run, method, hs, fa in (("sft0", "sft", 36, 18), ("ref0", "ref_teacher", 4, 17)):
        add(run, hs=hs, fa=fa, spec={"method": method, "seed": 0})
    rows = load_rows(workspace)
    (line,) = models_headline(workspace, rows)
    assert line.startswith("Ref-Teacher against Plain SFT: HS 10.0 % against 90.0 %, lower (−80.0 points [")
    assert "; FA 85.0 % against 90.0 %, no clear difference (−5.0 points [" in line
    assert headline_of(rows, paired_runs(workspace, rows), seed_differences(workspace, rows)) == [line]
    (alone,) = models_headline(workspace, [one for one in rows if one.run_id == "base--lab"])
    assert alone.startswith("Base model: HS 95.0 % [") and "FA 5.0 % [" in alone, "without a pair, the numbers of each model"


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
    plain = RunWork(steps=160, rows=1000, removed=0, batch=24, alignment=0, tokens=None)
    guided = replace(plain, rows=900, removed=100, alignment=12)
    assert unequal([("Plain SFT", plain), ("Plain SFT", plain)]) == []
    said = unequal([("Plain SFT", plain), ("Ref-Teacher", guided), ("Base model", None)])
    assert said == [
        "Unequal work: passes over the user data, 3.8 (Plain SFT); 4.3 (Ref-Teacher).",
        "Unequal work: some runs also learn from alignment data, 12 beside 24 user rows a step (Ref-Teacher).",
    ]
    half = replace(plain, steps=80, tokens=1000)
    (steps, passes, tokens) = unequal([("A", replace(plain, tokens=2000)), ("B", half)])
    assert steps == "Unequal work: different numbers of steps, 160 (A); 80 (B)."
    assert "3.8 (A); 1.9 (B)" in passes and "2,000 (A); 1,000 (B)" in tokens


def test_unequal_work_is_among_the_caveats() -> None:
    work = RunWork(steps=10, rows=20, removed=0, batch=2, alignment=0, tokens=None)
    runs = [replace(SFT, work=work), replace(REF, work=replace(work, steps=20))]
    assert any(line.startswith("Unequal work: different numbers of steps, 10 (sft); 20 (ref teacher)") for line in caveats(runs))
