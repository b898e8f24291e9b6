"""What a person sees when a call fails, and what never reaches a page."""

from __future__ import annotations

import logging

import gradio as gr
import pytest

from reft_studio.errors import DataError
from ui.events import FAST, answer, guarded, message_for, on, said, status


def fails(error: Exception) -> object:
    def handler() -> None:
        raise error

    return handler


def test_our_own_errors_are_shown_word_for_word() -> None:
    assert message_for(DataError("row 4: no column 'response'.")) == "row 4: no column 'response'."


def test_any_other_error_is_named_by_type_only_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        shown = message_for(ValueError("text of a row"))
    assert shown == "Something went wrong in the app (ValueError). Details are in the log."
    assert "text of a row" in caplog.text


def test_a_failure_lands_on_the_status_line() -> None:
    with gr.Blocks():
        line = status("line")
        first, again = (guarded(fails(DataError("no")), line)()[line] for _ in range(2))
        assert first.items() >= said("no", "error").items() and again.items() >= said("no", "error").items()
        assert first != again, "an equal value would not reach the page: whoever presses again would see nothing happen"


def test_without_a_line_a_toast_holds_escaped_text() -> None:
    with pytest.raises(gr.Error) as raised:
        guarded(fails(DataError("no column <img src=x>")))()
    assert raised.value.message == "no column &lt;img src=x&gt;"


def test_success_clears_the_line_unless_something_is_said() -> None:
    with gr.Blocks():
        line = status("line")
        assert guarded(lambda: None, line)() == said("", "quiet")
        assert guarded(lambda: said("ok"), line)().items() >= said("ok").items()
        assert guarded(lambda: [1, 2], line)() == (1, 2, said("", "quiet"))
        one, told = guarded(lambda: (1, said("ok")), line)()
        assert one == 1 and told.items() >= said("ok").items()


def test_a_server_function_answers_even_when_it_fails() -> None:
    def srv_rows(request: dict[str, object]) -> dict[str, object]:
        return {"rows": request["n"]}

    assert answer(srv_rows)({"n": 3}) == {"ok": True, "rows": 3}
    assert answer(srv_rows)("not a dict") == {"ok": False, "error": "Something went wrong in the app (KeyError). Details are in the log."}
    assert answer(srv_rows).__name__ == "srv_rows", "gradio publishes it under this name"


def test_event_data_still_reaches_a_guarded_handler() -> None:
    seen: list[object] = []

    def pick(event: gr.EventData) -> None:
        seen.append(event)

    with gr.Blocks() as demo:
        button = gr.Button()
        on(button.click, pick, **FAST)
        on(button.click, lambda: None, **FAST)
    assert gr.utils.get_type_hints(demo.fns[0].fn)["event"] is gr.EventData
    assert demo.fns[0].trigger_mode == "multiple", "gradio drops the event data of the last of a burst"
    assert demo.fns[1].trigger_mode == "always_last"
