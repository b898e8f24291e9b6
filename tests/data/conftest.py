from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "fixtures"


@pytest.fixture
def fixtures() -> Path:
    """The upload fixtures outside of the project; tests that need them are skipped where they are not."""
    if not SHARED.is_dir():
        pytest.skip(f"The upload fixtures are not there ({SHARED}).")
    return SHARED


@pytest.fixture
def upload(tmp_path: Path) -> Callable[..., Path]:
    """Write a small upload: bytes, text, or a list of JSON rows."""

    def make(content: bytes | str | list[Any], name: str = "upload.jsonl") -> Path:
        path = tmp_path / name
        if isinstance(content, list):
            content = "".join(json.dumps(row) + "\n" for row in content)
        path.write_bytes(content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content)
        return path

    return make
