"""Chat: the same prompt to up to four models, side by side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr

from ui.chat.panel import (
    DEFAULT_TOKENS,
    MOST_TOKENS,
    ChatRequest,
    chat_lanes,
    chips,
    converse,
    device_notice,
    model_views,
    usual,
)
from ui.events import MODEL, SLOW, guarded
from ui.shared.cards import masks_all

if TYPE_CHECKING:
    from reft_studio.studio.studio import Studio


def build(studio: Studio) -> None:
    """Draw the page."""
    lanes = chat_lanes(lambda: setup(studio))

    def send(event: gr.EventData) -> Iterator[dict[str, Any]]:
        yield from converse(studio, ChatRequest.checked(event._data))

    def free(event: gr.EventData) -> None:
        studio.device.give_back()

    sending = lanes.send(send, None, lanes, **MODEL)
    lanes.stop(None, None, None, cancels=[sending])
    lanes.free(guarded(free), None, None, **SLOW)


def setup(studio: Studio) -> dict[str, Any]:
    """Models, example prompts and the state of the device, for the browser."""
    models = studio.chat.models()
    return {
        "models": model_views(studio, models),
        "chosen": usual(models),
        "chips": chips(),
        "tokens": DEFAULT_TOKENS,
        "most_tokens": MOST_TOKENS,
        "device": device_notice(studio),
        "mask_all": masks_all(studio),
    }
