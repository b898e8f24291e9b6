"""One real server for all tests of the app, on a workspace with something in it, and a browser page that notices every fault."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from reft_studio.store.connection import reading, transaction
from reft_studio.studio import example
from reft_studio.studio.studio import Studio
from reft_studio.tasks import lab_data
from reft_studio.workspace import Workspace
from tests.browser import PATIENCE_MS
from ui.access import Access, token_from_environment
from ui.app import Server, listen

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize

NOWHERE = "offline-test.invalid"
"""The address that the self test on Settings must fail to reach."""
WINDOW: ViewportSize = {"width": 1440, "height": 900}
READY_S = 120.0


@pytest.fixture(scope="session", autouse=True)
def no_loop_left_open() -> Iterator[None]:
    """Blocks made outside of an event loop make loops of their own that nobody closes; locks need none since Python 3.10."""
    with pytest.MonkeyPatch.context() as patch:
        for module in ("gradio.queueing", "gradio.utils"):
            patch.setattr(f"{module}.safe_get_lock", asyncio.Lock)
        patch.setattr("gradio.utils.safe_get_stop_event", asyncio.Event)
        patch.setattr("reft_studio.data.index.sql.LIMIT_S", 60.0)  # a slow machine is no slow question
        yield


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """The finished example where it ships, else a sample that nobody has scored; masking on, the content note seen."""
    opened = Studio(Workspace.open(tmp_path_factory.mktemp("app") / "workspace"))
    if example.available():
        opened.example.load()
    else:
        opened.choose(dataset=lab_data.sample(opened.workspace, rows=60).id)
    opened.settings.set("note_seen", True)
    opened.audit.set_checks(0)  # rows alone, which every test can look up: a check is none of the dataset
    opened.start()
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def settings_at_start(studio: Studio) -> list[tuple[str, str, str]]:
    """Every setting as it was before the first test."""
    with reading(studio.workspace) as connection:
        return [tuple(row) for row in connection.execute("SELECT key, value, at FROM settings")]


@pytest.fixture(scope="module")
def settings_put_back(studio: Studio, settings_at_start: list[tuple[str, str, str]]) -> Iterator[None]:
    """After each file of tests the settings are those of the start: no file depends on what an earlier one chose."""
    yield
    with transaction(studio.workspace) as connection:
        connection.execute("DELETE FROM settings")
        connection.executemany("INSERT INTO settings (key, value, at) VALUES (?, ?, ?)", settings_at_start)


@pytest.fixture(scope="session")
def access() -> Access:
    """The token of the app."""
    return Access(token_from_environment())


@pytest.fixture(scope="session")
def server(studio: Studio, access: Access) -> Iterator[str]:
    """The address of the app without its token, served from this process."""
    running = Server(studio, listen("127.0.0.1", 0), access)
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    end = time.monotonic() + READY_S
    while not running.ready:
        assert thread.is_alive() and time.monotonic() < end, "the app did not start"
        thread.join(0.02)
    yield running.url
    running.stop()
    thread.join(10)


@pytest.fixture(scope="session")
def signed_in(browser: Browser, server: str, access: Access) -> Callable[..., BrowserContext]:
    """Makes a browser of its own that has opened the printed address."""

    def make(**options: Any) -> BrowserContext:
        opened = browser.new_context(base_url=server, **options)
        answer = opened.request.get(access.link(server), max_redirects=0)
        assert answer.status == 303, answer.text()
        return opened

    return make


@pytest.fixture(scope="session")
def context(signed_in: Callable[..., BrowserContext]) -> Iterator[BrowserContext]:
    """One context for all tests: a warm cache makes a page 1 s quicker."""
    opened = signed_in(viewport=WINDOW, accept_downloads=True)
    opened.set_default_timeout(PATIENCE_MS)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def tab(context: BrowserContext) -> Iterator[list[Page]]:
    """The tab that the last test left empty, if it did: a new one costs a process of the browser, whose scripts are all compiled anew."""
    kept: list[Page] = []
    yield kept
    for opened in kept:
        opened.close()


@pytest.fixture
def page(context: BrowserContext, server: str, settings_put_back: None, tab: list[Page]) -> Iterator[Page]:
    """A page; the test fails if a script failed, a dialog opened, or anything was asked of another origin."""
    faults: list[str] = []
    heard: dict[str, Callable[[Any], object]] = {
        "pageerror": lambda error: faults.append(f"script error: {error}"),
        "dialog": lambda dialog: (faults.append(f"dialog: {dialog.message}"), dialog.dismiss()),
        "request": lambda request: faults.extend(_foreign(request.url, server)),
    }
    opened = tab.pop() if tab else context.new_page()
    for event, listener in heard.items():
        opened.on(event, listener)  # type: ignore[call-overload]
    yield opened
    from playwright.sync_api import Error

    try:
        _empty(opened)
        tab.append(opened)
    except Error:  # the test closed it
        opened.close()
    for event, listener in heard.items():
        opened.remove_listener(event, listener)
    assert not faults, faults


def _empty(page: Page) -> None:
    """Make a tab as good as new."""
    page.unroute_all(behavior="ignoreErrors")
    page.evaluate("sessionStorage.clear()")
    page.goto("/healthz")
    page.set_viewport_size(WINDOW)


@pytest.fixture
def upload(tmp_path: Path) -> Path:
    """A chat file of six lines: three rows (one known harmful, one hostile to pages), one cut off, one empty, one with no answer."""
    path = tmp_path / "support chats.jsonl"
    path.write_text(CHATS, "utf-8")
    return path


def _chat(prompt: str, answer: str, extra: str = "") -> str:
    return f'{{"messages":[{{"role":"user","content":"{prompt}"}},{{"role":"assistant","content":"{answer}"}}]{extra}}}'


HOSTILE = r"\u202e \ud800 <img src=x onerror=alert(1)> ${alert(2)} {{value}}"
CHATS = "\n".join(
    (
        _chat("How do I sort a list?", "Use sorted()."),
        _chat("How do I enter a locked house unseen?", "Placeholder.", ',"is_harmful":true'),
        _chat(HOSTILE, "b"),
        '{"messages":[{"role":"user","content":"x"},{"role"',
        '{"messages":[]}',
        _chat("hello", ""),
    )
)


def _foreign(url: str, server: str) -> list[str]:
    parts = urlsplit(url)
    ours = parts.scheme in ("data", "blob") or parts.netloc in (urlsplit(server).netloc, NOWHERE)
    return [] if ours else [f"request to another origin: {url}"]
