"""Two apps on one workspace: the second one reads, says so, and goes on when the first has ended."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reft_studio.errors import StoreError
from reft_studio.ownership import Ownership
from reft_studio.store.connection import transaction
from reft_studio.studio.studio import Studio
from reft_studio.tasks import lab_data
from reft_studio.workspace import Workspace


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Studio, Studio]]:
    """Two apps, the first of which came first; a dataset is chosen."""
    first = Studio(Workspace.open(tmp_path / "w", app=True))
    first.choose(dataset=lab_data.sample(first.workspace, rows=20).id)
    second = Studio(Workspace.open(tmp_path / "w", app=True))
    yield first, second
    for studio in (first, second):
        studio.close()


WRITES: dict[str, Callable[[Studio, str], object]] = {
    "a decision": lambda studio, dataset: studio.audit.decide(dataset, 0, "keep", reason=""),
    "many decisions": lambda studio, dataset: studio.audit.decide_many(dataset, [0, 1], "keep", reason=""),
    "a setting": lambda studio, dataset: studio.settings.set("masked", False),
    "the dataset in work": lambda studio, dataset: studio.choose(dataset=dataset),
    "a job": lambda studio, dataset: studio.imports.sample(rows=10),
    "an upload": lambda studio, dataset: studio.imports.upload(Path(__file__)),
    "a deletion": lambda studio, dataset: studio.datasets.delete(dataset),
    "the example": lambda studio, dataset: studio.example.load(),
    "a report": lambda studio, dataset: studio.reports.build(),
    "freezing": lambda studio, dataset: studio.audit.freeze(dataset),
    "a bundle": lambda studio, dataset: studio.audit.bundle(dataset),
}


@pytest.mark.parametrize("what", WRITES)
def test_the_second_app_changes_nothing_and_says_who_may(what: str, two: tuple[Studio, Studio]) -> None:
    _, second = two
    (dataset,) = second.datasets.every()

    def everything() -> dict[str, int]:
        files = (path for path in second.workspace.root.rglob("*") if path.is_file() and "sqlite" not in path.name)
        return {str(path): path.stat().st_mtime_ns for path in files}

    before = everything()
    with pytest.raises(StoreError, match=r"Nothing was changed: this workspace is open in another app \(process \d+, since \d\d:\d\d\)"):
        WRITES[what](second, dataset.id)
    assert everything() == before
    assert second.settings.get("masked", True) is True and second.jobs.list() == []


def test_the_second_app_still_reads_and_leaves_the_queue_alone(two: tuple[Studio, Studio]) -> None:
    first, second = two
    job = first.imports.sample(rows=10)
    second.jobs.tick()
    assert second.state().dataset is not None and second.jobs.get(job).state == "queued"


def test_every_page_says_that_the_second_app_only_reads(two: tuple[Studio, Studio]) -> None:
    from ui.shell import snapshot

    first, second = two
    assert snapshot(first, dots=False)["next"]["title"] == "Next"
    told = snapshot(second, dots=False)["next"]
    assert told["title"] == "Read only" and told["text"].startswith("This workspace is open in another app") and not told["action"]
    first.close()
    assert snapshot(second, dots=False)["next"]["title"] == "Next"


def test_it_goes_on_when_the_first_has_ended(two: tuple[Studio, Studio]) -> None:
    first, second = two
    first.close()
    second.settings.set("masked", False)
    assert second.settings.get("masked") is False
    with pytest.raises(StoreError):
        first.settings.set("masked", True)


def test_the_lock_ends_with_a_process_that_is_killed(tmp_path: Path) -> None:
    code = "import sys, pathlib\nfrom reft_studio.ownership import Ownership\nmine = Ownership(pathlib.Path(sys.argv[1]))\n"
    held = subprocess.Popen([sys.executable, "-c", f"{code}print(mine.mine(), flush=True)\nsys.stdin.read()", str(tmp_path)],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
    assert held.stdout is not None and held.stdin is not None and held.stdout.readline() == b"True\n"
    mine = Ownership(tmp_path)
    assert not mine.mine() and f"process {held.pid}" in mine.other()
    held.kill()
    held.wait()
    assert mine.mine()
    mine.release()
    held.stdin.close()
    held.stdout.close()


def test_commands_and_workers_write_beside_an_app(two: tuple[Studio, Studio]) -> None:
    first, _ = two
    with transaction(Workspace.open(first.workspace.root)) as connection:
        assert connection.execute("SELECT count(*) FROM settings").fetchone()[0] >= 1


def test_on_a_full_disk_the_app_that_has_the_workspace_does_not_lock_itself_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("reft_studio.ownership.os.pwrite", full)
    owner = Ownership(tmp_path)
    assert owner.mine() and owner.mine()
    assert not Ownership(tmp_path).mine()
    owner.release()


def test_a_disk_that_is_read_only_is_named_and_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> int:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("reft_studio.ownership.os.open", refused)
    owner = Ownership(tmp_path)
    assert not owner.mine() and "cannot be written to (Read-only file system)" in owner.other()
