"""The command line in this process: what a verb prints and answers with."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from reft_studio.cli import app


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Command = Callable[..., Answer]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Run `reft-studio …` and give its exit code and what it wrote."""
    monkeypatch.setenv("REFT_STUDIO_WORKSPACE", str(tmp_path / "workspace"))

    def run(*arguments: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["reft-studio", *arguments])
        capsys.readouterr()
        try:
            app.main()
            code = 0
        except SystemExit as exc:
            code = int(exc.code or 0)
        told = capsys.readouterr()
        return Answer(code, told.out, told.err)

    return run
