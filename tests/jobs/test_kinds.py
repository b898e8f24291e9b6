from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from reft_studio.errors import SpecError
from reft_studio.jobs.kinds import EXTRA_KINDS, KINDS, check_kind, job_function

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", [*KINDS])
def test_every_kind_is_a_function_that_is_there(name: str) -> None:
    check_kind(name)
    assert callable(job_function(name))


def test_kinds_of_the_environment_are_known_by_name_and_imported_only_when_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(EXTRA_KINDS, "a=no_such_module:run,b=json:loads")
    for name in ("a", "b", "score"):
        check_kind(name)
    assert job_function("b").__name__ == "loads"
    with pytest.raises(SpecError, match="There is no job kind 'c'"):
        check_kind("c")


def test_asking_for_kinds_loads_no_model_library() -> None:
    code = "import sys, reft_studio.jobs.queue as q; q.check_kind('run'); print([n for n in ('torch', 'transformers') if n in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout == "[]\n"
