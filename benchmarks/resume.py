"""Kills jobs at random moments and at every failpoint, and compares what they leave with what unbroken ones leave, byte for byte.

The queue, the worker and the jobs are the real ones. Only the start of a worker is not: it is a fork of this process, which has the
libraries in memory already, because loading them would take most of the time of hundreds of starts.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.race import Measured
from reft_studio import failpoints
from reft_studio.evaluation.suite import lab_suite
from reft_studio.jobs import worker
from reft_studio.jobs.job import LIVE
from reft_studio.jobs.launch import LOG, retire
from reft_studio.jobs.queue import JobQueue
from reft_studio.models.spec import LoraSpec, OptimSpec
from reft_studio.scoring.refusal_similarity import score as load_scorer
from reft_studio.store.jobs import JobRecord
from reft_studio.tasks import evaluate, lab_data, score, teacher, train
from reft_studio.teacher.spec import TeacherSpec
from reft_studio.training.spec import RunSpec
from reft_studio.workspace import Workspace

KILLS = 200
"""Random kills, over all kinds of job; `REFT_STUDIO_KILLS` asks for another number."""
MOST_KILLS = 3
"""Kills of one job; after more in quick succession the queue takes it for one that cannot work, and stops."""
CHECKPOINT_EACH_STEP = {"REFT_STUDIO_CHECKPOINT_S": "0"}
"""Usually seconds lie between two: this gives more places to die at."""
STEPS = 16
TIMEOUT_S = 900.0
CHANGING = {"created", "seconds", "tokens_per_second", "memory_mb", "versions", "early_stop", "started", "finished", "stages", "rate"}
"""Facts of a result that are about when and how fast it was made, not about what it is."""
MODULES = (evaluate, score, teacher, train, load_scorer)  # loaded before the first fork


@dataclass(frozen=True)
class KilledWork:
    """A kind of job that is killed: its parameters, and the folders that hold what it leaves."""

    kind: str
    params: dict[str, Any]
    leaves: Sequence[str]


def resume() -> list[Measured]:
    """200 random kills over teacher, scoring, run and evaluation, then every failpoint of each."""
    kills = int(os.environ.get("REFT_STUDIO_KILLS", KILLS))
    os.environ |= CHECKPOINT_EACH_STEP
    with tempfile.TemporaryDirectory() as place:
        scene = KillScene(Path(place))
        return [_random_kills(scene, kills), _every_failpoint(scene)]


class KillScene:
    """A workspace to start from, and what each job leaves in it when nothing happens."""

    def __init__(self, root: Path) -> None:
        self.root, self.start = root, Workspace.open(root / "start")
        self.works = _works(self.start)
        self.seconds: dict[str, float] = {}
        self.whole: dict[str, dict[str, str]] = {}
        for work in self.works:
            with self.trial() as workspace:
                began = time.monotonic()
                _finish(JobQueue(workspace, start=fork), work)
                self.seconds[work.kind] = time.monotonic() - began
                self.whole[work.kind] = left(workspace, work)
            if not self.whole[work.kind]:
                raise RuntimeError(f"the job '{work.kind}' left nothing to compare")

    @contextmanager
    def trial(self) -> Iterator[Workspace]:
        """A copy of the workspace, for one job."""
        folder = Path(tempfile.mkdtemp(dir=self.root))
        try:
            yield Workspace.open(Path(shutil.copytree(self.start.root, folder / "workspace")))
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _works(workspace: Workspace) -> list[KilledWork]:
    data = lab_data.alignment(workspace, rows=48)
    user = lab_data.sample(workspace, rows=160, poison_ratio=0.1)
    optim = OptimSpec(steps=STEPS, batch_size=4, alignment_batch_size=4, learning_rate=1e-3)
    lora = LoraSpec(rank=4, alpha=8, dropout=0.1)
    sets = {name: getattr(data, name) for name in ("harmful", "helpful", "calibration_harmful", "calibration_harmless")}
    teacher = TeacherSpec(**sets, optim=optim, lora=lora, layer=4)
    guided = RunSpec(dataset=user.id, method="ref_teacher", teacher="lab", filter=True, harmful=data.harmful, helpful=data.helpful,
                     optim=optim, lora=lora)  # fmt: skip
    suite = lab_suite(sizes={"harmful": 12, "harmless": 12, "task": 12}, max_new_tokens=12)
    return [
        KilledWork("teacher", teacher.model_dump(mode="json"), ("teachers",)),
        KilledWork("score", {"dataset": user.id, "teacher": "lab"}, ("scores",)),
        KilledWork("run", {"spec": guided.model_dump(mode="json")}, ("runs", "scores")),
        KilledWork("evaluate", {"subject": "base--lab", "suite": suite.model_dump(mode="json")}, ("evaluations",)),
    ]


def _random_kills(scene: KillScene, kills: int) -> Measured:
    """Kill jobs at moments drawn evenly over their time, up to MOST_KILLS times each."""
    rng, done, jobs, finished, same, landed = random.Random(0), 0, 0, 0, 0, dict[str, int]()
    while done < kills:
        work = scene.works[jobs % len(scene.works)]
        jobs += 1
        with scene.trial() as workspace:
            moments = [rng.uniform(0, scene.seconds[work.kind]) for _ in range(min(rng.randint(1, MOST_KILLS), kills - done))]
            killed, ended_well = _killed(JobQueue(workspace, start=fork), work, moments)
            done += killed
            landed[work.kind] = landed.get(work.kind, 0) + killed
            finished += ended_well
            same += ended_well and left(workspace, work) == scene.whole[work.kind]
        sys.stderr.write(f"  {done} kills, {jobs} jobs, {finished} finished by themselves, {same} identical\n")
    note = f"{done} kills ({', '.join(f'{name} {count}' for name, count in landed.items())}); {finished} of {jobs} jobs finished by "
    note += f"themselves, {same} left the files of the unbroken job"
    return result("resume_after_kill", "jobs that were killed at random moments", jobs, same, note)


def _killed(jobs: JobQueue, work: KilledWork, moments: list[float]) -> tuple[int, bool]:
    """Kill the job so many seconds after each start; how often it was there to be killed, and whether it ended well."""
    job, killed, deadline = jobs.submit(work.kind, work.params, title=work.kind), 0, time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        jobs.tick()
        now = jobs.get(job)
        if now.state not in LIVE:
            return killed, now.state == "done"
        if moments and now.state == "running" and FORKED.get(job) is not None:
            wait = moments.pop(0)
            pid = FORKED.pop(job)
            end = time.monotonic() + wait
            while time.monotonic() < end and _alive(pid):
                time.sleep(0.005)
            if _alive(pid):
                os.killpg(pid, signal.SIGKILL)
                killed += 1
        time.sleep(0.02)
    raise RuntimeError(f"the job '{work.kind}' did not end within {TIMEOUT_S:.0f} s")


def _every_failpoint(scene: KillScene) -> Measured:
    """Die at the 1st, 2nd, 3rd … time of every failpoint, until a job ends without reaching it."""
    trials, same, reached = 0, 0, dict[str, int]()
    for work in scene.works:
        for name in failpoints.NAMES:
            number, step = 1, 1
            while True:
                hit, good = _at_failpoint(scene, work, f"{name}:{number}")
                if not hit:
                    break
                trials, same = trials + 1, same + good
                reached[name] = reached.get(name, 0) + 1
                number += step
                step = step if number < 6 else step * 2  # what is passed often is tried less and less often
            sys.stderr.write(f"  {work.kind}, {name}: {trials} deaths, {same} identical\n")
    unreached = [name for name in failpoints.NAMES if name not in reached]
    note = f"{trials} deaths at {len(reached)} failpoints, {same} left the files of the unbroken job"
    note += f"; not reached by any of these jobs: {', '.join(unreached)}" if unreached else ""
    return result("resume_after_failpoint", "jobs that died at a failpoint", trials, same, note)


def _at_failpoint(scene: KillScene, work: KilledWork, point: str) -> tuple[bool, bool]:
    """Whether the job died at `point`, and whether it then left what the unbroken one leaves."""
    with scene.trial() as workspace:
        log = workspace.root.parent / "reached"
        FAIL_ONCE.append({failpoints.VARIABLE: point, f"{failpoints.VARIABLE}_LOG": str(log)})
        ended_well = _finish(JobQueue(workspace, start=fork), work)
        FAIL_ONCE.clear()
        return log.exists(), ended_well and left(workspace, work) == scene.whole[work.kind]


def _finish(jobs: JobQueue, work: KilledWork) -> bool:
    return jobs.wait(jobs.submit(work.kind, work.params, title=work.kind), timeout_s=TIMEOUT_S).state == "done"


def left(workspace: Workspace, work: KilledWork) -> dict[str, str]:
    """SHA-256 of each file that a job leaves, by its path; of JSON, without what is about time and speed."""
    found: dict[str, str] = {}
    for kind in work.leaves:
        for path in sorted((workspace.root / kind).rglob("*")):
            if path.is_file() and path.name not in ("SHA256SUMS", "cost.json", "README.md") and not path.name.startswith("events.out"):
                found[str(path.relative_to(workspace.root))] = hashlib.sha256(_content(path)).hexdigest()
    return found


def _content(path: Path) -> bytes:
    if path.suffix == ".json":
        return json.dumps(_lasting(json.loads(path.read_text("utf-8"))), sort_keys=True).encode()
    if path.suffix == ".jsonl":
        lines = [_lasting(json.loads(line)) for line in path.read_text("utf-8").splitlines()]
        return json.dumps(lines, sort_keys=True).encode()
    if path.suffix == ".md":
        return b""  # the card repeats results in words
    return path.read_bytes()


def _lasting(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _lasting(one) for name, one in value.items() if name not in CHANGING}
    return [_lasting(one) for one in value] if isinstance(value, list) else value


FORKED: dict[str, int] = {}
"""The process of each job's last attempt."""
FAIL_ONCE: list[dict[str, str]] = []
"""Environment of the next worker, once."""


def fork(workspace: Workspace, record: JobRecord) -> int:
    """`launch`, as a fork of this process in a group of its own."""
    folder = workspace.folder("jobs", record.id)
    folder.mkdir(parents=True, exist_ok=True)
    retire(folder, record.attempt)
    environment = FAIL_ONCE.pop() if FAIL_ONCE else {}
    pid = os.fork()
    if pid == 0:
        _be_worker(workspace, record, folder, environment)
    with suppress(OSError):  # the child may have done it first
        os.setpgid(pid, pid)
    FORKED[record.id] = pid
    return pid


def _be_worker(workspace: Workspace, record: JobRecord, folder: Path, environment: dict[str, str]) -> None:
    """The child: a worker as `python -m reft_studio.jobs.worker` is one; never returns."""
    code = 1
    try:
        os.setpgid(0, 0)
        log = os.open(folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for number in (1, 2):
            os.dup2(log, number)
        os.environ |= environment
        code = worker.main(["--workspace", str(workspace.root), "--job", record.id, "--attempt", str(record.attempt)])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _alive(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == 0
    except ChildProcessError:
        return False


def result(name: str, what: str, jobs: int, same: int, note: str) -> Measured:
    """How many of the jobs did not leave what they should; none may."""
    return Measured(name, what, jobs - same, "jobs", float(jobs), (jobs - same) / max(jobs, 1), 0.0, unit="jobs", note=note)
