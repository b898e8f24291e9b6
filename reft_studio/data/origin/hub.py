"""Datasets of the model hub: listed at one commit, downloaded file by file, never by running a script of the repository."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from reft_studio.data.formats import FORMATS, endings
from reft_studio.data.origin.sources import DataSource, SourceTable, local, tables
from reft_studio.errors import DataError, PrerequisiteError

_ID = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[\w./-]+))?")
CONVERTED = "refs/convert/parquet"
"""Branch in which the hub keeps a dataset as Parquet, for repositories whose rows only a script can read."""


class _NoNetworkError(PrerequisiteError):
    """The hub did not answer."""


def offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids asking the hub."""
    return os.environ.get("HF_HUB_OFFLINE", "0").lower() in {"1", "true", "yes", "on"}


def names_a_dataset(text: str) -> bool:
    """Whether a text can be the id of a dataset (`org/name`, `org/name@revision`) and no path of this machine."""
    return not text.startswith(("/", ".", "~")) and "\\" not in text and _split(text) is not None and not Path(text).exists()


def _split(text: str) -> tuple[str, str | None] | None:
    """Name and revision; of an address only what follows `datasets/`."""
    found = _ID.fullmatch(text.strip().rstrip("/").rpartition("datasets/")[2])
    return None if found is None or found["name"].lower().endswith(endings()) else (found["name"], found["revision"])


def look(text: str) -> DataSource:
    """The tables of a dataset of the hub, at the newest commit or the one named after `@`; offline, as it was downloaded before.

    Raises PrerequisiteError if it cannot be reached or is not there, DataError if it holds no table.
    """
    split = _split(text)
    if split is None:
        raise DataError(f"'{text[:80]}' is no dataset of the hub. Write org/name, or org/name@revision.")
    name, revision = split
    if offline():
        return _downloaded(text, name, revision)
    try:
        return _listed(text, name, revision)
    except _NoNetworkError as exc:
        try:
            return _downloaded(text, name, revision)
        except PrerequisiteError:
            raise PrerequisiteError(
                f"{exc} It was not downloaded before either. Connect to the network, or give a file or folder."
            ) from exc


def _listed(text: str, name: str, revision: str | None) -> DataSource:
    from huggingface_hub import HfApi

    with _errors(name, revision):
        info = HfApi().dataset_info(name, revision=revision, files_metadata=True)
        parts = tables(_files(info.siblings))
    if not parts and revision is None:
        with _errors(name, CONVERTED):
            info = HfApi().dataset_info(name, revision=CONVERTED, files_metadata=True)
            parts = tables(_files(info.siblings))
    if not parts:
        raise DataError(f"'{name}' holds no table that can be read without running its own code. Save it as Parquet or JSON Lines.")
    return DataSource(text, "hub", name, tuple(parts), info.sha)


def _files(siblings: Iterable[Any] | None) -> Iterator[tuple[str, int]]:
    """Names and bytes of the files of a repository; a name that would lead out of its folder is none."""
    for file in siblings or ():
        name = PurePosixPath(file.rfilename)
        if not name.is_absolute() and ".." not in name.parts:
            yield file.rfilename, file.size or 0


def _downloaded(text: str, name: str, revision: str | None) -> DataSource:
    """What an earlier download left on this machine; nothing is asked of the network."""
    from huggingface_hub import errors, snapshot_download

    try:
        folder = Path(snapshot_download(name, repo_type="dataset", revision=revision, local_files_only=True))
    except (errors.LocalEntryNotFoundError, errors.HFValidationError) as exc:
        raise PrerequisiteError(
            f"'{name}' is no path on this machine and not among the datasets downloaded before, and offline mode forbids asking the hub. "
            "Give a file or folder, or start the app with HF_HUB_OFFLINE=0 to download it."
        ) from exc
    return replace(local(str(folder)), text=text, place="hub", title=name, revision=folder.name)


def fetch(source: DataSource, part: SourceTable, *, first_only: bool = False) -> list[Path]:
    """The files of a part on this machine, downloaded where they are not; only the first of them to look at."""
    from huggingface_hub import hf_hub_download

    paths = []
    for name in part.files[:1] if first_only else part.files:
        if Path(name).is_absolute():
            paths.append(Path(name))
            continue
        with _errors(source.title, source.revision):
            paths.append(Path(hf_hub_download(source.title, name, repo_type="dataset", revision=source.revision)))
    return paths


def _readable() -> str:
    return " or ".join(one.label for one in FORMATS.all().values())


@contextmanager
def _errors(name: str, revision: str | None) -> Iterator[None]:
    """Turn what the hub's client raises into what a person can do about it."""
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as exc:
        raise PrerequisiteError(
            f"'{name}' is gated: its owner asks you to agree to terms first. Agree on its page, then log in here with 'hf auth login'."
        ) from exc
    except errors.RevisionNotFoundError as exc:
        told = "holds no table that can be read without running its own code" if revision == CONVERTED else f"has no revision '{revision}'"
        raise PrerequisiteError(f"'{name}' {told}. Give a branch, tag or commit that holds {_readable()}.") from exc
    except errors.RepositoryNotFoundError as exc:
        raise PrerequisiteError(
            f"The hub has no dataset '{name}', or it is private and you are not logged in. Check the spelling, or use 'hf auth login'."
        ) from exc
    except errors.LocalEntryNotFoundError as exc:
        raise _NoNetworkError(f"The hub cannot be reached to look for '{name}'.") from exc
    except errors.EntryNotFoundError as exc:
        raise PrerequisiteError(f"A file of '{name}' is gone from the hub. Look at it again.") from exc
    except errors.HfHubHTTPError as exc:
        raise PrerequisiteError(f"The hub refused to give '{name}': {str(exc).splitlines()[0][:200]}") from exc
    except OSError as exc:  # no route, no name service, offline mode
        raise _NoNetworkError(f"The hub cannot be reached to look for '{name}' ({type(exc).__name__}).") from exc
    except Exception as exc:
        if not type(exc).__module__.startswith("http"):  # transport errors of the hub's client (httpx) are no OSError
            raise
        raise _NoNetworkError(f"The hub cannot be reached to look for '{name}' ({type(exc).__name__}).") from exc
