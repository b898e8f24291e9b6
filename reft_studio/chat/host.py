"""The app's client of the model host: starts the process when needed, streams its events, and survives its death."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

from reft_studio import threads
from reft_studio.errors import EvaluationError, PrerequisiteError
from reft_studio.jobs import devices, lease
from reft_studio.workspace import Workspace

START_S = 90.0
"""Maximum seconds until the host's first message; loading torch and a model takes most of it."""
SILENCE_S = 300.0
"""Maximum seconds between two events of a request."""
IDLE_S, WANTED_S = 600.0, 60.0
"""Idle seconds after which the host is stopped and its memory released: by default, and when a job waits for the device."""


class ModelHost:
    """One process that serves chat and scores prompts; requests are served in order."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self.device = devices.CPU
        """The device of the process that runs, or ran last."""
        self._inboxes: dict[str, queue.Queue[dict[str, Any]]] = {}
        self._ready = threading.Event()
        self._used = time.monotonic()

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def busy(self) -> bool:
        """Whether a request is being served or queued."""
        return bool(self._inboxes)

    def request(self, **fields: Any) -> Iterator[dict[str, Any]]:
        """Send a request and yield its events. Closing the iterator stops the request.

        Raises PrerequisiteError if the host does not start, EvaluationError with its message if it reports one.
        """
        name = uuid.uuid4().hex[:12]
        inbox: queue.Queue[dict[str, Any]] = queue.Queue()
        self._inboxes[name] = inbox
        ended = False
        try:
            self._send({"id": name, **fields})
            while True:
                event = self._next(inbox)
                ended = "error" in event or bool(event.get("end"))
                if "error" in event:
                    raise EvaluationError(event["error"])
                if ended:
                    return
                yield event
        finally:
            self._inboxes.pop(name, None)
            self._used = time.monotonic()
            if self.alive and not ended:
                with contextlib.suppress(EvaluationError):  # it died just now: there is nothing left to stop
                    self._send({"id": name, "op": "stop"})

    def release(self) -> None:
        """Stop the host and release its memory; the next request starts it again."""
        with self._lock:
            process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        _close(process)

    def release_if_idle(self, *, wanted: bool) -> bool:
        """Stop the host if it has been idle for a while, a shorter one if a job wants its device; True if it was stopped."""
        idle = self.alive and not self.busy and time.monotonic() - self._used > (WANTED_S if wanted else IDLE_S)
        if idle:
            self.release()
        return idle

    def _next(self, inbox: queue.Queue[dict[str, Any]]) -> dict[str, Any]:
        deadline = time.monotonic() + SILENCE_S
        while time.monotonic() < deadline:
            try:
                return inbox.get(timeout=0.5)
            except queue.Empty:
                if not self.alive:
                    raise EvaluationError(
                        "The model host stopped while it was answering (out of memory, perhaps). Send the prompt again."
                    ) from None
        raise EvaluationError(f"The model host has been silent for {SILENCE_S:.0f} s. Send the prompt again, or restart the app.")

    def _send(self, request: dict[str, Any]) -> None:
        with self._lock:
            if not self.alive:
                self._start()
            self._used = time.monotonic()
            assert self._process is not None and self._process.stdin is not None
            try:
                self._process.stdin.write(json.dumps(request) + "\n")
                self._process.stdin.flush()
            except OSError as exc:
                raise EvaluationError("The model host stopped just now. Send the prompt again.") from exc

    def _start(self) -> None:
        self._ready.clear()
        if self._process is not None:
            _close(self._process)  # it died; its pipes did not
        log = self.workspace.root / "model-host.log"
        free = [device for device in devices.devices() if lease.holder(self.workspace, device) is None]
        self.device = (free or devices.devices())[0]
        environment = {**threads.SETTINGS, **os.environ, "PYTHONUNBUFFERED": "1", **devices.visible(self.device)}
        command = ["reft_studio.chat.host_worker", "--workspace", str(self.workspace.root), "--device", self.device]
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment,
            )
        threading.Thread(target=self._listen, args=(self._process,), daemon=True).start()
        if not self._ready.wait(START_S) or self._process.poll() is not None:
            raise PrerequisiteError(f"The model host did not start. See {log.name} in the workspace.")

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            try:
                event = json.loads(line)
            except ValueError:
                continue  # a library printed something; it is not for us
            if event.get("ready"):
                self._ready.set()
            elif inbox := self._inboxes.get(event.get("id", "")):
                inbox.put(event)
        self._ready.set()  # wakes a start that will see the process is gone


def _close(process: subprocess.Popen[str]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe:
            with contextlib.suppress(OSError):  # what was still to be flushed has no reader any more
                pipe.close()
