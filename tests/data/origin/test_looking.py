"""Looking at a file of a stranger: quick for what is meant, and nothing but a sentence for what is made to do harm.

python -m tests.ui.hostile_uploads     the same for all of them, against the whole app, with its memory and its answers timed
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from reft_studio.data.origin import look_child
from reft_studio.data.origin.looking import Looker
from reft_studio.data.reading import budget
from reft_studio.data.reading.readers import preview
from reft_studio.data.rows.mapping import Mapping
from reft_studio.errors import DataError, SpecError, StudioError
from tests.data.reading import hostile_files
from tests.data.reading.hostile_files import QUICK, make


@pytest.fixture(scope="module")
def looker() -> Iterator[Looker]:
    made = Looker()
    yield made
    made.close()


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text(
        "".join(json.dumps({"prompt": f"q{n}", "response": "é \U0001f600", "label": n}) + "\n" for n in range(40)) + "{\n", "utf-8"
    )
    return path


def test_a_look_from_afar_is_the_same_as_a_look_from_near(looker: Looker, rows: Path) -> None:
    assert looker.preview(rows) == preview(rows)
    chosen = Mapping(columns={"prompt": "response", "response": "prompt"})
    assert looker.preview(rows, chosen) == preview(rows, chosen)


def test_a_process_that_ended_while_it_waited_is_replaced_without_a_word(looker: Looker, rows: Path) -> None:
    looker.preview(rows)
    (child,) = looker._idle
    child._process.kill()
    child._process.wait()
    assert looker.preview(rows) == preview(rows)
    looker.warm()
    assert [one.ended for one in looker._idle] == [False]


def test_what_a_person_can_mend_comes_back_as_its_own_kind_of_error(looker: Looker, rows: Path) -> None:
    with pytest.raises(SpecError, match="nothing"):
        looker.preview(rows, Mapping(columns={"prompt": "nothing", "response": "label"}))
    with pytest.raises(DataError, match="There is no file gone"):
        looker.preview(rows.with_name("gone.csv"))
    with pytest.raises(DataError, match="no file or folder"):
        looker.look(str(rows.with_name("gone")))


def test_one_process_serves_many_looks(looker: Looker, rows: Path) -> None:
    looker.preview(rows)
    before = {child.pid for child in psutil.Process().children()}
    looker.preview(rows)
    assert {child.pid for child in psutil.Process().children()} == before


@pytest.mark.parametrize("name", QUICK)
def test_a_hostile_file_is_shown_or_refused_in_words_and_costs_this_process_nothing(
    name: str, looker: Looker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hostile_files, "GIANT", 200_000_000)  # making a gigabyte takes longer than refusing it
    path = make(tmp_path, name)
    before = psutil.Process().memory_info().rss
    try:
        source = looker.look(str(path))
        looker.preview_part(source, source.parts[0], tmp_path / "head.parquet")
    except StudioError as exc:
        assert len(str(exc)) > 40 and "Traceback" not in str(exc)
    assert psutil.Process().memory_info().rss - before < 50 << 20


BROKEN = """
import os
import reft_studio.data.origin.look_child as child

def ends(request):
    {}

child.OPERATIONS["preview"] = ends
child.main()
"""


@pytest.mark.parametrize(
    ("ending", "told"),
    [
        ("raise MemoryError", "limit of 768 MB"),
        ("os._exit(70)", "limit of 768 MB"),
        ("os._exit(71)", "10 s of processor time"),
        ("os.abort()", "end the program that reads them"),
        ("raise KeyError('text of the file')", r"\(KeyError\)"),
    ],
)
def test_however_the_process_ends_a_person_is_told_why_and_the_next_look_works(
    ending: str, told: str, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looker = Looker()
    with monkeypatch.context() as patch:
        patch.setattr("reft_studio.data.origin.looking.CHILD", ["-c", BROKEN.format(ending)])
        with pytest.raises(DataError, match=told) as caught:
            looker.preview(rows)
    assert "text of the file" not in str(caught.value)
    looker.close()
    assert looker.preview(rows).format == "pairs"
    looker.close()


def test_a_look_that_spends_its_time_is_ended(rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reft_studio.data.origin.looking.CHILD", ["-c", "import time; time.sleep(60)"])
    monkeypatch.setattr("reft_studio.data.origin.looking.WAIT_S", 0.2)
    looker = Looker()
    with pytest.raises(DataError, match="was not read within"):
        looker.preview(rows)
    looker.close()


def _answer(**request: Any) -> dict[str, Any]:
    return dict(json.loads(look_child.answered({"mapping": None, "name": os.path.basename(request["path"]), **request})))


def test_only_what_a_page_can_show_is_handed_on(tmp_path: Path) -> None:
    long, chat = tmp_path / "long.jsonl", tmp_path / "chat.jsonl"
    long.write_text(json.dumps({"prompt": "x" * 50_000, "response": "\ud800"}) + "\n")
    row = _answer(op="preview", path=str(long))["found"]["rows"][0]
    assert row["prompt"] == "x" * 20_000 + " … (30,000 more characters)" and row["response"] == "\ufffd"
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}] * 300
    chat.write_text(json.dumps({"messages": turns}) + "\n")
    assert len(_answer(op="preview", path=str(chat))["found"]["rows"][0]["messages"]) == 200


def test_names_that_fill_a_page_with_megabytes_are_refused(tmp_path: Path) -> None:
    answer = _answer(op="preview", path=str(make(tmp_path, "long-keys.jsonl")))
    assert answer["error"] == "RS-DATA" and "too large to be shown" in answer["told"]


def test_an_import_that_wants_more_memory_than_it_may_have_is_refused_in_words_and_the_limit_ends_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_DATA)
    monkeypatch.setattr(budget, "IMPORT_MEMORY", psutil.Process().memory_info().vms + (64 << 20))
    with pytest.raises(DataError, match="a file needs more memory"), budget.importing("a file"):
        bytearray(1 << 33)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
