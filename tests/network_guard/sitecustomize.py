"""Refuses every connection and name look-up that would leave this machine, and notes it down.

Python imports a module of this name by itself if its folder is on PYTHONPATH: so the guard is in every Python process that the tests
start, workers included, before any other code runs.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
from typing import Any

LOG_VARIABLE = "REFT_STUDIO_NETWORK_LOG"
"""Environment variable with the file that attempts are appended to, one a line."""


class NetworkRefused(ConnectionError):
    """Code under test wanted to reach another machine."""


def is_local(host: object) -> bool:
    """Whether a host is this machine, by loopback or unspecified address."""
    text = host.decode("ascii", "replace") if isinstance(host, bytes) else str(host)
    if text in ("", "None", "localhost"):
        return True
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def refuse(what: str, host: object) -> None:
    """Note an attempt and raise; nothing happens for this machine itself."""
    if is_local(host):
        return
    line = f"{what} {host} by {' '.join(sys.argv[:3])[:200]}\n"
    if log := os.environ.get(LOG_VARIABLE):
        with open(log, "a", encoding="utf-8") as file:
            file.write(line)
    raise NetworkRefused(f"The tests allow no network: {line.strip()}")


def install() -> None:
    """Put the guard over the standard library's socket; a second call changes nothing."""
    if getattr(socket, "reft_studio_guard", False):
        return
    connect, connect_ex, sendto = socket.socket.connect, socket.socket.connect_ex, socket.socket.sendto
    look_up = socket.getaddrinfo

    def guarded_connect(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            refuse("connect", address[0])
        connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            refuse("connect", address[0])
        return connect_ex(self, address)

    def guarded_sendto(self: socket.socket, data: Any, *rest: Any) -> int:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            refuse("sendto", rest[-1][0])
        return sendto(self, data, *rest)

    def guarded_look_up(host: Any, *rest: Any, **options: Any) -> Any:
        refuse("look-up", host)
        return look_up(host, *rest, **options)

    socket.socket.connect = guarded_connect  # type: ignore[method-assign,assignment]
    socket.socket.connect_ex = guarded_connect_ex  # type: ignore[method-assign,assignment]
    socket.socket.sendto = guarded_sendto  # type: ignore[method-assign,assignment]
    socket.getaddrinfo = guarded_look_up
    socket.reft_studio_guard = True  # type: ignore[attr-defined]


install()
