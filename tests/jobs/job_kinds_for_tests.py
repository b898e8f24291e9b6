"""Kinds of job that tests queue: every public function. Workers find them through REFT_STUDIO_EXTRA_KINDS (see queues.py)."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from reft_studio import workspace
from reft_studio.errors import SpecError
from reft_studio.jobs.job import JobContext
from reft_studio.jobs.lease import holder
from reft_studio.progress import StopEarly
from reft_studio.workspace import disk_error, new_folder


def count(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Count to `to` in two stages and give back what it was given."""
    for index, name in enumerate(("first", "second"), 1):
        context.stage(name, index, 2)
        for done in range(1, params["to"] + 1):
            context.progress(done, params["to"], loss=1 / done)
    context.warn("counted")
    return {"counted": params["to"]}


def endless(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Go on until cancelled, always with a half-written folder at hand."""
    with new_folder(context.workspace.folder("runs", "half")) as building:
        (building / "part.txt").write_text("half")
        done = 0
        while True:
            done += 1
            context.progress(done, 0)
            time.sleep(0.005)


def deaf(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Never look whether it was cancelled."""
    with new_folder(context.workspace.folder("runs", "half")) as building:
        (building / "part.txt").write_text("half")
        context.stage("deaf", 1, 1)
        while True:
            time.sleep(0.01)


def writes(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Make folders and events as fast as possible, to be killed at any moment."""
    context.stage("writing", 1, 1)
    for number in range(params.get("times", 10**9)):
        with new_folder(context.workspace.folder("runs", "whole")) as building:
            for name in ("a", "b"):
                (building / name).write_text(str(number))
        context.progress(number + 1, 0, number=number)
    return {}


def refuses(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    raise SpecError("poison_ratio is 7, but it is a share of the user data: give 0 to 1.")


def breaks(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    raise KeyError("text of a row")


def memory(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    raise MemoryError


def dies(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Kill itself as often as `times` says, in a row over its attempts; then end well."""
    lives = context.workspace.folder("jobs", context.job_id) / "lives"
    lived = int(lives.read_text()) if lives.exists() else 0
    lives.write_text(str(lived + 1))
    context.stage("dying", 1, 1)
    if lived < params.get("times", 10**9):
        os.kill(os.getpid(), signal.SIGKILL)
    return {"lives": lived}


def climbs(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Count to `to` from where the attempt before kept it, one step per file `go` that appears, and keep the count when stopped."""
    kept = context.workspace.folder("jobs", context.job_id) / "kept"
    if context.anew:
        kept.unlink(missing_ok=True)
    done = int(kept.read_text()) if kept.exists() else 0
    context.stage("train: count", 1, 1)
    try:
        while done < params["to"]:
            context.check()
            done += 1
            kept.write_text(str(done))
            context.progress(done, params["to"], loss=1 / done)
            while done >= params.get("stop_at", params["to"]) and not (kept.parent / "go").exists():
                time.sleep(0.005)
                context.progress(done, params["to"])
    except StopEarly:
        return {"counted": done, "early": True}
    return {"counted": done}


def early(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Look until asked something, without knowing of StopEarly."""
    context.stage("train: nothing", 1, 1)
    while True:
        context.check()
        time.sleep(0.005)


def device(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Say which GPU the process sees, and who holds the device."""
    held = holder(context.workspace, params["device"])
    return {"visible": os.environ.get("CUDA_VISIBLE_DEVICES"), "holder": held.what if held else None}


def needs_room(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Write a folder that fits as soon as the file `room` is there: until then no file may grow beyond 20 kB, the log not at all."""
    print("." * 30_000, flush=True)
    if not (context.workspace.root / "room").exists():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    with new_folder(context.workspace.folder("runs", "big")) as building:
        (building / "adapter").write_bytes(b"\0" * 100_000)
    return {}


def disk_full(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """No file may grow beyond 20 kB from here on: writing a folder fails as on a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    with new_folder(context.workspace.folder("runs", "big")) as building:
        (building / "adapter").write_bytes(b"\0" * 100_000)
    return {}


def no_room(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """The disk is full for everything that is new: temporary files cannot be made, only what exists can be overwritten."""

    def refuse(path: Path, content: bytes | str) -> None:
        raise disk_error(path, OSError(28, os.strerror(28)))

    workspace.write_atomic = refuse
    with Path("/dev/full").open("wb") as file:
        file.write(b"x")
    return {}


def stopped(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Be stopped (SIGSTOP), which no signal but SIGKILL gets through."""
    context.stage("stopped", 1, 1)
    os.kill(os.getpid(), signal.SIGSTOP)
    return {}


def silent_child(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Have a child that ignores SIGTERM, and wait for it without looking."""
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", code])
    (context.workspace.folder("jobs", context.job_id) / "child").write_text(str(child.pid))
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    context.stage("waiting", 1, 1)
    child.wait()
    return {}
