"""Cache of prompt scores by content: another file with the same prompts does not compute them again."""

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
"""Half of a SHA-256: 16 bytes, so that nobody can craft a harmful prompt with the digest of a harmless one."""
_SEGMENT = np.dtype([("high", "<u8"), ("low", "<u8"), ("score", "<f4")])


def digests_of(lists: TokenLists, key: str) -> NDArray[np.void]:
    """(n,) DIGEST of each list of token ids under the scorer named by `key` (hex)."""
    base, digests = hashlib.sha256(bytes.fromhex(key)), bytearray()
    data, ends = memoryview(lists.ids.tobytes()), (4 * lists.starts).tolist()
    for start, end in pairwise(ends):
        hasher = base.copy()
        hasher.update(data[start:end])
        digests += hasher.digest()[:16]
    return np.frombuffer(bytes(digests), dtype=DIGEST)


class ScoreCache:
    """Segments in `cache/scores/<key>/`, each sorted by digest and written atomically; deleting them only costs time."""

    def __init__(self, workspace: Workspace, key: str) -> None:
        self.folder = workspace.folder("cache", "scores", key[:SHORT])

    def lookup(self, digests: NDArray[np.void]) -> NDArray[np.float32]:
        """(n,) float32; NaN where there is no score. One segment is in memory at a time."""
        scores = np.full(len(digests), np.nan, dtype=np.float32)
        for path in sorted(self.folder.glob("*.npy")) if len(digests) else ():
            segment = _read(path)
            if segment is None or not len(segment):
                continue
            indices = np.minimum(np.searchsorted(segment["high"], digests["high"]), len(segment) - 1)
            candidates = segment[indices]
            same = (candidates["high"] == digests["high"]) & (candidates["low"] == digests["low"]) & np.isnan(scores)
            scores[same] = candidates["score"][same]
        return scores

    def add(self, name: str, digests: NDArray[np.void], scores: NDArray[np.float32]) -> None:
        """Store finite scores as the segment `name`, replacing one of that name."""
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
