"""The audit in one file that can be checked anywhere: a zip of records, each with its hash, and no text of any row."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reft_studio.audit.decision import Decision, check_chain
from reft_studio.audit.freeze import AUDIT
from reft_studio.data.dataset import Dataset
from reft_studio.errors import SpecError, StoreError
from reft_studio.fingerprint import SHORT, of_file
from reft_studio.workspace import staging, write_json

FORMAT = "reft-studio audit bundle"
VERSION = 1
MANIFEST = "manifest.json"
DECISIONS = "decisions.jsonl"
FROZEN, SOURCE, SCORES = "dataset.json", "source.json", "scores.json"
MEMBERS = (DECISIONS, AUDIT, FROZEN, SOURCE, SCORES)
SIZE_LIMIT, LINE_LIMIT = 4 << 30, 1 << 20
"""Bytes of a member and of one line; more is no bundle of ours, however small it is packed."""
_BLOCK = 1 << 20
# What zipfile, zlib and json raise on bytes that are no archive, or an archive of something else.
DAMAGE = (zipfile.BadZipFile, zlib.error, RuntimeError, LookupError, EOFError, OSError, ValueError, TypeError, AttributeError)
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class BundleReport:
    """What checking a bundle found. Note `seal` (the hash of the bundle's manifest) elsewhere: it shows if the whole was replaced."""

    ok: bool
    problems: list[str]
    seal: str
    decisions: int
    manifest: dict[str, Any] = field(repr=False)


def write_bundle(frozen: Dataset, source: Dataset, target: Path, *, decisions: Iterable[Decision], scores: Mapping[str, Any]) -> Path:
    """Write the bundle of a frozen dataset: its record, both manifests, every decision about the source, how it was scored.

    `decisions` are all entries about the source, oldest first (`DecisionLog.entries`). Raises SpecError if `frozen` does not
    come from `source`.
    """
    lineage = frozen.manifest.get("lineage")
    if lineage is None or lineage["source"] != source.id:
        raise SpecError(f"Dataset '{frozen.id}' was not frozen from '{source.id}'. Freeze the audited dataset first.")
    target.parent.mkdir(parents=True, exist_ok=True)
    with staging(target.parent) as building:
        with (building / DECISIONS).open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(decision.as_dict()) + "\n" for decision in decisions)
        shutil.copyfile(frozen.folder / AUDIT, building / AUDIT)
        shutil.copyfile(frozen.folder / "manifest.json", building / FROZEN)
        shutil.copyfile(source.folder / "manifest.json", building / SOURCE)
        write_json(building / SCORES, dict(scores))
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "dataset": frozen.fingerprint,
            "data_sha256": of_file(frozen.path),
            "files": {name: of_file(building / name) for name in MEMBERS},
        }
        write_json(building / MANIFEST, manifest)
        with zipfile.ZipFile(building / "bundle.zip", "w") as archive:
            for name in (MANIFEST, *MEMBERS):
                _pack(archive, building / name)
        (building / "bundle.zip").replace(target)
    return target


def verify(path: Path, *, data: Path | None = None) -> BundleReport:
    """Check a bundle by itself, and, if `data` (the frozen `data.parquet`) is given, that it is the one audited.

    Checks the hash of every file, the chain of decisions, and that record, manifests and decisions tell the same story. Every
    problem is listed. Raises StoreError if the file is no bundle at all.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _Check(archive).report(data)
    except FileNotFoundError as exc:
        raise StoreError(f"There is no file {path.name}.") from exc
    except DAMAGE as exc:
        raise StoreError(f"{path.name} is no audit bundle, or it is damaged ({type(exc).__name__}).") from exc


class _Check:
    """One pass over a bundle, collecting problems."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self.archive = archive
        self.problems: list[str] = []

    def report(self, data: Path | None) -> BundleReport:
        infos = self.archive.infolist()
        self._expect(sorted(info.filename for info in infos) == sorted((MANIFEST, *MEMBERS)), "It holds other files than a bundle does.")
        if any(info.file_size > SIZE_LIMIT for info in infos) or self.problems:
            self._expect(bool(self.problems), f"One of its files is larger than {SIZE_LIMIT >> 30} GB.")
            return BundleReport(False, self.problems, "", 0, {})
        manifest = json.loads(self._small(MANIFEST))
        known = manifest["format"] == FORMAT and manifest["version"] == VERSION
        self._expect(known, f"It is of another format or version (this app reads version {VERSION}).")
        for name in MEMBERS:
            self._expect(manifest["files"].get(name) == self._hash(name), f"{name} was changed.")
        hashes = self._decisions()
        self._story(manifest, hashes)
        if data is not None:
            self._expect(of_file(data) == manifest["data_sha256"], f"{data.name} is not the data that was audited.")
        return BundleReport(not self.problems, self.problems, self._hash(MANIFEST), len(hashes), manifest)

    def _decisions(self) -> set[str]:
        """Check the chain; gives the hashes in it."""
        found: set[str] = set()

        def read() -> Iterator[Decision]:
            for values in self._lines(DECISIONS):
                decision = Decision(**values)
                found.add(decision.hash)
                yield decision

        chain = check_chain(read())
        self._expect(chain.ok, chain.reason)
        self._expect(len(chain.heads) <= 1, "The decisions are about more than one dataset.")
        return found

    def _story(self, manifest: Mapping[str, Any], hashes: set[str]) -> None:
        """Manifests, record and decisions against each other."""
        frozen, source = json.loads(self._small(FROZEN)), json.loads(self._small(SOURCE))
        lineage = frozen["lineage"]
        self._expect(frozen["fingerprint"] == manifest["dataset"], "The bundle names another dataset than its own manifest.")
        self._expect(
            lineage["source_fingerprint"] == source["fingerprint"], "The dataset was frozen from another one than the bundle holds."
        )
        self._expect(lineage["audit_sha256"] == manifest["files"][AUDIT], "The record is not the one that was written when freezing.")
        self._expect(lineage["decisions_hash"] in {None, *hashes}, "The newest decision that was used is not in the log.")
        self._expect(lineage["rows"] == source["rows"] and lineage["kept"] == frozen["rows"], "The numbers of rows do not add up.")
        counts, unknown, here = {"keep": 0, "remove": 0, "undecided": 0}, 0, source["fingerprint"][:SHORT]
        notes = self._lines(AUDIT)
        next(notes, None)  # the policy
        for note in notes:
            counts[note["outcome"]] += 1
            decision = note["decision"]
            unknown += decision is not None and (decision["hash"] not in hashes or decision["dataset"] != here)
        self._expect(not unknown, f"{unknown} decisions in the record are not in the log.")
        agree = counts["remove"] == lineage["removed"] and counts["undecided"] == lineage["undecided"]
        self._expect(agree, "The record and its manifest count different rows.")

    def _expect(self, fine: bool, problem: str) -> None:
        if not fine:
            self.problems.append(problem)

    def _small(self, name: str) -> bytes:
        with self.archive.open(name) as member:
            content = member.read(_BLOCK + 1)
        if len(content) > _BLOCK:
            raise ValueError(f"{name} is too large")
        return content

    def _hash(self, name: str) -> str:
        digest = hashlib.sha256()
        with self.archive.open(name) as member:
            while block := member.read(_BLOCK):
                digest.update(block)
        return digest.hexdigest()

    def _lines(self, name: str) -> Iterator[Any]:
        with self.archive.open(name) as member:
            while line := member.readline(LINE_LIMIT):
                yield json.loads(line)


def _pack(archive: zipfile.ZipFile, path: Path) -> None:
    info = zipfile.ZipInfo(path.name, _EPOCH)  # one fixed date: the same audit packs to the same bytes
    info.compress_type = zipfile.ZIP_DEFLATED
    info.file_size = path.stat().st_size  # tells zipfile whether the long format is needed
    with path.open("rb") as file, archive.open(info, "w") as member:
        shutil.copyfileobj(file, member, _BLOCK)
