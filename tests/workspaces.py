"""An empty workspace for one test, and the studio on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from reft_studio.workspace import Workspace

if TYPE_CHECKING:
    from reft_studio.studio.studio import Studio


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "workspace")


@pytest.fixture
def studio(workspace: Workspace) -> Iterator[Studio]:
    """A studio that does not work off its queue."""
    from reft_studio.studio.studio import Studio

    opened = Studio(workspace)
    yield opened
    opened.close()
