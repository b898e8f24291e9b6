"""Benchmarks: each races two ways of doing the same work, interleaved in one run, and reports the ratio against its budget."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch

from reft_studio.bench import app, memory, scoring, training
from reft_studio.bench.race import Measured
from reft_studio.console import save_json, table
from reft_studio.errors import SpecError

BENCHMARKS: dict[str, Callable[[], Measured]] = {
    "first_page": app.first_page,
    "threshold": app.threshold,
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
}
LONG = {"scoring_memory"}
"""Takes many minutes: run only when it is asked for by name."""


def run_benchmarks(*, only: str | None, json_file: Path | None) -> None:
    """Run all benchmarks, or one; prints a table and writes JSON with the machine it ran on."""
    if only is not None and only not in BENCHMARKS:
        raise SpecError(f"There is no benchmark '{only}'. Choose one of: {', '.join(BENCHMARKS)}.")
    found = [measure() for name, measure in BENCHMARKS.items() if name == only or (only is None and name not in LONG)]
    rows = [
        [
            one.name,
            f"{one.ours:.1f} {one.unit}",
            f"{one.anchor_value:.1f} {one.unit}",
            f"{one.ratio:.3f}",
            f"{one.target:.3f}",
            "yes" if one.met else "NO",
        ]
        for one in found
    ]
    print(table(rows, ["benchmark", "ours", "anchor", "ratio", "target", "met"]))
    machine = {
        "cores": os.cpu_count(),
        "platform": platform.platform(),
        "torch": torch.__version__,
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "load": os.getloadavg()[0],
    }
    save_json(
        json_file, {"machine": machine, "threads": torch.get_num_threads(), "results": [{**asdict(one), "met": one.met} for one in found]}
    )
