"""For all tests: no network but this machine itself, no telemetry, no model hub, a workspace that is nobody's."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest_plugins = ["tests.browser", "tests.commands", "tests.evaluated", "tests.queues", "tests.tiny_models", "tests.workspaces"]

ROOT = Path(__file__).resolve().parent.parent
GUARD = ROOT / "tests" / "network_guard"
ATTEMPTS = Path(tempfile.mkdtemp(prefix="reft-studio-tests-")) / "network.log"
SETTINGS = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": "1",  # tiny models: on a busy machine two threads wait for each other many times longer than they compute
    "REFT_STUDIO_NICE": "0",  # two tests at once leave a process that waits for both cores hardly any time
    "NO_PROXY": "127.0.0.1,localhost",
    "REFT_STUDIO_NETWORK_LOG": str(ATTEMPTS),
    "REFT_STUDIO_MODELS": str(ATTEMPTS.parent / "models"),  # nor the models of this machine
    "REFT_STUDIO_WORKSPACE": str(ATTEMPTS.parent / "workspace"),  # a test that forgets to name one must not touch the user's
}

# Here and not in a fixture: settings must be there before a test module imports a library that reads them.
os.environ.update(SETTINGS)
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(GUARD), os.environ.get("PYTHONPATH", "")]))
if Path(getattr(sys.modules.get("sitecustomize"), "__file__", None) or ROOT).parent != GUARD:  # a worker of pytest-xdist has it already
    sys.path.insert(0, str(GUARD))
    sys.modules.pop("sitecustomize", None)  # a system may have one of its own
    import sitecustomize

    sys.path.remove(str(GUARD))
    assert Path(sitecustomize.__file__).parent == GUARD


def attempts() -> list[str]:
    """Connections that were tried to another machine, by this process and those it started."""
    return ATTEMPTS.read_text("utf-8").splitlines() if ATTEMPTS.exists() else []


@pytest.fixture(autouse=True)
def no_network() -> Iterator[None]:
    """Fail the test during which anything wanted to leave this machine, even if the code under test went on without it."""
    before = len(attempts())
    yield
    tried = attempts()[before:]
    assert not tried, f"This went out to the network: {tried}"
