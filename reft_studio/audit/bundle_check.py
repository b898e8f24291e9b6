"""One pass over a bundle that collects whatever does not fit."""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from reft_studio.audit.bundle_format import (
    AUDIT,
    DECISIONS,
    FORMAT,
    FROZEN,
    LINE_LIMIT,
    MANIFEST,
    MEMBERS,
    OPTIONAL,
    RECORDS,
    SIZE_LIMIT,
    SOURCE,
    VERSION,
    hash_but_comment,
)
from reft_studio.audit.decision import Decision, DecisionChain
from reft_studio.audit.record import AuditRecord, RecordChain
from reft_studio.fingerprint import SHORT, of_file

_BLOCK = 1 << 20
_DECISION = set(Decision.__dataclass_fields__) - {"seen"}
"""Fields of every decision; those of earlier versions hold no more, others say in `seen` whether the row's text was shown."""
# What zipfile, zlib and json raise on bytes that are no archive, or an archive of something else.
DAMAGE = (zipfile.BadZipFile, zlib.error, RuntimeError, LookupError, EOFError, OSError, ValueError, TypeError, AttributeError)


class BundleFindings:
    """The findings about one bundle."""

    def __init__(self, archive: zipfile.ZipFile, path: Path) -> None:
        self.archive, self.path = archive, path
        self.problems: list[str] = []
        self.seal, self.decisions = "", 0
        self.manifest: dict[str, Any] = {}

    def run(self, data: Path | None, seals: set[str]) -> None:
        """Look at everything. Raises one of `DAMAGE` where bytes are no bundle."""
        infos = self.archive.infolist()
        names = [info.filename for info in infos]
        if not self._expect(MANIFEST in names and len(set(names)) == len(names), "It holds other files than a bundle does."):
            return
        manifest = json.loads(self._small(MANIFEST))
        version = manifest["version"]
        known = manifest["format"] == FORMAT and type(version) is int and 1 <= version <= VERSION
        if not self._expect(known, f"It is of another format or version (this app reads versions 1 to {VERSION})."):
            return
        wanted, allowed = {MANIFEST, *MEMBERS[version]}, {MANIFEST, *MEMBERS[version], *OPTIONAL[version]}
        fits = wanted <= {*names} <= allowed and {*manifest["files"]} == {*names} - {MANIFEST}
        small = all(info.file_size <= SIZE_LIMIT for info in infos)
        if not (
            self._expect(fits, "It holds other files than a bundle does.")
            and self._expect(small, f"One of its files is larger than {SIZE_LIMIT >> 30} GB.")
        ):
            return
        self.manifest = manifest
        for name in manifest["files"]:
            self._expect(manifest["files"][name] == self._hash(name), f"{name} was changed.")
        if version > 1:
            with self.path.open("rb") as file:
                self._expect(self.archive.comment == hash_but_comment(file).encode("ascii"), "The file as a whole was changed.")
        self.seal = self._hash(MANIFEST)
        self._expect(not seals or self.seal in seals, "Its seal is none of those that were noted when bundles were made here.")
        if data is not None:
            self._expect(of_file(data) == manifest["data_sha256"], f"{data.name} is not the data that was audited.")
        if any(problem.endswith("was changed.") for problem in self.problems):
            return  # what it says is worth nothing then
        hashes = self._chain()
        records = self._records() if version > 1 else set()
        self.decisions = len(hashes)
        self._story(manifest, hashes, records)

    def _chain(self) -> set[str]:
        """Check the chain of decisions; gives the hashes in it."""
        chain, found = DecisionChain(), set()
        for values in self._lines(DECISIONS):
            fits = values.keys() == _DECISION or (values.keys() == {*_DECISION, "seen"} and type(values["seen"]) is bool)
            problem = chain.add(values) if fits else "holds other fields than a decision does"
            if not self._expect(not problem, f"Decision {values.get('seq')} {problem}."):
                break
            found.add(str(values["hash"]))
        self._expect(len(chain.heads) <= 1, "The decisions are about more than one dataset.")
        return found

    def _records(self) -> set[str]:
        """Check the chain of draws and other records; gives the hashes in it."""
        chain, found = RecordChain(), set()
        for values in self._lines(RECORDS):
            record = AuditRecord(**values)
            if not self._expect(not (problem := chain.add(record)), f"Record {record.seq} {problem}."):
                break
            found.add(record.hash)
        self._expect(len(chain.heads) <= 1, "The records are about more than one dataset.")
        return found

    def _story(self, manifest: Mapping[str, Any], hashes: set[str], records: set[str]) -> None:
        """Manifests, record and decisions against each other."""
        frozen, source = json.loads(self._small(FROZEN)), json.loads(self._small(SOURCE))
        lineage = frozen["lineage"]
        self._expect(frozen["fingerprint"] == manifest["dataset"], "The bundle names another dataset than its own manifest.")
        self._expect(
            lineage["source_fingerprint"] == source["fingerprint"], "The dataset was frozen from another one than the bundle holds."
        )
        self._expect(lineage["audit_sha256"] == manifest["files"][AUDIT], "The record is not the one that was written when freezing.")
        self._expect(lineage["decisions_hash"] in {None, *hashes}, "The newest decision that was used is not in the log.")
        self._expect(lineage.get("records_hash") in {None, *records}, "The newest draw that was used is not among the records.")
        self._expect(lineage["rows"] == source["rows"] and lineage["kept"] == frozen["rows"], "The numbers of rows do not add up.")
        if manifest["version"] > 1:
            same = manifest["threshold"] == lineage["threshold"] and manifest["chosen_by"] == lineage["policy_by"]
            uploaded = manifest["upload_sha256"] == (source.get("source") or {}).get("sha256")
            self._expect(same and uploaded, "The bundle names another threshold or upload than the dataset's manifest.")
        self._outcomes(lineage, hashes, source["fingerprint"][:SHORT])

    def _outcomes(self, lineage: Mapping[str, Any], hashes: set[str], here: str) -> None:
        counts, unknown = {"keep": 0, "remove": 0, "left_out": 0, "undecided": 0}, 0  # the last in records of earlier versions
        notes = self._lines(AUDIT)
        next(notes, None)  # the policy
        for note in notes:
            counts[note["outcome"]] += 1
            decision = note["decision"]
            unknown += decision is not None and (decision["hash"] not in hashes or decision["dataset"] != here)
        self._expect(not unknown, f"{unknown} decisions in the record are not in the log.")
        agree = counts["remove"] == lineage["removed"] and counts["undecided"] + counts["left_out"] == lineage["undecided"]
        self._expect(agree, "The record and its manifest count different rows.")

    def _expect(self, fine: bool, problem: str) -> bool:
        if not fine:
            self.problems.append(problem)
        return fine

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
