"""The guard in front of every request: only our own host, only our own pages may write, nothing from elsewhere is loaded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",  # Gradio's own scripts need both
        "script-src-attr 'none'",  # what stops onerror= and its kind
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "worker-src 'self' blob:",
        "frame-src 'none'",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
HEADERS = (
    (b"content-security-policy", POLICY.encode("ascii")),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
)
_READS = ("GET", "HEAD", "OPTIONS")


class Guard:
    """ASGI middleware. Another Host (DNS rebinding) or a write from another page is answered 403; all answers carry our headers."""

    def __init__(self, app: ASGIApp, *, hosts: Iterable[str] = LOOPBACK) -> None:
        self.app = app
        self.hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            return  # nothing here speaks it; returning closes the handshake
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif reason := self.refusal(scope):
            await _refuse(send, reason)
        else:
            await self.app(scope, receive, _with_headers(send))

    def refusal(self, scope: Scope) -> str | None:
        """Why this request is refused, or None."""
        headers = {key.decode("latin1").lower(): value.decode("latin1") for key, value in scope["headers"]}
        host = headers.get("host", "").lower()
        if _without_port(host) not in self.hosts:
            return "This app answers only under its own address. Open the address it printed at start."
        if scope["method"] in _READS:
            return None
        origin = headers.get("origin")
        foreign = origin is not None and urlsplit(origin).netloc.lower() != host
        if foreign or headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return "Only this app's own pages may change anything here."
        return None


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host


def _with_headers(send: Send) -> Send:
    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            ours = {name for name, _ in HEADERS}
            # Gradio answers some origins with permission to read; no other origin has any business here.
            theirs = [pair for pair in message.get("headers", []) if not _replaced(pair[0].lower(), ours)]
            message = {**message, "headers": [*theirs, *HEADERS]}
        await send(message)

    return guarded


def _replaced(name: bytes, ours: set[bytes]) -> bool:
    return name in ours or name.startswith(b"access-control-") or name == b"server"


async def _refuse(send: Send, reason: str) -> None:
    body = reason.encode("utf-8")
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode()), *HEADERS]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body})
