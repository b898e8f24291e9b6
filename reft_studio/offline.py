"""Nothing leaves this machine: a guard that refuses and notes every attempt, and the self-test that `doctor` shows.

python -m reft_studio.offline      starts the app's code under the guard and prints what it tried, as JSON
"""

from __future__ import annotations

import ipaddress
import json
import socket
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

_INTERNET = (socket.AF_INET, socket.AF_INET6)
_MARK = "reft_studio_guard"


class NetworkRefused(ConnectionError):
    """Code wanted to reach another machine."""


def is_local(host: object) -> bool:
    """Whether a host is this machine: localhost, or a loopback or unspecified address. Anything else is not, names included."""
    text = host.decode("ascii", "replace") if isinstance(host, bytes) else str(host or "")
    if text in ("", "localhost"):
        return True
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)  # Python 3.11 does not call ::ffff:127.0.0.1 a loopback address
    return (mapped or address).is_loopback or address.is_unspecified


def enforce(note: Callable[[str], None]) -> None:
    """Refuse every connection, datagram and name look-up of this process that is not for this machine, from now on.

    `note` is called with one line for each attempt, since code may swallow the error (telemetry does). It covers Python's own
    sockets; a library that calls the system itself is out of its reach. A second call changes nothing.
    """
    if getattr(socket, _MARK, False):
        return

    def refuse(what: str, host: object) -> None:
        if not is_local(host):
            note(f"{what} {host}")
            raise NetworkRefused(f"No network is used here, but something wanted to {what} {host}.")

    real = socket.socket
    connect, connect_ex, send, look_up = real.connect, real.connect_ex, real.sendto, socket.getaddrinfo

    def guarded_connect(self: socket.socket, address: Any) -> None:
        if self.family in _INTERNET:
            refuse("connect to", address[0])
        connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        if self.family in _INTERNET:
            refuse("connect to", address[0])
        return connect_ex(self, address)

    def guarded_send(self: socket.socket, data: Any, *rest: Any) -> int:
        if self.family in _INTERNET:
            refuse("send to", rest[-1][0])
        return send(self, data, *rest)

    def guarded_look_up(host: Any, *rest: Any, **options: Any) -> Any:
        refuse("look up", host)
        return look_up(host, *rest, **options)

    for owner, name, guarded in (
        (real, "connect", guarded_connect),
        (real, "connect_ex", guarded_connect_ex),
        (real, "sendto", guarded_send),
        (socket, "getaddrinfo", guarded_look_up),
    ):
        setattr(owner, name, guarded)
    setattr(socket, _MARK, True)


def main() -> int:
    """Build the whole app on an empty workspace under the guard; prints {"attempts": [...]}. Returns 0 if there was none."""
    attempts: list[str] = []
    enforce(attempts.append)
    with tempfile.TemporaryDirectory(prefix="reft-studio-offline-") as folder:
        studio_module, workspace_module, app = (import_module(name) for name in ("reft_studio.studio", "reft_studio.workspace", "ui.app"))
        app.application(studio_module.Studio(workspace_module.Workspace.open(Path(folder))))
    print(json.dumps({"attempts": attempts}))
    return 1 if attempts else 0


if __name__ == "__main__":
    sys.exit(main())
