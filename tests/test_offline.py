"""The network guard: what the silence of all other tests, and of the self-test in doctor, is worth."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from sitecustomize import LOG_VARIABLE, guard

from reft_studio import offline
from reft_studio.offline import is_local

FAR = "192.0.2.1"  # reserved for documentation: nobody is there
DIAL = f"import socket; socket.create_connection(('{FAR}', 80), timeout=1)"


@pytest.fixture
def own_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Attempts that a test makes on purpose go here and do not fail it."""
    monkeypatch.setenv(LOG_VARIABLE, str(tmp_path / "network.log"))
    return tmp_path / "network.log"


def test_a_connection_to_another_machine_is_refused_and_noted(own_log: Path) -> None:
    with socket.socket() as mine, pytest.raises(guard.NetworkRefused):
        mine.connect((FAR, 80))
    assert FAR in own_log.read_text("utf-8")


def test_a_name_look_up_is_refused_and_noted(own_log: Path) -> None:
    with pytest.raises(guard.NetworkRefused):
        socket.getaddrinfo("example.invalid", 443)
    assert "example.invalid" in own_log.read_text("utf-8")


def test_a_process_that_a_test_starts_is_guarded_too(own_log: Path) -> None:
    done = subprocess.run([sys.executable, "-c", DIAL], capture_output=True, text=True)
    assert "NetworkRefused" in done.stderr
    assert FAR in own_log.read_text("utf-8")


def test_a_datagram_to_another_machine_is_refused_and_noted(own_log: Path) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as mine, pytest.raises(guard.NetworkRefused):
        mine.sendto(b"x", (FAR, 53))
    assert FAR in own_log.read_text("utf-8")


def test_this_machine_can_be_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname(), timeout=5) as client:
        assert client.getpeername() == server.getsockname()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost", "0.0.0.0", "::ffff:127.0.0.1", None, b"127.0.0.1"])
def test_loopback_is_this_machine(host: object) -> None:
    assert is_local(host)


@pytest.mark.parametrize(
    "host", ["10.0.0.1", "169.254.169.254", "example.invalid", "localhost.example.invalid", "127.0.0.1.example.invalid"]
)
def test_nothing_else_is_this_machine(host: object) -> None:
    assert not is_local(host)


def test_the_self_test_builds_the_app_without_one_attempt(capfd: pytest.CaptureFixture[str]) -> None:
    done = subprocess.run([sys.executable, "-m", offline.__name__], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, '{"attempts": []}\n'), done.stderr
