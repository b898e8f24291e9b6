"""Is this machine, and this workspace, in order? Each check loads no model library and changes nothing that stays."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
from packaging.requirements import Requirement

from reft_studio import integrity, offline
from reft_studio.data.dataset import Dataset
from reft_studio.errors import StudioError
from reft_studio.models import shelf
from reft_studio.models.memory import largest, room
from reft_studio.store.decisions import DecisionLog
from reft_studio.workspace import ASSETS, Workspace, write_atomic

ROOT = Path(__file__).resolve().parent.parent
MEMORY_GB = 2.0
"""Free memory below which even the lab's model may not train beside the app."""
DISK_GB = 2.0
"""Free disk below which a run may not be able to save what it made."""
_LEFTOVER = ".tmp-"


@dataclass(frozen=True)
class HealthCheck:
    """One line of the report; `hint` says what to do, or is empty if there is nothing to do."""

    name: str
    ok: bool
    value: str
    hint: str = ""


def examine(workspace: Workspace) -> list[HealthCheck]:
    """All checks, in the order a person would ask. A check that itself fails is reported as not ok, with its reason."""
    checks: list[tuple[str, Callable[[], HealthCheck]]] = [
        ("Python", python),
        ("Package versions", lambda: versions(ROOT / "requirements.lock", ROOT / "requirements-torch.lock")),
        ("Device", device),
        ("Memory", memory),
        ("Models that fit", models),
        ("Models of this machine", shelf_models),
        ("Disk", lambda: disk(workspace)),
        ("Offline self-test", self_test),
        ("Open connections", connections),
        ("Workspace", lambda: writable(workspace)),
        ("Datasets", lambda: datasets(workspace)),
        ("Stored files", lambda: stored_files(workspace)),
        ("Decision log", lambda: decisions(workspace)),
        ("Unfinished work", lambda: leftovers(workspace)),
    ]
    return [_tried(name, check) for name, check in checks]


def _tried(name: str, check: Callable[[], HealthCheck]) -> HealthCheck:
    try:
        return check()
    except StudioError as exc:
        return HealthCheck(name, False, "not in order", str(exc))
    except (OSError, ValueError, psutil.Error, subprocess.SubprocessError) as exc:
        return HealthCheck(name, False, "could not be checked", f"{type(exc).__name__}: {str(exc)[:300]}")


def python() -> HealthCheck:
    """The Python that runs this; at least 3.11, 64 bit."""
    bits = 64 if sys.maxsize > 2**32 else 32
    ok = sys.version_info >= (3, 11) and bits == 64
    hint = "" if ok else "Use a 64-bit Python 3.11 or newer, delete .venv and start launch.py again."
    return HealthCheck("Python", ok, f"{platform.python_version()}, {bits} bit, {platform.system()} {platform.machine()}", hint)


def versions(*locks: Path) -> HealthCheck:
    """Installed packages against the lock files, the versions that were tested together; those for other systems are left out."""
    if not all(lock.is_file() for lock in locks):
        return HealthCheck("Package versions", True, "not compared: this installation comes without requirements.lock")
    lines = [line for lock in locks for line in lock.read_text("utf-8").splitlines() if line[:1].isalnum()]
    named = [Requirement(re.split(r" \\| --hash", line)[0]) for line in lines]
    wanted = {one.name: next(iter(one.specifier)).version for one in named if one.marker is None or one.marker.evaluate()}
    other = [f"{name} {seen or 'missing'} (tested: {version})" for name, version in wanted.items() if (seen := _installed(name)) != version]
    shown = ", ".join(other[:5]) + (", …" if len(other) > 5 else "")
    hint = f"Not as tested: {shown}. Delete .venv and start launch.py again." if other else ""
    return HealthCheck("Package versions", not other, f"{len(wanted) - len(other)} of {len(wanted)} as tested", hint)


def _installed(name: str) -> str | None:
    """Version without the label of a build, e.g. 2.13.0 for 2.13.0+cpu."""
    try:
        return importlib.metadata.version(name).partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return None


def device() -> HealthCheck:
    """What models will run on, from the driver and the build of PyTorch, without loading it."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        return HealthCheck("Device", True, f"Apple GPU, {cores} cores")
    gpus = _nvidia_gpus()
    if gpus and importlib.metadata.version("torch").endswith("+cpu"):
        hint = "PyTorch is a CPU build, so the GPU is not used. Install the GPU build of the same version into .venv with pip."
        return HealthCheck("Device", False, f"{cores} cores; {', '.join(gpus)} not used", hint)
    if gpus:
        return HealthCheck("Device", True, ", ".join(gpus))
    return HealthCheck(
        "Device", True, f"CPU, {cores} cores", "No GPU was found. The lab works in minutes; a model of billions of parameters needs one."
    )


def _nvidia_gpus() -> list[str]:
    """Name and memory of each NVIDIA GPU that the driver knows; empty without a driver."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    return [line.strip() for line in done.stdout.splitlines() if line.strip()] if done.returncode == 0 else []


def memory() -> HealthCheck:
    """Memory that can be had now, in GB (10⁹ bytes)."""
    state = psutil.virtual_memory()
    free = state.available / 1e9
    hint = "" if free >= MEMORY_GB else f"Less than {MEMORY_GB:.0f} GB are free: close other programs before a run."
    return HealthCheck("Memory", free >= MEMORY_GB, f"{free:.1f} GB free of {state.total / 1e9:.1f} GB", hint)


def models() -> HealthCheck:
    """How large a model may be here: what its weights may take of the memory that is free now, with some left to work in."""
    space = room()
    if space is None:
        return HealthCheck("Models that fit", True, "not known: the GPU does not tell its memory")
    sizes = f"about {largest(space, quantization='none'):.1f} billion parameters in bfloat16"
    if space.device.startswith("cuda"):
        sizes += f", {largest(space, quantization='nf4'):.1f} billion in 4-bit"
    return HealthCheck("Models that fit", True, f"{sizes} ({space.free / 1e9:.1f} GB free on {space.device})")


def shelf_models() -> HealthCheck:
    """The base models that can be chosen by name: whether their files are where they were. Hashes are checked at their use."""
    found = shelf.models()
    lost = [model.name for model in found if not model.there]
    told = ", ".join(f"{model.name} ({model.size / 1e9:.2f} GB)" for model in found) or "none yet"
    hint = (
        f"Their weights are gone: {', '.join(lost)}. Put the folders back, or run: python launch.py model remove {lost[0]}." if lost else ""
    )
    return HealthCheck("Models of this machine", not lost, f"{told}, in {shelf.root()}", hint)


def disk(workspace: Workspace) -> HealthCheck:
    """Free space where the workspace is, in GB (10⁹ bytes)."""
    free = shutil.disk_usage(workspace.root).free / 1e9
    hint = "" if free >= DISK_GB else f"Less than {DISK_GB:.0f} GB are free on the disk of {workspace.root}: free some, or use --workspace."
    return HealthCheck("Disk", free >= DISK_GB, f"{free:.1f} GB free", hint)


def self_test() -> HealthCheck:
    """Build the whole app in a second process under a guard that refuses and counts every attempt to reach another machine."""
    command = [sys.executable, "-m", offline.__name__]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    if not done.stdout.startswith("{"):
        reason = done.stderr.strip().splitlines()[-1:] or ["it ended without a word"]
        return HealthCheck("Offline self-test", False, "the app could not be built", reason[0][:300])
    attempts: list[str] = json.loads(done.stdout)["attempts"]
    hint = "" if not attempts else f"Please report this: it wanted to {'; '.join(attempts[:3])}."
    return HealthCheck("Offline self-test", not attempts, f"{len(attempts)} attempts to reach another machine", hint)


def connections() -> HealthCheck:
    """Internet sockets of this process and of those it started, right now."""
    mine = psutil.Process()
    family = [mine, *mine.children(recursive=True)]
    sockets = [connection for process in family for connection in sockets_of(process)]
    ends = [end.ip for connection in sockets for end in (connection.raddr or connection.laddr,) if end]
    outside = sorted({ip for ip in ends if not _loopback(ip)})
    hint = f"Connected to, or reachable from, another machine: {', '.join(outside[:3])}." if outside else ""
    return HealthCheck("Open connections", not outside, f"{len(ends) - len(outside)} on this machine, {len(outside)} beyond it", hint)


def sockets_of(process: psutil.Process) -> list[Any]:
    """The internet sockets of a process; none of one that has ended meanwhile."""
    try:
        return list(process.net_connections(kind="inet"))
    except psutil.NoSuchProcess:
        return []


def _loopback(ip: str) -> bool:
    return ip not in ("0.0.0.0", "::") and offline.is_local(ip)


def writable(workspace: Workspace) -> HealthCheck:
    """Whether a file can be written in the workspace, with the same steps as all else that is stored."""
    probe = workspace.root / "doctor-probe"
    write_atomic(probe, b"probe")
    probe.unlink()
    return HealthCheck("Workspace", True, str(workspace.root))


def datasets(workspace: Workspace) -> HealthCheck:
    """Whether each dataset's manifest can be read and its file holds the rows that the manifest names."""
    folders = workspace.finished("datasets")
    damaged = []
    for folder in folders:
        try:
            dataset = Dataset.open(folder)
            if pq.read_metadata(dataset.path).num_rows != dataset.rows:
                damaged.append(folder.name)
        except (StudioError, OSError, KeyError, ValueError):  # pyarrow's own errors are both of the last
            damaged.append(folder.name)
    hint = f"Damaged: {', '.join(damaged[:5])}. Import these files again, or restore the folders from a backup." if damaged else ""
    return HealthCheck("Datasets", not damaged, f"{len(folders) - len(damaged)} of {len(folders)} in order", hint)


REMEDIES = {
    "datasets": "import these files again, or restore the folders from a backup",
    "scores": "score the rows again",
    "teachers": "prepare the teacher again",
    "scorers": "prepare the scorer again",
    "runs": "do the run again",
    "evaluations": "evaluate the model again",
    "merged": "merge the run again",
}
"""What makes the files of a kind anew."""


def stored_files(workspace: Workspace) -> HealthCheck:
    """Whether every file of the workspace, and of what ships, still has the SHA-256 that was noted when it was written. Reads them all."""
    roots = [(kind, workspace.root / kind, remedy) for kind, remedy in REMEDIES.items()]
    roots += [("assets", ASSETS / name, "install the app again") for name in ("lab", "teachers", "scorers")]
    count, told = 0, list[str]()
    for kind, root, remedy in roots:
        listed = integrity.lists_below(root)
        count += sum(len(integrity.names(one)) for one in listed)
        bad = [damage for one in listed for damage in integrity.damages(one.parent, sums=one.name, wait=True)]
        names = ", ".join(f"{kind}/{damage.path.relative_to(root).as_posix()}" for damage in bad[:3])
        told += [f"{names}{', …' if len(bad) > 3 else ''}: {remedy}"] if bad else []
    return HealthCheck("Stored files", not told, f"{count} files with their SHA-256", f"Damaged: {'; '.join(told)}." if told else "")


def decisions(workspace: Workspace) -> HealthCheck:
    """Whether the hash chain over all decisions is unbroken: nothing was changed or removed later."""
    if not workspace.database.exists():
        return HealthCheck("Decision log", True, "empty")
    report = DecisionLog(workspace).verify()
    hint = (
        ""
        if report.ok
        else f"Entry {report.first_bad} does not fit the one before it: the log was changed. Restore studio.sqlite from a backup."
    )
    return HealthCheck("Decision log", report.ok, f"{report.entries} entries, chain {'unbroken' if report.ok else 'broken'}", hint)


def leftovers(workspace: Workspace) -> HealthCheck:
    """What interrupted work left behind; never mistaken for finished, it only takes space."""
    found = [path for depth in ("*", "*/*", "*/*/*") for path in workspace.root.glob(depth) if _LEFTOVER in path.name]
    size = sum(file.stat().st_size for path in found for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())
    names = ", ".join(str(path.relative_to(workspace.root)) for path in found[:3])
    hint = f"If nothing is running, delete: {names}{', …' if len(found) > 3 else ''}." if found else ""
    return HealthCheck("Unfinished work", True, f"{len(found)} pieces, {size / 1e6:.0f} MB", hint)
