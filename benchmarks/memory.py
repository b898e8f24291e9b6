"""Peak memory of scoring against the number of rows: two processes of their own, since a peak never falls."""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.race import Measured
from reft_studio.data.dataset import Row, list_datasets, write_dataset
from reft_studio.lab import sets
from reft_studio.workspace import ASSETS, Workspace

FEW, MANY = 100_000, 1_000_000
BYTES_A_ROW = 12
ROOM = 1.05
"""Ten times the rows may take this many times the memory, and `BYTES_A_ROW` for each further row."""


def scoring_memory(few: int = FEW, many: int = MANY) -> Measured:
    """Score `many` and `few` rows on the lab's model; the limit is 5 % more and 12 bytes a row."""
    small, large = (_measured(rows) for rows in (few, many))
    allowed = (ROOM * small["peak_mb"] + BYTES_A_ROW * (many - few) / 1e6) / small["peak_mb"]
    return Measured(
        "scoring_memory",
        f"peak memory of scoring {many:,} rows, half of them different, on the lab's model",
        large["peak_mb"],
        f"scoring {few:,} rows",
        small["peak_mb"],
        large["peak_mb"] / small["peak_mb"],
        allowed,
        unit="MB",
        note=f"{many / large['seconds']:,.0f} rows per second ({large['seconds']:.0f} s); {few:,} rows: {few / small['seconds']:,.0f}",
    )


def _measured(rows: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        for part in ("write", "score"):
            done = subprocess.run([sys.executable, "-m", __name__, part, folder, str(rows)], capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"the process that should {part} {rows:,} rows failed: {done.stderr[-2000:]}")
        answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return answer


def _rows(count: int) -> Iterator[Row]:
    """Questions of the lab, every other one with three more words of its language: half of the rows are like no other."""
    words = (ASSETS / "lab" / "words.txt").read_text("utf-8").split()
    known = [row["prompt"] for row in sets.user_data(rows=1000)]
    draw = random.Random(0)
    for _ in range(count):
        more = f" {' '.join(draw.choices(words, k=3))}" if draw.random() < 0.5 else ""
        yield {"prompt": draw.choice(known) + more, "response": "yes"}


def _write(workspace: Workspace, rows: int) -> None:
    write_dataset(workspace, _rows(rows), name="many", role="user")


def _score(workspace: Workspace) -> None:
    from reft_studio.models.session import Session
    from reft_studio.progress import Silent
    from reft_studio.scoring.refusal_similarity import score
    from reft_studio.teacher.teacher import open_teacher

    started = time.perf_counter()
    found = score(workspace, list_datasets(workspace)[0], open_teacher(workspace, "lab"), Session.open("lab"), Silent())
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
    print(json.dumps({"peak_mb": peak, "seconds": time.perf_counter() - started, "missing": found.missing, **found.info}))


if __name__ == "__main__":
    target = Workspace.open(Path(sys.argv[2]))
    _write(target, int(sys.argv[3])) if sys.argv[1] == "write" else _score(target)
