"""How long work tells what it has done, and learns that it was cancelled; the worker process gives the real one."""

from __future__ import annotations

from typing import Any, Protocol


class StopEarly(BaseException):
    """A person asked to end the training here and keep what was learnt.

    `check` raises it once. Not an Exception, so that nothing on the way to the training loop swallows it.
    """


class Progress(Protocol):
    """`check` raises when the work was cancelled; `progress` does so too. `tell` keeps a finding of the work, JSON of a kind of its own."""

    def stage(self, name: str, index: int, count: int) -> None: ...
    def progress(self, done: int, total: int, **metrics: float) -> None: ...
    def warn(self, message: str) -> None: ...
    def tell(self, kind: str, **values: Any) -> None: ...
    def check(self) -> None: ...


class Silent:
    """Progress nobody watches, for scripts and tests; keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def stage(self, name: str, index: int, count: int) -> None:
        """Nothing to show."""

    def progress(self, done: int, total: int, **metrics: float) -> None:
        """Nothing to show."""

    def warn(self, message: str) -> None:
        self.warnings.append(message)

    def tell(self, kind: str, **values: Any) -> None:
        """Nothing to show."""

    def expect(self, seconds: float | None) -> None:
        """Nothing to show."""

    def check(self) -> None:
        """Never cancelled."""


class PartialProgress:
    """A share of a longer piece of work: passes everything on, with progress counted over the whole.

    `start` and `share` are fractions of the whole in 0..1, so that one bar and one remaining time cover all stages.
    """

    SCALE = 1000

    def __init__(self, whole: Progress, *, start: float, share: float) -> None:
        self.whole, self.start, self.share = whole, start, share

    def stage(self, name: str, index: int, count: int) -> None:
        """Stages of a part are not shown: the whole has its own."""

    def progress(self, done: int, total: int, **metrics: float) -> None:
        fraction = self.start + self.share * min(done / max(total, 1), 1.0)
        self.whole.progress(round(fraction * self.SCALE), self.SCALE, **metrics)

    def warn(self, message: str) -> None:
        self.whole.warn(message)

    def tell(self, kind: str, **values: Any) -> None:
        self.whole.tell(kind, **values)

    def check(self) -> None:
        self.whole.check()
