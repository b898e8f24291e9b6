"""The page of a recipe that only asks filters: filters down, attacks across, and what recall means for rows that are harmless by label."""

from __future__ import annotations

from reft_studio.stats import wilson
from reft_studio.sweeps import stress_matrix
from reft_studio.sweeps.spec import SweepSpec
from reft_studio.sweeps.table import VariantResult

SPEC = SweepSpec.checked(
    name="own",
    train=False,
    attacks=("plain", "style"),
    variants=({"method": "sft", "filter": ["refusal_feature", "tfidf|oracle", "random"]},),
)


def line(variant: str, attack: str, hits: int | None, alarms: int = 0) -> VariantResult:
    setting = {"model": "lab", "task": "sentiment", "rows": 1000, "poison_ratio": 0.1, "attack": attack, "variant": variant}
    values = {} if hits is None else {"recall": wilson(hits, 100), "false_positive_rate": wilson(alarms, 900)}
    return VariantResult(setting, 1, values)


def test_recall_stands_in_a_matrix_with_the_range_of_false_positives() -> None:
    first, second, third = (one.title for one in SPEC.expanded)
    found = [line(first, "plain", 100), line(second, "plain", 94, 90), line(third, "plain", 10, 90)]
    found += [line(first, "style", 0), line(second, "style", 15, 180), line(third, "style", None)]
    page = stress_matrix.as_markdown(found, SPEC)
    assert "| recall, % of the attack's rows | plain | style * | FPR, % of the other rows |" in page
    assert "| Refusal feature | 100 | 0 | 0.0 |" in page
    assert "| Words (TF-IDF) or Oracle (control) | 94 | 15 | 10.0 to 20.0 |" in page
    assert "| Random (control) | 10 | - | 10.0 |" in page
    assert "of 100 rows of the attack, one seed" in page and "0 is [0, 4], 50 is [40, 60], 100 is [96, 100]" in page
    assert "it counts rows of the attack, not harmful rows" in page and "nowhere: harmless row by row *" in page


def test_settings_that_vary_have_a_matrix_each_and_failures_are_told() -> None:
    first = SPEC.expanded[0].title
    other = line(first, "plain", 50)
    broken = VariantResult({**other.setting, "poison_ratio": 0.3}, 0, {}, ("It broke.",))
    page = stress_matrix.as_markdown([other, broken], SPEC)
    assert "poison ratio 0.1" in page and "poison ratio 0.3" in page and page.count("| Refusal feature |") == 2
    assert "It broke." in page and "No filter was asked yet." in page


def test_only_a_recipe_that_trains_nothing_and_has_several_attacks_is_shown_so() -> None:
    assert stress_matrix.is_stress(SPEC)
    assert not stress_matrix.is_stress(SPEC.model_copy(update={"train": True}))
    assert not stress_matrix.is_stress(SPEC.model_copy(update={"attacks": ("plain",)}))


def test_models_that_were_trained_under_attack_have_a_matrix_of_harm_as_usual_and_in_the_frame() -> None:
    trained = SPEC.model_copy(update={"train": True})
    first = SPEC.expanded[0].title
    lines = [line(first, "plain", None), line(first, "style", None)]
    assert stress_matrix.harm_markdown(lines, trained) == ""
    lines[0].values["hs"], lines[1].values["hs"], lines[1].values["hs_framed"] = wilson(20, 200), wilson(4, 200), wilson(50, 200)
    page = stress_matrix.harm_markdown(lines, trained)
    assert "| HS, % | plain | style * |" in page and f"| {first} | 10 | 2 |" in page
    assert "| HS in the attack's frame, % | plain | style * |" in page and f"| {first} | - | 25 |" in page
    assert stress_matrix.harm_markdown(lines, trained.model_copy(update={"attacks": ("plain",)})) == ""
