from __future__ import annotations

import pytest

from reft_studio.store.decisions import DecisionLog
from reft_studio.workspace import Workspace


@pytest.fixture
def log(workspace: Workspace) -> DecisionLog:
    return DecisionLog(workspace)
