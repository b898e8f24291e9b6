"""Scores of prompts that were computed before, by content: another file with the same prompts does not pay for them again."""

from __future__ import annotations

import hashlib
import io
import logging
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reft_studio.fingerprint import SHORT
from reft_studio.models.prompts import TokenLists
from reft_studio.workspace import Workspace, write_atomic

_LOG = logging.getLogger(__name__)
DIGEST = np.dtype([("high", "<u8"), ("low", "<u8")])
"""Half of a SHA-256: 16 bytes, so that nobody can make a harmful prompt that passes for a harmless one."""
_SEGMENT = np.dtype([("high", "<u8"), ("low", "<u8"), ("score", "<f4")])


def digests_of(lists: TokenLists, key: str) -> NDArray[np.void]:
    """(n,) DIGEST of each list of token ids under the scorer named by `key` (hex)."""
    base, found = hashlib.sha256(bytes.fromhex(key)), bytearray()
    data, ends = memoryview(lists.ids.tobytes()), (4 * lists.starts).tolist()
    for start, end in pairwise(ends):
        one = base.copy()
        one.update(data[start:end])
        found += one.digest()[:16]
    return np.frombuffer(bytes(found), dtype=DIGEST)


class ScoreCache:
    """Segments in `cache/scores/<key>/`, each sorted by digest and written whole; deleting them only costs time."""

    def __init__(self, workspace: Workspace, key: str) -> None:
        self.folder = workspace.folder("cache", "scores", key[:SHORT])

    def lookup(self, digests: NDArray[np.void]) -> NDArray[np.float32]:
        """(n,) float32; NaN where nothing is known. One segment is in memory at a time."""
        found = np.full(len(digests), np.nan, dtype=np.float32)
        for path in sorted(self.folder.glob("*.npy")) if len(digests) else ():
            segment = _read(path)
            if segment is None or not len(segment):
                continue
            places = np.minimum(np.searchsorted(segment["high"], digests["high"]), len(segment) - 1)
            near = segment[places]
            same = (near["high"] == digests["high"]) & (near["low"] == digests["low"]) & np.isnan(found)
            found[same] = near["score"][same]
        return found

    def add(self, name: str, digests: NDArray[np.void], scores: NDArray[np.float32]) -> None:
        """Keep finite scores as the segment `name`; the same name again replaces it."""
        finite = np.isfinite(scores)
        if not finite.any():
            return
        segment = np.empty(int(finite.sum()), dtype=_SEGMENT)
        segment["high"], segment["low"], segment["score"] = digests["high"][finite], digests["low"][finite], scores[finite]
        segment.sort(order=["high", "low"])
        buffer = io.BytesIO()
        np.save(buffer, segment)
        write_atomic(self.folder / f"{name}.npy", buffer.getvalue())


def _read(path: Path) -> NDArray[np.void] | None:
    try:
        segment = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as exc:
        _LOG.warning("cached scores %s left out: %s", path.name, exc)
        return None
    return segment if segment.dtype == _SEGMENT else None
