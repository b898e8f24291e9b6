"""What pages and command line offer, as JSON: run by test_extending.py on a copy of the product that has more parts."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import reft_studio

os.environ["TERMINAL_WIDTH"] = "1000"  # before typer is loaded: no name is broken over two lines


def pages(folder: Path) -> dict[str, str]:
    """What every component with an id is filled with, by that id."""
    from reft_studio.studio.studio import Studio
    from reft_studio.workspace import Workspace
    from ui.app import build

    studio = Studio(Workspace.open(folder))
    try:
        drawn: list[dict[str, Any]] = build(studio).get_config_file()["components"]
    finally:
        studio.close()
    named = {one["props"].get("elem_id"): json.dumps(one["props"], default=str) for one in drawn}
    return {name: props for name, props in named.items() if name}


def helps() -> dict[str, str]:
    """The help of verbs, and what `scorer list` prints."""
    from typer.testing import CliRunner

    from reft_studio.cli.app import app

    asked = (["run", "--help"], ["evaluate", "--help"], ["import", "--help"], ["scorer", "list"])
    return {arguments[0]: CliRunner().invoke(app, arguments).output for arguments in asked}


if __name__ == "__main__":
    os.environ["REFT_STUDIO_WORKSPACE"] = sys.argv[1]
    found = {"product": str(Path(reft_studio.__file__).parents[1]), "pages": pages(Path(sys.argv[1])), "help": helps()}
    sys.stdout.write(json.dumps(found))
