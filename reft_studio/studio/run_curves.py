"""The task loss of a run as a few points, for a picture in a list: read once as long as its log stays the same."""

from __future__ import annotations

import json
import logging
import math
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from reft_studio.jobs.events import FILE
from reft_studio.jobs.queue import JobQueue
from reft_studio.jobs.view import JobView

_LOG = logging.getLogger(__name__)
POINTS = 60
"""Most points of a curve: as many as a small picture shows."""
FOLLOWED = 200
"""Jobs whose points are kept in memory; the one that was asked for longest ago is read again."""
Curve = tuple[tuple[int, float], ...]
"""Step and task loss, oldest first."""


@dataclass
class _ReadLog:
    """What was read of a job so far; `stamp` is that of its file then."""

    stamp: tuple[int, ...] = ()
    offset: int = 0
    points: list[tuple[int, float]] = field(default_factory=list)


class Curves:
    """The curves of a workspace's runs."""

    def __init__(self, jobs: JobQueue) -> None:
        self._jobs = jobs
        self._lock = threading.Lock()
        self._followed: OrderedDict[str, _ReadLog] = OrderedDict()

    def of_run(self, folder: Path) -> Curve:
        """That of a finished run; empty if its log is gone."""
        log = folder / "log.jsonl"
        stamp = _stamp(log)
        return _of_log(log, stamp) if stamp else ()

    def of_job(self, job: JobView) -> Curve:
        """That of a run which is not finished: only what its job has told since the last look is read."""
        with self._lock:
            known = self._followed.setdefault(job.id, _ReadLog())
            self._followed.move_to_end(job.id)
            while len(self._followed) > FOLLOWED:
                self._followed.popitem(last=False)
            stamp = (job.attempt, *_stamp(self._jobs.workspace.folder("jobs", job.id) / FILE))
            if stamp != known.stamp:
                self._read(job.id, known)
                known.stamp = stamp
            return thinned(known.points)

    def _read(self, job_id: str, known: _ReadLog) -> None:
        while True:
            events, reached = self._jobs.metrics(job_id, known.offset)
            for step, loss in _points(events):
                while known.points and known.points[-1][0] >= step:  # another attempt went back to a checkpoint, or begins anew
                    known.points.pop()
                known.points.append((step, loss))
            if reached == known.offset:
                return
            known.offset = reached


def thinned(points: Sequence[tuple[int, float]], most: int = POINTS) -> Curve:
    """At most so many points: the means of stretches of equal length, each at its last step."""
    if len(points) <= most:
        return tuple(points)
    ends = [len(points) * (place + 1) // most for place in range(most)]
    parts = [points[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]
    return tuple((part[-1][0], sum(loss for _, loss in part) / len(part)) for part in parts)


@lru_cache(maxsize=1024)
def _of_log(log: Path, _stamp: tuple[int, ...]) -> Curve:
    try:
        with log.open(encoding="utf-8") as lines:
            return thinned(list(_points(json.loads(line) for line in lines if line.strip())))
    except ValueError as exc:
        _LOG.warning("%s/%s cannot be read, so its run has no curve: %s", log.parent.name, log.name, exc)
        return ()


def _points(lines: Iterable[Mapping[str, Any]]) -> Iterator[tuple[int, float]]:
    """Step and task loss of log lines or events; the whole loss where no other is told."""
    for line in lines:
        step, loss = line.get("step"), line.get("task", line.get("loss"))
        if isinstance(step, int | float) and isinstance(loss, int | float) and math.isfinite(loss):
            yield int(step), float(loss)


def _stamp(path: Path) -> tuple[int, ...]:
    """Size and time of change; empty for a file that is not there."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return ()
    return found.st_size, found.st_mtime_ns
