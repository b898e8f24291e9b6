"""Free and total memory available to this process, including limits of containers and control groups. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil

_GROUPS, _CGROUP_ROOT = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
_LIMIT, _USED, _STAT = "memory.max", "memory.current", "inactive_file"
_LIMIT_V1, _USED_V1, _STAT_V1 = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"


def memory() -> tuple[float, float]:
    """Free and total bytes: of the machine, or of the tightest limit that applies to this process, such as a container's."""
    state = psutil.virtual_memory()
    free, total = float(state.available), float(state.total)
    for allowed, taken in limits():
        free, total = min(free, max(0.0, allowed - taken)), min(total, allowed)
    return free, total


def limits(groups: Path = _GROUPS, root: Path = _CGROUP_ROOT) -> Iterator[tuple[float, float]]:
    """Limit and usage in bytes of each control group of this process; cached files do not count as usage."""
    try:
        lines = groups.read_text("utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        kinds, _, inside = rest.partition(":")
        if not kinds:
            yield from _along(root, inside, (_LIMIT, _USED, _STAT))
        elif "memory" in kinds.split(","):
            yield from _along(root / "memory", inside, (_LIMIT_V1, _USED_V1, _STAT_V1))


def _along(root: Path, inside: str, names: tuple[str, str, str]) -> Iterator[tuple[float, float]]:
    """The limits on the path from `root` to a group. Inside a container the group's outer name does not exist, and `root` is its own."""
    limit, used, cached = names
    folder = root
    for part in ("", *(part for part in inside.split("/") if part not in {"", "."})):
        folder = folder / part
        try:
            allowed, taken = float((folder / limit).read_text("ascii")), float((folder / used).read_text("ascii"))
            stat = dict(line.split(maxsplit=1) for line in (folder / "memory.stat").read_text("ascii").splitlines())
        except (OSError, ValueError):  # no such group here, or its limit is the word "max"
            continue
        yield allowed, taken - float(stat.get(cached, 0))
