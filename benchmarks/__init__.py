"""Benchmarks: each races two ways of doing the same work, interleaved in one run, and reports the ratio against its budget."""

from __future__ import annotations

import os
import platform
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import torch
import transformers

from benchmarks import app, audit, full_disk, memory, overhead, plan, real, resume, scoring, training
from benchmarks.race import Measured
from reft_studio.cli.console import keep, show, table
from reft_studio.errors import SpecError

BENCHMARKS: dict[str, Callable[[], Measured | Sequence[Measured]]] = {
    "first_page": app.first_page,
    "threshold": app.threshold,
    "plan": plan.plan,
    "scoring": scoring.scoring,
    "scoring_sorted": scoring.scoring_sorted,
    "rescore_cached": scoring.rescore_cached,
    "scoring_lab": scoring.scoring_lab,
    "scoring_memory": memory.scoring_memory,
    "guided_step": training.guided_step,
    "guided_step_time": training.guided_step_time,
    "guided_first_epoch": training.guided_first_epoch,
    "guided_step_memory": training.guided_step_memory,
    "guided_vs_gkd_time": training.guided_vs_gkd_time,
    "guided_vs_gkd_memory": training.guided_vs_gkd_memory,
    "plain_step_time": training.plain_step_time,
    "overhead": overhead.overhead,
    "scoring_real": real.scoring_real,
    "quick_teacher": real.quick_teacher,
    "teacher_step": real.teacher_step,
    "audit": audit.audit,
    "audit_10m": audit.audit_10m,
    "resume": resume.resume,
    "full_disk": full_disk.full_disk,
}
LONG = {"resume", "full_disk", "scoring_memory", "scoring_real", "quick_teacher", "teacher_step", "audit", "audit_10m"}
"""Takes many minutes, or the real model: run only when it is asked for by name."""


def run_benchmarks(*, only: str | None) -> None:
    """Run all benchmarks, or `only` some (comma-separated); tells each result as it comes, and keeps it in the file at once.

    The file says on which machine they ran.
    """
    wanted = only.split(",") if only else []
    if unknown := [name for name in wanted if name not in BENCHMARKS]:
        raise SpecError(f"There is no benchmark '{unknown[0]}'. Choose one of: {', '.join(BENCHMARKS)}.")
    chosen = [name for name in BENCHMARKS if name in wanted or (not wanted and name not in LONG)]
    found: list[Measured] = []
    _quiet()
    for place, name in enumerate(chosen, start=1):
        sys.stderr.write(f"[{place}/{len(chosen)}] {name}\n")
        answer = BENCHMARKS[name]()
        found += [answer] if isinstance(answer, Measured) else answer
        keep(_facts(found))
    show(_facts(found), text=lambda: _text(found))


def _facts(found: list[Measured]) -> dict[str, Any]:
    return {"machine": _machine(), "results": [{**asdict(one), "met": one.met} for one in found]}


def _text(found: list[Measured]) -> str:
    notes = [f"{one.name}: {one.note}" for one in found if one.note]
    return "\n".join([table([_row(one) for one in found], ["benchmark", "ours", "anchor", "ratio", "target", "met"]), *notes])


def _quiet() -> None:
    """What the libraries of the peers say while they are raced is of no use to a reader of the table."""
    os.environ |= {"TRL_EXPERIMENTAL_SILENCE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    warnings.simplefilter("ignore", FutureWarning)
    transformers.utils.logging.disable_progress_bar()


def _row(one: Measured) -> list[str]:
    values = (f"{value:,.1f} {one.unit}" for value in (one.ours, one.anchor_value))
    return [one.name, *values, f"{one.ratio:.3f}", f"{one.target:.3f}", "yes" if one.met else "NO"]


def _machine() -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "platform": platform.platform(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "load": os.getloadavg()[0],
    }
