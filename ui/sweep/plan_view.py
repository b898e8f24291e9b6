"""What a recipe would do, and what is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from reft_studio.errors import StudioError
from ui.events import message_for
from ui.text import count, counted, seconds, show

if TYPE_CHECKING:
    from reft_studio.studio.studio import Studio
    from reft_studio.studio.sweeps import SweepPlan

NOT_TIMED = "How long it takes is not known: no run of this work (base, rows, steps, prompts) was timed in this workspace yet."
TIMED = "By the runs of the same work on record here; teachers, aligned weights and scores that are made once come on top."


def both(studio: Studio, text: str) -> list[Any]:
    """Values of the plan and of the button for a text."""
    try:
        planned = studio.sweeps.plan(text)
    except StudioError as exc:
        return refused(text, exc)
    return [plan_value(studio, planned, text), button(planned)]


def refused(text: str, exc: StudioError) -> list[Any]:
    """The same for a text that cannot be run, with the line that is to blame."""
    line = getattr(exc, "line", None)
    told = f"Line {line}: {message_for(exc)}" if line else message_for(exc)
    value = {"kpis": [], "told": [{"text": told, "kind": "error"}], "text": text, "line": line, "file": "recipe.yaml"}
    return [value, gr.update(value="Start the sweep", interactive=False)]


def plan_value(studio: Studio, planned: SweepPlan, text: str) -> dict[str, Any]:
    """Runs, how many are on record, how long the others take."""
    spec, unknown = planned.spec, planned.seconds is None
    kpis = [
        [count(planned.runs), "runs", _product(planned)],
        [count(planned.known), "on record", "They are not done again."],
        [count(planned.left), "to do", ""],
    ]
    if planned.left:
        kpis.append(["not known" if unknown else f"about {seconds(planned.seconds)}", "left", NOT_TIMED if unknown else TIMED])
    told = [{"text": show(text, 400), "kind": "warn"} for text in warnings(studio, planned)]
    file = f"{''.join(sign if sign.isalnum() else '-' for sign in spec.name.casefold()).strip('-') or 'recipe'}.yaml"
    return {"note": show(spec.note.strip(), 2000), "kpis": kpis, "told": told, "text": text, "line": None, "file": file}


def warnings(studio: Studio, planned: SweepPlan) -> list[str]:
    """What a person should know before starting."""
    found = []
    if planned.failed:
        found.append(f"{counted(planned.failed, 'run')} of this recipe failed before and would be tried again.")
    if planned.left and planned.seconds is None:
        found.append(NOT_TIMED)
    found += [
        f"The base '{name}' is not on this machine. Add it on the Settings page first." for name in studio.sweeps.missing(planned.spec)
    ]
    if len(planned.spec.seeds) == 1 and planned.spec.train:
        found.append("One seed: the noise of training stays unknown. Three or more say whether a difference is one.")
    return found


def button(planned: SweepPlan) -> Any:
    """What pressing it does."""
    if planned.job is not None:
        return gr.update(value="At work", interactive=False)
    if not planned.left:
        return gr.update(value="Show its table", interactive=True)
    return gr.update(value=f"Start {counted(planned.left, 'run')}", interactive=True)


def _product(planned: SweepPlan) -> str:
    """`2 variants x 3 shares of poison x 3 seeds`."""
    spec = planned.spec
    parts = [
        (len(spec.expanded), "variant"),
        (len(spec.models), "base"),
        (len(spec.tasks), "task"),
        (len(spec.rows), "size"),
        (len(spec.poison_ratios), "share of poison"),
        (len(spec.attacks), "disguise"),
        (len(spec.seeds), "seed"),
    ]
    plural = {"share of poison": "shares of poison"}
    return " × ".join(counted(n, one, plural.get(one)) for n, one in parts if n > 1 or one == "variant")
