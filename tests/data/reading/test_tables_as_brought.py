"""Tables, lines and containers as people bring them: read as meant or refused in words; the cleaned file is always valid."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reft_studio.data.chat import python_text
from reft_studio.data.dataset import open_dataset
from reft_studio.data.formats.detect import detect
from reft_studio.data.origin.sources import gather, head, local
from reft_studio.data.reading.readers import import_file, preview
from reft_studio.data.writing.export import export_kept
from reft_studio.errors import DataError
from reft_studio.workspace import Workspace

Upload = Callable[..., Path]
CHAT = {"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]}


def _rows(workspace: Workspace, path: Path) -> list[tuple[str, str]]:
    report = import_file(workspace, path)
    return [(row["prompt"], row["response"]) for row in open_dataset(workspace, report.dataset_id).read(["prompt", "response"])]


def _cleaned(workspace: Workspace, path: Path, target: Path, keep: Callable[[int], bool] = lambda _: True) -> bytes:
    dataset = open_dataset(workspace, import_file(workspace, path).dataset_id)
    return export_kept(dataset, keep, target).read_bytes()


# --- the line that names the separator -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("separator", [";", ",", "\t", "|", "^", "~"])
@pytest.mark.parametrize("first", ["sep={}", '"sep={}"', "SEP={}", "\ufeffsep={}"])
def test_a_first_line_that_names_the_separator_is_obeyed(separator: str, first: str, workspace: Workspace, upload: Upload) -> None:
    line = first.format(separator)
    path = upload(f"{line}\r\nprompt{separator}response\r\n" + f"Why?{separator}So.\r\n" * 3, "a.csv")
    assert _rows(workspace, path) == [("Why?", "So.")] * 3


def test_rows_below_a_separator_line_keep_the_lines_of_the_file(workspace: Workspace, upload: Upload) -> None:
    report = import_file(workspace, upload("sep=;\nprompt;response\nWhy?;So.\n;none\n", "a.csv"))
    assert report.examples["empty prompt"] == [4]


def test_the_cleaned_table_keeps_its_separator_line(workspace: Workspace, upload: Upload, tmp_path: Path) -> None:
    whole = "\ufeffsep=;\r\nprompt;response\r\nWhy?;So.\r\nWho?;She.\r\n"
    cleaned = _cleaned(workspace, upload(whole, "a.csv"), tmp_path / "out.csv", lambda row: row == 1)
    assert cleaned.decode("utf-8") == "\ufeffsep=;\r\nprompt;response\r\nWho?;She.\r\n"


# --- quotes after a backslash --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("question", ['Say "yes", please', 'Say "yes" please', 'a \\ b "c"', "\\frac{1}{2}", 'end "', '"'])
def test_quotes_escaped_with_a_backslash_are_read_as_meant(question: str, workspace: Workspace, upload: Upload) -> None:
    text = io.StringIO()
    writer = csv.writer(text, escapechar="\\", doublequote=False, quoting=csv.QUOTE_ALL)
    writer.writerows([["prompt", "response"], ['He said "no", twice', "\\\\ok\\\\"], [question, 'x "y" z']])
    assert _rows(workspace, upload(text.getvalue(), "a.csv"))[1] == (question, 'x "y" z')


def test_a_backslash_that_escapes_nothing_stays(workspace: Workspace, upload: Upload) -> None:
    path = upload('prompt,response\n"Say \\"hi\\", now","C:\\new\\table"\n', "a.csv")
    assert _rows(workspace, path) == [('Say "hi", now', "C:\\new\\table")]


def test_a_cell_that_ends_in_a_backslash_is_no_escape(workspace: Workspace, upload: Upload) -> None:
    path = upload('prompt,response\n"C:\\dir\\","yes"\n"say ""hi""","C:\\"\n', "a.csv")
    assert detect(path).layout.escape == ""
    assert _rows(workspace, path) == [("C:\\dir\\", "yes"), ('say "hi"', "C:\\")]


def test_a_stray_escape_in_a_plain_table_is_set_aside_and_never_damaged(workspace: Workspace, upload: Upload) -> None:
    plain = "".join(f'"Question {place}?","An ""answer""."\n' for place in range(9000))
    path = upload(f'prompt,response\n{plain}"Say \\"hi\\" now","ok"\n"Why?","So."\n', "a.csv")
    report = import_file(workspace, path)
    assert (report.rows, report.reasons) == (9001, {"a quote after a backslash": 1})
    assert report.examples["a quote after a backslash"] == [9002]


def test_an_escaped_table_is_relabelled_in_its_own_notation(workspace: Workspace, upload: Upload, tmp_path: Path) -> None:
    path = upload('prompt,response\n"Say \\"hi\\", now","\\"Hi\\", he said"\n', "a.csv")
    dataset = open_dataset(workspace, import_file(workspace, path).dataset_id)
    export_kept(dataset, lambda _: True, tmp_path / "b.csv", responses={0: 'I "cannot"'})
    assert _rows(workspace, tmp_path / "b.csv") == [('Say "hi", now', 'I "cannot"')]


# --- what spreadsheets add -----------------------------------------------------------------------------------------------------------


def test_empty_columns_at_the_end_are_no_cells_too_many(workspace: Workspace, upload: Upload) -> None:
    assert _rows(workspace, upload("prompt,response\nWhy?,So.,,\nWho?,She.\n", "a.csv")) == [("Why?", "So."), ("Who?", "She.")]
    assert _rows(workspace, upload("prompt,response,,\nWhy?,So.,,\n", "b.csv")) == [("Why?", "So.")]


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-8-sig", "cp1252"])
@pytest.mark.parametrize("separator", ["\t", ";"])
def test_encodings_and_separators_of_spreadsheets(codec: str, separator: str, workspace: Workspace, upload: Upload) -> None:
    text = f"prompt{separator}response\r\n" + f"Wie heißt das Müsli für Öl?{separator}Süß, schön.\r\n" * 20
    assert _rows(workspace, upload(text.encode(codec), "a.csv")) == [("Wie heißt das Müsli für Öl?", "Süß, schön.")] * 20


# --- turns as text -------------------------------------------------------------------------------------------------------------------

TURNS = [{"role": "user", "content": "It's } {\n 'x' \"q\" \\d nan?"}, {"role": "assistant", "content": "Yes, array([1])."}]


@pytest.mark.parametrize(
    "printed", [str(TURNS), repr(np.array(TURNS, dtype=object)), str(np.array(TURNS, dtype=object)), json.dumps(TURNS)]
)
def test_turns_that_a_program_printed_are_read(printed: str, workspace: Workspace, upload: Upload) -> None:
    text = io.StringIO()
    csv.writer(text).writerows([["id", "messages"], ["0", printed]])
    assert _rows(workspace, upload(text.getvalue(), "a.csv")) == [(TURNS[0]["content"], TURNS[1]["content"])]


@pytest.mark.parametrize("cell", ["[{'role': 'user', 'content': 'a'} ...]", "[{'role': open('x')}]", "[{'role': '" + "x" * 300_000 + "'}]"])
def test_turns_that_were_cut_or_would_run_are_named_with_what_to_do(cell: str, workspace: Workspace, upload: Upload) -> None:
    good = str([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])
    text = io.StringIO()
    csv.writer(text).writerows([["messages"], [good], [cell]])
    report = import_file(workspace, upload(text.getvalue(), "a.csv"))
    assert (report.rows, report.reasons) == (1, {python_text.NOT_READ: 1})


@pytest.mark.parametrize("cell", ["[{'a': " + "'\\" * 60_000, "[{'a': " + "'" * 90_000, "[{'a':1}" + " " * 90_000, "[{'a':" * 20_000])
def test_a_cell_made_to_take_forever_takes_no_time(cell: str) -> None:
    assert python_text.turns_from(cell) is None


# --- a comma after each line ---------------------------------------------------------------------------------------------------------


def test_lines_with_commas_are_json_lines_and_are_written_without_them(workspace: Workspace, upload: Upload, tmp_path: Path) -> None:
    path = upload("".join(json.dumps(CHAT) + ending for ending in (",\n", ", \r\n", ",\n", "\n", "")) + "\n")
    seen = preview(path)
    assert seen.container == "jsonl" and [problem.severity for problem in seen.problems] == ["warning"]
    cleaned = _cleaned(workspace, path, tmp_path / "out.jsonl", lambda row: row != 1)
    assert [json.loads(line) for line in cleaned.splitlines()] == [CHAT] * 4


def test_a_broken_line_among_lines_with_commas_is_set_aside_and_the_cleaned_file_is_valid(
    workspace: Workspace, upload: Upload, tmp_path: Path
) -> None:
    lines = [json.dumps(CHAT)] * 5
    lines[2] = lines[2][:40]
    path = upload(",\n".join(lines) + ",\n")
    assert import_file(workspace, path).quarantined == 1
    assert [json.loads(line) for line in _cleaned(workspace, path, tmp_path / "o").splitlines()] == [CHAT] * 4


def test_wide_lines_lose_their_commas_too(workspace: Workspace, upload: Upload, tmp_path: Path) -> None:
    path = upload(",\n".join([json.dumps(CHAT)] * 3).encode("utf-16"))
    assert [json.loads(line) for line in _cleaned(workspace, path, tmp_path / "o").decode("utf-16").splitlines()] == [CHAT] * 3


@pytest.mark.parametrize("between", ["\n", ",\n", " "])
def test_objects_over_several_lines_become_json_lines(between: str, workspace: Workspace, upload: Upload, tmp_path: Path) -> None:
    path = upload(between.join([json.dumps(CHAT, indent=2)] * 3), "a.json")
    assert [json.loads(line) for line in _cleaned(workspace, path, tmp_path / "o", lambda row: row != 0).splitlines()] == [CHAT] * 2


@pytest.mark.parametrize(
    "text", ["[{0},{0},{0},]", "[{0}\n{0}\n{0}]", "[\n{0},,\n{0},\n{0}\n,]", "[,{0},{0},{0}", '{{"data": [{0} {0},{0},]}}']
)
@pytest.mark.parametrize("keep", [{0, 1, 2}, {1}, {0, 2}, {2}])
def test_a_list_with_commas_out_of_place_is_written_as_a_valid_one(
    text: str, keep: set[int], workspace: Workspace, upload: Upload, tmp_path: Path
) -> None:
    path = upload(text.format(json.dumps(CHAT)), "a.json")
    found = json.loads(_cleaned(workspace, path, tmp_path / "o", lambda row: row in keep))
    assert (found["data"] if isinstance(found, dict) else found) == [CHAT] * len(keep)


# --- shards --------------------------------------------------------------------------------------------------------------------------


def _silent(_done: int, _all: int) -> None:
    return None


def _joined(folder: Path, made: Path) -> Path:
    (part,) = local(str(folder)).parts
    files = [Path(file) for file in part.files]
    assert preview(head(files, part.kind, made.with_name("head" + part.ending))).rows
    return gather(files, part.kind, made.with_name("all" + part.ending), _silent)


def _write(folder: Path, name: str, text: str | bytes) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())


def _pair(number: int) -> dict[str, Any]:
    return {"prompt": f"Q{number}?", "response": "A."}


PAIRS = [("Q0?", "A."), ("Q1?", "A."), ("Q2?", "A.")]


@pytest.mark.parametrize("names", ["train-{}-of-2.jsonl", "train-0000{}-of-00002.jsonl", "part-0000{}.json", "000{}.ndjson"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_shards_of_json_lines_are_joined_in_order(names: str, mark: str, workspace: Workspace, tmp_path: Path) -> None:
    first = 0 if "000" in names else 1
    _write(tmp_path / "set", names.format(first + 1), mark + json.dumps(_pair(2)))
    _write(tmp_path / "set", names.format(first), mark + json.dumps(_pair(0)) + "\r\n" + json.dumps(_pair(1)))
    assert _rows(workspace, _joined(tmp_path / "set", tmp_path / "all")) == PAIRS


def test_shards_of_json_lists_and_lines_with_other_encodings_are_joined(workspace: Workspace, tmp_path: Path) -> None:
    _write(tmp_path / "set", "train-00000-of-00003.json", json.dumps([_pair(0)], indent=2))
    _write(tmp_path / "set", "train-00001-of-00003.jsonl", json.dumps(_pair(1)).encode("utf-16"))
    _write(tmp_path / "set", "train-00002-of-00003.json", json.dumps({"data": [_pair(2)]}))
    assert _rows(workspace, _joined(tmp_path / "set", tmp_path / "all")) == PAIRS


def test_shards_of_tables_have_one_header(workspace: Workspace, tmp_path: Path) -> None:
    _write(tmp_path / "set", "train-00000-of-00003.csv", "prompt,response\nQ0?,A.\nQ1?,A.")
    _write(tmp_path / "set", "train-00001-of-00003.csv", "\ufeffprompt,response\r\nQ2?,A.\r\n")
    _write(tmp_path / "set", "train-00002-of-00003.csv", b"")
    assert _rows(workspace, _joined(tmp_path / "set", tmp_path / "all")) == PAIRS


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ("answer,question\nA.,Q?\n", "other columns"),
        ("prompt;response\nQ?;A.\n", "another separator"),
        ('{"prompt": "Q?"}\n', "another kind"),
    ],
)
def test_shards_that_do_not_fit_are_refused_by_name(second: str, message: str, tmp_path: Path) -> None:
    _write(tmp_path / "set", "train-00000-of-00002.csv", "prompt,response\nQ0?,A.\n")
    _write(tmp_path / "set", "train-00001-of-00002.csv", second)
    with pytest.raises(DataError, match=f"train-00001-of-00002.csv .*{message}"):
        _joined(tmp_path / "set", tmp_path / "all")


def test_a_table_that_lacks_shards_is_refused_with_their_number(tmp_path: Path) -> None:
    for number in (0, 2):
        _write(tmp_path / "set", f"train-0000{number}-of-00003.jsonl", json.dumps(_pair(number)))
    source = local(str(tmp_path / "set"))
    with pytest.raises(DataError, match="there are 3, but 2 are there"):
        source.part(source.parts[0].name)


def test_tables_named_after_years_and_kinds_stay_apart(tmp_path: Path) -> None:
    for name in ("2021.csv", "2022.csv", "train-00000-of-00001.csv", "train-00000-of-00001.jsonl"):
        _write(tmp_path / "set", name, "prompt,response\nQ?,A.\n")
    assert [len(part.files) for part in local(str(tmp_path / "set")).parts] == [1, 1, 1, 1]
