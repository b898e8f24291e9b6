"""Memory of this machine itself, as far as this process may use it: what is free, and what its group or container is allowed. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil

_GROUPS, _PLACES = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
_LIMIT, _USED, _STAT = "memory.max", "memory.current", "inactive_file"
_LIMIT_V1, _USED_V1, _STAT_V1 = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"


def memory() -> tuple[float, float]:
    """Free and total bytes: of the machine, or of the tightest limit that Linux holds this process to, such as a container's."""
    state = psutil.virtual_memory()
    free, total = float(state.available), float(state.total)
    for allowed, taken in limits():
        free, total = min(free, max(0.0, allowed - taken)), min(total, allowed)
    return free, total


def limits(groups: Path = _GROUPS, places: Path = _PLACES) -> Iterator[tuple[float, float]]:
    """Allowed and taken bytes of each control group that this process is in; files that are only cached do not count as taken."""
    try:
        lines = groups.read_text("utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        kinds, _, inside = rest.partition(":")
        if not kinds:
            yield from _along(places, inside, (_LIMIT, _USED, _STAT))
        elif "memory" in kinds.split(","):
            yield from _along(places / "memory", inside, (_LIMIT_V1, _USED_V1, _STAT_V1))


def _along(root: Path, inside: str, names: tuple[str, str, str]) -> Iterator[tuple[float, float]]:
    """The limits on the way from `root` to a group. Inside a container the group's outer name leads nowhere, and `root` is its own."""
    limit, used, cached = names
    place = root
    for part in ("", *(part for part in inside.split("/") if part not in {"", "."})):
        place = place / part
        try:
            allowed, taken = float((place / limit).read_text("ascii")), float((place / used).read_text("ascii"))
            stat = dict(line.split(maxsplit=1) for line in (place / "memory.stat").read_text("ascii").splitlines())
        except (OSError, ValueError):  # no such group here, or its limit is the word "max"
            continue
        yield allowed, taken - float(stat.get(cached, 0))
