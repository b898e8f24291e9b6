"""What the app costs while it is asked for too much, measured from outside: `python -m tests.ui.trust_probes uploads` or `… questions`.

`uploads` looks at every file of tests/data/reading/hostile_files.py through the Data page's own event; `questions` asks sixty slow
questions in SQL at once. Meanwhile `/healthz` and the state of the frame are asked again and again, and the memory of the app and of
its children is read. It prints Markdown; docs/results/trust-boundary.md holds what it printed.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil

from reft_studio.studio.studio import Studio
from reft_studio.workspace import Workspace
from tests.data.reading.hostile_files import MAKERS, make

QUESTIONS = 60
SLOW = "SELECT count(*) AS n, max(a.prompt || b.prompt || c.response) FROM rows a, rows b, rows c WHERE a.row_id + b.row_id > c.row_id"
EVERY_S = 0.05
Config = dict[str, Any]


@dataclass
class App:
    """A running app, as a browser that opened its address sees it."""

    client: httpx.Client
    process: psutil.Process
    idle: int = 0
    times: dict[str, list[float]] = field(default_factory=lambda: {"healthz": [], "state": []})
    """Milliseconds of each answer."""
    most: dict[str, int] = field(default_factory=lambda: {"app": 0, "all": 0})
    """The most bytes of memory since `begin`: of the app, and of it with its children."""

    def begin(self) -> None:
        """Forget what was measured."""
        self.times = {name: [] for name in self.times}
        self.most = {"app": 0, "all": 0}

    def memory(self) -> tuple[int, int]:
        """Bytes of the app now, and with its children."""
        mine = all_of_it = self.process.memory_info().rss
        for child in self.process.children(recursive=True):
            try:
                all_of_it += child.memory_info().rss
            except psutil.NoSuchProcess:
                continue  # it ended in between
        return mine, all_of_it

    def page(self, name: str) -> Config:
        """The parts and events of a page."""
        return dict(self.client.get("/config", params={"page": name}).json())

    def event(self, page: Config, elem_id: str, event: str, data: list[Any]) -> httpx.Response:
        """What a page sends when something of it is used."""
        part = next(part["id"] for part in page["components"] if part["props"].get("elem_id") == elem_id)
        call = next(call["id"] for call in page["dependencies"] if [part, event] in call["targets"])
        body = {"data": data, "fn_index": call, "session_hash": "probe", "trigger_id": part}
        return self.client.post("/gradio_api/run/predict", json=body)

    def function(self, page: Config, elem_id: str, name: str, data: dict[str, Any]) -> httpx.Response:
        """A call of a server function of a widget."""
        part = next(part["id"] for part in page["components"] if part["props"].get("elem_id") == elem_id)
        body = {"data": data, "component_id": part, "fn_name": name, "session_hash": "probe"}
        return self.client.post("/gradio_api/component_server", json=body)


@contextmanager
def running(workspace: Path) -> Iterator[App]:
    """The app in a process of its own."""
    token = secrets.token_urlsafe(32)
    command = [sys.executable, "-m", "reft_studio.cli", "serve", "--no-browser", "--no-model", "--port", "0", "--workspace", str(workspace)]
    with tempfile.TemporaryFile("w+") as told:
        process = subprocess.Popen(command, stdout=told, env={**os.environ, "REFT_STUDIO_TOKEN": token, "PYTHONUNBUFFERED": "1"})
        try:
            url = _address(process, told)
            headers = {"authorization": f"Bearer {token}"}
            with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=300) as client:
                _until_answers(client)
                yield App(client, psutil.Process(process.pid))
        finally:
            process.terminate()
            process.wait()


def _address(process: subprocess.Popen[bytes], told: Any) -> str:
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        told.seek(0)
        if "http://" in (text := told.read()):
            return "http://" + text.partition("http://")[2].partition("/")[0]
        time.sleep(0.05)
    raise RuntimeError("the app did not start")


def _until_answers(client: httpx.Client) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            if client.get("/").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise RuntimeError("the app did not answer")


@contextmanager
def watched(app: App) -> Iterator[None]:
    """Ask and measure until the block ends."""
    done = threading.Event()
    home = app.page("")

    def ask(name: str) -> None:
        with httpx.Client(base_url=app.client.base_url, headers=app.client.headers, trust_env=False, timeout=300) as client:
            mine = App(client, app.process)
            while not done.wait(EVERY_S):
                started = time.perf_counter()
                if name == "healthz":
                    assert client.get("/healthz").text == "ok"
                else:
                    assert mine.function(home, "rs-shell", "srv_state", {"dots": False}).json()["ok"]
                app.times[name].append(1000 * (time.perf_counter() - started))

    def weigh() -> None:
        while not done.wait(0.02):
            mine, everything = app.memory()
            app.most["app"], app.most["all"] = max(app.most["app"], mine), max(app.most["all"], everything)

    threads = [threading.Thread(target=ask, args=(name,)) for name in app.times] + [threading.Thread(target=weigh)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join()


def _p95(times: list[float]) -> float:
    return float(np.percentile(times, 95)) if times else float("nan")


def uploads(app: App, folder: Path) -> None:
    """Look at every hostile file."""
    page = app.page("data")
    app.client.get("/data")
    app.event(page, "source-look", "click", [str(_harmless(folder))])
    time.sleep(2)
    idle, idle_all = app.memory()
    print(f"Idle: {idle / 1e6:.0f} MB the app, {idle_all / 1e6:.0f} MB with the process that looks.\n")
    print("| file | on disk | s | app MB above idle | all MB above idle | healthz p95 ms | state p95 ms | what is said |")
    print("|---|---|---|---|---|---|---|---|")
    everything: list[float] = []
    top = [0, 0]
    for name in MAKERS:
        path = make(folder, name)
        held = path.lstat().st_blocks * 512
        app.begin()
        started = time.perf_counter()
        with watched(app):
            answer = app.event(page, "source-look", "click", [str(path)])
            seconds = time.perf_counter() - started
            while len(app.times["healthz"]) < 20:
                time.sleep(0.05)
        everything += app.times["healthz"]
        above = app.most["app"] - idle, app.most["all"] - idle_all
        top = [max(pair) for pair in zip(top, above, strict=True)]
        p95 = [f"{_p95(app.times[of]):.0f}" for of in ("healthz", "state")]
        cells = [name, f"{held / 1e3:.0f} kB", f"{seconds:.1f}", *(f"{max(0, of) / 1e6:.0f}" for of in above), *p95, _said(answer)]
        print("| " + " | ".join(cells) + " |", flush=True)
    print(f"\nAll {len(MAKERS)}: at most {top[0] / 1e6:.0f} MB (with children {top[1] / 1e6:.0f} MB) above idle; ", end="")
    print(f"healthz p95 {_p95(everything):.0f} ms of {len(everything)} answers.")


def _harmless(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "harmless.jsonl"
    path.write_text('{"prompt": "q", "response": "a"}\n', "utf-8")
    return path


def _said(answer: httpx.Response) -> str:
    """The sentence on the status line, or that rows are shown."""
    if answer.status_code != 200:
        return f"HTTP {answer.status_code}: {answer.text[:100]}"
    values = answer.json()["data"]
    lines = [value["text"] for value in values if isinstance(value, dict) and value.keys() == {"text", "kind"} and value["kind"] == "error"]
    return lines[-1].replace("|", "/") if lines else "its rows are shown"


def questions(app: App) -> None:
    """Sixty slow questions at once."""
    page = app.page("filter")
    state = app.function(page, "rs-shell", "srv_state", {"dots": False}).json()["state"]
    asked = {"dataset": state["dataset"]["id"], "key": None, "t": None, "query": SLOW, "mask": True, "reveal": False}
    with watched(app):
        time.sleep(3)
    print("| | healthz p95 ms | state p95 ms | answers |\n|---|---|---|---|")
    print(f"| idle | {_p95(app.times['healthz']):.0f} | {_p95(app.times['state']):.0f} | |")
    app.begin()

    def ask(_: int) -> str:
        answer: dict[str, Any] = app.function(page, "rows", "srv_sql", asked).json()
        return str(answer.get("error", "answered"))

    end = time.monotonic() + 25
    told: list[str] = []
    with watched(app), ThreadPoolExecutor(QUESTIONS) as crowd:
        while time.monotonic() < end:
            told += crowd.map(ask, range(QUESTIONS))
    counts = "; ".join(f"{told.count(one)} times: {one}" for one in sorted(set(told)))
    print(f"| {QUESTIONS} slow questions | {_p95(app.times['healthz']):.0f} | {_p95(app.times['state']):.0f} | {counts} |")
    print(f"\nOf {len(app.times['healthz'])} and {len(app.times['state'])} answers.")


def main() -> None:
    """Measure what is named."""
    with tempfile.TemporaryDirectory() as place:
        workspace = Workspace.open(Path(place) / "workspace")
        studio = Studio(workspace)
        studio.example.load()
        studio.settings.set("note_seen", True)
        studio.close()
        with running(workspace.root) as app:
            if sys.argv[1:] == ["questions"]:
                questions(app)
            else:
                uploads(app, Path(place) / "files")


if __name__ == "__main__":
    main()
