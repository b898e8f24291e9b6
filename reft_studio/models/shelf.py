"""The base models of this machine (the shelf): one folder each in a cache that every workspace shares. Imports no torch.

`ROOT/NAME/shelf.json` describes the model; its Hugging Face folder is `model/` beside it, or elsewhere if a person registered a folder
of their own.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from reft_studio import fingerprint
from reft_studio.errors import SpecError, StoreError
from reft_studio.workspace import read_json, write_json

FILE, INSIDE = "shelf.json", "model"
_VERIFIED, _DECLINED = "verified.json", "declined.json"
_TEMPORARY = ".tmp-"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
RECHECK_S = 86_400.0
"""Weights with unchanged size and times are hashed again after this many seconds: a disk may lose bits silently."""
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShelfModel:
    """Content of shelf.json. `size` and `parameters` are of the weight files; unknown text is empty, an unknown number 0."""

    name: str
    title: str
    source: str
    """Its origin, in words."""
    licence: str
    languages: str
    kind: str
    """instruct (has a chat template) or base."""
    parameters: int
    size: int
    dtype: str
    files: Mapping[str, str]
    """SHA-256 of each weight file."""
    fingerprint: str
    added: str
    path: str = ""
    """The registered folder; empty: `model/` on the shelf."""
    speed: Mapping[str, Any] = field(default_factory=dict)
    """Measured when added: tokens_per_s, dtype, device; empty if not measured."""

    @property
    def folder(self) -> Path:
        return Path(self.path) if self.path else root() / self.name / INSIDE

    @property
    def there(self) -> bool:
        """Whether its weight files still exist."""
        return all((self.folder / name).is_file() for name in self.files)


def root() -> Path:
    """The folder of all models: REFT_STUDIO_MODELS, else in the user's cache directory."""
    if named := os.environ.get("REFT_STUDIO_MODELS"):
        return Path(named).expanduser().absolute()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", str(Path.home() / "AppData" / "Local")))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")))
    return base / "reft-studio" / "models"


def check_name(name: str) -> str:
    """The name, if it is valid for a model. Raises SpecError."""
    if not _NAME.fullmatch(name) or name == "lab" or _TEMPORARY in name:
        raise SpecError(
            f"'{name[:60]}' cannot be the name of a model. Use small letters, digits, dot, dash and underscore, at most 64; 'lab' is taken."
        )
    return name


def name_from(text: str) -> str:
    """A name made from a folder, file or Hub id: `Qwen/Qwen2.5-0.5B-Instruct` gives `qwen2.5-0.5b-instruct`."""
    last = text.replace("\\", "/").rstrip("/").rpartition("/")[2].lower()
    name = re.sub(r"[^a-z0-9._-]+", "-", last.removesuffix(".gguf")).strip("-._")[:64]
    return name or "model"


def find(name: str) -> ShelfModel | None:
    """The model of this name; None if there is none. Raises StoreError if its entry is damaged."""
    if not _NAME.fullmatch(name) or _TEMPORARY in name or not (root() / name / FILE).is_file():
        return None
    facts = read_json(root() / name / FILE)
    try:
        return ShelfModel(**{**facts, "name": name})
    except TypeError as exc:
        raise StoreError(f"The entry of the model '{name}' was written by another version. Remove the model and add it again.") from exc


def models() -> list[ShelfModel]:
    """Every model of this machine, by name; damaged entries are skipped and logged."""
    base = root()
    on_shelf = []
    for path in sorted(base.iterdir()) if base.is_dir() else []:
        try:
            model = find(path.name)
        except StoreError as exc:
            _LOG.warning("model left out: %s", exc)
            continue
        on_shelf += [model] if model is not None else []
    return on_shelf


def names() -> list[str]:
    """The names by which a base can be chosen besides 'lab'."""
    return [model.name for model in models()]


def write(folder: Path, model: ShelfModel) -> None:
    """Write an entry into its folder, usually one that is still being built."""
    write_json(folder / FILE, asdict(model))


def remove(name: str) -> ShelfModel:
    """Remove a model from the shelf and delete its files there; a registered folder stays. Raises SpecError if it is unknown."""
    model = find(name)
    if model is None:
        unknown(name)
    shutil.rmtree(root() / name)
    return model


def unknown(name: str) -> NoReturn:
    """Raises SpecError, listing the names."""
    raise SpecError(f"There is no model '{name[:60]}' on this machine. There are: {', '.join(names()) or 'none yet'}.")


def identity(files: Mapping[str, str]) -> str:
    """One fingerprint of all weight files."""
    return fingerprint.of_value(dict(files))


def verify(model: ShelfModel) -> None:
    """Raises StoreError unless every weight file is byte for byte the one that was added.

    Files checked within a day with unchanged size and times are not hashed again.
    """
    stamp = root() / model.name / _VERIFIED
    checked_before = _read(stamp)
    verified: dict[str, list[float]] = {}
    for name, expected in model.files.items():
        path = model.folder / name
        if not path.is_file():
            raise StoreError(f"The model '{model.name}' has lost its weights: {path} is missing. {_again(model)}")
        facts = path.stat()
        state = [facts.st_size, facts.st_mtime_ns, facts.st_ino]
        checked = checked_before.get(name)
        if isinstance(checked, list) and checked[:3] == state and 0 <= time.time() - checked[3] < RECHECK_S:
            verified[name] = checked
            continue
        if fingerprint.of_file(path) != expected:
            stamp.unlink(missing_ok=True)
            raise StoreError(
                f"{path.name} of the model '{model.name}' is not the file that was added: its SHA-256 differs. {_again(model)}"
            )
        verified[name] = [*state, time.time()]
    if verified != checked_before:
        write_json(stamp, verified)


def verify_named(name: str) -> None:
    """`verify` if there is a model of that name on the shelf; anything else is not ours to check."""
    model = find(name)
    if model is not None:
        verify(model)


def _again(model: ShelfModel) -> str:
    if model.path:
        return f"Put the folder {model.path} back as it was, or remove the model and add the folder again."
    return f"Remove it and add it again: python launch.py model remove {model.name}, then model add."


# --- a model that was not wanted, or could not be had --------------------------------------------------------------------------------


def decline(name: str, reason: str) -> None:
    """Remember that a model is not to be fetched automatically; pages show the `reason`."""
    root().mkdir(parents=True, exist_ok=True)
    write_json(root() / _DECLINED, {**_read(root() / _DECLINED), name: reason})


def declined(name: str) -> str | None:
    """Why a model is not fetched automatically; None if it may be."""
    reason = _read(root() / _DECLINED).get(name)
    return None if reason is None else str(reason)


def forget_decline(name: str) -> None:
    """Allow automatic fetching again, after a person asked for the model."""
    declined_models = _read(root() / _DECLINED)
    if declined_models.pop(name, None) is not None:
        write_json(root() / _DECLINED, declined_models)


def _read(path: Path) -> dict[str, Any]:
    """A small JSON file; {} if it is missing or unreadable."""
    if not path.is_file():
        return {}
    try:
        content = read_json(path)
    except StoreError as exc:
        _LOG.warning("%s", exc)
        return {}
    return content if isinstance(content, dict) else {}
