"""Recipes as people write them: a wrong one is told with its line, and a form changes nothing but what it shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from reft_studio.sweeps.recipe_text import RecipeError, changed, of_spec, read, written

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
OWN = """\
# Which filter is worth its time?
name: own  # for tables
poison_ratios: [0, 0.1]  # as the paper

# methods
variants:
  - {method: sft}
  # the one that matters
  - method: ref_teacher
    config:
      alpha: [0.1, 1]

# long enough
optim: {steps: 20}
"""


@pytest.mark.parametrize(
    ("old", "new", "line", "told"),
    [
        ("[0, 0.1]", "[0, 0.1", 6, "no YAML"),
        ("[0, 0.1]", "[0, 10]", 3, "10.0 is no share"),
        ("{method: sft}", "{method: magic}", 7, "magic"),
        ("alpha: [0.1, 1]", "alpha: [0.1, -1]", 11, "alpha"),
        ("{method: sft}", "{method: sft, filter: nobody}", 7, "Choose one of"),
        ("steps: 20", "speed: 20", 14, "speed"),
        ("name: own", "named: own", 2, "named"),
        ("optim: {", "name: {", 14, "in line 2"),
        ("{method: sft}", "{method: sft}\n  - {method: sft}", None, "two variants are called 'Plain SFT'"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(old: str, new: str, line: int | None, told: str) -> None:
    assert old in OWN
    with pytest.raises(RecipeError, match=told) as error:
        read(OWN.replace(old, new)).spec()
    assert error.value.line == line


def test_a_text_that_holds_no_recipe_says_what_to_do() -> None:
    for text, told in (("", "empty"), ("- a\n- b", "settings by name"), ("x" * 200_001, "at most 200,000"), ("1: 2", "no name")):
        with pytest.raises(RecipeError, match=told):
            read(text)


def test_a_form_changes_its_own_settings_and_leaves_every_other_letter_alone() -> None:
    assert changed(OWN, {}) == changed(OWN, {"poison_ratios": [0, 0.1], "name": "own"}) == OWN
    other = changed(OWN, {"poison_ratios": [0.3], "seeds": [0, 1]})
    assert other == OWN.replace("poison_ratios: [0, 0.1]", "poison_ratios: [0.3]") + "seeds: [0, 1]\n"
    variants = [{"method": "sft"}, {"method": "lisa", "config": {"rho": [1, 2]}}]
    other = changed(OWN, {"variants": variants})
    assert other.startswith(OWN[: OWN.index("variants:")]) and other.endswith(OWN[OWN.index("\n# long enough") :])
    assert read(other).values["variants"] == variants
    assert "optim" not in read(changed(OWN, {"optim": None})).values and "# long enough" in changed(OWN, {"optim": None})
    assert read(changed(OWN, {"name": "a: b # c"})).values["name"] == "a: b # c"


def test_a_text_on_one_line_is_written_anew_and_one_that_is_no_yaml_is_left_alone() -> None:
    assert changed("{name: a, variants: [{method: sft}]}", {"seeds": [1]}) == "name: a\nvariants:\n  - {method: sft}\nseeds: [1]\n"
    assert changed("", {"name": "a", "note": None}) == "name: a\n"
    with pytest.raises(RecipeError, match="no YAML"):
        changed("name: [", {"seeds": [1]})


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_recipe_survives_every_change_of_the_form(path: Path) -> None:
    text = path.read_text("utf-8")
    spec = read(text).spec()
    for name in ("models", "tasks", "rows", "poison_ratios", "seeds", "variants", "name", "split"):
        value = spec.model_dump(mode="json", exclude_defaults=True).get(name)
        if value is not None:
            assert read(changed(text, {name: value})).spec() == spec, name
    assert read(of_spec(spec)).spec() == spec
    assert read(written(read(text).values)).spec() == spec
