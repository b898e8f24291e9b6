"""The app: every page as a route behind the guard, on one local address."""

from __future__ import annotations

import asyncio
import errno
import importlib
import logging
import os
import socket
import threading
import warnings
import webbrowser
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
import uvicorn
from fastapi import FastAPI
from starlette.responses import PlainTextResponse

from reft_studio.errors import PrerequisiteError, SpecError
from ui import offline, shell, vendor
from ui.access import NO_TOKEN, Access, opening_file, token_from_environment
from ui.fast_import import one_app
from ui.guard import LOOPBACK, RequestGuard
from ui.not_found import NotFound
from ui.theme import theme

if TYPE_CHECKING:
    from starlette.requests import Request

    from reft_studio.studio.studio import Studio

LOG = logging.getLogger("reft_studio.ui")
PORT = 7860
OPENING_S = 60.0
"""How long the page that holds the token stays for the browser to open."""
TRIES = 40
"""Ports tried after the first when nobody asked for a certain one."""
UPLOAD_LIMIT = "2gb"
_HOURLY, _DAILY = 3600, 86400


def build(studio: Studio) -> gr.Blocks:
    """All pages as one Gradio app; every page is a route, so the first one opens without waiting for the others' widgets."""
    with one_app():
        with gr.Blocks(title="ReFT Studio", analytics_enabled=False, fill_width=True, delete_cache=(_HOURLY, _DAILY)) as demo:
            _draw(studio, shell.PAGES[0])
        for page in shell.PAGES[1:]:
            with demo.route(page.title, page.path, show_in_navbar=False):
                _draw(studio, page)
        # as launch() sets it: only then does gradio refuse a file that a browser names by its path and that was never uploaded
        demo.has_launched = True
        return demo.queue(default_concurrency_limit=8, max_size=64)


def application(studio: Studio, *, access: Access | None, hosts: tuple[str, ...] = LOOPBACK) -> FastAPI:
    """The guarded ASGI app, for whoever has the token of `access` (None: for everyone on this machine).

    Uploads go to a folder of the workspace that only this user may read.
    """
    _refuse_sharing()
    offline.watch()
    offline.never_fetch()
    uploads = studio.workspace.root / "uploads" / "incoming"
    uploads.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.environ["GRADIO_TEMP_DIR"] = str(uploads)
    bare: dict[str, Any] = {"openapi_url": None, "docs_url": None, "redoc_url": None}
    app = FastAPI(**bare)
    app.add_route("/healthz", _healthy)
    app.add_route(vendor.ROUTE, vendor.serve)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="SSR mode is not supported")  # it is off, which gradio still warns about
        _mount(app, studio, bare)
    app.add_middleware(NotFound)
    app.add_middleware(RequestGuard, hosts=hosts, access=access)
    return app


def _mount(app: FastAPI, studio: Studio, bare: dict[str, Any]) -> None:
    gr.mount_gradio_app(
        app,
        build(studio),
        path="/",
        server_name="127.0.0.1",
        footer_links=[],
        run_history=False,
        app_kwargs=bare,
        allowed_paths=[],
        blocked_paths=_private(studio),
        show_error=False,
        max_file_size=UPLOAD_LIMIT,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=theme(),
        head=shell.style_and_script(),
    )


def serve(
    studio: Studio,
    host: str = "127.0.0.1",
    port: int | None = None,
    open_browser: bool = True,
    when_ready: Callable[[], object] | None = None,
    token: bool = True,
) -> None:
    """Run the app until it is interrupted. `port` None: 7860 or the next free one; `when_ready` is called once it listens.

    Without `token` every user of this machine may use it, which is said on the terminal. Raises SpecError for an address other
    machines could reach or a token that is none, PrerequisiteError if the port that was asked for is taken.
    """
    require_loopback(host)
    access = Access(token_from_environment()) if token else None
    server = Server(studio, listen(host, port), access)
    print(f"ReFT Studio is at {server.link}   (stop with Ctrl+C)", flush=True)
    if access is None:
        print(NO_TOKEN, flush=True)
    if (owner := studio.workspace.ownership) is not None and not owner.mine():
        print(f"Read only: {owner.other()}", flush=True)
    with ExitStack() as after:
        for action in ((lambda: _open_browser(server.link, access, after)) if open_browser else None, when_ready):
            if action is not None:
                threading.Thread(target=server.when_ready, args=(action,), daemon=True).start()
        try:
            server.run()
        except KeyboardInterrupt:
            print("Stopped. Work that is running goes on and is found again at the next start.", flush=True)


def _open_browser(link: str, access: Access | None, after: ExitStack) -> None:
    """Open the browser; the page that holds the token is gone when the app ends."""
    if access is None:
        webbrowser.open(link)
        return
    page = opening_file(link)
    after.callback(page.unlink, missing_ok=True)
    webbrowser.open(page.as_uri())
    expiry = threading.Timer(OPENING_S, page.unlink, kwargs={"missing_ok": True})  # a signal may end the app without `after`
    expiry.daemon = True
    expiry.start()


class Server:
    """One uvicorn server for the app on a listening socket, which a test can run in a thread."""

    def __init__(self, studio: Studio, socket_: socket.socket, access: Access | None) -> None:
        host, port = socket_.getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self.link = access.link(self.url) if access else self.url
        self._studio, self._socket, self._access = studio, socket_, access
        self._server: uvicorn.Server | None = None
        self._stopped = threading.Event()

    def run(self) -> None:
        """Build the app and serve it until `stop` or Ctrl+C."""
        try:
            asyncio.run(self._run())
        finally:
            self._stopped.set()
            self._socket.close()

    async def _run(self) -> None:
        # Built while a loop runs: outside of one, gradio makes event loops of its own and leaves them open.
        config = uvicorn.Config(application(self._studio, access=self._access), log_level="warning", access_log=False, ws="none")
        config.server_header = False
        config.timeout_graceful_shutdown = 2  # pages keep an event stream open, which would hold the exit
        self._server = uvicorn.Server(config)
        if not self._stopped.is_set():
            await self._server.serve([self._socket])

    @property
    def ready(self) -> bool:
        return self._server is not None and self._server.started

    def stop(self) -> None:
        self._stopped.set()
        if self._server is not None:
            self._server.should_exit = True

    def when_ready(self, action: Callable[[], object]) -> None:
        """Do something as soon as the server listens; if it never does, nothing happens."""
        while not self.ready:
            if self._stopped.wait(0.05):
                return
        action()


def require_loopback(host: str) -> None:
    """Refuse an address that other machines can reach, since there is no login yet."""
    if host not in ("127.0.0.1", "localhost", "::1"):
        raise SpecError(
            f"host is '{host}', which other machines can reach, and this app has no login yet. Use 127.0.0.1. "
            "To look at it from elsewhere, forward the port: ssh -L 7860:127.0.0.1:7860 USER@THIS-MACHINE"
        )


def listen(host: str, port: int | None) -> socket.socket:
    """A listening socket on `port`; without one, on the first free port from 7860 on. It is ours from here on, while pages are built.

    Raises PrerequisiteError if the port is taken, naming a free one.
    """
    if port is not None:
        taken = _listen(host, port)
        if taken is not None:
            return taken
    for candidate in range(PORT if port is None else port + 1, 65536)[:TRIES]:
        found = _listen(host, candidate)
        if found is not None and port is None:
            return found
        if found is not None:
            found.close()
            raise PrerequisiteError(f"Port {port} is taken by another program. Port {candidate} is free: use --port {candidate}.")
    raise PrerequisiteError(f"Port {port or PORT} and the {TRIES} after it are taken by other programs. Name another with --port.")


def _listen(host: str, port: int) -> socket.socket | None:
    """A listening socket, or None if the port is taken."""
    # with its protocol named, asyncio sends each part of an answer at once; else the body waits 40 ms for the browser's word on the headers
    opened = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name != "nt":  # there it would let two programs share the port; here it only skips the wait after a restart
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((host, port))
        opened.listen(128)
    except OSError as exc:
        opened.close()
        if exc.errno in (errno.EADDRINUSE, errno.EACCES):
            return None
        raise PrerequisiteError(f"The address {host}:{port} cannot be used ({exc.strerror}). Use --host 127.0.0.1.") from exc
    return opened


def _draw(studio: Studio, page: shell.Page) -> None:
    gr.Navbar(visible=False)
    shell.draw(studio, page)
    with shell.content():
        shell.heading(page)
        importlib.import_module(page.module).build(studio)


def _refuse_sharing() -> None:
    if os.environ.get("GRADIO_SHARE", "").lower() not in ("", "0", "false"):
        raise SpecError("GRADIO_SHARE is set, which would publish this app and its data on the internet. Unset it and start again.")


def _private(studio: Studio) -> list[str]:
    """Folders whose files are never handed out by path."""
    root: Path = studio.workspace.root
    return [str(root / name) for name in ("studio.sqlite", "datasets", "teachers", "scores", "runs", "evaluations", "jobs")]


async def _healthy(request: Request) -> PlainTextResponse:
    return PlainTextResponse("ok")
