"""Each check of `doctor`, seen in order and out of order."""

from __future__ import annotations

import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from reft_studio import doctor
from reft_studio.data.dataset import Dataset, write_dataset
from reft_studio.errors import StoreError
from reft_studio.models import shelf
from reft_studio.models.memory import Room
from reft_studio.models.shelf import ShelfModel
from reft_studio.store.decisions import DecisionLog
from reft_studio.workspace import Workspace


def stored(workspace: Workspace, name: str = "reviews") -> Dataset:
    rows: list[Any] = [{"prompt": f"{name} {n}", "response": "fine"} for n in range(3)]
    return write_dataset(workspace, rows, name=name, role="user")


def test_all_is_well_on_an_empty_workspace_and_nothing_stays_behind(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "self_test", lambda: doctor.HealthCheck("Offline self-test", True, "0 attempts"))  # has a test of its own
    checks = doctor.examine(workspace)
    assert [check for check in checks if not check.ok] == []
    assert len({check.name for check in checks}) == len(checks) == 14
    assert list(workspace.root.iterdir()) == []


def test_a_model_whose_files_are_gone_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFT_STUDIO_MODELS", str(tmp_path / "models"))
    assert doctor.shelf_models().ok and doctor.shelf_models().value.startswith("none yet, in ")
    facts = dict.fromkeys(("title", "source", "licence", "languages", "kind", "dtype", "fingerprint", "added"), "")
    own = ShelfModel(name="mine", parameters=1, size=4_000_000_000, files={"model.safetensors": "0"}, path=str(tmp_path / "own"), **facts)
    shelf.write(tmp_path / "models" / "mine", own)
    assert not doctor.shelf_models().ok and "model remove mine" in doctor.shelf_models().hint
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "model.safetensors").touch()
    assert doctor.shelf_models().ok and "mine (4.00 GB)" in doctor.shelf_models().value


def test_versions_that_were_not_tested_together_are_named(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("# tested\npydantic==0.0.1\nno-such-package==1.0\n", "utf-8")
    check = doctor.versions(lock)
    assert not check.ok and check.value == "0 of 2 as tested"
    assert "pydantic" in check.hint and "(tested: 0.0.1)" in check.hint and "no-such-package missing" in check.hint


def test_a_build_label_is_not_another_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.importlib.metadata, "version", lambda _: "2.13.0+cpu")
    (tmp_path / "lock").write_text("torch==2.13.0\n", "utf-8")
    assert doctor.versions(tmp_path / "lock").ok


def test_a_gpu_that_pytorch_cannot_use_is_not_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_nvidia_gpus", lambda: ["NVIDIA H100, 81559 MiB"])
    monkeypatch.setattr(doctor.platform, "system", lambda: "Linux")
    monkeypatch.setattr(doctor.importlib.metadata, "version", lambda _: "2.13.0+cpu")
    assert not doctor.device().ok and "CPU build" in doctor.device().hint
    monkeypatch.setattr(doctor.importlib.metadata, "version", lambda _: "2.13.0")
    assert doctor.device() == doctor.HealthCheck("Device", True, "NVIDIA H100, 81559 MiB")


def test_little_memory_and_little_disk_say_what_to_do(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.psutil, "virtual_memory", lambda: SimpleNamespace(available=1e9, total=8e9))
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: SimpleNamespace(free=1e9))
    assert (doctor.memory().ok, doctor.memory().value) == (False, "1.0 GB free of 8.0 GB")
    assert "--workspace" in doctor.disk(workspace).hint


def test_how_large_a_model_may_be_follows_from_the_memory_that_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "room", lambda: Room("cuda:0", 20e9, 24e9))
    assert doctor.models().value == "about 7.0 billion parameters in bfloat16, 22.6 billion in 4-bit (20.0 GB free on cuda:0)"
    monkeypatch.setattr(doctor, "room", lambda: Room("cpu", 8e9, 16e9))
    assert doctor.models().value == "about 2.8 billion parameters in bfloat16 (8.0 GB free on cpu)"
    monkeypatch.setattr(doctor, "room", lambda: None)
    assert doctor.models().ok and "not known" in doctor.models().value


@pytest.mark.parametrize(
    ("printed", "ok", "said"),
    [
        ('{"attempts": []}', True, "0 attempts to reach another machine"),
        ('{"attempts": ["look up example.invalid"]}', False, "1 attempts to reach another machine"),
        ("", False, "the app could not be built"),
    ],
)
def test_the_offline_self_test_reports_what_the_app_tried(monkeypatch: pytest.MonkeyPatch, printed: str, ok: bool, said: str) -> None:
    monkeypatch.setattr(doctor.subprocess, "run", lambda *_, **__: SimpleNamespace(stdout=printed, stderr="ImportError: gone"))
    check = doctor.self_test()
    assert (check.ok, check.value) == (ok, said)
    assert "example.invalid" in check.hint or "gone" in check.hint or ok


def test_a_socket_that_other_machines_can_reach_is_found() -> None:
    assert doctor.connections().ok
    with socket.create_server(("0.0.0.0", 0)):
        check = doctor.connections()
    assert not check.ok and "0.0.0.0" in check.hint


def test_a_process_that_ended_meanwhile_has_no_sockets() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        seen = psutil.Process(child.pid)
        assert doctor.sockets_of(seen) == []
        child.communicate(b"\n")
    assert doctor.sockets_of(seen) == [] and not seen.is_running()


def test_a_damaged_dataset_is_named_and_a_sound_one_is_not(workspace: Workspace) -> None:
    sound, damaged = stored(workspace), stored(workspace, "news")
    damaged.path.write_bytes(damaged.path.read_bytes()[:-20])
    check = doctor.datasets(workspace)
    assert not check.ok and check.value == "1 of 2 in order"
    assert damaged.id in check.hint and sound.id not in check.hint


def test_a_decision_that_was_changed_later_is_found(workspace: Workspace) -> None:
    DecisionLog(workspace).decide("d", 1, "remove", reason="asks for harm")
    assert doctor.decisions(workspace).value == "1 entries, chain unbroken"
    with closing(sqlite3.connect(workspace.database)) as file:
        file.executescript("DROP TRIGGER decisions_never_change; UPDATE decisions SET reason = 'was fine'")
    assert not doctor.decisions(workspace).ok


def test_what_an_interrupted_write_left_is_counted(workspace: Workspace) -> None:
    left = workspace.root / "datasets" / "new.tmp-12345678"
    left.mkdir(parents=True)
    (left / "data.parquet").write_bytes(b"x" * 2_000_000)
    check = doctor.leftovers(workspace)
    assert check.value == "1 pieces, 2 MB" and "new.tmp-12345678" in check.hint


def test_a_check_that_fails_itself_is_one_line_and_not_the_end(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Workspace) -> doctor.HealthCheck:
        raise StoreError("studio.sqlite is damaged.")

    monkeypatch.setattr(doctor, "self_test", lambda: doctor.HealthCheck("Offline self-test", True, ""))
    monkeypatch.setattr(doctor, "decisions", refuse)
    monkeypatch.setattr(doctor, "writable", lambda _: (_ for _ in ()).throw(OSError("read-only file system")))
    bad = {check.name: check.hint for check in doctor.examine(workspace) if not check.ok}
    assert bad == {"Decision log": "studio.sqlite is damaged.", "Workspace": "OSError: read-only file system"}
