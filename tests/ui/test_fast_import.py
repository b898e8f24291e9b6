"""What must hold before the first page can be quick and quiet."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import ui
from reft_studio.studio.studio import Studio
from reft_studio.workspace import Workspace
from ui import offline
from ui.app import build

ROOT = Path(ui.__file__).resolve().parent.parent
PROBE = """
import json, os, sys
import ui.app, reft_studio.studio.studio
from gradio import component_meta
print(json.dumps({
    "heavy": [name for name in ("torch", "transformers", "peft", "sklearn") if name in sys.modules],
    "stubs": component_meta.create_or_modify_pyi.__module__,
    "analytics": os.environ["GRADIO_ANALYTICS_ENABLED"],
    "proxy": os.environ["NO_PROXY"],
}))
"""


@pytest.fixture(scope="module")
def probe() -> dict[str, object]:
    environment = {**os.environ, "GRADIO_ANALYTICS_ENABLED": "True", "NO_PROXY": "proxy.example"}
    done = subprocess.run([sys.executable, "-c", PROBE], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_the_app_imports_no_model_library(probe: dict[str, object]) -> None:
    assert probe["heavy"] == []


def test_gradio_writes_no_stub_files(probe: dict[str, object]) -> None:
    assert probe["stubs"] == "ui.fast_import"


def test_telemetry_is_off_and_this_machine_needs_no_proxy(probe: dict[str, object]) -> None:
    assert probe["analytics"] == "False"
    assert probe["proxy"] == "proxy.example,127.0.0.1,localhost,::1"


def test_the_function_the_hook_replaces_still_exists_in_gradio() -> None:
    assert "create_or_modify_pyi" in Path(importlib.import_module("gradio.component_meta").__file__ or "").read_text("utf-8")


@pytest.mark.parametrize(
    ("event", "arguments", "noted"),
    [
        ("socket.connect", (None, ("127.0.0.1", 80)), []),
        ("socket.connect", (None, "/run/some.socket"), []),
        ("socket.connect", (None, ("203.0.113.9", 443)), ["203.0.113.9:443"]),
        ("socket.getaddrinfo", ("localhost", 80), []),
        ("socket.getaddrinfo", ("studio.example", 80), ["name lookup of studio.example"]),
        ("open", ("file",), []),
    ],
)
def test_only_what_leaves_this_machine_is_noted(
    event: str, arguments: tuple[object, ...], noted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(offline, "_ATTEMPTS", seen)
    offline._note(event, arguments)
    assert seen == noted


def test_no_page_sends_what_is_no_data(tmp_path: Path) -> None:
    """A name in quotation marks in a widget's script is an event to Gradio: a property of that name would become a function, which every
    request then copies with all the app behind it."""
    config = build(Studio(Workspace.open(tmp_path / "workspace"))).get_config_file()
    for component in config["components"]:
        odd = [name for name, value in component["props"].items() if callable(value) and name != "delete_callback"]
        assert not odd, (component["type"], component["props"].get("elem_id"), odd)
