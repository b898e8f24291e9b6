"""The kinds of jobs, registered by name."""

from __future__ import annotations

import os

from reft_studio.jobs.job import JobFunction
from reft_studio.registry import Registry

KINDS: Registry[JobFunction] = Registry(
    "job kind",
    {
        "import": "reft_studio.tasks.import_data:import_file",
        "fetch": "reft_studio.tasks.fetch:fetch",
        "sample": "reft_studio.tasks.import_data:lab_sample",
        "mix": "reft_studio.tasks.import_data:mix_datasets",
        "teacher": "reft_studio.tasks.teacher:prepare_teacher",
        "teacher_map": "reft_studio.tasks.teacher:teacher_map",
        "quick_teacher": "reft_studio.tasks.teacher:quick_teacher",
        "score": "reft_studio.tasks.score:score_dataset",
        "scorer": "reft_studio.tasks.scorers:prepare_scorer",
        "run": "reft_studio.tasks.train:train_run",
        "measure": "reft_studio.tasks.measure:measure",
        "evaluate": "reft_studio.tasks.evaluate:evaluate_subject",
        "regrade": "reft_studio.tasks.evaluate:regrade_answers",
        "sweep": "reft_studio.sweeps.job:run_sweep",
        "demo": "reft_studio.tasks.demo:demo_job",
        "freeze": "reft_studio.tasks.export:freeze_dataset",
        "export": "reft_studio.tasks.export:export_dataset",
        "bundle": "reft_studio.tasks.export:bundle_dataset",
        "merge": "reft_studio.tasks.merge:merge",
        "index": "reft_studio.tasks.index:index",
        "inspect": "reft_studio.tasks.inspect:inspect_dataset",
        "add_model": "reft_studio.tasks.add_model:add_model",
    },
)
BACKGROUND = frozenset({"index", "inspect", "add_model"})
"""Kinds that run one at a time and that nobody waits for: indexing and inspection, and downloads."""
LIGHT = frozenset({"import", "fetch", "sample", "mix", "freeze", "export", "bundle", "report"})
"""Kinds that load no model and so never wait for the device. For other kinds the parameters decide: see `lanes`."""
EXTRA_KINDS = "REFT_STUDIO_EXTRA_KINDS"
"""Environment variable with kinds for tests, `name=module:function` separated by commas; worker processes inherit it."""


def check_kind(name: str) -> None:
    """Raise SpecError, listing the names, if there is no such kind. Imports nothing."""
    if name not in KINDS and name not in _extra():
        KINDS.get(name)


def job_function(name: str) -> JobFunction:
    """The function of a kind of job, imported now."""
    extra = _extra()
    return (extra if name in extra else KINDS).get(name)


def _extra() -> Registry[JobFunction]:
    text = os.environ.get(EXTRA_KINDS, "")
    return Registry("job kind", dict(entry.split("=", 1) for entry in text.split(",") if entry))
