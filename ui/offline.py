"""Proof that the app stays on this machine: every connection the process tries to open is seen, and those elsewhere are listed."""

from __future__ import annotations

import sys
from typing import Any, NoReturn

import gradio as gr
from gradio import processing_utils

from reft_studio.offline import is_local

_ATTEMPTS: list[str] = []
_WATCHING: list[bool] = []
KEPT = 50


def watch() -> None:
    """Start watching; once for the life of the process, since Python cannot take such a hook away again."""
    if not _WATCHING:
        _WATCHING.append(True)
        sys.addaudithook(_note)


def never_fetch() -> None:
    """A file given as an address is refused, where gradio would fetch it; pages upload files."""
    for name in ("async_ssrf_protected_get", "async_ssrf_protected_download", "ssrf_protected_download", "save_url_to_cache"):
        setattr(processing_utils, name, _refuse_address)


def watching() -> bool:
    """Whether `watch` was called in this process."""
    return bool(_WATCHING)


def attempts() -> tuple[str, ...]:
    """Addresses outside this machine that this process has tried to reach since `watch`, oldest first, at most 50."""
    return tuple(_ATTEMPTS)


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    outside = ""
    if event == "socket.connect":
        address = arguments[1]
        # A UNIX socket is a path (str or bytes), not a tuple; it cannot leave the machine.
        outside = f"{address[0]}:{address[1]}" if isinstance(address, tuple) and not is_local(address[0]) else ""
    elif event == "socket.getaddrinfo":
        outside = "" if is_local(arguments[0]) else f"name lookup of {arguments[0]}"
    if outside and len(_ATTEMPTS) < KEPT:
        _ATTEMPTS.append(outside)


def _refuse_address(*args: object, **options: object) -> NoReturn:
    raise gr.Error("A file is uploaded here, never fetched from an address.", print_exception=False)
