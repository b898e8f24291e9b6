"""What a person waits for in the browser, timed by the page itself: from the event to the picture that shows its effect."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.audit_scene import write_upload
from reft_studio.errors import PrerequisiteError

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

TURNS, USUAL_TURNS, UPLOADS = 60, 10, 3
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")
START_S = 120.0
TOKEN = secrets.token_urlsafe(32)
"""Of the app that is measured."""

# Runs `act`, then looks at every frame until `seen` gives another text; answers the milliseconds up to then, and up to the frame
# that shows it.
_WAIT = """
async ([act, seen]) => {
  const run = new Function(act), look = new Function('return ' + seen);
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  const before = look(), started = performance.now();
  run();
  while (look() === before) { await frame(); if (performance.now() - started > 60000) throw new Error('nothing changed'); }
  const known = performance.now() - started;
  await frame();
  return [known, performance.now() - started];
}"""


def measure(workspace: Path, dataset: str, key: str) -> dict[str, list[float]] | None:
    """{name: milliseconds of each turn}; None, said on the terminal, where there is no browser to measure with."""
    program = os.environ.get("REFT_STUDIO_CHROMIUM") or next(filter(None, map(shutil.which, PROGRAMS)), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        program = None
    if program is None:
        sys.stderr.write("No Chromium or no playwright: what the browser shows is not measured.\n")
        return None
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=FLAGS)
        with _serving("reft_studio.cli.app", "serve", "--no-browser", "--workspace", workspace, port_as="--port") as url:
            line, next_row = _line(browser, url), _next_row(browser, url)
            times = {"line": _shown(line), "next_row": _shown(next_row), "first_page": _first_page(browser, url)}
        with _serving("benchmarks.usual_app", workspace, dataset, key) as url:
            times |= {"ours": [known for known, _ in line], "usual": [known for known, _ in _usual(browser, url)]}
        browser.close()
        return times


def _shown(turns: list[tuple[float, float]]) -> list[float]:
    return [shown for _, shown in turns]


def _line(browser: Browser, url: str) -> list[tuple[float, float]]:
    page = _opened(browser, f"{url}/filter", "#threshold .th-handle")
    press = "document.querySelector('#threshold .th-handle').dispatchEvent(new KeyboardEvent('keydown', {key: 'KEY', bubbles: true}))"
    turns = ["ArrowRight" if turn % 2 else "ArrowLeft" for turn in range(TURNS)]
    return [_timed(page, press.replace("KEY", key), "document.querySelector('#threshold .th-flagged b').textContent") for key in turns]


def _next_row(browser: Browser, url: str) -> list[tuple[float, float]]:
    page = _opened(browser, f"{url}/review", "#review .rv-card [data-row]")
    press = "document.body.dispatchEvent(new KeyboardEvent('keydown', {key: '1', bubbles: true}))"
    shown = "document.querySelector('#review .rv-card [data-row]')?.dataset.row"
    return [_timed(page, press, shown) for _ in range(40)]


def _first_page(browser: Browser, url: str) -> list[float]:
    """From the choice of the file to its first rows on the page, the upload through the browser included."""
    times = []
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(UPLOADS):
            path = Path(folder) / f"upload {turn}.jsonl"
            write_upload(path, 100_000, seed=turn + 1)
            page = _opened(browser, f"{url}/data", "#dataset-file input[type=file]", visible=False)
            started = time.perf_counter()
            page.set_input_files("#dataset-file input[type=file]", path)
            page.wait_for_selector("#import-rows article", timeout=60_000)
            times.append(1000 * (time.perf_counter() - started))
            page.close()
    return times


def _usual(browser: Browser, url: str) -> list[tuple[float, float]]:
    page = _opened(browser, url, "#usual-slider input[type=range]")
    page.wait_for_function("document.querySelector('#usual-counts textarea').value !== ''", timeout=60_000)
    move = (
        "const slider = document.querySelector('#usual-slider input[type=range]'); slider.value = VALUE;"
        "slider.dispatchEvent(new Event('input', {bubbles: true})); slider.dispatchEvent(new PointerEvent('pointerup', {bubbles: true}));"
    )
    seen = "document.querySelector('#usual-counts textarea').value"
    return [_timed(page, move.replace("VALUE", str(0.01 * (turn + 1))), seen) for turn in range(USUAL_TURNS)]


def _opened(browser: Browser, url: str, wanted: str, *, visible: bool = True) -> Page:
    page = browser.new_page(viewport={"width": 1440, "height": 900}, extra_http_headers={"Authorization": f"Bearer {TOKEN}"})
    page.goto(url)
    page.wait_for_selector(wanted, state="visible" if visible else "attached", timeout=60_000)
    return page


def _timed(page: Page, act: str, seen: str) -> tuple[float, float]:
    known, shown = page.evaluate(_WAIT, [act, seen])
    return float(known), float(shown)


@contextmanager
def _serving(module: str, *arguments: Any, port_as: str | None = None) -> Iterator[str]:
    """The address of a server that runs as a process until the end of the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    command = [sys.executable, "-m", module, *map(str, arguments), *([port_as] if port_as else []), port]
    quiet = {**os.environ, "HF_HUB_OFFLINE": "1", "REFT_STUDIO_TOKEN": TOKEN}  # no model is fetched beside what is timed
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=quiet)
    try:
        yield _answering(process, f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait()


def _answering(process: subprocess.Popen[bytes], url: str) -> str:
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, headers={"Authorization": f"Bearer {TOKEN}"}), timeout=5):
                return url
        except OSError:
            time.sleep(0.05)
    raise PrerequisiteError(f"{url} did not answer within {START_S:.0f} s.")
