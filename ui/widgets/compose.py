"""Widgets made of several scripts: shared pieces first, then the widget's own; styles are scoped to the component."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from ui.widgets import script, source


def composed(
    name: str,
    *,
    parts: Sequence[str] = (),
    styles: Sequence[str] = (),
    value: Any = None,
    server_functions: Sequence[Callable[..., Any]] = (),
    elem_id: str | None = None,
    elem_classes: Sequence[str] = (),
    **props: Any,
) -> gr.HTML:
    """The widget `name` (`name.html`, `name.css`, `name.js`) with `parts` (scripts) and `styles` put in front of its own."""
    return gr.HTML(
        value,
        html_template=source(f"{name}.html"),
        css_template="\n".join(source(f"{style}.css") for style in (*styles, name)),
        js_on_load=script((*parts, name), props),
        server_functions=list(server_functions) or None,
        apply_default_css=False,
        elem_id=elem_id,
        elem_classes=["rs-widget", *elem_classes],
        **props,
    )
