"""The scripts' pure parts, run by Node: what they compute is compared with Python."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from ui.widgets import source

Run = Callable[..., Any]


@pytest.fixture(scope="session")
def node() -> str:
    program = shutil.which("node")
    if program is None:
        pytest.skip("NO NODE: the scripts' unit tests are skipped. Install Node.js to run them.")
    return program


@pytest.fixture
def run_js(node: str) -> Run:
    """`run_js("threshold_math", "wilson(0, 300)")`: the value of an expression after these scripts, as JSON; `data` is at hand."""

    def run(parts: str, expression: str, data: Any = None) -> Any:
        scripts = "\n".join(source(f"{part}.js") for part in parts.split())
        program = f"{scripts}\nconst data = {json.dumps(data)};\nprocess.stdout.write(JSON.stringify({expression}));"
        done = subprocess.run([node, "-e", program], capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run
