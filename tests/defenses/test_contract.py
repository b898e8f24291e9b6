"""What every registered defense must state; a new one is tested before its author writes a test."""

from __future__ import annotations

import pytest

from reft_studio.defenses import DEFENSES
from reft_studio.defenses.defense import Defense
from reft_studio.errors import SpecError
from reft_studio.training.spec import RunSpec

SHAPES = {"circle", "square", "diamond", "cross", "x", "pentagon", "hexagon", "octagon", "star", "bowtie", "hourglass"}
SHAPES |= {f"triangle-{side}" for side in ("up", "down", "left", "right")}
SHAPES |= {f"{shape}-open" for shape in SHAPES}
"""What both `ui/widgets/marks.js` and plotly draw."""


@pytest.mark.parametrize("name", list(DEFENSES))
def test_a_method_is_registered_under_its_own_name_and_says_what_it_is(name: str) -> None:
    method = DEFENSES.get(name)
    assert issubclass(method, Defense) and method.__bases__ == (Defense,)
    assert method.info.name == name
    assert method.info.title and method.info.summary.endswith(".")
    assert method.info.cost >= 1
    assert method.info.style.shape in SHAPES


def test_no_two_methods_have_the_same_shape() -> None:
    shapes = [
        "circle",
        "square-open",
        "diamond-open",
        *(DEFENSES.get(name).info.style.shape for name in DEFENSES),
    ]  # base, aligned, teacher
    assert sorted(set(shapes)) == sorted(shapes), "colour must not be the only difference"


@pytest.mark.parametrize("name", list(DEFENSES))
def test_every_setting_of_a_method_has_a_default_and_a_meaning(name: str) -> None:
    fields = DEFENSES.get(name).Config.model_fields
    assert all(field.description and not field.is_required() for field in fields.values())
    strength = DEFENSES.get(name).info.strength
    assert strength is None or strength in fields


@pytest.mark.parametrize("name", list(DEFENSES))
def test_a_run_that_lacks_what_its_method_needs_says_what_is_missing(name: str) -> None:
    info = DEFENSES.get(name).info
    if not (info.needs_teacher or info.guided(aligned=False)):
        RunSpec(dataset="d", method=name)
        return
    with pytest.raises(ValueError, match=r"needs .*(teacher|aligned weights|alignment data)"):
        RunSpec(dataset="d", method=name)


def test_an_unknown_method_is_answered_with_the_known_ones() -> None:
    with pytest.raises(SpecError, match="ref_teacher"):
        RunSpec(dataset="d", method="magic")
