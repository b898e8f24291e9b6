"""Nothing leaves this machine: a guard that refuses and notes every attempt, and the self-test that `doctor` shows.

python -m reft_studio.offline      starts the app's code under the guard and prints what it tried, as JSON
"""

from __future__ import annotations

import ipaddress
import json
import os
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

_LOOK_UPS = {"socket.getaddrinfo": "look up", "socket.gethostbyname": "look up", "socket.gethostbyaddr": "look up"}
_ATTEMPTS = {"socket.connect": "connect to", "socket.sendto": "send to", "socket.sendmsg": "send to", **_LOOK_UPS}
"""Audit events of Python's socket module, and what each does."""


ASKED = "asks_hub"
"""Parameter of a job for which a person asked the model hub for something."""
_BY_DEFAULT = "REFT_STUDIO_OFFLINE_BY_DEFAULT"
"""Set beside HF_HUB_OFFLINE=1 when nobody but this app has set that."""


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
    """Refuse every connection, datagram and name look-up of this process that is not for this machine, until the process ends.

    `note` is called with one line for each attempt, since code may swallow the error (telemetry does). It sees what Python's sockets
    do; a library that calls the operating system by itself is out of its reach.
    """

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        host = _host(event, arguments) if event.startswith("socket.") else None
        if host is not None and not is_local(host):
            note(f"{_ATTEMPTS[event]} {host}")
            raise NetworkRefused(f"No network is used here, but something wanted to {_ATTEMPTS[event]} {host}.")

    sys.addaudithook(refuse)


def enforce_by_default() -> None:
    """Enforce it in this process unless HF_HUB_OFFLINE is set to 0, as someone does who loads a model by its Hub id."""
    if "HF_HUB_OFFLINE" not in os.environ:
        os.environ |= {"HF_HUB_OFFLINE": "1", _BY_DEFAULT: "1"}
    if _is_on(os.environ["HF_HUB_OFFLINE"]):
        enforce(_say)


def by_choice() -> bool:
    """Whether a person set HF_HUB_OFFLINE: then nothing is fetched by itself either."""
    return _is_on(os.environ.get("HF_HUB_OFFLINE", "0")) and _BY_DEFAULT not in os.environ


def is_on() -> bool:
    """Whether nothing may be asked of the model hub, by choice or by default."""
    return _is_on(os.environ.get("HF_HUB_OFFLINE", "0"))


def allow_hub() -> None:
    """Let this process ask the model hub, for a job in which a person asked for just that; a person's own HF_HUB_OFFLINE=1 holds."""
    if not by_choice():
        os.environ["HF_HUB_OFFLINE"] = "0"


def _is_on(value: str) -> bool:
    return value.lower() in ("1", "true", "yes", "on")


def _say(attempt: str) -> None:
    sys.stderr.write(f"Refused: {attempt}. Set HF_HUB_OFFLINE=0 to load a model by its Hub id.\n")


def _host(event: str, arguments: tuple[Any, ...]) -> object:
    """The other end of a socket event, or None if it has none, as a UNIX socket and an event that only asks."""
    if event not in _ATTEMPTS:
        return None
    if event in _LOOK_UPS:
        return arguments[0] or "localhost"
    address = arguments[1]
    return address[0] if isinstance(address, tuple) and address and isinstance(address[0], str | bytes) else None


def main() -> int:
    """Build the whole app on an empty workspace under the guard; prints {"attempts": [...]}. Returns 0 if there was none."""
    attempts: list[str] = []
    enforce(attempts.append)
    with tempfile.TemporaryDirectory(prefix="reft-studio-offline-") as folder:
        studio_module, workspace_module, app = (
            import_module(name) for name in ("reft_studio.studio.studio", "reft_studio.workspace", "ui.app")
        )
        app.application(studio_module.Studio(workspace_module.Workspace.open(Path(folder))), access=None)
    print(json.dumps({"attempts": attempts}))
    return 1 if attempts else 0


if __name__ == "__main__":
    sys.exit(main())
