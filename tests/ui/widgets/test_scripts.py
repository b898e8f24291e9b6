from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ui.widgets import FOLDER, source
from ui.widgets.compose import composed


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.js")), ids=lambda path: path.stem)
def test_every_script_is_valid_javascript(node: str, path: Path) -> None:
    done = subprocess.run([node, "--check", str(path)], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", sorted([*FOLDER.glob("*.html"), *FOLDER.glob("*.css")]), ids=lambda path: path.name)
def test_no_template_holds_anything_that_gradio_would_run(path: Path) -> None:
    """Gradio compiles templates as JavaScript template literals behind Handlebars."""
    text = path.read_text("utf-8")
    assert "`" not in text
    assert "${" not in text
    assert "{{" not in text
    assert "<script" not in text.lower()


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.js")), ids=lambda path: path.stem)
def test_no_script_writes_markup(path: Path) -> None:
    text = path.read_text("utf-8")
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
        assert way not in text, f"{path.name} uses {way}"


def test_a_composed_widget_puts_shared_parts_before_its_own_script() -> None:
    script = composed("threshold", parts=("dom", "threshold_math")).js_on_load
    assert script is not None
    assert script.index(source("dom.js")) < script.index(source("threshold_math.js")) < script.index(source("threshold.js"))
