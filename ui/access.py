"""Who may use the app: whoever has the address that was printed at start. Its token is traded for a cookie that scripts cannot read."""

from __future__ import annotations

import hmac
import os
import re
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, urlencode

from reft_studio.errors import SpecError

VARIABLE = "REFT_STUDIO_TOKEN"
"""Environment variable with a token of one's own, for scripts; a new one is drawn at each start without it."""
PARAMETER = "token"
SHORTEST = 16
_TOKEN = re.compile(r"[A-Za-z0-9_.~-]+", re.ASCII)
Headers = list[tuple[bytes, bytes]]

NO_TOKEN = (
    "Started with --no-token: every user and every program of this machine can open this app, read its data, change decisions "
    "and read any file that you can read."
)
SIGN_IN = (
    "This app is open only to whoever has the address it printed when it was started: look in the terminal for "
    "'ReFT Studio is at http://…?token=…' and open that whole address. If it worked in this browser before, the app was started anew "
    "since then, or you followed a link of another page: reload this page, or open the address again."
)


class Answer(NamedTuple):
    """What is answered instead of a page."""

    status: int
    headers: Headers
    body: bytes


def token_from_environment() -> str:
    """The token of `REFT_STUDIO_TOKEN`, which is taken out of the environment so that no worker inherits it; without one, a new token.

    Raises SpecError if it is too short to withstand guessing or holds signs that an address does not.
    """
    given = os.environ.pop(VARIABLE, "")
    if not given:
        return secrets.token_urlsafe(32)
    if len(given) < SHORTEST or not _TOKEN.fullmatch(given):
        raise SpecError(
            f"{VARIABLE} has {len(given)} characters, of which some may not be in an address: it needs at least {SHORTEST} of "
            "A-Z a-z 0-9 _ . ~ -. Make one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'"
        )
    return given


class Access:
    """The token of one start, and the cookie it is traded for; both are compared in constant time.

    The cookie's value is drawn anew at each start: browsers send it to every port of this machine, and a value that another program
    there has read is worth nothing after a restart. Its name holds the port, so that two apps on one machine do not overwrite theirs.
    """

    def __init__(self, token: str) -> None:
        self.token = token
        self._session = secrets.token_urlsafe(32)

    def link(self, url: str) -> str:
        """The address that opens the app."""
        return f"{url}/?{PARAMETER}={quote(self.token)}"

    def allowed(self, host: str, headers: Headers) -> bool:
        """Whether a request brings the cookie, or the token as `Authorization: Bearer TOKEN`."""
        mine = cookie_name(host)
        for name, value in headers:
            text = value.decode("latin1")
            if name == b"authorization" and text[:7].lower() == "bearer " and _same(text[7:].strip(), self.token):
                return True
            # all of them: a program on another port may have set one of the same name beside it
            if name == b"cookie" and any(_same(given, self._session) for key, given in _pairs(text) if key == mine):
                return True
        return False

    def sign_in(self, host: str, path: str, query: bytes, *, elsewhere: bool) -> Answer | None:
        """If the query holds the right token: the cookie, and the way to the same address without the token; else None.

        `elsewhere`: the browser comes from another site or a file. A redirect would then go without the new cookie (it is strict), so a
        page of our own goes on by itself.
        """
        pairs = parse_qsl(query.decode("latin1"), keep_blank_values=True)
        given = [value for key, value in pairs if key == PARAMETER]
        if len(given) != 1 or not _same(given[0], self.token):
            return None
        rest = urlencode([pair for pair in pairs if pair[0] != PARAMETER])
        target = "/" + quote(path.lstrip("/\\"), safe="/-._~=") + (f"?{rest}" if rest else "")
        cookie = f"{cookie_name(host)}={self._session}; Path=/; HttpOnly; SameSite=Strict"
        headers = [(b"set-cookie", cookie.encode("latin1")), (b"cache-control", b"no-store")]
        if not elsewhere:
            return Answer(303, [*headers, (b"location", target.encode("ascii"))], b"")
        escaped = target.replace("&", "&amp;").replace('"', "%22")
        body = f'<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0;url={escaped}"><title>ReFT Studio</title>'
        return Answer(200, [*headers, (b"content-type", b"text/html; charset=utf-8")], body.encode("utf-8"))


def cookie_name(host: str) -> str:
    """The cookie of the app at this Host, by its port as the browser sees it (which a forwarded port may change)."""
    port = host.rpartition(":")[2]
    return f"reft-studio-{port}" if port.isascii() and port.isdecimal() else "reft-studio-80"


def refusal_page(reason: str) -> bytes:
    """A short page in words; `reason` is a sentence of ours."""
    style = "body{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:15vh auto;padding:0 1.5rem;color:#222;background:#fafafa}"
    dark = "@media(prefers-color-scheme:dark){body{color:#ddd;background:#161616}}"
    escaped = reason.replace("&", "&amp;").replace("<", "&lt;")
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>ReFT Studio: not opened</title><style>{style}{dark}</style>'
    return f"{head}<h1>This page was not opened</h1><p>{escaped}</p></html>".encode()


def opening_file(link: str) -> Path:
    """A page that only this user can read and that leads to `link`: what a browser is started with is seen by every user of a machine.

    It lies in the home folder, since a browser that is confined to it (a snap) sees neither /tmp nor hidden folders.
    """
    page = f'<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0;url={link}"><title>ReFT Studio</title>'
    for folder in (str(Path.home()), None):
        with suppress(OSError):
            file, name = tempfile.mkstemp(prefix="reft-studio-open-", suffix=".html", dir=folder)  # mode 0600
            with os.fdopen(file, "w", encoding="utf-8") as stream:
                stream.write(page)
            return Path(name)
    raise SpecError(f"No page could be written to open the browser with. Open this address yourself: {link}")


def _same(given: str, right: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), right.encode("utf-8"))


def _pairs(cookie: str) -> list[tuple[str, str]]:
    parts = (part.strip().partition("=") for part in cookie.split(";"))
    return [(name, value) for name, _, value in parts]
