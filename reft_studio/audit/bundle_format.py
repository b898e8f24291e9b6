"""What a bundle holds, by the version of its format."""

from __future__ import annotations

import hashlib
from typing import BinaryIO

from reft_studio.audit.freeze import AUDIT as AUDIT

FORMAT = "reft-studio audit bundle"
VERSION = 3
MANIFEST = "manifest.json"
DECISIONS, RECORDS = "decisions.jsonl", "records.jsonl"
FROZEN, SOURCE, SCORES = "dataset.json", "source.json", "scores.json"
ROW_SCORES, REPORT = "scores.parquet", "report.html"
_FILES = (DECISIONS, RECORDS, AUDIT, FROZEN, SOURCE, SCORES)
MEMBERS = {1: (DECISIONS, AUDIT, FROZEN, SOURCE, SCORES), 2: _FILES, 3: _FILES}
"""Files that every bundle of a version holds, beside the manifest. From version 3 on decisions say whether the row's text was shown, and
rows that were left out undecided have an outcome of their own."""
OPTIONAL = {1: (), 2: (ROW_SCORES, REPORT), 3: (ROW_SCORES, REPORT)}
SIZE_LIMIT, LINE_LIMIT = 4 << 30, 1 << 24
"""Bytes of a member and of one line; more is no bundle of ours, however small it is packed."""
_BLOCK = 1 << 20


def hash_but_comment(file: BinaryIO) -> str:
    """SHA-256 (hex) over all bytes of a bundle but the last 64, where it stands itself."""
    left = file.seek(0, 2) - 64
    file.seek(0)
    digest = hashlib.sha256()
    while left > 0 and (block := file.read(min(_BLOCK, left))):
        digest.update(block)
        left -= len(block)
    return digest.hexdigest()
