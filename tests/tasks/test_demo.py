"""The whole job as one: a single bar over all its stages."""

from __future__ import annotations

from reft_studio.progress import PartialProgress
from reft_studio.tasks.demo import DemoResult, DemoSpec, _Stages


class Told:
    """Remembers what was told; as in a job, a new stage begins without a total."""

    def __init__(self) -> None:
        self.shares: list[float | None] = []

    def stage(self, name: str, index: int, count: int) -> None:
        self.shares.append(None)

    def progress(self, done: int, total: int, **metrics: float) -> None:
        self.shares.append(done / total)

    def warn(self, message: str) -> None:
        raise AssertionError(message)

    def tell(self, kind: str, **values: object) -> None:
        """Nobody looks."""

    def check(self) -> None:
        """Never cancelled."""


def test_the_bar_of_the_whole_stands_where_it_was_when_a_stage_begins() -> None:
    told = Told()
    stages = _Stages(DemoSpec(), told, DemoResult(DemoSpec()))

    def work(part: PartialProgress) -> None:
        part.progress(1, 1)

    stages.run("first", stages.whole / 2, work)
    stages.run("second", stages.whole / 4, work)
    assert told.shares == [None, 0.0, 0.5, None, 0.5, 0.75]
