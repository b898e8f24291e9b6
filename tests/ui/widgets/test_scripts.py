from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from ui.widgets import FOLDER, script, source, widget

UI = FOLDER.parent


def test_no_two_folders_have_a_file_of_the_same_name_which_widgets_would_confuse() -> None:
    names = [path.name for ending in ("js", "html", "css") for path in UI.glob(f"*/*.{ending}")]
    assert sorted(names) == sorted(set(names)) and source("sweep_plan.js") and not source("none.js")


@pytest.mark.parametrize("path", sorted(UI.rglob("*.js")), ids=lambda path: path.stem)
def test_every_script_is_valid_javascript(node: str, path: Path) -> None:
    done = subprocess.run([node, "--check", str(path)], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", sorted([*UI.rglob("*.html"), *UI.rglob("*.css")]), ids=lambda path: path.name)
def test_no_template_holds_anything_that_gradio_would_run(path: Path) -> None:
    """Gradio compiles templates as JavaScript template literals behind Handlebars."""
    text = path.read_text("utf-8")
    assert "`" not in text
    assert "${" not in text
    assert "{{" not in text
    assert "<script" not in text.lower()


@pytest.mark.parametrize("path", sorted(UI.rglob("*.js")), ids=lambda path: path.stem)
def test_no_script_writes_markup(path: Path) -> None:
    text = path.read_text("utf-8")
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
        assert way not in text, f"{path.name} uses {way}"


def test_a_widget_puts_shared_parts_before_its_own_script() -> None:
    told = widget("threshold", scripts=("dom", "threshold_math")).js_on_load
    assert told is not None
    assert told.index(source("dom.js")) < told.index(source("threshold_math.js")) < told.index(source("threshold.js"))


def test_a_script_keeps_its_fixed_properties_when_the_page_forgets_them(node: str) -> None:
    told = script(("dom",), {"empty": 'Nothing "here" </script> `${x}`', "columns": [1]})
    assert told is not None and script((), {"a": 1}) is None and "keptProps" not in str(script(("dom",), {}))
    program = told[: told.index(source("dom.js"))]
    check = f"const run = new Function('props', {json.dumps(program + 'return [props.empty, props.columns, props.value];')});"
    asked = f"{check} console.log(JSON.stringify(run({{ value: 7, empty: undefined }})));"
    found = subprocess.run([node, "-e", asked], capture_output=True, text=True, check=True, timeout=30)
    assert json.loads(found.stdout) == ['Nothing "here" </script> `${x}`', [1], 7]
