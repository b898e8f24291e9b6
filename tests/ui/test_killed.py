"""What a person does while everything around a job is killed: the app in a process of its own, and its pages in a browser."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

import pytest

from reft_studio.jobs.process import Process
from reft_studio.jobs.queue import JobQueue
from reft_studio.jobs.status import read_status
from reft_studio.store import jobs as table
from reft_studio.workspace import Workspace
from tests.browser import PATIENCE_MS
from tests.ui.conftest import READY_S

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[2]
TOKEN = "a-token-of-the-tests-of-killed-apps"
TITLE = "SST-2, Ref-Teacher"


class App:
    """The served app, which may be killed and started again at the same address."""

    def __init__(self, workspace: Path) -> None:
        self.workspace = workspace
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [sys.executable, "-m", "reft_studio.cli", "serve", "--no-browser", "--no-model", "--port", str(self.port)]
        command += ["--workspace", str(self.workspace)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(self._answers, READY_S)

    def kill(self) -> None:
        """End it as a power cut does."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def _answers(self) -> bool:
        assert self.process is not None and self.process.poll() is None, "the app did not start"
        asked = Request(self.url, headers={"Authorization": f"Bearer {TOKEN}"})
        with suppress(OSError), urlopen(asked, timeout=5) as answer:
            return bool(answer.status == 200)
        return False


def until(ask: Callable[[], Any], patience_s: float = 60.0) -> Any:
    """Ask until the answer is true, and return it."""
    end = time.monotonic() + patience_s
    while not (answer := ask()):
        assert time.monotonic() < end, f"not within {patience_s} s"
        time.sleep(0.02)
    return answer


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[JobQueue]:
    """The queue of the workspace of the app; its run climbs to its end as soon as it is let go."""
    monkeypatch.setenv("REFT_STUDIO_EXTRA_KINDS", "run=job_kinds_for_tests:climbs")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "tests" / "jobs"), str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("REFT_STUDIO_TOKEN", TOKEN)
    found = JobQueue(Workspace.open(tmp_path / "workspace"), grace_s=0.5)
    yield found
    for record in table.running(found.workspace):
        if process := worker(found, record.id):
            process.kill()


def worker(queue: JobQueue, job_id: str) -> Process | None:
    """The process that works on a job now."""
    status = read_status(queue.workspace.folder("jobs", job_id), table.get(queue.workspace, job_id).attempt)
    return status.process if status and status.process.alive() else None


def test_a_run_outlives_its_page_its_app_and_its_process_while_files_are_imported(queue: JobQueue, browser: Browser, upload: Path) -> None:
    job_id = queue.submit("run", {"to": 9, "stop_at": 3}, title=TITLE)
    card = f"#train-jobs [data-job={job_id}]"
    app = App(queue.workspace.root)
    with ExitStack() as end:
        app.start()
        end.callback(lambda: app.process and app.process.kill())
        context = browser.new_context(base_url=app.url)
        end.callback(context.close)
        context.set_default_timeout(3 * PATIENCE_MS)
        page = context.new_page()
        page.goto(f"/?token={TOKEN}")
        page.goto("/train")
        page.locator(card).get_by_text("3 of 9").wait_for()
        assert page.locator(card).get_by_role("button", name="Pause this job; it keeps what it has").is_visible()

        page.goto("/data")
        page.locator("#dataset-file input[type=file]").set_input_files(upload)
        page.locator("#import-start").click()
        done = until(lambda: [job for job in queue.list() if job.kind == "import" and job.state == "done"])
        assert done and queue.get(job_id).state == "running"

        page.goto("/chat")
        page.locator(".cl-notice").get_by_text(f"Training “{TITLE}” holds the processor").wait_for()
        assert page.locator(".cl-way option").count() == 3
        page.close()

        app.kill()
        first = worker(queue, job_id)
        assert first is not None, "the run goes on without the app"
        app.start()
        page = context.new_page()
        page.goto(f"/?token={TOKEN}")
        page.goto("/train")
        page.locator(card).get_by_text("3 of 9").wait_for()

        os.kill(first.pid, signal.SIGKILL)
        page.locator(card).get_by_text("Went on after its process ended (attempt 2).").wait_for()
        (queue.workspace.folder("jobs", job_id) / "go").touch()
        page.locator(f"{card}[data-state=done]").wait_for()
        app.kill()
    assert queue.get(job_id).result == {"counted": 9}
