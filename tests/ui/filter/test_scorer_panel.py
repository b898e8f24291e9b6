"""The form that prepares a scorer asks for what the chosen one needs, and says what is missing before a job is queued."""

from __future__ import annotations

from typing import Any

import gradio as gr
import pytest

from reft_studio.errors import SpecError
from reft_studio.scoring import SCORERS
from reft_studio.scoring.scorer import ScorerSpec
from reft_studio.studio.studio import Studio
from reft_studio.workspace import Workspace
from ui.filter.scorer_panel import OWN, ScorerPanel, choices, draw_scorer, panel_choices, shown, told, wanted


@pytest.fixture
def panel() -> ScorerPanel:
    with gr.Blocks():
        return draw_scorer()


def typed(panel: ScorerPanel, scorer: str, *, teacher: str | None = None, members: tuple[str, ...] = (), **changes: Any) -> list[Any]:
    own = {name: part.value for name, part in panel.fields.inputs.items()}
    return [scorer, ["h"], ["s"], True, teacher, "base", list(members), *{**own, **changes}.values()]


def visible(panel: ScorerPanel, scorer: str) -> set[str]:
    """Names of the settings that are asked for a scorer."""
    names = ["scorer", "harmful", "harmless", "shipped", "teacher", "weights", "members", *panel.fields.inputs]
    return {name for name, update in zip(names, shown(panel, scorer), strict=True) if update.get("visible", True)}


def test_every_scorer_that_is_prepared_can_be_chosen_and_says_what_it_misses() -> None:
    names = [name for _, name in choices()]
    assert set(names) == set(SCORERS) - {"refusal_feature", "random", "oracle"}
    for name in names:
        assert SCORERS.get(name).info.misses in told(name)


def test_a_scorer_is_asked_for_what_it_needs_and_nothing_else(panel: ScorerPanel) -> None:
    fitted = {"scorer", "harmful", "harmless", "shipped", "recall", "seed"}
    assert visible(panel, "tfidf") == fitted
    assert visible(panel, "keywords") == {*fitted, "words", "match", "least"}
    assert visible(panel, "larf") == {*fitted, "teacher", "weights", "layer"}
    assert visible(panel, "embedding") == {*fitted, "teacher", "weights", "neighbours"}
    assert visible(panel, "ensemble") == {"scorer", "members", "join"}
    assert visible(panel, "llama_guard") == {"scorer", "model", "mode"}
    first = {name for name, part in panel.fields.inputs.items() if part.visible}
    assert first == visible(panel, "tfidf") & first == {"recall", "seed"}
    assert set(OWN.values()) <= set(SCORERS) and {"layer", "words", "join", "mode"} <= set(OWN)


def test_what_is_typed_becomes_the_spec_of_the_chosen_scorer_alone(panel: ScorerPanel) -> None:
    found = wanted(panel, typed(panel, "keywords", words="knife, lock pick", layer="3", recall=0.9))
    assert found == ScorerSpec.checked(scorer="keywords", harmful=("h",), harmless=("s",), words=("knife", "lock pick"), recall=0.9)
    found = wanted(panel, typed(panel, "larf", teacher="lab", layer="3"))
    assert (found.teacher, found.weights, found.layer, found.harmful) == ("lab", "base", 3, ("h",))
    found = wanted(panel, typed(panel, "ensemble", members=("tfidf", "lab"), join="any"))
    assert (found.members, found.join, found.harmful) == (("tfidf", "lab"), "any", ())
    with pytest.raises(SpecError, match="Choose the teacher"):
        wanted(panel, typed(panel, "gradient"))


def test_sets_teachers_and_members_of_the_workspace_can_be_chosen_and_a_preparation_is_queued_once(workspace: Workspace) -> None:
    studio = Studio(workspace)
    harmful, harmless, teacher, members = panel_choices(studio)
    assert not harmful.choices and not harmless.choices
    assert teacher.value in {key for _, key in teacher.choices} and "tfidf" in {key for _, key in members.choices}
    spec = ScorerSpec(scorer="style_match")
    assert studio.scorers.prepare(spec) == studio.scorers.prepare(spec)
    assert [job.title for job in studio.jobs.list(5)] == ["Prepare Style of the answer"]
