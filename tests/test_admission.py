from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from reft_studio.admission import Admission
from reft_studio.errors import PrerequisiteError


def test_whoever_comes_too_late_is_refused_at_once_and_the_rest_take_turns() -> None:
    gate, most, lock = threading.Event(), [0, 0], threading.Lock()
    admission = Admission("questions", at_once=2, waiting=3, wait_s=20)

    def ask(_: int) -> str:
        try:
            with admission.turn():
                with lock:
                    most[0] += 1
                    most[1] = max(most)
                gate.wait(20)
                with lock:
                    most[0] -= 1
                return "answered"
        except PrerequisiteError as exc:
            return str(exc)

    with ThreadPoolExecutor(30) as crowd:
        asked = [crowd.submit(ask, number) for number in range(30)]
        end = time.monotonic() + 20
        while sum(one.done() for one in asked) < 25 and time.monotonic() < end:
            gate.wait(0.01)
        refused = [one.result() for one in asked if one.done()]
        gate.set()
    assert refused == ["The app is busy: 2 questions at once are the most. Try again in a few seconds."] * 25
    assert sorted(one.result() for one in asked)[-5:] == ["answered"] * 5
    assert most == [0, 2]


def test_waiting_has_an_end_and_a_failure_gives_its_turn_back() -> None:
    admission = Admission("questions", at_once=1, waiting=1, wait_s=0.01)
    with admission.turn(), pytest.raises(PrerequisiteError, match="Try again"), admission.turn():
        raise AssertionError("not reached")
    with pytest.raises(ValueError, match="its own"), admission.turn():
        raise ValueError("its own")
    with admission.turn():
        pass
