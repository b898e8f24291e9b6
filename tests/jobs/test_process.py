from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace

from reft_studio.jobs.process import Process


def test_a_process_is_found_again_by_its_text() -> None:
    me = Process.current()
    assert me.pid == os.getpid() and Process.parse(str(me)) == me and me.alive()


def test_the_same_number_with_another_birth_is_another_process() -> None:
    me = Process.current()
    stranger = replace(me, born=me.born + "0")
    assert not stranger.alive()
    stranger.kill()  # would end this test run if it did anything
    stranger.terminate()


def test_a_process_that_ended_is_not_alive_even_before_its_status_is_taken() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    process = Process.of(child.pid)
    assert process is not None and process.alive()
    process.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie from here on
    assert not process.alive() and Process.of(child.pid) is None
    assert child.wait() == -signal.SIGKILL
    process.kill()


def test_a_number_nobody_has_is_no_process() -> None:
    assert Process.of(2**22 + 1) is None
