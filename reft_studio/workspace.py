"""The folder a project lives in, and the only ways to write into it: whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reft_studio.errors import DiskFull, PrerequisiteError, StoreError
from reft_studio.failpoints import failpoint
from reft_studio.ownership import Ownership

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The disk is full, the quota is used up, a limit of file sizes is met."""
ASSETS = Path(__file__).resolve().parent.parent / "assets"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_TEMPORARY = ".tmp-"
_NEW = "new"
_LEFT = re.compile(r"(?P<name>.+)\.tmp-(?P<pid>[0-9]{1,9})-[0-9a-f]{8}")


def default_root() -> Path:
    """Where projects live when nobody says otherwise: the user's data directory."""
    if env := os.environ.get("REFT_STUDIO_WORKSPACE"):
        return Path(env)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", str(Path.home() / "AppData" / "Local")))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME", str(Path.home() / ".local" / "share")))
    return base / "reft-studio" / "default"


@dataclass(frozen=True)
class Workspace:
    """One project: `datasets/ teachers/ scores/ runs/ evaluations/ jobs/ reports/ studio.sqlite` under `root`."""

    root: Path
    ownership: Ownership | None = field(default=None, compare=False, repr=False)
    """Of an app, which shares a workspace with no other app. None for commands and workers: they write row by row, beside an app."""

    @classmethod
    def open(cls, root: Path | None = None, *, app: bool = False) -> Workspace:
        """Make the folder if it is not there (mode 0700) and sweep what an interrupted write left behind.

        `app`: this process serves pages; it may only read as long as another app has this workspace.
        """
        root = (root or default_root()).expanduser().resolve()
        try:
            root.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as exc:
            raise PrerequisiteError(
                f"The workspace folder {root} cannot be made ({exc.strerror}). Choose another with --workspace."
            ) from exc
        sweep(root)
        return cls(root, Ownership(root) if app else None)

    @property
    def writable(self) -> bool:
        """Whether this process may write here now."""
        return self.ownership is None or self.ownership.mine()

    def require_writable(self) -> None:
        """Raise StoreError, which says who has the workspace, if this process may only read it."""
        if self.ownership is not None:
            self.ownership.require()

    @property
    def database(self) -> Path:
        return self.root / "studio.sqlite"

    def folder(self, kind: str, *names: str) -> Path:
        """`root/kind/name…`; every name is an id, never a path (SpecError-proof against traversal)."""
        for name in names:
            if not _NAME.fullmatch(name):
                raise StoreError(f"'{name[:40]}' is not an id of this workspace.")
        return self.root.joinpath(kind, *names)

    def finished(self, kind: str) -> list[Path]:
        """Finished folders of one kind, oldest first; what is still being written is not among them."""
        base = self.root / kind
        if not base.is_dir():
            return []
        found = [path for path in base.iterdir() if path.is_dir() and _TEMPORARY not in path.name]
        return sorted(found, key=lambda path: (path.stat().st_mtime, path.name))


def write_atomic(path: Path, content: bytes | str) -> None:
    """Replace `path` by `content`: after a crash it holds the old or the new bytes, never a mix."""
    data = content.encode("utf-8") if isinstance(content, str) else content
    temporary = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        failpoint("write.before")
        temporary.replace(path)
        failpoint("write.after")
    except OSError as exc:
        with suppress(OSError):  # its folder may be no folder
            temporary.unlink(missing_ok=True)
        raise disk_error(path, exc) from exc


def write_json(path: Path, value: Any) -> None:
    """`write_atomic` of indented JSON."""
    write_atomic(path, json.dumps(value, indent=1, sort_keys=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file of ours. Raises StoreError if it is missing or damaged."""
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError as exc:
        raise StoreError(f"{path.parent.name}/{path.name} is missing from the workspace.") from exc
    except (ValueError, OSError) as exc:
        raise StoreError(
            f"{path.parent.name}/{path.name} cannot be read: it is damaged. Restore it from a backup or make it again."
        ) from exc


@contextmanager
def staging(parent: Path) -> Iterator[Path]:
    """A temporary folder inside `parent`, gone at the end unless it was published; disk errors become clear ones."""
    temporary = _beside(parent / _NEW)
    try:
        temporary.mkdir(parents=True)
        yield temporary
    except OSError as exc:
        raise disk_error(parent, exc) from exc
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def publish(building: Path, final: Path) -> None:
    """Give a staged folder its final name, replacing what was there."""
    failpoint("publish.before")
    sync(building)
    if final.exists():
        retired = _beside(final)
        final.rename(retired)
        failpoint("publish.between")
        building.rename(final)
        sync(final.parent)
        shutil.rmtree(retired, ignore_errors=True)
    else:
        building.rename(final)
        sync(final.parent)
    failpoint("publish.after")


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk itself: they outlive a loss of power."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def discard(folder: Path) -> None:
    """Remove a folder in one step, also while a job still writes into it: what is left of it is swept at the next start.

    It gets the temporary name of a new folder, which is never given its name back. Raises PrerequisiteError if the disk refuses.
    """
    retired = _beside(folder.with_name(_NEW))
    try:
        folder.rename(retired)
        sync(folder.parent)
    except OSError as exc:
        raise disk_error(folder, exc) from exc
    failpoint("discard.between")
    shutil.rmtree(retired, ignore_errors=True)


@contextmanager
def new_folder(final: Path) -> Iterator[Path]:
    """Build a folder beside its final place and rename it there at the end; on any error nothing is left."""
    with staging(final.parent) as building:
        yield building
        publish(building, final)


def sweep(root: Path, *, dead: int | None = None) -> None:
    """Remove what processes that are gone left half-written; a folder they were replacing gets its name back.

    Temporary names hold the id of the process that writes, so what a living one is writing stays. `dead` is a process
    known to have ended, whose id may not be free yet.
    """
    for pattern in ("*", "*/*", "*/*/*", "*/*/*/*"):
        for path in root.glob(f"{pattern}{_TEMPORARY}*"):
            found = _LEFT.fullmatch(path.name)
            if found is None or not (int(found["pid"]) == dead or _gone(int(found["pid"]))):
                continue
            if path.is_dir() and found["name"] != _NEW and not path.with_name(found["name"]).exists():
                path.rename(path.with_name(found["name"]))
            elif path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}{_TEMPORARY}{os.getpid()}-{uuid.uuid4().hex[:8]}")


def _gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:  # not ours to signal, so it is there
        return False
    return False


def disk_error(path: Path, exc: OSError) -> PrerequisiteError:
    """The same error, for a person; it names the disk that `path` is on, which may be another than the system's.

    It is DiskFull where there is no room, or none for this user: the reaction is to make some.
    """
    there = next(folder for folder in path.absolute().parents if folder.exists())
    free, disk = shutil.disk_usage(there).free, mount_point(there)
    message = (
        f"Writing {path.name} failed ({exc.strerror}; {free / 1e6:.0f} MB free on the disk at {disk}). "
        "Nothing was changed. Free some space there and try again."
    )
    if exc.errno in NO_ROOM:
        return DiskFull(message, disk=disk, free=free if exc.errno == errno.ENOSPC else 0)
    return PrerequisiteError(message)


def mount_point(folder: Path) -> Path:
    """The top folder of the disk that a folder is on."""
    return next(one for one in (folder, *folder.parents) if one.is_mount() or one == one.parent)
