"""The guard in front of every request: only our own host, our own pages, and whoever has the token; nothing from elsewhere is loaded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ui.access import SIGN_IN, Access, Answer, Headers, refusal_page

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
OPEN = "/healthz"
"""The one path that needs no token: it says "ok" and nothing else."""
_UNASKED = ("info", "openapi.json", "api/", "call/", "proxy=", "run-history", "runs", "vibe-", "undo-vibe-", "profiling", "dev/")
_ALWAYS = ("/docs", "/redoc", "/monitoring", "/gradio_api/deep_link", "/gradio_api/process_recording")
CLOSED = (*_ALWAYS, *(f"{before}{name}" for name in _UNASKED for before in ("/gradio_api/", "/")))
"""Beginnings of paths of the toolkit that no page of ours asks for: descriptions of the API, calls by name, fetching for others."""


class RequestGuard:
    """ASGI middleware in front of every route; all answers carry our headers.

    Answered 403: another Host (DNS rebinding) or two of them, another page's request or one of two origins, and, with `access`,
    whoever brings neither its cookie nor its token. `access` None leaves the app open to every program of this machine.
    """

    def __init__(self, app: ASGIApp, *, hosts: Iterable[str] = LOOPBACK, access: Access | None = None) -> None:
        self.app = app
        self.hosts = frozenset(host.lower() for host in hosts)
        self.access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            return  # nothing here speaks it; returning closes the handshake
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif answer := self.answer(scope):
            await _send(send, answer)
        else:
            await self.app(scope, receive, _with_headers(send))

    def answer(self, scope: Scope) -> Answer | None:
        """What is answered in place of the app; None lets the request through."""
        headers: Headers = [(name.lower(), value) for name, value in scope["headers"]]
        if reason := self.refusal(scope, headers):
            return _refused(reason, headers)
        path: str = scope["path"]
        if path != OPEN and self.access is not None:
            host, elsewhere = _one(headers, b"host"), _site(headers) not in ("same-origin", "none")
            reads = scope["method"] in ("GET", "HEAD")
            if reads and (signed_in := self.access.sign_in(host, path, scope["query_string"], elsewhere=elsewhere)):
                return signed_in
            if not self.access.allowed(host, headers):
                return _refused(SIGN_IN, headers)
        return Answer(404, [(b"content-type", _TEXT)], b"Not served here.") if path.startswith(CLOSED) else None

    def refusal(self, scope: Scope, headers: Headers) -> str | None:
        """Why this request is refused whoever sends it, or None."""
        if any(sum(name == key for name, _ in headers) > 1 for key in (b"host", b"origin", b"sec-fetch-site")):
            return "This request names two hosts or two origins."
        host = _one(headers, b"host").lower()
        if _without_port(host) not in self.hosts:
            return "This app answers only under its own address. Open the address it printed at start."
        origin = _one(headers, b"origin").lower()
        foreign = origin not in ("", f"{scope.get('scheme', 'http')}://{host}")
        # a link of another page may be followed, and brings no cookie; nothing else may come from there
        follows = scope["method"] == "GET" and _one(headers, b"sec-fetch-mode") == "navigate"
        if foreign or (_site(headers) not in ("same-origin", "none") and not follows):
            return "Only this app's own pages may ask for anything here."
        return None


_TEXT = b"text/plain; charset=utf-8"


def _one(headers: Headers, key: bytes) -> str:
    return next((value.decode("latin1") for name, value in headers if name == key), "")


def _site(headers: Headers) -> str:
    """Where the browser says that the request comes from; programs that are no browser say nothing."""
    return _one(headers, b"sec-fetch-site") or "none"


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isascii() and port.isdecimal() else host


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


def _refused(reason: str, headers: Headers) -> Answer:
    """A page for a browser that opens one, else the sentence alone."""
    if "text/html" in _one(headers, b"accept"):
        return Answer(403, [(b"content-type", b"text/html; charset=utf-8")], refusal_page(reason))
    return Answer(403, [(b"content-type", _TEXT)], reason.encode("utf-8"))


async def _send(send: Send, answer: Answer) -> None:
    headers = [*answer.headers, (b"content-length", str(len(answer.body)).encode()), *HEADERS]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
