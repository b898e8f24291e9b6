from __future__ import annotations

from pathlib import Path

import pytest

from reft_studio.store.decisions import DecisionLog
from reft_studio.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "workspace")


@pytest.fixture
def log(workspace: Workspace) -> DecisionLog:
    return DecisionLog(workspace)
