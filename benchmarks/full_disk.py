"""Lets the disk fill up at many moments of each kind of job, frees it again, and compares what the jobs leave.

Needs a small file system of its own (tmpfs), which only root may mount.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.race import Measured
from benchmarks.resume import CHECKPOINT_EACH_STEP, KilledWork, KillScene, fork, left, result
from reft_studio.errors import PrerequisiteError, StudioError
from reft_studio.jobs.queue import JobQueue
from reft_studio.workspace import Workspace

SIZE_MB = 160
TRIALS = 12
"""Different amounts of free room for each kind of job, from none to what it needs."""
TIMEOUT_S = 300.0
QUEUED_S = 3.0
"""A job that could not even begin for want of room is given room after this."""


def full_disk() -> Measured:
    """Every kind of job on a disk that fills up on the way."""
    os.environ |= CHECKPOINT_EACH_STEP
    trials, same, paused, notes = 0, 0, 0, []
    with tempfile.TemporaryDirectory() as place, _small_disk() as disk:
        scene = KillScene(Path(place))
        for work in scene.works:
            needs = _needs(scene, disk, work)
            for number in range(TRIALS):
                stopped, good = _trial(scene, disk, work, room=needs * number // TRIALS)
                trials, same, paused = trials + 1, same + good, paused + stopped
            notes.append(f"{work.kind} writes {needs / 1e6:.1f} MB")
            sys.stderr.write(f"  {work.kind}: {trials} trials, {paused} paused, {same} identical\n")
    note = f"{trials} jobs on a disk with room for a part of what they write ({', '.join(notes)}): {paused} paused and went on by "
    note += f"themselves once it was freed, the others fitted; {same} left the files of the job that never wanted for room"
    return result("full_disk", "jobs whose disk filled up", trials, same, note)


@contextmanager
def _small_disk() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp())
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "tmpfs", str(folder)], capture_output=True, text=True)
    if mounted.returncode:
        folder.rmdir()
        raise PrerequisiteError(f"A small disk cannot be mounted here ({mounted.stderr.strip()[:120]}). Run this as root on Linux.")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)
        folder.rmdir()


def _needs(scene: KillScene, disk: Path, work: KilledWork) -> int:
    """The most bytes of disk that a job takes on its way."""
    with _on(scene, disk) as workspace:
        jobs, before, most = JobQueue(workspace, start=fork), shutil.disk_usage(disk).used, 0
        job = jobs.submit(work.kind, work.params, title=work.kind)
        while (now := jobs.wait(job, timeout_s=0.05)).state in ("queued", "running"):
            most = max(most, shutil.disk_usage(disk).used - before)
        if now.state != "done":
            raise RuntimeError(f"the job '{work.kind}' does not end well on an empty disk: {now.message}")
        return max(most, shutil.disk_usage(disk).used - before)


def _trial(scene: KillScene, disk: Path, work: KilledWork, *, room: int) -> tuple[bool, bool]:
    """Whether the job paused for want of more than `room` bytes, and whether it then left what it should."""
    with _on(scene, disk) as workspace:
        jobs = JobQueue(workspace, start=fork)
        job = jobs.submit(work.kind, work.params, title=work.kind)
        filler = disk / "filler"
        filler.write_bytes(b"\0" * max(0, shutil.disk_usage(disk).free - room))
        stopped, began = False, time.monotonic()
        while time.monotonic() - began < TIMEOUT_S:
            with suppress(StudioError):  # the table cannot be written: the app logs it and looks again, as here
                jobs.tick()
            now = jobs.get(job)
            if now.state == "done":
                return stopped, left(workspace, work) == scene.whole[work.kind]
            if now.state in ("failed", "cancelled", "interrupted"):
                sys.stderr.write(f"  {work.kind} with {room} bytes: {now.state}, {now.message}\n")
                return stopped, False
            kept_out = now.state == "queued" and time.monotonic() - began > QUEUED_S  # not even the table can be written
            if (now.state == "paused" or kept_out) and filler.exists():
                stopped = True
                filler.unlink()
            time.sleep(0.05)
        sys.stderr.write(f"  {work.kind} with {room} bytes: {now.state} after {TIMEOUT_S:.0f} s, {now.message}\n")
        return stopped, False


@contextmanager
def _on(scene: KillScene, disk: Path) -> Iterator[Workspace]:
    """A copy of the workspace on the small disk, which is empty again afterwards."""
    try:
        yield Workspace.open(Path(shutil.copytree(scene.start.root, disk / "workspace")))
    finally:
        for path in disk.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
