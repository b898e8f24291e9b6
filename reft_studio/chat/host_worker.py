"""The model host: a long-lived process that serves chat, and scores and explains prompts. One JSON request per line in, events out.

Requests: {"id", "op": "chat", "prompt", "models": [subject ids], "max_new_tokens", "temperature", "seed"},
{"id", "op": "score", "prompt", "teacher"}, {"id", "op": "explain", "turns", "teacher"}, {"op": "stop", "id"}.
Events: {"id", "model", "delta"}, {"id", "model", "done", "stop", "tokens", "seconds"}, {"id", "cosine", "threshold"},
{"id", "inside": `Explanation.as_json()`}, {"id", "waiting": holder of the device, "job": its id or null}, {"id", "error"}, and finally
{"id", "end": true}.

A process with models in memory holds the lease of the device. A request's "device" says what it does while a job has the lease: "wait",
or run "beside" it (the default), which fails if the remaining memory is not enough.
"""

from __future__ import annotations

import argparse
import json
import math
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from reft_studio import offline
from reft_studio.chat import loaded
from reft_studio.data.chat.templates import template_for
from reft_studio.errors import OUT_OF_MEMORY, PrerequisiteError, SpecError, StudioError, is_out_of_memory
from reft_studio.evaluation.subject import Subject, find
from reft_studio.jobs import lease
from reft_studio.jobs.devices import CPU
from reft_studio.jobs.lease import CHAT, Holder
from reft_studio.models import memory
from reft_studio.models.session import Session
from reft_studio.models.source import locate
from reft_studio.models.spec import DEFAULT, LoadSpec
from reft_studio.models.streaming import StreamLane, stream
from reft_studio.scoring.explain import explain
from reft_studio.scoring.refusal_similarity import score_prompts
from reft_studio.teacher.teacher import open_teacher
from reft_studio.workspace import Workspace

_KEPT = 2
"""Bases kept in memory; the least recently used is released."""
_SAY_S = 5.0
"""Seconds between two events about the holder of the device."""


class _Stopped(Exception):
    """The request was stopped while it waited for the device."""


class HostWorker:
    """Sessions by base, the stopped requests, and the lease of the device, held from the first model on."""

    def __init__(self, workspace: Workspace, *, device: str = CPU, emit: Callable[[dict[str, Any]], None] | None = None) -> None:
        self.workspace, self.device, self.emit = workspace, device, emit or _emit
        self.holding: Holder | None = None
        self._lease = ExitStack()
        self.sessions: dict[tuple[str, LoadSpec], Session] = {}
        self.models_by_session: dict[Session, set[str]] = {}
        """The models used in each session: their adapters are in memory."""
        self.stopped: set[str] = set()

    def answer(self, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Events of one request. Raises StudioError for what the person can fix."""
        try:
            self._take(request)
        except _Stopped:
            return
        if request["op"] == "score":
            teacher = open_teacher(self.workspace, request["teacher"])
            session = self._session(teacher.model, teacher.template, teacher.loading)
            cosine = score_prompts([request["prompt"]], teacher, session)[0]
            yield {"cosine": float(cosine), "threshold": teacher.threshold}
            return
        if request["op"] == "explain":
            teacher = open_teacher(self.workspace, request["teacher"])
            session = self._session(teacher.model, teacher.template, teacher.loading)
            yield {"inside": explain(list(request["turns"]), teacher, session).as_json()}
            return
        subjects = [find(self.workspace, name, model=request.get("base", "lab")) for name in request["models"]]
        yield from self._chat(subjects, request)

    def _take(self, request: dict[str, Any]) -> None:
        """Acquire the device, waiting as long as the request allows; otherwise the model is loaded while a job runs."""
        if self.holding is not None:
            return
        wait_s, last_event = (math.inf if request.get("device") == "wait" else 0.0), -math.inf

        def on_wait(current_holder: Holder | None) -> None:
            nonlocal last_event
            if request["id"] in self.stopped:
                raise _Stopped
            if time.monotonic() - last_event >= _SAY_S:
                last_event = time.monotonic()
                self.emit(
                    {
                        "id": request["id"],
                        "waiting": current_holder.what if current_holder else "another process",
                        "job": current_holder and current_holder.job,
                    }
                )

        try:
            self.holding = self._lease.enter_context(lease.hold(self.workspace, self.device, CHAT, wait_s=wait_s, waiting=on_wait))
        except PrerequisiteError:
            if wait_s:
                raise

    def close(self) -> None:
        """Release the device."""
        self.holding = None
        self._lease.close()

    def _chat(self, subjects: list[Subject], request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        adapted = [subject for subject in subjects if subject.kind != "base"] or subjects
        if len({subject.model for subject in subjects}) > 1:
            raise SpecError("These models stand on different bases, so they cannot answer side by side. Choose models of one base.")
        if len({subject.loading for subject in adapted}) > 1:
            raise SpecError(
                "These models were made on the same base held in memory in different ways (number format, 4-bit, revision), so they cannot "
                "answer side by side. Choose models of one kind."
            )
        session = self._session(adapted[0].model, adapted[0].template, adapted[0].loading)
        for subject in adapted:
            subject.check_base(session.model.fingerprint)
        if not all(_renders(session, subject.template) for subject in adapted):
            raise SpecError("These models were prepared with different prompt templates, so they would not read the same prompt.")
        self._tell(session, {subject.id for subject in subjects})
        lanes = [
            StreamLane(subject.id, session.ensure(f"chat-{subject.id}", subject.adapter) if subject.adapter else None)
            for subject in subjects
        ]
        started = time.perf_counter()
        steps = stream(
            session.adapted,
            lanes,
            session.encoder.prompt_ids([{"role": "user", "content": request["prompt"]}]),
            max_new_tokens=request["max_new_tokens"],
            temperature=request.get("temperature", 0.0),
            seed=request.get("seed", 0),
        )
        for step in steps:
            if request["id"] in self.stopped:
                return
            event: dict[str, Any] = {"model": step.lane, "delta": step.delta}
            if step.stop:
                event |= {"done": True, "stop": step.stop, "tokens": step.tokens, "seconds": round(time.perf_counter() - started, 3)}
            yield event

    def _tell(self, session: Session, models: set[str]) -> None:
        """Publish which models are in memory, including those about to be loaded."""
        models_by_session = {
            loaded_session: names for loaded_session, names in self.models_by_session.items() if loaded_session in self.sessions.values()
        }
        models_by_session[session] = models_by_session.get(session, set()) | models
        if models_by_session != self.models_by_session:
            self.models_by_session = models_by_session
            try:
                loaded.tell(self.workspace, set().union(*models_by_session.values()))
            except StudioError as exc:  # a full disk keeps nobody from an answer
                sys.stderr.write(f"Which models chat has could not be noted: {exc}\n")

    def _session(self, model: str, template: str, loading: LoadSpec = DEFAULT) -> Session:
        """The base with this `loading`; one base in two number formats is two sessions."""
        session = self.sessions.pop((model, loading), None)
        if session is None or not _renders(session, template):
            session = None  # frees the one of the other template first
            while len(self.sessions) >= _KEPT or (self.sessions and not _fits(model, loading)):
                self.sessions.pop(next(iter(self.sessions)))
            session = Session.open(model, template=template, loading=loading)
        self.sessions[(model, loading)] = session
        return session


def _fits(model: str, loading: LoadSpec) -> bool:
    """Whether a base fits in memory with those already loaded; True for a model that cannot be found: opening it raises the error."""
    space = memory.room(loading.device)
    try:
        source = locate(model, revision=loading.revision, network=False)
    except StudioError:
        return True
    return space is None or memory.need(source, loading, cuda=space.device.startswith("cuda")).least <= space.free


def _renders(session: Session, template: str) -> bool:
    """Whether a session renders prompts like `template` (perhaps "auto")."""
    return template_for(session.model.tokenizer, template).hash == session.model.template.hash


def main() -> None:
    """Serve requests from standard input until it closes."""
    offline.enforce_by_default()
    parser = argparse.ArgumentParser(description="The model host of ReFT Studio; started by the app.")
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--device", default=CPU)
    options = parser.parse_args()
    host = HostWorker(Workspace.open(options.workspace), device=options.device)
    requests: queue.Queue[dict[str, Any] | None] = queue.Queue()
    threading.Thread(target=_read, args=(host, requests), daemon=True).start()
    _emit({"ready": True})
    while (request := requests.get()) is not None:
        try:
            for event in host.answer(request):
                _emit({"id": request["id"], **event})
        except StudioError as exc:
            _emit({"id": request["id"], "error": str(exc)})
        except Exception as exc:  # the host outlives a bad request; the person is told, the log has the rest
            traceback.print_exc()
            failed = f"The model host failed ({type(exc).__name__}). Details are in its log."
            _emit({"id": request["id"], "error": OUT_OF_MEMORY if is_out_of_memory(exc) else failed})
        _emit({"id": request["id"], "end": True})
        host.stopped.discard(request["id"])


def _read(host: HostWorker, requests: queue.Queue[dict[str, Any] | None]) -> None:
    for line in sys.stdin:
        request = json.loads(line)
        if request["op"] == "stop":
            host.stopped.add(request["id"])
        else:
            requests.put(request)
    requests.put(None)


def _emit(event: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
