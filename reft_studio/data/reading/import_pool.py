"""Reads the pieces of an upload in order: in this process, or in some beside it, which end with it."""

from __future__ import annotations

import fcntl
import os
import queue
import secrets
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO

from reft_studio.data.formats.piece_reader import PieceReader, ReadingSpec
from reft_studio.data.formats.pieces import Cut, Piece
from reft_studio.data.reading import import_wire as wire
from reft_studio.data.rows.row_columns import PieceRows
from reft_studio.errors import DataError, PrerequisiteError

PARALLEL_BYTES = 24 << 20
"""Uploads below it are read sooner than another process has started."""
MAX_WORKERS = 2
"""More would wait for this process, which writes what they read."""
PIPE_BYTES = 1 << 20
_PACKAGE_ROOT = Path(__file__).resolve().parents[3]


class Here:
    """Reads pieces in this process."""

    def __init__(self, reading: ReadingSpec) -> None:
        self._reader = PieceReader(reading)

    def __enter__(self) -> Here:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        """Nothing to end."""

    def parts(self, cuts: Iterable[Cut]) -> Iterator[tuple[Cut, PieceRows | None]]:
        """Each piece with what became of it, in order."""
        for one in cuts:
            yield one, self._reader.read(one.piece)


class ReaderPool:
    """Reads pieces in other processes; at most two for each of them are under way."""

    def __init__(self, reading: ReadingSpec, workers: int) -> None:
        seed = str(secrets.randbelow(1 << 32))  # one for all: equal rows are found by equal hashes
        self._count = workers
        self._workers = [_Worker(reading, seed) for _ in range(workers)]
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self._here = PieceReader(reading)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="import")

    def __enter__(self) -> ReaderPool:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        for worker in self._workers:
            worker.end()
        self._threads.shutdown(cancel_futures=True)

    def parts(self, cuts: Iterable[Cut]) -> Iterator[tuple[Cut, PieceRows | None]]:
        """Each piece with what became of it, in order. Raises PrerequisiteError if a process ends before its time."""
        under_way: deque[tuple[Cut, Future[PieceRows | None]]] = deque()
        for one in cuts:
            # where there is no quick way, finding the records is most of the work, and is done already
            read = self._ask if one.piece.records is None else self._here.read
            under_way.append((one, self._threads.submit(read, one.piece)))
            if len(under_way) >= 2 * self._count:
                done, found = under_way.popleft()
                yield done, found.result()
        while under_way:
            done, found = under_way.popleft()
            yield done, found.result()

    def _ask(self, piece: Piece) -> PieceRows | None:
        worker = self._idle.get()
        try:
            return worker.ask(piece)
        finally:
            self._idle.put(worker)


class _Worker:
    """One process, which knows how the upload is read."""

    def __init__(self, reading: ReadingSpec, seed: str) -> None:
        path = os.pathsep.join(part for part in (str(_PACKAGE_ROOT), os.environ.get("PYTHONPATH", "")) if part)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "reft_studio.data.reading.import_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": seed},
        )
        for pipe in (self._process.stdin, self._process.stdout):
            _widen(pipe)
        wire.send(self._stdin, wire.reading_to(reading), [])

    @property
    def _stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    def ask(self, piece: Piece) -> PieceRows | None:
        assert self._process.stdout is not None
        try:
            wire.send(self._stdin, *wire.piece_to(piece))
            words, rows = wire.receive(self._process.stdout)
        except (OSError, EOFError, ValueError) as exc:
            raise PrerequisiteError(
                "A process that reads the upload ended too early; most likely memory ran out. Import it again."
            ) from exc
        if "error" in words:
            raise DataError(words["error"])
        return wire.part_from(words, rows)

    def end(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.wait()
        with suppress(BrokenPipeError):  # what was not sent yet
            self._stdin.close()
        assert self._process.stdout is not None
        self._process.stdout.close()


def _widen(pipe: IO[bytes] | None) -> None:
    """Give a pipe room for a megabyte, where the system lets one choose: both sides then wait less for each other."""
    if pipe is not None and (size := getattr(fcntl, "F_SETPIPE_SZ", None)) is not None:
        with suppress(OSError):  # a limit for this user
            fcntl.fcntl(pipe, size, PIPE_BYTES)


def readers(reading: ReadingSpec) -> Here | ReaderPool:
    """The readers for an upload of this size, on this machine."""
    cores = os.cpu_count() or 1
    if cores < 2 or reading.file.path.stat().st_size < PARALLEL_BYTES:
        return Here(reading)
    return ReaderPool(reading, min(MAX_WORKERS, cores))


def serve(source: IO[bytes], target: IO[bytes]) -> None:
    """The other side: read pieces until there are no more."""
    words, _ = wire.receive(source)
    reader = PieceReader(wire.reading_from(words))
    while True:
        try:
            piece = wire.piece_from(*wire.receive(source))
        except EOFError:
            return
        try:
            answer = wire.part_to(reader.read(piece))
        except DataError as exc:
            answer = {"error": str(exc)}, []
        wire.send(target, *answer)
