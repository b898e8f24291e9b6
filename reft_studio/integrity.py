"""Damage on disk is noticed: the SHA-256 of stored files stands beside them, and is compared when they are opened.

A list of hashes has the format of `sha256sum`, so that `sha256sum --check SHA256SUMS` says the same without this app. It protects against
damage (a flipped bit, a cut-off or exchanged file), not against somebody who changes a file and its hash.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Thread

from reft_studio import fingerprint
from reft_studio.errors import StoreError
from reft_studio.failpoints import failpoint
from reft_studio.workspace import new_folder, sync, write_atomic

SUMS = "SHA256SUMS"
"""The list of a whole folder; a list of files that are made later ends in `.sha256`."""
LARGE = 256 << 20
"""Bytes up to which a file is hashed while its reader waits (0.2 s); a larger one is hashed beside, and refused as soon as that is done."""
_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")
_digests: dict[tuple[Path, int, int], Future[str]] = {}
"""By path, time of change and size."""


@dataclass(frozen=True)
class Damage:
    """A stored file that is not as it was written."""

    path: Path
    reason: str


def seal(folder: Path, names: Sequence[str] | None = None, *, sums: str = SUMS, known: Mapping[str, str] | None = None) -> None:
    """Write the hashes of `names` (paths below `folder`; None: all files in it) into its list; other lines of the list stay.

    `known` are hashes that were taken while a file was written. Only whoever wrote the files may call it: it declares them right.
    """
    if names is None:
        found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and not _is_list(path)}
        lines = dict[str, str]()
    else:
        found, lines = set(names), (_read(folder / sums) if (folder / sums).is_file() else {})
    lines |= known or {}
    found -= (known or {}).keys()
    with ThreadPoolExecutor(2) as hashers:  # hashlib lets other threads run
        lines |= dict(zip(sorted(found), hashers.map(lambda name: fingerprint.of_file(folder / name), sorted(found)), strict=True))
    _write(folder / sums, lines)


@contextmanager
def sealed_folder(final: Path, *, durable: bool = False) -> Iterator[Path]:
    """`new_folder` whose files are hashed before it gets its name; `durable`: and are on the disk itself."""
    with new_folder(final) as building:
        yield building
        failpoint("seal.before")
        seal(building)
        if durable:
            for path in building.rglob("*"):
                sync(path)


def rewrite(folder: Path, name: str, content: str) -> None:
    """Write a listed file anew; killed at any instant, it is not called damaged: it is off the list until list and file agree again.

    In a folder without a list, as earlier versions left them, the file alone is written.
    """
    listed = folder / SUMS
    if not listed.is_file():
        write_atomic(folder / name, content)
        return
    lines = _read(listed)
    if lines.pop(name, None) is not None:
        _write(listed, lines)
    write_atomic(folder / name, content)
    seal(folder, [name])


def noted(folder: Path, name: str) -> str | None:
    """The hash that the list of a folder has for a file; None if it has none."""
    try:
        return _read(folder / SUMS).get(name)
    except (FileNotFoundError, NotADirectoryError, StoreError):
        return None


def damages(folder: Path, names: Sequence[str] = (), *, sums: str = SUMS, wait: bool = False) -> list[Damage]:
    """Files of the list that are missing or other than written; none for a folder without a list.

    `names` are those to look at (a folder's name ends in "/"); none: all.

    A file is hashed once per process and time of change. One that is LARGE counts as in order until it is hashed, unless `wait`.
    """
    listed = folder / sums
    try:
        written = listed.stat().st_mtime_ns
        lines = _lines(listed, written)
    except (FileNotFoundError, NotADirectoryError):
        return []  # written by an earlier version, which kept no hashes
    except StoreError as exc:
        return [Damage(listed, str(exc))]
    wanted = {name: digest for name, digest in lines.items() if not names or any(_meant(name, one) for one in names)}
    found = [Damage(folder / name, reason) for name, digest in wanted.items() if (reason := _wrong(folder / name, digest, wait=wait))]
    if found and listed.is_file() and listed.stat().st_mtime_ns != written:  # a listed file was written anew in between
        return damages(folder, names, sums=sums, wait=wait)
    return found


def check(folder: Path, *names: str, remedy: str, sums: str = SUMS, wait: bool = False) -> None:
    """Raise StoreError if a file of the folder is damaged; `remedy` is a sentence that says what to do."""
    if found := damages(folder, names, sums=sums, wait=wait):
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        place = found[0].path.relative_to(folder.parent).as_posix()
        raise StoreError(f"{place}{more} is damaged: {found[0].reason}. {remedy}")


def names(listed: Path) -> list[str]:
    """The files that a list names; none if it cannot be read."""
    try:
        return list(_read(listed))
    except StoreError:
        return []


def lists_below(root: Path) -> list[Path]:
    """Every list of hashes in a folder and below it."""
    return sorted(path for path in root.rglob("*") if _is_list(path) and ".tmp-" not in str(path.relative_to(root)))


def forget() -> None:
    """Hash every file again at its next use, as a new process does."""
    _digests.clear()
    _lines.cache_clear()


def _is_list(path: Path) -> bool:
    return path.name == SUMS or path.suffix == ".sha256"


def _meant(name: str, wanted: str) -> bool:
    return name == wanted or (wanted.endswith("/") and name.startswith(wanted))


def _wrong(path: Path, digest: str, *, wait: bool) -> str:
    """What is wrong with a file; "" if nothing is, or nothing is known yet."""
    try:
        facts = path.stat()
    except OSError:
        return "it is missing"
    key = (path, facts.st_mtime_ns, facts.st_size)
    if key not in _digests:
        _digests[key] = Future()
        if facts.st_size > LARGE and not wait:
            Thread(target=_hash, args=(path, _digests[key]), daemon=True).start()
        else:
            _hash(path, _digests[key])
    if not wait and facts.st_size > LARGE and not _digests[key].done():
        return ""
    try:
        return "" if _digests[key].result() == digest else "its SHA-256 is not the one noted when it was written"
    except OSError as exc:
        _digests.pop(key, None)
        return f"it cannot be read ({exc.strerror})"


def _hash(path: Path, answer: Future[str]) -> None:
    try:
        answer.set_result(fingerprint.of_file(path))
    except OSError as exc:
        answer.set_exception(exc)


@lru_cache(maxsize=4096)
def _lines(path: Path, _modified: int) -> dict[str, str]:
    return _read(path)


def _write(path: Path, lines: Mapping[str, str]) -> None:
    write_atomic(path, "".join(f"{digest}  {name}\n" for name, digest in sorted(lines.items())))


def _read(path: Path) -> dict[str, str]:
    """Hash by name. Raises StoreError for a list that `seal` did not write like this."""
    try:
        found = [_LINE.fullmatch(line) for line in path.read_text("utf-8").splitlines()]
    except UnicodeDecodeError:
        found = [None]
    if not found or None in found:
        raise StoreError("the list of its hashes cannot be read")
    return {match[2]: match[1] for match in found if match}
