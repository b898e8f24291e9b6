"""The chat: one composer, the answers of up to four models side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from ui.events import answer
from ui.widgets import widget


def chat_lanes(setup: Callable[[], dict[str, Any]]) -> gr.HTML:
    """Its value is one exchange so far; its events are "send", "stop" and "free" (give the device back to the chat).

    `setup()` tells which models and example prompts there are and who holds the device; the widget asks every few seconds.
    """

    @answer
    def srv_setup(request: dict[str, Any]) -> dict[str, Any]:
        return setup()

    return widget("chat_lanes", scripts=("dom", "marks"), server_functions=[srv_setup], elem_id="chat-lanes")
