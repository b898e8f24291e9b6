"""Free memory is what this process may still take: the machine's, or what its container or control group leaves of it."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from reft_studio.models import machine

GB = 10**9


def group(folder: Path, *, limit: str, used: int, cached: int, names: tuple[str, str, str] = ("memory.max", "memory.current", "")) -> None:
    """The files of a control group of version 2, or of version 1 by its names and prefix."""
    folder.mkdir(parents=True, exist_ok=True)
    limits, usage, prefix = names
    (folder / limits).write_text(f"{limit}\n")
    (folder / usage).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{prefix}inactive_file {cached}\n")


def test_every_group_on_the_way_to_this_process_limits_it_and_cached_files_are_not_taken(tmp_path: Path) -> None:
    groups, places = tmp_path / "cgroup", tmp_path / "fs"
    groups.write_text("0::/user.slice/job.scope\n")
    group(places / "user.slice", limit=str(64 * GB), used=40 * GB, cached=10 * GB)
    group(places / "user.slice" / "job.scope", limit="max", used=GB, cached=0)
    assert list(machine.limits(groups, places)) == [(64 * GB, 30 * GB)]


def test_inside_a_container_the_top_is_its_own_group(tmp_path: Path) -> None:
    groups, places = tmp_path / "cgroup", tmp_path / "fs"
    groups.write_text("0::/docker/0123\n")
    group(places, limit=str(8 * GB), used=3 * GB, cached=GB)
    assert list(machine.limits(groups, places)) == [(8 * GB, 2 * GB)]


def test_the_older_version_of_groups_is_read_too(tmp_path: Path) -> None:
    groups, places = tmp_path / "cgroup", tmp_path / "fs"
    groups.write_text("12:cpu,cpuacct:/a\n4:memory:/docker/0123\n1:name=systemd:/b\n")
    older = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
    group(places / "memory", limit=str(16 * GB), used=6 * GB, cached=2 * GB, names=older)
    assert list(machine.limits(groups, places)) == [(16 * GB, 4 * GB)]


def test_a_machine_without_groups_has_no_limit_but_its_own(tmp_path: Path) -> None:
    assert list(machine.limits(tmp_path / "none", tmp_path)) == []


def test_the_tightest_limit_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "limits", lambda: iter([(3e5, 1e5), (1e18, 1.0), (4e5, 5e5)]))
    assert machine.memory() == (0.0, 3e5), "a group that has taken more than it may leaves nothing"
    monkeypatch.setattr(machine, "limits", lambda: iter([(1e18, 1.0)]))
    assert machine.memory()[1] == psutil.virtual_memory().total
