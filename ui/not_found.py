"""What a browser sees at an address that is none of the app's: a page in words that leads home."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING
from urllib.parse import unquote

from ui.shell import style_and_script
from ui.text import show

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LAYOUT = """html:root { background: none; }
.lost.rs-card { max-width: 560px; margin: 16vh auto 0; display: flex; flex-direction: column; align-items: flex-start; gap: 14px; }
.lost h1 { margin: 0; font-size: 22px; font-weight: 620; line-height: 1.25; overflow-wrap: anywhere; }
.lost p { margin: 0; line-height: 1.5; color: var(--rs-muted); }"""


class NotFound:
    """ASGI middleware inside the guard: a 404 to a browser that opens a page becomes ours; scripts and files get theirs as it is."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, _in_words(scope, send) if _opens_page(scope) else send)


def not_found_page(path: str) -> bytes:
    """The page for an address without one, in the app's own look; the path is shown as text."""
    shown = html.escape(show(unquote(path), 120))
    head = f'<meta charset="utf-8"><title>Not found · ReFT Studio</title><style>{_LAYOUT}</style>'
    body = (
        f'<div class="gradio-container"><main class="lost rs-card"><h1>There is no page {shown} here</h1>'
        "<p>The address may be mistyped, or come from another version of the app. Your data is as it was.</p>"
        '<a class="rs-button" data-kind="primary" href="/">Go to Home</a></main></div>'
    )
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{style_and_script()}{body}</body></html>'.encode()


def _opens_page(scope: Scope) -> bool:
    if scope["type"] != "http" or scope["method"] != "GET":
        return False
    return any(name.lower() == b"accept" and b"text/html" in value for name, value in scope["headers"])


def _in_words(scope: Scope, send: Send) -> Send:
    """`send` with the body of a 404 replaced by our page."""
    replaced = False

    async def answer(message: Message) -> None:
        nonlocal replaced
        if message["type"] == "http.response.start" and message["status"] == 404:
            replaced = True
            body = not_found_page(scope["path"])
            headers = [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", str(len(body)).encode("ascii"))]
            await send({**message, "headers": headers})
            await send({"type": "http.response.body", "body": body})
        elif not replaced:
            await send(message)

    return answer
