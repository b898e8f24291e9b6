"""A workspace with a million rows to audit: text in the lab's words, imported by the real job; the scores are drawn: only speed counts."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from reft_studio.workspace import ASSETS, Workspace

PROMPT_WORDS, RESPONSE_WORDS = 46, 18
"""About 260 and 100 characters: the lengths of a usual row of finetuning data."""
POISON = 0.05
SAMPLE_S = 0.05
"""Between two looks at the memory of a process and its children."""


def write_upload(path: Path, rows: int, *, seed: int = 0) -> None:
    """OpenAI chat JSONL of about 480 bytes a row, each different, every fifth in another task, one in twenty known to be harmful."""
    draw = random.Random(seed)
    words = (ASSETS / "lab" / "words.txt").read_text("utf-8").split()
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            prompt, response = (" ".join(draw.choices(words, k=count)) for count in (PROMPT_WORDS, RESPONSE_WORDS))
            row = {
                "messages": [{"role": "user", "content": f"{prompt} {number}"}, {"role": "assistant", "content": response}],
                "source": f"task {number % 5}",
                "is_harmful": draw.random() < POISON,
            }
            file.write(json.dumps(row) + "\n")


def measured(part: str, *arguments: object) -> dict[str, Any]:
    """Run one part of the scene in a process of its own: what it tells, its seconds, and the peak of its memory with its children's."""
    command = [sys.executable, "-m", __name__, part, *map(str, arguments)]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    peak = [0.0]
    watcher = threading.Thread(target=_watch, args=(process, peak), daemon=True)
    watcher.start()
    out, err = process.communicate()
    if process.returncode:
        raise RuntimeError(f"the process that should {part} failed: {err[-2000:]}")
    return {"wall_s": time.perf_counter() - started, "peak_mb": peak[0], **json.loads(out.splitlines()[-1])}


def memory_mb(pid: int) -> float:
    """Memory in use by a process and its children that the system cannot take back: without mapped files, which it can. Linux only."""
    total = 0.0
    for one in (pid, *_children(pid)):
        try:
            fields = dict(line.split(":", 1) for line in Path(f"/proc/{one}/status").read_text("ascii", "replace").splitlines())
        except (OSError, ValueError):  # it has ended
            continue
        total += sum(float(fields[name].split()[0]) for name in ("RssAnon", "RssShmem") if name in fields) / 1000
    return total


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for path in Path("/proc").glob(f"{pid}/task/*/children"):
        try:
            direct = [int(child) for child in path.read_text("ascii").split()]
        except OSError:  # it has ended
            continue
        found += [*direct, *(below for child in direct for below in _children(child))]
    return found


def _watch(process: subprocess.Popen[str], peak: list[float]) -> None:
    while process.poll() is None:
        peak[0] = max(peak[0], memory_mb(process.pid))
        time.sleep(SAMPLE_S)


def _import(workspace: Workspace, upload: str) -> dict[str, Any]:
    from reft_studio.data.reading.readers import import_file

    started = time.perf_counter()
    report = import_file(workspace, Path(upload))
    return {"dataset": report.dataset_id, "rows": report.rows, "seconds": time.perf_counter() - started, "cpu_s": sum(os.times()[:4])}


def _score(workspace: Workspace, dataset_id: str) -> dict[str, Any]:
    """Two score sets of drawn cosines, harmful rows higher; under the lab's teacher, so that every panel has its calibration."""
    import numpy as np

    from reft_studio.data.dataset import open_dataset
    from reft_studio.scoring.scores import write_scores
    from reft_studio.store import settings
    from reft_studio.teacher.teacher import open_teacher

    dataset, teacher = open_dataset(workspace, dataset_id), open_teacher(workspace, "lab")
    harmful = dataset.table(["known_harmful"]).column(0).to_numpy(zero_copy_only=False).astype(bool)
    draw = np.random.default_rng(0)
    for number in range(2):
        values = np.where(harmful, draw.normal(0.35, 0.2, len(harmful)), draw.normal(-0.35, 0.2, len(harmful)))
        scores = np.clip(values, -1, 1).astype(np.float32)
        scores[:100] = np.nan
        key = f"drawn{number}"
        info = {"made_by": "drawn at random for the benchmark of speed", "missing_reasons": {"empty prompt": 100}}
        write_scores(workspace, dataset, scores, key=key, scorer="drawn", teacher=teacher.id, threshold=teacher.threshold, info=info)
    settings.set(workspace, f"score:{dataset.id}", "drawn0")
    settings.set(workspace, "dataset", dataset.id)
    return {"key": "drawn0", "other": "drawn1", "threshold": teacher.threshold}


def _index(workspace: Workspace, dataset_id: str) -> dict[str, Any]:
    """What the background does after an import before anybody waits for it: what rows are filtered by, and the search index."""
    from reft_studio.jobs.foreground import ForegroundContext
    from reft_studio.tasks.index import index

    started = time.perf_counter()
    index(ForegroundContext(workspace), {"dataset": dataset_id})
    return {"seconds": time.perf_counter() - started}


def _serve(workspace: Workspace, dataset_id: str) -> dict[str, Any]:
    from benchmarks.audit_server import serve

    return serve(workspace, dataset_id)


PARTS = {"import": _import, "score": _score, "index": _index, "serve": _serve}

if __name__ == "__main__":
    print(json.dumps(PARTS[sys.argv[1]](Workspace.open(Path(sys.argv[2])), sys.argv[3])))
