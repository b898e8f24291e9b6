"""Settings: who reviews, what is hidden, how the app behaves, whether this installation is sound."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from ui.events import FAST, FILLED, SLOW, answer, on, on_load, said, status
from ui.settings import views
from ui.settings.suite_form import draw_suite_form
from ui.shared.model_shelf import draw_models
from ui.tables import Column, table
from ui.widgets import fixed, widget

if TYPE_CHECKING:
    from reft_studio.studio.studio import Studio

MASK_RULES = (("Known harmful or flagged rows", "known"), ("Every row", "all"))
_CHECKS = (Column("name", "Check"), Column("state", "Result", "badge"), Column("value", "Found"), Column("hint", "What to do"))
_SIZES = (Column("name", "Folder"), Column("items", "Items", "num"), Column("size", "Size", "num"))
_MASKING = """<h2>Harmful text</h2>
<p class="rs-small rs-muted">A masked row shows its first words and its length. You can reveal one at a time.</p>"""
_LOOKS = """<h2>Keys and looks</h2>
<p class="rs-small rs-muted">Chart colours stay apart for all kinds of colour vision; every series has its own mark too.</p>"""
_RECORD = """<h2>Record of decisions</h2>
<p class="rs-small rs-muted">Each decision holds a hash of the one before it, so a changed or missing entry shows.</p>"""
_THEME_JS = "(choice) => { window.rs.theme(choice); }"
_READ_THEME_JS = "() => localStorage.getItem('rs-theme') || 'system'"


def build(studio: Studio) -> None:
    """Draw the page and wire it."""
    line = status("settings-status")
    with gr.Row(equal_height=True, elem_classes=["rs-until-filled"]):
        reviewer, save = _draw_reviewer()
        masked, rule = _draw_masking()
        keys = _draw_behaviour()
    draw_models(studio)
    draw_suite_form(studio)
    checks, again = _draw_health()
    with gr.Row(equal_height=True):
        with gr.Column(elem_classes=["rs-card"], min_width=340):
            fixed("<h2>Offline self test</h2>")
            widget("offline", {}, elem_id="offline-test", server_functions=[_server_offline()])
        verify, verdict = _draw_record()
    place, sizes = _draw_workspace()

    def show_all() -> list[Any]:
        return [studio.state().reviewer, *views.switches(studio), *views.storage(studio.workspace.root)]

    def check() -> dict[str, Any]:
        return views.checks(studio.doctor())

    on_load(show_all, outputs=[reviewer, masked, rule, keys, place, sizes]).then(None, None, None, js=FILLED)
    on(again.click, check, outputs=[checks], line=line, **SLOW)
    _wire_reviewer(studio, reviewer, save, line)
    _wire_switches(studio, masked, rule, keys)

    def verified() -> dict[str, str]:
        return views.verdict(studio.audit.verify())

    on(verify.click, verified, line=verdict, **SLOW)


def _draw_reviewer() -> tuple[gr.Textbox, gr.Button]:
    with gr.Column(elem_classes=["rs-card"], min_width=280):
        fixed('<h2>Reviewer</h2><p class="rs-small rs-muted">Every decision is recorded under this name.</p>')
        name = gr.Textbox(label="Name", max_length=60, max_lines=1, elem_id="reviewer-name")
        save = gr.Button("Save name", size="md", elem_id="reviewer-save", elem_classes=["fit"], min_width=110)
    return name, save


def _draw_masking() -> tuple[gr.Checkbox, gr.Radio]:
    with gr.Column(elem_classes=["rs-card"], min_width=280):
        fixed(_MASKING)
        masked = gr.Checkbox(True, label="Mask harmful text", elem_id="setting-masked")
        rule = gr.Radio(list(MASK_RULES), value="known", label="What is masked", elem_id="setting-mask-rule")
    return masked, rule


def _draw_behaviour() -> gr.Checkbox:
    with gr.Column(elem_classes=["rs-card"], min_width=280):
        fixed(_LOOKS)
        keys = gr.Checkbox(True, label="Single-key shortcuts", info="Press ? on any page for the list", elem_id="setting-keys")
        theme = gr.Radio(
            [("As the system", "system"), ("Light", "light"), ("Dark", "dark")], value="system", label="Theme", elem_id="setting-theme"
        )
    theme.input(None, [theme], None, js=_THEME_JS)
    on_load_js(theme)
    return keys


def on_load_js(theme: gr.Radio) -> None:
    """Show the theme that this browser remembers; the choice is the browser's, not the workspace's."""
    page = gr.context.Context.root_block
    if page is not None:
        page.load(None, None, [theme], js=_READ_THEME_JS)


def _draw_health() -> tuple[gr.HTML, gr.Button]:
    with gr.Column(elem_classes=["rs-card"]):
        fixed("<h2>Is this installation sound?</h2>")
        checks = table(
            _CHECKS,
            elem_id="doctor",
            waits=False,
            empty="Not checked yet. The checks take some seconds, since the app is built once more under a guard.",
        )
        again = gr.Button("Check now", size="md", elem_id="doctor-run", elem_classes=["fit"], min_width=120)
    return checks, again


def _draw_record() -> tuple[gr.Button, gr.HTML]:
    with gr.Column(elem_classes=["rs-card"], min_width=340):
        fixed(_RECORD)
        button = gr.Button("Verify the record", size="md", elem_id="verify", elem_classes=["fit"], min_width=140)
        verdict = status("verify-status")
    return button, verdict


def _draw_workspace() -> tuple[gr.HTML, gr.HTML]:
    with gr.Column(elem_classes=["rs-card"]):
        fixed('<h2>Workspace</h2><p class="rs-small rs-muted">One folder holds the whole project. A backup is a copy of it.</p>')
        place = widget("machine", {}, elem_id="workspace-place")
        sizes = table(_SIZES, elem_id="workspace-sizes", empty="The workspace is empty.")
    return place, sizes


def _wire_reviewer(studio: Studio, name: gr.Textbox, save: gr.Button, line: gr.HTML) -> None:
    def keep(text: str) -> tuple[str, dict[str, str]]:
        chosen = views.reviewer_name(text)
        studio.settings.set("reviewer", chosen)
        return chosen, said("Saved. New decisions carry this name.", "done")

    for listener in (save.click, name.submit):
        on(listener, keep, inputs=[name], outputs=[name], line=line, refresh=True, **SLOW)


def _wire_switches(studio: Studio, masked: gr.Checkbox, rule: gr.Radio, keys: gr.Checkbox) -> None:
    for component, setting in ((masked, "masked"), (rule, "mask_rule"), (keys, "keys")):

        def keep(value: Any, setting: str = setting) -> None:
            studio.settings.set(setting, value)

        on(component.input, keep, inputs=[component], refresh=True, **FAST)


def _server_offline() -> Any:
    @answer
    def srv_offline(request: dict[str, Any]) -> dict[str, Any]:
        return {"checks": views.offline()}

    return srv_offline
