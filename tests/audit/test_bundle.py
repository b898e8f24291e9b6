from __future__ import annotations

import hashlib
import json
import random
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reft_studio.audit.bundle import verify, write_bundle
from reft_studio.audit.bundle_format import AUDIT, DECISIONS, FROZEN, MANIFEST, MEMBERS, OPTIONAL, RECORDS, SCORES, SOURCE
from reft_studio.audit.decision import GENESIS, Action, Decision
from reft_studio.audit.freeze import freeze
from reft_studio.audit.held import ACTIONS, Decided
from reft_studio.audit.record import AuditRecord, record_hash
from reft_studio.data.dataset import Dataset
from reft_studio.errors import SpecError, StoreError
from reft_studio.fingerprint import canonical_json, of_file
from reft_studio.scoring.scores import ScoreSet
from reft_studio.workspace import Workspace

Decide = Callable[[int, Action], Decision]


@pytest.fixture
def frozen(workspace: Workspace, dataset: Dataset, scores: ScoreSet, decisions: list[Decision], records: list[AuditRecord]) -> Dataset:
    made = sorted(decisions, key=lambda decision: decision.row_id)
    rows, codes = (np.array([decision.row_id for decision in made]), [ACTIONS.index(decision.action) + 1 for decision in made])
    held = Decided(4, rows, np.array(codes, np.uint8), np.full(4, np.nan, np.float32), decisions[-1].hash)
    noted = {"records_hash": records[-1].hash}

    def entries(asked: Sequence[int]) -> dict[int, Decision]:
        return {decision.row_id: decision for decision in decisions if decision.row_id in asked}

    return freeze(
        workspace, dataset, scores=scores, threshold=0.3, decided=held, entries=entries, policy_by="policy:threshold=0.3", noted=noted
    )


@pytest.fixture
def records(dataset: Dataset) -> list[AuditRecord]:
    """A draw and an override."""
    made: list[AuditRecord] = []
    for kind, body in (("draw", {"rows": [2, 4, 6], "seed": "ab"}), ("override", {"reason": "known"})):
        values: dict[str, Any] = {
            "seq": len(made) + 1,
            "dataset": dataset.id,
            "kind": kind,
            "body": canonical_json(body),
            "by": "human:me",
            "at": "2026",
        }
        values |= {"previous": made[-1].hash if made else GENESIS}
        made.append(AuditRecord(**values, hash=record_hash(values)))
    return made


@pytest.fixture
def decisions(decide: Decide) -> list[Decision]:
    return [decide(0, "remove"), decide(14, "keep"), decide(16, "relabel"), decide(2, "keep")]


@pytest.fixture
def bundle(
    tmp_path: Path, frozen: Dataset, dataset: Dataset, decisions: list[Decision], records: list[AuditRecord], scores: ScoreSet
) -> Path:
    report = tmp_path / "report.html"
    report.write_text("<p>redacted</p>")
    facts, rows = {"key": "k1", "teacher": "lab"}, scores.folder / "scores.parquet"
    return write_bundle(
        frozen, dataset, tmp_path / "audit.zip", decisions=decisions, scores=facts, records=records, row_scores=rows, report=report
    )


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def repack(path: Path, files: dict[str, bytes], *, seal: bool = False) -> Path:
    """Pack other contents; with `seal`, the hashes in the manifest follow, as a careful forger would have it."""
    if seal:
        manifest = json.loads(files[MANIFEST])
        manifest["files"] = {name: hashlib.sha256(content).hexdigest() for name, content in files.items() if name != MANIFEST}
        files = {**files, MANIFEST: json.dumps(manifest).encode()}
    with zipfile.ZipFile(path, "w") as archive:
        archive.comment = b"0" * 64
        for name, content in files.items():
            archive.writestr(name, content)
    whole = path.read_bytes()[:-64]
    path.write_bytes(whole + hashlib.sha256(whole).hexdigest().encode())
    return path


def test_a_bundle_as_written_is_sound_and_fits_its_data(bundle: Path, frozen: Dataset) -> None:
    report = verify(bundle, data=frozen.path)
    assert (report.ok, report.problems, report.decisions) == (True, [], 4)
    assert report.manifest["dataset"] == frozen.fingerprint and len(report.seal) == 64


def test_it_holds_no_text_of_any_row(bundle: Path) -> None:
    for name, content in members(bundle).items():
        assert b"prompt " not in content and b"answer " not in content, name


def test_the_same_audit_packs_to_the_same_files(
    bundle: Path, tmp_path: Path, frozen: Dataset, dataset: Dataset, decisions: list[Decision]
) -> None:
    again = write_bundle(frozen, dataset, tmp_path / "again.zip", decisions=decisions, scores={"key": "k1", "teacher": "lab"})
    first, second = members(bundle), members(again)
    assert all(first[name] == second[name] for name in (DECISIONS, AUDIT, FROZEN, SOURCE, SCORES))


@pytest.mark.parametrize("name", [*MEMBERS[2], *OPTIONAL[2]])
def test_a_change_to_any_file_is_named(bundle: Path, name: str) -> None:
    files = members(bundle)
    files[name] = b"{}" if name == SCORES else files[name][:-1] + bytes([files[name][-1] ^ 1])
    report = verify(repack(bundle, files))
    assert not report.ok and f"{name} was changed." in report.problems


def test_another_manifest_has_another_seal(bundle: Path) -> None:
    before = verify(bundle).seal
    files = members(bundle)
    files[SCORES] = b"{}"
    report = verify(repack(bundle, files, seal=True))
    assert report.ok and report.seal != before  # a forgery that changes nothing else is seen only by the seal noted elsewhere
    assert verify(repack(bundle, files, seal=True), seals=[before]).problems == [
        "Its seal is none of those that were noted when bundles were made here."
    ]


def lines(content: bytes) -> list[bytes]:
    return content.splitlines(keepends=True)


@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        (DECISIONS, lambda text: text.replace(b'"remove"', b'"keep"'), "was changed after it was written"),
        (DECISIONS, lambda text: b"".join(lines(text)[1:]), "does not follow the entry before it"),
        (DECISIONS, lambda text: b"".join(lines(text)[:-1]), "not in the log"),
        (RECORDS, lambda text: text.replace(b"[2,4,6]", b"[2,4,8]"), "Record 1 was changed after it was written"),
        (RECORDS, lambda text: b"".join(lines(text)[1:]), "does not follow the record before it"),
        (RECORDS, lambda text: b"".join(lines(text)[:-1]), "The newest draw that was used is not among the records"),
        (FROZEN, lambda text: text.replace(b'"threshold": 0.3', b'"threshold": 0.4'), "names another threshold"),
        (AUDIT, lambda text: b"".join(lines(text)[:-1]), "not the one that was written when freezing"),
        (FROZEN, lambda text: text.replace(b'"removed": 2', b'"removed": 1'), "count different rows"),
        (FROZEN, lambda text: text.replace(b'"kept": 8', b'"kept": 9'), "do not add up"),
    ],
)
def test_a_forger_who_also_mends_the_hashes_is_found_out(bundle: Path, name: str, change: Callable[[bytes], bytes], problem: str) -> None:
    files = members(bundle)
    changed = change(files[name])
    assert changed != files[name]
    report = verify(repack(bundle, {**files, name: changed}, seal=True))
    assert not report.ok and any(problem in found for found in report.problems), report.problems


def test_other_data_than_was_audited_is_found(bundle: Path, dataset: Dataset) -> None:
    report = verify(bundle, data=dataset.path)
    assert report.problems == ["data.parquet is not the data that was audited."]


@pytest.mark.parametrize("extra", ["../evil", "/etc/passwd", "more.json"])
def test_other_members_are_refused_unread(bundle: Path, extra: str) -> None:
    report = verify(repack(bundle, {**members(bundle), extra: b"x"}))
    assert report.problems == ["It holds other files than a bundle does."]


def test_a_missing_member_is_refused(bundle: Path) -> None:
    files = members(bundle)
    del files[SCORES]
    assert verify(repack(bundle, files)).problems == ["It holds other files than a bundle does."]


@pytest.mark.parametrize("content", [b"", b"PK", b"{}", b"\0" * 10_000])
def test_what_is_no_bundle_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(StoreError, match=r"x\.zip is no audit bundle"):
        verify(tmp_path / "x.zip")
    with pytest.raises(StoreError, match=r"There is no file y\.zip"):
        verify(tmp_path / "y.zip")


def test_a_bundle_cut_or_with_flipped_bits_never_passes_unnoticed(bundle: Path, tmp_path: Path) -> None:
    whole, bits = bundle.read_bytes(), random.Random(0)
    before, broken = members(bundle), tmp_path / "broken.zip"
    for _ in range(150):
        damaged = bytearray(whole)
        damaged[bits.randrange(len(whole))] ^= 1 << bits.randrange(8)
        if bits.random() < 0.2:
            damaged = damaged[: bits.randrange(len(whole))]
        broken.write_bytes(bytes(damaged))
        try:
            report = verify(broken)
        except StoreError:
            continue
        assert not report.ok or members(broken) == before


def test_a_dataset_that_was_not_frozen_has_no_bundle(tmp_path: Path, dataset: Dataset) -> None:
    with pytest.raises(SpecError, match="was not frozen from"):
        write_bundle(dataset, dataset, tmp_path / "x.zip", decisions=[], scores={})
    assert [*tmp_path.glob("*.zip")] == []


def test_the_bundle_names_the_hash_of_the_data(bundle: Path, frozen: Dataset) -> None:
    assert verify(bundle).manifest["data_sha256"] == of_file(frozen.path)


@pytest.mark.parametrize("claim", [True, False, None, 1])
def test_a_bundle_cannot_be_made_to_say_that_rows_were_read(bundle: Path, claim: object) -> None:
    files = members(bundle)
    first, *rest = files[DECISIONS].decode().splitlines(keepends=True)
    files[DECISIONS] = "".join([json.dumps(json.loads(first) | {"seen": claim}) + "\n", *rest]).encode()
    report = verify(repack(bundle, files, seal=True))
    assert not report.ok and any("Decision 1" in problem for problem in report.problems)
