"""Components of our own: a static template (`name.html`), a real script (`name.js`), a value that is plain data.

A template never refers to the value, since Gradio runs templates as code; scripts put text on the page by `textContent` only.
A script sees `element, props, trigger, watch, server` and the shared `window.rs` of `core.js`; it draws at once and in `watch('value', …)`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import gradio as gr

FOLDER = Path(__file__).resolve().parent
KEEP = "props = new Proxy(props, { get: (given, name) => (given[name] === undefined ? keptProps[name] : given[name]) });\n"


@cache
def source(name: str) -> str:
    """The text of a file in this folder, or in the folder of the page it belongs to; empty if there is none."""
    path = next(FOLDER.parent.glob(f"*/{name}"), None)
    return path.read_text("utf-8") if path is not None else ""


def widget(
    name: str,
    value: Any = None,
    *,
    server_functions: Sequence[Callable[..., Any]] = (),
    elem_id: str | None = None,
    elem_classes: Sequence[str] = (),
    template: str | None = None,
    scripts: Sequence[str] = (),
    styles: Sequence[str] = (),
    visible: bool = True,
    head: str | None = None,
    **props: Any,
) -> gr.HTML:
    """The widget `name`; server functions are named `srv_…` (other names would overwrite attributes of the component).

    `scripts` and `styles` are other scripts and style sheets put before its own; `name.css`, if there is one, applies to this widget only.
    `head` is put into the page before they run.
    """
    return gr.HTML(
        value,
        html_template=template or source(f"{name}.html") or f'<div class="rs-{name}"></div>',
        css_template="\n".join(filter(None, (source(f"{style}.css") for style in (*styles, name)))),
        js_on_load=script((*scripts, name), props),
        server_functions=list(server_functions) or None,
        apply_default_css=False,
        elem_id=elem_id,
        elem_classes=["rs-widget", *elem_classes],
        visible=visible,
        head=head,
        **props,
    )


def script(names: Sequence[str], props: Mapping[str, Any]) -> str | None:
    """The scripts, one after the other, with the widget's fixed properties kept in them; None if there is no script.

    Gradio mounts what lies in a closed tab or a hidden column when it is first shown, and may have forgotten every property but the
    value if that has changed before: the script would fail at its start, and the widget stay empty until the page is loaded again.
    """
    told = "\n".join(found for found in (source(f"{name}.js") for name in names) if found)
    if not told or not props:
        return told or None
    kept = json.dumps(json.dumps(dict(props)))  # a string in a string: no text can end it
    return f"const keptProps = JSON.parse({kept});\n{KEEP}{told}"


def fixed(markup: str, *, elem_id: str | None = None, elem_classes: Sequence[str] = ()) -> gr.HTML:
    """Our own unchanging markup (headings, hints). Never pass anything that comes from a file or a person."""
    return gr.HTML(
        None, html_template=markup, js_on_load=None, apply_default_css=False, elem_id=elem_id, elem_classes=["rs-widget", *elem_classes]
    )
