"""Locates a model: a local folder, the model hub or its cache. Headers are checked before any weight is loaded; no torch."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from reft_studio.errors import PrerequisiteError, SpecError
from reft_studio.models import shelf
from reft_studio.models.catalogue import CATALOGUE, Entry
from reft_studio.models.sizes import check_sizes
from reft_studio.workspace import ASSETS

LAB = "lab"
"""The name of the embedded model."""
_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "vocab.txt", "spiece.model", "tekken.json")
_MOST_HEADER = 100_000_000
"""Maximum bytes of a safetensors header, by the format's definition."""
_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"


@dataclass(frozen=True)
class TensorFacts:
    """One tensor in a safetensors header."""

    dtype: str
    """As the header names it: F32, BF16, F16, U8, …"""
    shape: tuple[int, ...]

    @property
    def numbers(self) -> int:
        product = 1
        for size in self.shape:
            product *= size
        return product


@dataclass(frozen=True)
class ModelSource:
    """A located model whose headers are complete; `folder` is None while it is only on the hub."""

    name: str
    folder: Path | None
    revision: str | None
    """The commit of a hub model."""
    config: Mapping[str, Any]
    tensors: Mapping[str, TensorFacts] = field(repr=False)
    size: int
    """Bytes of the weight files."""
    remarks: tuple[str, ...] = ()
    """Warnings about the folder and how it is read, for the person who uses the model."""


class MissingModel(PrerequisiteError):
    """A base that can be downloaded; `model` is what to add to the shelf."""

    def __init__(self, message: str, *, model: str) -> None:
        super().__init__(message)
        self.model = model


def resolve(source: str) -> str:
    """`lab` gives the embedded model's folder, a shelf name that model's; anything else is a folder or a Hub id, unchanged."""
    if source == LAB:
        return str(ASSETS / "lab" / "base")
    on_shelf = shelf.find(source)
    if on_shelf is not None:
        return str(on_shelf.folder)
    return str(Path(source).expanduser()) if source.startswith("~") else source


def offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids asking the model hub."""
    return os.environ.get("HF_HUB_OFFLINE", "0").lower() in {"1", "true", "yes", "on"}


def locate(source: str, *, revision: str | None = None, network: bool | None = None) -> ModelSource:
    """Find a model and read its configuration and the headers of its weights: a few kB, whatever its size.

    `network` None: as HF_HUB_OFFLINE says. Raises PrerequisiteError with what is missing and what to do, SpecError for a revision
    of something that has none.
    """
    path = resolve(source)
    if path.startswith((".", "/")) or "\\" in path or _exists(Path(path)):
        if revision:
            raise SpecError(
                f"revision is '{revision}', but {source} is a folder. A revision belongs to a model of the hub: leave it empty."
            )
        return read_folder(Path(path), source)
    if path in CATALOGUE:
        raise _not_added(CATALOGUE[path])
    if not _is_id(path):
        raise PrerequisiteError(
            f"'{source[:80]}' is neither a folder on this machine nor a Hub id, which looks like org/name, and no model that was added has "
            "this name: python launch.py model list shows them."
        )
    may_ask = not offline() if network is None else network
    return _on_hub(path, revision) if may_ask else _in_cache(path, revision)


def _not_added(entry: Entry) -> MissingModel:
    return MissingModel(
        f"The model '{entry.name}' ({entry.title}) is not on this machine yet. Add it on the Settings page, or with: python launch.py "
        f"model add {entry.name} ({entry.download / 1e6:,.0f} MB to fetch).",
        model=entry.name,
    )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long for a folder
        return False


def _is_id(name: str) -> bool:
    """Whether this can be a Hub id."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return _ID.fullmatch(name) is not None


def fetch(source: ModelSource) -> ModelSource:
    """The model on this disk, downloaded if necessary. Raises PrerequisiteError if it does not fit or cannot be downloaded.

    Raises StoreError if it is on the shelf and its weights are not those that were added.
    """
    if source.folder is not None:
        shelf.verify_named(source.name)
        return source
    from huggingface_hub import constants, snapshot_download

    cache_folder = Path(constants.HF_HUB_CACHE)
    free = shutil.disk_usage(next(parent for parent in (cache_folder, *cache_folder.parents) if parent.exists())).free
    if source.size > free:
        raise PrerequisiteError(
            f"'{source.name}' is a download of {source.size / 1e9:.1f} GB, but {free / 1e9:.1f} GB are free where models are kept "
            f"({cache_folder}). Free some, or set HF_HOME to another disk."
        )
    patterns = ["*.json", "*.jinja", "*.model", "*.txt", "model*.safetensors"]
    with _hub_errors(source.name, source.revision):
        folder = snapshot_download(source.name, revision=source.revision, allow_patterns=patterns)
    return _dated(read_folder(Path(folder), source.name), source.revision)


def read_folder(folder: Path, source: str) -> ModelSource:
    """A model folder; every weight file must have the length that its header implies."""
    if not _exists(folder):
        raise PrerequisiteError(
            f"There is no model folder {str(folder)[:200]}. Give the folder that holds config.json, or a Hub id such as org/name."
        )
    if not (folder / "config.json").is_file():
        hint = ", but an adapter: give the model it was made for" if (folder / "adapter_config.json").is_file() else ""
        raise PrerequisiteError(f"{folder} has no config.json, so it is not a model folder{hint}.")
    config = _json(folder / "config.json")
    if not has_weights(folder) and any(folder.glob("*.gguf")):
        raise PrerequisiteError(
            f"{folder} holds the model as GGUF, which is read once and kept as another folder: add it on the Settings page, or with python "
            "launch.py model add FOLDER, and use the name that it gets."
        )
    _check_tokenizer(source, {path.name for path in folder.iterdir()})
    shards = weight_files(folder)
    tensors = {name: facts for shard in shards for name, facts in read_header(shard).items()}
    check_sizes(source, config, {name: facts.shape for name, facts in tensors.items()})
    return ModelSource(source, folder, None, config, tensors, sum(shard.stat().st_size for shard in shards), _remarks(folder, source))


def _remarks(folder: Path, source: str) -> tuple[str, ...]:
    if not (folder / "adapter_config.json").is_file():
        return ()
    return (
        f"The folder of '{source}' also holds an adapter (adapter_config.json). The base alone is loaded, without it. To use the adapter, "
        "merge it into the weights first, or move it to a folder of its own.",
    )


def has_weights(folder: Path) -> bool:
    """Whether a folder has weights that transformers reads, not only a configuration."""
    return (folder / _SINGLE).is_file() or (folder / _INDEX).is_file()


def read_header(path: Path, *, most: int = _MOST_HEADER) -> dict[str, TensorFacts]:
    """Name, type and shape of each tensor of a safetensors file whose header has at most `most` bytes.

    Raises PrerequisiteError if the file is truncated or not a safetensors file.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 10 or not 2 <= length <= min(most, size - 8):
            raise _cut_off(path, size, None)
        try:
            header = json.loads(file.read(length))
            tensors = {name: facts for name, facts in header.items() if name != "__metadata__"}
            by_name = {name: TensorFacts(facts["dtype"], tuple(facts["shape"])) for name, facts in tensors.items()}
            end = 8 + length + max((facts["data_offsets"][1] for facts in tensors.values()), default=0)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
            raise PrerequisiteError(f"{path.name} has a damaged safetensors header. Copy or download it again.") from exc
    if end != size:
        raise _cut_off(path, size, end)
    return by_name


def _cut_off(path: Path, size: int, expected: int | None) -> PrerequisiteError:
    expectation = f", but its header promises {expected:,}" if expected else ""
    return PrerequisiteError(
        f"{path.name} is cut off or no safetensors file: it has {size:,} bytes{expectation}. Copy or download it again."
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text("utf-8"))
    except ValueError as exc:
        raise PrerequisiteError(f"{path} is not valid JSON. Copy it again from where the model came from.") from exc
    if not isinstance(config, dict):
        raise PrerequisiteError(f"{path} is not a JSON object. Copy it again from where the model came from.")
    return config


def _check_tokenizer(source: str, names: set[str]) -> None:
    if not names & set(_TOKENIZERS):
        raise PrerequisiteError(
            f"The model '{source}' has no tokenizer: none of {', '.join(_TOKENIZERS[:4])}. Copy tokenizer.json and tokenizer_config.json "
            "of the model into its folder."
        )


def weight_files(folder: Path) -> list[Path]:
    """The weight files of a model folder that transformers reads: one, or those of the index."""
    if (folder / _SINGLE).is_file():
        return [folder / _SINGLE]
    if not (folder / _INDEX).is_file():
        raise PrerequisiteError(f"{folder} has no {_SINGLE} weights. Pickled weights are refused, since loading them can run code.")
    named = _json(folder / _INDEX).get("weight_map")
    names = sorted({str(name) for name in named.values()} if isinstance(named, dict) else ())
    missing = [name for name in names if not (folder / name).is_file()]
    if missing or not names:
        raise PrerequisiteError(
            f"{folder} is not whole: {len(missing)} of its {len(names)} weight files are missing (safetensors, first "
            f"{missing[0] if missing else 'none named'}). Copy or download them again."
        )
    return [folder / name for name in names]


def _dated(source: ModelSource, revision: str | None) -> ModelSource:
    return replace(source, revision=revision)


def _in_cache(name: str, revision: str | None) -> ModelSource:
    """A hub model downloaded earlier; uses no network."""
    from huggingface_hub import try_to_load_from_cache

    config_path = try_to_load_from_cache(name, "config.json", revision=revision or "main")
    if not isinstance(config_path, str):
        which = f"'{name}' (revision {revision})" if revision else f"'{name}'"
        raise MissingModel(
            f"{which} is not a folder here and not among the models downloaded before, and offline mode forbids asking the model hub. "
            f"Give a local folder, add it on the Settings page or with python launch.py model add {name}, or set HF_HUB_OFFLINE=0.",
            model=name,
        )
    folder = Path(config_path).parent
    return _dated(read_folder(folder, name), folder.name)


def _on_hub(name: str, revision: str | None) -> ModelSource:
    """A model as the hub describes it; without a network, from the cache."""
    import huggingface_hub as hub

    try:
        with _hub_errors(name, revision):
            info = hub.HfApi().model_info(name, revision=revision, files_metadata=True)
            _check_tokenizer(name, {file.rfilename for file in info.siblings or ()})
            config = _json(Path(hub.hf_hub_download(name, "config.json", revision=info.sha)))
            weights = hub.HfApi().get_safetensors_metadata(name, revision=info.sha)
    except _NoNetwork as exc:
        try:
            return _in_cache(name, revision)
        except PrerequisiteError:
            raise PrerequisiteError(f"{exc} It was not downloaded before either: connect to the network, or give a local folder.") from exc
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
    tensors = {
        key: TensorFacts(facts.dtype, tuple(facts.shape)) for file in weights.files_metadata.values() for key, facts in file.tensors.items()
    }
    check_sizes(name, config, {key: facts.shape for key, facts in tensors.items()})
    return ModelSource(name, None, info.sha, config, tensors, sum(sizes.get(file, 0) for file in weights.files_metadata))


class _NoNetwork(PrerequisiteError):
    """The hub cannot be reached; the cache may still have the model."""


@contextmanager
def _hub_errors(name: str, revision: str | None) -> Iterator[None]:
    """Translate exceptions of the hub's client into errors that say what to do."""
    from huggingface_hub import errors

    try:
        yield
    except PrerequisiteError:
        raise
    except errors.GatedRepoError as exc:
        raise PrerequisiteError(
            f"'{name}' is gated: its owner asks you to agree to terms first. Agree on its page, then log in here with 'hf auth login'."
        ) from exc
    except errors.RevisionNotFoundError as exc:
        raise PrerequisiteError(f"'{name}' has no revision '{revision}'. Give a branch, tag or commit of its history.") from exc
    except errors.RepositoryNotFoundError as exc:
        raise PrerequisiteError(
            f"The hub has no model '{name}', or it is private and you are not logged in. Check the spelling, or use 'hf auth login'."
        ) from exc
    except errors.NotASafetensorsRepoError as exc:
        raise PrerequisiteError(
            f"'{name}' has no safetensors weights. Pickled weights are refused, since loading them can run code."
        ) from exc
    except errors.EntryNotFoundError as exc:  # LocalEntryNotFoundError, its child, means that the hub was not reached
        if isinstance(exc, errors.LocalEntryNotFoundError):
            raise _NoNetwork(f"The model hub cannot be reached to look for '{name}'.") from exc
        raise PrerequisiteError(f"'{name}' has no config.json, so it is not a model that can be loaded.") from exc
    except errors.HfHubHTTPError as exc:
        raise PrerequisiteError(f"The model hub refused to give '{name}': {str(exc).splitlines()[0][:200]}") from exc
    except OSError as exc:  # no route, no name service, offline mode
        raise _NoNetwork(f"The model hub cannot be reached to look for '{name}' ({type(exc).__name__}).") from exc
    except Exception as exc:
        if not type(exc).__module__.startswith("http"):  # transport errors of the hub's client (httpx) are no OSError
            raise
        raise _NoNetwork(f"The model hub cannot be reached to look for '{name}' ({type(exc).__name__}).") from exc
