"""Damage on disk is noticed when a file is opened, or by doctor, and never becomes a number on a page.

By hand: `python tests/test_integrity.py 200` flips 200 bits over all kinds of files and prints what noticed each kind.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from reft_studio import doctor, integrity
from reft_studio.data.dataset import open_dataset
from reft_studio.data.index import search
from reft_studio.data.index.facets import facet
from reft_studio.data.index.inspect import inspect
from reft_studio.data.index.rowstore import row_store
from reft_studio.errors import StoreError
from reft_studio.evaluation.result import load_result, read_graded
from reft_studio.progress import Silent
from reft_studio.scoring.scores import open_score_set
from reft_studio.studio import example
from reft_studio.teacher.teacher import LAB, adopt, open_teacher
from reft_studio.training.run_folder import open_run
from reft_studio.workspace import ASSETS, Workspace


def flip(path: Path, bit: int) -> None:
    """Change one bit of a file, as a failing disk does."""
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << (bit % 8)
    path.write_bytes(content)
    integrity.forget()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "teachers" / "t1"
    made.mkdir(parents=True)
    (made / "a.bin").write_bytes(b"\0" * 1000)
    (made / "b.json").write_text('{"threshold": 0.25}', "utf-8")
    integrity.seal(made)
    return made


def test_a_sealed_folder_is_in_order_and_sha256sum_would_say_so(folder: Path) -> None:
    assert integrity.damages(folder) == []
    lines = (folder / "SHA256SUMS").read_text("utf-8").splitlines()
    assert lines[0] == "541b3e9daa09b20bf85fa273e5cbd3e80185aa4ec298e765db87742b70138a53  a.bin"


def test_every_flipped_bit_of_a_small_file_is_noticed(folder: Path) -> None:
    whole = (folder / "b.json").read_bytes()
    for bit in range(8 * len(whole)):
        flip(folder / "b.json", bit)
        with pytest.raises(StoreError, match=r"t1/b.json is damaged: its SHA-256 .* Make it again\."):
            integrity.check(folder, remedy="Make it again.")
        (folder / "b.json").write_bytes(whole)


def test_a_file_that_is_gone_is_damage(folder: Path) -> None:
    (folder / "a.bin").unlink()
    assert [damage.reason for damage in integrity.damages(folder)] == ["it is missing"]


def test_damage_of_the_list_itself_is_noticed(folder: Path) -> None:
    listed = folder / "SHA256SUMS"
    whole = listed.read_bytes()
    for bit in range(8 * len(whole)):
        flip(listed, bit)
        assert integrity.damages(folder) or _same_lines(listed.read_bytes(), whole)
        listed.write_bytes(whole)


def _same_lines(damaged: bytes, whole: bytes) -> bool:
    """A flip that only turns one line end into another leaves every hash and name as it was."""
    return damaged.decode("utf-8", "replace").splitlines() == whole.decode("utf-8").splitlines()


def test_a_folder_of_an_earlier_version_has_no_hashes_and_is_not_called_damaged(folder: Path) -> None:
    (folder / "SHA256SUMS").unlink()
    assert integrity.damages(folder) == []


def test_a_file_written_anew_is_listed_anew_and_others_are_not_declared_right(folder: Path) -> None:
    (folder / "b.json").write_text("{}", "utf-8")
    flip(folder / "a.bin", 17)
    integrity.seal(folder, ["b.json"])
    assert [damage.path.name for damage in integrity.damages(folder)] == ["a.bin"]


def test_a_listed_file_is_written_anew_and_listed_again(folder: Path) -> None:
    integrity.rewrite(folder, "b.json", "{}")
    assert (folder / "b.json").read_text("utf-8") == "{}" and integrity.damages(folder) == []
    assert integrity.noted(folder, "b.json") and integrity.names(folder / "SHA256SUMS") == ["a.bin", "b.json"]
    flip(folder / "b.json", 3)
    assert [damage.path.name for damage in integrity.damages(folder)] == ["b.json"]


@pytest.mark.parametrize("point", ["write.before:1", "write.after:1", "write.before:2", "write.after:2", "write.before:3", "write.after:3"])
def test_killed_at_any_instant_of_writing_a_file_anew_nothing_is_called_damaged(folder: Path, point: str) -> None:
    code = f"from pathlib import Path; from reft_studio import integrity; integrity.rewrite(Path({str(folder)!r}), 'b.json', 'new')"
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "REFT_STUDIO_FAILPOINT": point}, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert (folder / "b.json").read_text("utf-8") in ('{"threshold": 0.25}', "new")
    assert integrity.damages(folder) == []
    integrity.rewrite(folder, "b.json", "newer")
    assert "b.json" in integrity.names(folder / "SHA256SUMS") and integrity.damages(folder) == []


def test_a_list_that_was_written_anew_while_it_was_read_is_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, times = integrity._wrong, iter(range(9))

    def wrong(path: Path, digest: str, *, wait: bool) -> str:
        if next(times) == 0:
            integrity.rewrite(folder, "b.json", "another")
            integrity.forget()
        return original(path, digest, wait=wait)

    monkeypatch.setattr(integrity, "_wrong", wrong)
    assert integrity.damages(folder) == []


def test_what_ships_is_as_listed() -> None:
    lists = integrity.lists_below(ASSETS)
    assert len(lists) > 10
    assert [damage for one in lists for damage in integrity.damages(one.parent, sums=one.name, wait=True)] == []


def test_a_damaged_copy_of_the_rows_is_made_anew_from_the_rows(workspace_with_all: tuple[Workspace, str]) -> None:
    workspace, dataset_id = workspace_with_all
    dataset = open_dataset(workspace, dataset_id)
    before = row_store(dataset).take([0, 5])
    flip(dataset.folder / "rows.arrow", 8 * 5000 + 3)
    assert row_store(dataset).take([0, 5]) == before
    assert integrity.damages(dataset.folder, wait=True) == []


def test_doctor_names_what_is_damaged_and_what_makes_it_anew(workspace_with_all: tuple[Workspace, str]) -> None:
    workspace, dataset_id = workspace_with_all
    assert doctor.stored_files(workspace).ok
    (order,) = (workspace.root / "scores").rglob("order.npy")
    flip(order, 4000)
    found = doctor.stored_files(workspace)
    assert not found.ok and f"scores/{dataset_id}" in found.hint and "score the rows again" in found.hint


@pytest.fixture
def workspace_with_all(tmp_path: Path) -> tuple[Workspace, str]:
    return everything(tmp_path / "workspace")


def test_every_one_of_some_flipped_bits_is_noticed(tmp_path: Path) -> None:
    assert sum(flips(tmp_path, count=40, seed=1).values(), Counter())["nobody"] == 0


# --- flipped bits over all kinds of files --------------------------------------------------------------------------------------------


def everything(root: Path) -> tuple[Workspace, str]:
    """A workspace with a file of every kind: the example, inspected and with a search index, and an adopted teacher."""
    workspace = Workspace.open(root)
    dataset_id = example.load(workspace)
    dataset = open_dataset(workspace, dataset_id)
    row_store(dataset)
    inspect(dataset, Silent())
    search.build(dataset, Silent())
    adopt(workspace, LAB["lab"])
    return workspace, dataset_id


def readers(workspace: Workspace, dataset_id: str) -> dict[str, Callable[[Path], object]]:
    """What opens a file of each kind of folder, given its path; each must raise, or say that there is nothing."""
    return {
        "datasets": lambda path: _read_dataset(workspace, dataset_id),
        "scores": lambda path: open_score_set(workspace, *path.relative_to(workspace.root / "scores").parts[:2]),
        "teachers": lambda path: open_teacher(workspace, path.relative_to(workspace.root / "teachers").parts[0]),
        "runs": lambda path: open_run(workspace, path.relative_to(workspace.root / "runs").parts[0]),
        "evaluations": lambda path: _read_evaluation(workspace, path.relative_to(workspace.root / "evaluations").parts[0]),
    }


def _read_dataset(workspace: Workspace, dataset_id: str) -> None:
    dataset = open_dataset(workspace, dataset_id)
    before = integrity.damages(dataset.folder, ("rows.arrow", "row_ids.npy", "rows.json"), wait=True)
    row_store(dataset)
    if before and not integrity.damages(dataset.folder, ("rows.arrow", "row_ids.npy", "rows.json"), wait=True):
        raise StoreError("the copy of the rows was made anew")
    for name in ("repeats", "language"):
        if integrity.damages(dataset.folder / "facets", sums=f"{name}.sha256", wait=True) and facet(dataset, name) is None:
            raise StoreError("the facet is left aside")
    if not search.indexed(dataset):
        raise StoreError("the index is left aside")


def _read_evaluation(workspace: Workspace, subject: str) -> None:
    load_result(workspace, subject)
    read_graded(workspace, subject)


def flips(root: Path, *, count: int, seed: int) -> dict[str, Counter[str]]:
    """Flip `count` bits, one at a time, in files drawn alike from every kind; by kind: who noticed."""
    workspace, dataset_id = everything(root / "workspace")
    draw, opened = random.Random(seed), readers(workspace, dataset_id)
    files = {
        kind: [path for path in sorted((workspace.root / kind).rglob("*")) if path.is_file() and path.stat().st_size] for kind in opened
    }
    noticed: dict[str, Counter[str]] = {kind: Counter() for kind in opened}
    kept = root / "whole"
    for number in range(count):
        kind = sorted(opened)[number % len(opened)]
        path = draw.choice(files[kind])
        shutil.copy2(path, kept)
        flip(path, draw.randrange(8 * path.stat().st_size))
        noticed[kind][_who(workspace, opened[kind], path, kept)] += 1
        shutil.copy2(kept, path)
        integrity.forget()
    return noticed


def _who(workspace: Workspace, reader: Callable[[Path], object], path: Path, whole: Path) -> str:
    listed = path.name == integrity.SUMS or path.suffix == ".sha256"
    if listed and _same_lines(path.read_bytes(), whole.read_bytes()):
        return "nothing changed"
    if not doctor.stored_files(workspace).ok:
        try:
            reader(path)
        except StoreError:
            return "at opening"
        return "doctor"
    return "nobody"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        for kind, counts in flips(Path(scratch), count=int(sys.argv[1]) if len(sys.argv) > 1 else 200, seed=0).items():
            print(kind, dict(counts))
