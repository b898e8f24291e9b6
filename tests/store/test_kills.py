"""kill -9 while decisions are written: nothing that was acknowledged is lost, no step is torn, another process reads meanwhile.

`python tests/store/test_kills.py` does it 200 times and prints what it counted.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from reft_studio.store import records
from reft_studio.store.decisions import DecisionLog
from reft_studio.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]
LONG = 200
# Single and bulk decisions, undo, redo and draws in turn; what is on disk is told only then.
WRITER = """
import sys
from pathlib import Path
from reft_studio.store import records
from reft_studio.store.decisions import DecisionLog
from reft_studio.workspace import Workspace
log = DecisionLog(Workspace(Path(sys.argv[1])))
number = 0
while True:
    number += 1
    if number % 5 == 4:
        log.undo("d", "human:me")
    elif number % 5 == 0:
        log.redo("d", "human:me")
    elif number % 7 == 3:
        made = records.append(log.workspace, "d", "draw", "human:me", lambda before, head: {"number": number})
        print("record", made.seq, flush=True)
        continue
    elif number % 3:
        log.decide("d", number, "keep")
    else:
        log.decide_bulk("d", range(number % 400 + 2), "remove")
    print("decision", log.head("d")[0], flush=True)
"""


@dataclass(frozen=True)
class Counted:
    """What the kills left behind."""

    kills: int
    acknowledged: int
    lost: int
    torn: int
    damaged: int
    reads: int
    read_errors: int


def kill_while_writing(workspace: Workspace, times: int, *, seed: int = 0) -> Counted:
    """Start a writer, kill it at a random moment, look; as often as asked."""
    moments, log = random.Random(seed), DecisionLog(workspace)
    told = lost = torn = damaged = 0
    watch = _Watch(workspace)
    for _ in range(times):
        command = [sys.executable, "-c", WRITER, str(workspace.root)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True) as writer:
            assert writer.stdout is not None
            lines = [writer.stdout.readline() for _ in range(moments.randrange(1, 25))]
            os.kill(writer.pid, signal.SIGKILL)
            lines += writer.stdout.readlines()
        said = [line.split() for line in lines if line.endswith("\n")]
        newest = {kind: max((int(seq) for name, seq in said if name == kind), default=0) for kind in ("decision", "record")}
        told += len(said)
        report = log.verify()
        damaged += not report.ok
        lost += log.head("d")[0] < newest["decision"]
        lost += max((record.seq for record in records.of_kind(workspace, "d", "draw")), default=0) < newest["record"]
        torn += _torn(log)
    watch.end()
    return Counted(times, told, lost, torn, damaged, watch.reads, watch.errors)


def _torn(log: DecisionLog) -> int:
    """Steps of many rows of which not all are there: the writer decides rows 0 to n - 1."""
    sizes: Counter[int] = Counter()
    highest: Counter[int] = Counter()
    for entry in log.entries("d"):
        if entry.action == "remove" and entry.kind == "decide":
            sizes[entry.step] += 1
            highest[entry.step] = max(highest[entry.step], entry.row_id + 1)
    return sum(sizes[step] != highest[step] for step in sizes)


class _Watch:
    """Reads all the while, as another tab would."""

    def __init__(self, workspace: Workspace) -> None:
        self.log, self.reads, self.errors = DecisionLog(workspace), 0, 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def end(self) -> None:
        self._over.set()
        self._thread.join()

    def _read(self) -> None:
        while not self._over.wait(0.02):
            try:
                held = self.log.decided("d")
                self.reads += 1
                self.errors += len(held.row_ids) != sum(held.counts().values())
            except Exception:  # whatever it is, a reader must not see it
                self.errors += 1


def test_kill_9_while_deciding_loses_nothing_that_was_acknowledged(workspace: Workspace) -> None:
    counted = kill_while_writing(workspace, 6)
    assert (counted.lost, counted.torn, counted.damaged, counted.read_errors) == (0, 0, 0, 0)
    assert counted.acknowledged > 6 and counted.reads > 0


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        found = kill_while_writing(Workspace.open(Path(folder) / "workspace"), LONG)
    print("".join(f"| {name.replace('_', ' ')} | {value:,} |\n" for name, value in vars(found).items()))
    sys.exit(1 if found.lost or found.torn or found.damaged or found.read_errors else 0)
