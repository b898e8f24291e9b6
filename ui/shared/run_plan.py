"""What the Train page says about the runs a person is about to start."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from reft_studio.studio.run_command import judge_pairs
from ui.shared import run_fit
from ui.text import count, counted, seconds, show

if TYPE_CHECKING:
    from reft_studio.studio.run_form import RunForm, RunPlan
    from reft_studio.studio.studio import Studio

NOT_READY = {"title": "What will run", "text": "", "kpis": [], "warnings": [], "command": "", "spec": ""}


def plan_value(studio: Studio, forms: Sequence[RunForm], *, evaluate: bool = True) -> dict[str, Any]:
    """Runs, rows, steps, time, warnings, commands and settings of the forms."""
    plans = studio.runs.plan_all(forms)
    fresh = [plan for plan in plans if not plan.done_already]
    refused = {plan.fit.refused for plan in plans}
    beside = [*([] if evaluate else ["--no-evaluate"]), *filter(None, [studio.training.watch_words()])]
    return {
        "title": "What will run",
        "text": summary(plans),
        "fit": run_fit.checks(studio, plans, evaluate=evaluate),
        "remedies": run_fit.buttons(plans),
        "kpis": [
            ["runs", count(len(fresh))],
            ["rows", rows(plans)],
            ["steps each", steps(plans)],
            duration(fresh, evaluate=evaluate),
        ],
        "warnings": [{"text": show(text, 600), "kind": "error" if text in refused else "warn"} for text in warnings(plans)],
        "command": "\n".join(" ".join([plan.command, *beside]) for plan in plans),
        "spec": spec_text(plans),
        "from_spec": from_spec(forms[0], beside),
    }


def spec_text(plans: Sequence[RunPlan]) -> str:
    """The settings of the runs as the file that `run` takes: those of one run as a run leaves them, several as a list."""
    found = [plan.spec.model_dump(mode="json") for plan in plans]
    return json.dumps(found[0] if len(found) == 1 else found, indent=1)


def from_spec(form: RunForm, beside: Sequence[str]) -> str:
    """The command that does the runs of the file; how they are evaluated and watched is no setting of a run: `beside` says it."""
    words = ["python launch.py run spec.json", *beside]
    words += ["--prompts own"] if form.prompts == "own" else []
    return " ".join([*words, *(f"--set {shlex.quote(pair)}" for pair in judge_pairs(form))])


def summary(plans: Sequence[RunPlan]) -> str:
    """Names of the runs to come, like `Ref-Teacher, seed 0; Plain finetuning, seed 0`."""
    names = [show(plan.title, 100) for plan in plans if not plan.done_already]
    if not names:
        return "All of this has been run already; the results are in the table below."
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return "; ".join(names[:6]) + more + "."


def rows(plans: Sequence[RunPlan]) -> str:
    """Rows of the data, less what filters remove: `899 to 1,000`."""
    left = [plan.rows - (plan.removed or 0) for plan in plans]
    return count(left[0]) if min(left) == max(left) else f"{count(min(left))} to {count(max(left))}"


def steps(plans: Sequence[RunPlan]) -> str:
    """Optimizer steps of one run: `160`, or the range over the runs."""
    found = [plan.steps for plan in plans]
    return count(found[0]) if min(found) == max(found) else f"{count(min(found))} to {count(max(found))}"


def duration(plans: Sequence[RunPlan], *, evaluate: bool = True) -> list[str]:
    """Time of all runs together, with evaluation where it was timed: `about` it, `at least` it where some runs' is not known, or a dash."""
    known = [plan.estimate_s if evaluate or plan.time is None else plan.time.training + (plan.time.stages or 0.0) for plan in plans]
    times = [one for one in known if one is not None]
    return ["about" if len(times) == len(plans) else "at least", seconds(sum(times))] if times else ["about", "–"]


def warnings(plans: Sequence[RunPlan]) -> list[str]:
    """Every warning once, and what is left out or not known."""
    found = list(dict.fromkeys(text for plan in plans for text in plan.warnings))
    done = [plan for plan in plans if plan.done_already]
    if done and len(done) < len(plans):
        found.append(f"{counted(len(done), 'run')} with exactly these settings is there already and will not be repeated.")
    if any(plan.removed is None for plan in plans):
        found.append("The rows have not been scored yet, so how many the filter removes is not known. They are scored before the run.")
    return found


def start(studio: Studio, forms: Sequence[RunForm], *, evaluate: bool, first: bool) -> str:
    """Queue the runs that were not done yet, at the front if `first`; says what happened."""
    waiting = any(job.state == "queued" for job in studio.jobs.list(1))
    jobs = studio.runs.start_all(forms, evaluate=evaluate, first=first)
    if not jobs:
        return "Nothing was queued: all of this has been run already. Change a setting or add a seed."
    where = "before everything that waits" if first and waiting else "and will start one after the other"
    return f"{counted(len(jobs), 'run')} queued {where}. You can leave this page: the work goes on."
