"""What goes wrong with uploads on real machines: a clear answer, nothing half-written, bounded memory."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reft_studio.data.dataset import list_datasets, open_dataset
from reft_studio.data.formats import head
from reft_studio.data.reading import readers
from reft_studio.data.reading.readers import import_file, preview
from reft_studio.errors import DataError, PrerequisiteError
from reft_studio.workspace import Workspace

Upload = Callable[..., Path]
ROOT = Path(__file__).resolve().parents[3]
PAIR = {"prompt": "Why?", "response": "Because."}


def _left(workspace: Workspace) -> list[str]:
    return [path.name for path in (workspace.root / "datasets").glob("*")]


def test_an_upload_that_is_deleted_before_it_is_copied_is_missed_in_words(
    workspace: Workspace, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = upload([PAIR] * 3)
    for place in ("detect", "sample", "_check_room", "_copy_upload"):
        before = getattr(readers, place)

        def deleted(*args: Any, before: Any = before, **options: Any) -> Any:
            path.unlink(missing_ok=True)
            return before(*args, **options)

        path.write_text("prompt,response\na,b\n")
        with monkeypatch.context() as patch:
            patch.setattr(readers, place, deleted)
            with pytest.raises(DataError, match=r"upload\.jsonl"):
                import_file(workspace, path)
        assert _left(workspace) == []


def test_an_upload_that_is_deleted_while_it_is_copied_is_imported(workspace: Workspace, upload: Upload) -> None:
    path = upload([PAIR] * 3)
    report = import_file(workspace, path, check=lambda: path.unlink(missing_ok=True))
    assert (report.rows, path.exists()) == (3, False)


def test_an_upload_that_still_grows_is_refused(workspace: Workspace, upload: Upload) -> None:
    path = upload([PAIR] * 3)

    def grow() -> None:
        with path.open("a") as file:
            file.write(json.dumps(PAIR) + "\n")

    with pytest.raises(DataError, match="still being written"):
        import_file(workspace, path, check=grow)
    assert _left(workspace) == []
    assert import_file(workspace, path).rows == 4


@pytest.fixture
def disk() -> Iterator[Callable[[int], None]]:
    """Let no file grow beyond some bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_is_full_at_any_moment_leaves_nothing_behind(
    workspace: Workspace, upload: Upload, disk: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limits are a little below the size of each file that an import writes, and some in between."""
    path = upload([{**PAIR, "prompt": f"{n} {os.urandom(30).hex()}"} for n in range(2000)] + [{"prompt": f"{n}"} for n in range(300)])
    sizes = [file.stat().st_size for file in open_dataset(workspace, import_file(workspace, path).dataset_id).folder.rglob("*.*")]
    assert len(sizes) >= 7
    other = Workspace.open(workspace.root.parent / "other")
    for limit in sorted({0, 100, 10_000, *(size - 1 for size in sizes)}):
        disk(limit)
        try:
            with pytest.raises(PrerequisiteError, match="Free some space"):
                import_file(other, path)
        finally:
            disk(resource.getrlimit(resource.RLIMIT_FSIZE)[1])
        assert _left(other) == [], limit
    assert import_file(other, path).rows == 2000


def test_one_file_imported_by_several_at_once_is_one_dataset(workspace: Workspace, upload: Upload) -> None:
    path = upload([{**PAIR, "n": n} for n in range(2000)])
    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(lambda _: import_file(workspace, path), range(8)))
    assert len({report.dataset_id for report in reports}) == 1
    assert _left(workspace) == [reports[0].dataset_id]
    assert open_dataset(workspace, reports[0].dataset_id).rows == 2000


LONG = """
import json, sys
from pathlib import Path
from reft_studio.data.reading import import_pool
from reft_studio.data.reading.readers import import_file, preview
from reft_studio.workspace import Workspace
import_pool.PARALLEL_BYTES = 1 << 40
folder = Path(sys.argv[1])
for path in sorted(folder.glob("long.*")):
    preview(path)
    report = import_file(Workspace.open(folder / "workspace"), path)
    print(path.name, report.rows, report.quarantined, json.dumps(report.reasons))
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def test_a_line_of_100_mb_costs_one_row_and_little_memory(tmp_path: Path) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("Memory is read from /proc.")
    row, long = json.dumps(PAIR), "x" * 100_000_000
    (tmp_path / "long.jsonl").write_text(f'{row}\n{{"prompt": "{long}", "response": "y"}}\n{row}\n')
    (tmp_path / "long.json").write_text(f'[{row},\n{{"prompt": "{long}", "response": "y"}},\n{row}]')
    (tmp_path / "long.csv").write_text(f"prompt,response\na,b\n{long},y\nc,d\n")
    done = subprocess.run([sys.executable, "-c", LONG, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=120)
    *lines, memory = done.stdout.splitlines()
    assert [line.split(" ", 3)[:3] for line in lines] == [["long.csv", "2", "1"], ["long.json", "2", "1"], ["long.jsonl", "2", "1"]], (
        done.stderr
    )
    assert all("longer than 8 MiB" in line for line in lines)
    assert int(memory) < 400_000, "KiB at most, of which 150,000 are the program itself"


@pytest.mark.parametrize("name", ["wide.jsonl", "wide.csv", "wide.parquet"])
def test_a_thousand_columns_are_read(name: str, workspace: Workspace, tmp_path: Path) -> None:
    rows = [{**{f"c{n}": f"{row}" for n in range(998)}, "prompt": f"p{row}", "response": "r"} for row in range(100)]
    path = tmp_path / name
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif name.endswith(".csv"):
        path.write_text("\n".join(",".join(line) for line in [rows[0].keys(), *(row.values() for row in rows)]))
    else:
        path.write_text("\n".join(json.dumps(row) for row in rows))
    began = time.process_time()
    assert preview(path).mapping.columns == {"prompt": "prompt", "response": "response"}
    assert import_file(workspace, path).rows == 100
    assert time.process_time() - began < 5


def test_a_large_upload_is_previewed_in_a_second(tmp_path: Path) -> None:
    row = json.dumps({"messages": [{"role": "user", "content": "q " * 100}, {"role": "assistant", "content": "a " * 50}]}) + "\n"
    path = tmp_path / "a.jsonl"
    path.write_text(row * 100_000)
    preview(path)  # what is loaded once is not counted
    began = time.process_time()
    assert len(preview(path).rows) == 20
    assert time.process_time() - began < 1


@pytest.mark.parametrize("magic", [magic for magic, _, _ in head._MAGIC])
def test_archives_and_programs_are_refused_unopened(magic: bytes, workspace: Workspace, upload: Upload) -> None:
    for read in (preview, lambda path: import_file(workspace, path)):
        with pytest.raises(DataError, match=r"upload\.jsonl is a"):
            read(upload(magic + bytes(1000)))


KILLED = """
import os, signal, sys
from pathlib import Path
from reft_studio.data.formats import pieces
from reft_studio.data.reading import import_pool
from reft_studio.data.reading.readers import import_file
from reft_studio.workspace import Workspace
import_pool.PARALLEL_BYTES, import_pool.MAX_WORKERS, pieces.PIECE_BYTES = 0, 1, 20_000
began = import_pool.ReaderPool.__enter__
def enter(self):
    print(*(worker._process.pid for worker in self._workers), flush=True)
    return began(self)
import_pool.ReaderPool.__enter__ = enter
seen = []
def progress(done, total):
    seen.append(done)
    if len(seen) == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
import_file(Workspace.open(Path(sys.argv[1])), Path(sys.argv[2]), progress=progress)
"""


@pytest.mark.parametrize("moment", [2, 5])
def test_an_import_that_is_killed_is_absent_and_its_readers_end(moment: int, workspace: Workspace, upload: Upload) -> None:
    path = upload([{**PAIR, "n": n} for n in range(3000)])
    command = [sys.executable, "-c", KILLED, str(workspace.root), str(path), str(moment)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == -9, done.stderr
    assert list_datasets(workspace) == []
    (reader,) = map(int, done.stdout.split())
    until = time.monotonic() + 10
    while _runs(reader) and time.monotonic() < until:
        time.sleep(0.05)
    assert not _runs(reader)
    assert _left(Workspace.open(workspace.root)) == [], "opening the project sweeps what was left"
    assert import_file(workspace, path).rows == 3000


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
