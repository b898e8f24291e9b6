"""The audit in one file that can be checked anywhere: a zip of records, each with its hash, and no text of any row."""

from __future__ import annotations

import json
import platform
import shutil
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from reft_studio import __version__
from reft_studio.audit.bundle_check import DAMAGE, BundleFindings
from reft_studio.audit.bundle_format import (
    AUDIT,
    DECISIONS,
    FORMAT,
    FROZEN,
    MANIFEST,
    RECORDS,
    REPORT,
    ROW_SCORES,
    SCORES,
    SOURCE,
    VERSION,
    hash_but_comment,
)
from reft_studio.audit.decision import Decision
from reft_studio.audit.record import AuditRecord
from reft_studio.data.dataset import Dataset
from reft_studio.errors import SpecError, StoreError
from reft_studio.fingerprint import of_file
from reft_studio.workspace import staging, write_json

_BLOCK = 1 << 20
_EPOCH = (1980, 1, 1, 0, 0, 0)
_LIBRARIES = ("torch", "transformers", "peft", "numpy", "pyarrow")


@dataclass(frozen=True)
class BundleReport:
    """What checking a bundle found. Note `seal` (the hash of the bundle's manifest) elsewhere: it shows if the whole was replaced."""

    ok: bool
    problems: list[str]
    seal: str
    decisions: int
    manifest: dict[str, Any] = field(repr=False)


def write_bundle(
    frozen: Dataset,
    source: Dataset,
    target: Path,
    *,
    decisions: Iterable[Decision],
    scores: Mapping[str, Any],
    records: Iterable[AuditRecord] = (),
    row_scores: Path | None = None,
    report: Path | None = None,
) -> Path:
    """Write the bundle of a frozen dataset: its record, both manifests, every decision and draw about the source, how it was scored.

    `decisions` and `records` are all entries about the source, oldest first; `row_scores` is the table of its scores, `report` a
    redacted report. Raises SpecError if `frozen` does not come from `source`.
    """
    lineage = frozen.manifest.get("lineage")
    if lineage is None or lineage["source"] != source.id:
        raise SpecError(f"Dataset '{frozen.id}' was not frozen from '{source.id}'. Freeze the audited dataset first.")
    target.parent.mkdir(parents=True, exist_ok=True)
    with staging(target.parent) as building:
        for name, entries in ((DECISIONS, decisions), (RECORDS, records)):
            with (building / name).open("w", encoding="utf-8") as file:
                file.writelines(json.dumps(entry.as_dict()) + "\n" for entry in entries)
        shutil.copyfile(frozen.folder / AUDIT, building / AUDIT)
        shutil.copyfile(frozen.folder / "manifest.json", building / FROZEN)
        shutil.copyfile(source.folder / "manifest.json", building / SOURCE)
        write_json(building / SCORES, dict(scores))
        members = [DECISIONS, RECORDS, AUDIT, FROZEN, SOURCE, SCORES]
        for name, path in ((ROW_SCORES, row_scores), (REPORT, report)):
            if path is not None:
                shutil.copyfile(path, building / name)
                members.append(name)
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "dataset": frozen.fingerprint,
            "data_sha256": of_file(frozen.path),
            "upload_sha256": (source.manifest.get("source") or {}).get("sha256"),
            "threshold": lineage["threshold"],
            "chosen_by": lineage["policy_by"],
            "versions": _versions(),
            "files": {name: of_file(building / name) for name in members},
        }
        write_json(building / MANIFEST, manifest)
        with zipfile.ZipFile(building / "bundle.zip", "w") as archive:
            archive.comment = b"0" * 64
            for name in (MANIFEST, *members):
                _pack(archive, building / name)
        _close(building / "bundle.zip")
        (building / "bundle.zip").replace(target)
    return target


def verify(path: Path, *, data: Path | None = None, seals: Iterable[str] = ()) -> BundleReport:
    """Check a bundle by itself, and, if `data` (the frozen `data.parquet`) is given, that it is the one audited.

    Checks the hash of every file and of the whole, the chains of decisions and of draws, and that record, manifests and decisions
    tell the same story. `seals` are those noted when bundles were made: if any is given, the bundle's must be among them, so that
    one written anew as a whole is seen too. Every problem is listed. Raises StoreError if the file is no bundle at all.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            check = BundleFindings(archive, path)
            check.run(data, set(seals))
            return BundleReport(not check.problems, check.problems, check.seal, check.decisions, check.manifest)
    except FileNotFoundError as exc:
        raise StoreError(f"There is no file {path.name}.") from exc
    except DAMAGE as exc:
        raise StoreError(f"{path.name} is no audit bundle, or it is damaged ({type(exc).__name__}).") from exc


def _pack(archive: zipfile.ZipFile, path: Path) -> None:
    info = zipfile.ZipInfo(path.name, _EPOCH)  # one fixed date: the same audit packs to the same bytes
    info.compress_type = zipfile.ZIP_DEFLATED
    info.file_size = path.stat().st_size  # tells zipfile whether the long format is needed
    with path.open("rb") as file, archive.open(info, "w") as member:
        shutil.copyfileobj(file, member, _BLOCK)


def _close(path: Path) -> None:
    """Put the hash of all other bytes into the comment at the end, so that a change to any byte is seen, also where no file's is."""
    with path.open("r+b") as file:
        mark = hash_but_comment(file)
        file.seek(-64, 2)
        file.write(mark.encode("ascii"))


def _versions() -> dict[str, str]:
    return {"reft-studio": __version__, "python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}}
