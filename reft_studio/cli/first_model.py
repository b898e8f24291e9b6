"""The last step of set-up: the language model that real text is scored with is fetched once the page can be opened."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from reft_studio.errors import StudioError
from reft_studio.studio.studio import Studio

POLL_S = 1.0


def begin(studio: Studio, *, wanted: bool, say: Callable[[str], None] = print) -> threading.Thread:
    """Bring the model in a thread of its own, which ends when it is here or could not be had."""
    thread = threading.Thread(target=bring, args=(studio,), kwargs={"wanted": wanted, "say": say}, name="first model", daemon=True)
    thread.start()
    return thread


def bring(studio: Studio, *, wanted: bool, say: Callable[[str], None] = print) -> None:
    """Queue the fetch where the model is neither here nor declined, and say on the terminal how it begins and ends."""
    try:
        if not wanted:
            studio.models.leave_out_first()
            return
        job = studio.models.bring_first()
        if job is None:
            return
        first = studio.models.first()
        say(f"Fetching the language model {first.name} ({first.download / 1e6:.0f} MB) in the background; the page can be used meanwhile.")
        while (now := studio.jobs.get(job)).is_live:
            time.sleep(POLL_S)
    except StudioError as exc:
        say(f"The language model is not being fetched: {exc}")
        return
    if now.state == "done":
        say(f"{first.name} is on this machine: real text can be scored with it.")
    else:
        told = now.message or f"its job was {now.state}."
        say(f"{first.name} could not be brought: {told} The lab works without it; Settings has a button to try again.")
