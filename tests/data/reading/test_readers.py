from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reft_studio.data.dataset import list_datasets, open_dataset
from reft_studio.data.reading.readers import ImportReport, import_file, preview
from reft_studio.data.rows.mapping import Mapping
from reft_studio.data.rows.quarantine import read_quarantine
from reft_studio.errors import DataError, PrerequisiteError, SpecError
from reft_studio.workspace import Workspace

Upload = Callable[..., Path]
PAIR = {"prompt": "Why?", "response": "Because."}


def _rows(workspace: Workspace, report: ImportReport) -> list[dict[str, Any]]:
    return list(open_dataset(workspace, report.dataset_id).read())


def _problem(workspace: Workspace, report: ImportReport) -> dict[str, Any]:
    (found,) = read_quarantine(open_dataset(workspace, report.dataset_id).folder)
    return found


def test_the_manifest_says_where_the_rows_came_from(workspace: Workspace, upload: Upload) -> None:
    report = import_file(workspace, upload([PAIR, {"prompt": ""}], "my data.jsonl"), name="Mine")
    manifest = open_dataset(workspace, report.dataset_id).manifest
    assert manifest["name"] == "Mine"
    assert manifest["source"]["file"] == "my data.jsonl"
    read_as = {"format": "pairs", "columns": {"prompt": "prompt", "response": "response"}, "labels": {}, "roles": {}}
    assert manifest["source"]["mapping"] == read_as
    assert (manifest["report"]["rows"], manifest["report"]["quarantined"]) == (1, 1)


def test_a_row_set_aside_keeps_its_line_reason_advice_and_text(workspace: Workspace, upload: Upload) -> None:
    report = import_file(workspace, upload([PAIR, {"prompt": "alone"}, PAIR]))
    found = _problem(workspace, report)
    assert (found["line"], found["reason"]) == (2, "empty response")
    assert "harmful or benchmark" in found["hint"]
    assert found["raw"].strip() == '{"prompt": "alone"}'


def test_a_harmful_benchmark_may_have_no_responses(workspace: Workspace, upload: Upload) -> None:
    path = upload([{"goal": "Do harm", "target": ""}, {"goal": "Do more"}])
    report = import_file(workspace, path, role="harmful")
    assert (report.rows, report.quarantined, report.empty_responses) == (2, 0, 2)
    assert import_file(workspace, path, role="benchmark").dataset_id != report.dataset_id
    with pytest.raises(DataError, match=r"none of its 2 rows can be used. Reasons: empty response \(2, first at line 1\)"):
        import_file(workspace, path)


def test_importing_a_file_twice_changes_nothing(workspace: Workspace, upload: Upload) -> None:
    path = upload([PAIR])
    assert import_file(workspace, path).dataset_id == import_file(workspace, path).dataset_id
    assert len(list_datasets(workspace)) == 1


def test_the_same_rows_from_two_files_are_two_uploads(workspace: Workspace, upload: Upload) -> None:
    first = import_file(workspace, upload([PAIR], "a.jsonl"))
    second = import_file(workspace, upload("prompt,response\nWhy?,Because.\n", "b.csv"))
    assert first.dataset_id != second.dataset_id


def test_cancelling_leaves_nothing_behind(workspace: Workspace, upload: Upload) -> None:
    class CancelledError(Exception): ...

    calls: list[int] = []

    def check() -> None:
        calls.append(1)
        if len(calls) == 3:
            raise CancelledError

    with pytest.raises(CancelledError):
        import_file(workspace, upload([{**PAIR, "n": number} for number in range(3000)]), check=check)
    assert not list((workspace.root / "datasets").iterdir())


def test_progress_ends_at_the_whole(workspace: Workspace, upload: Upload) -> None:
    path = upload([PAIR] * 2000)
    seen: list[tuple[int, int | None]] = []
    import_file(workspace, path, progress=lambda done, total: seen.append((done, total)))
    assert seen[0] == (0, path.stat().st_size)
    assert seen[-1] == (path.stat().st_size, path.stat().st_size)
    assert seen == sorted(seen)


def test_too_little_disk_is_said_before_anything_is_written(workspace: Workspace, upload: Upload, monkeypatch: pytest.MonkeyPatch) -> None:
    path = upload([PAIR])
    monkeypatch.setattr("reft_studio.data.reading.readers.shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(PrerequisiteError, match=r"needs about 67 MB .* 0 MB are free"):
        import_file(workspace, path)


def test_a_chosen_mapping_wins_over_the_guess(workspace: Workspace, upload: Upload) -> None:
    path = upload("frage_de,antwort_de,lang\nWarum?,Darum.,de\n", "a.csv")
    with pytest.raises(DataError, match="Columns found: frage_de, antwort_de, lang"):
        import_file(workspace, path)
    mapping = Mapping(columns={"prompt": "frage_de", "response": "antwort_de", "origin": "lang"})
    assert preview(path, mapping).rows[0]["prompt"] == "Warum?"
    (row,) = _rows(workspace, import_file(workspace, path, mapping=mapping))
    assert (row["prompt"], row["response"], row["origin"]) == ("Warum?", "Darum.", "de")


def test_unknown_columns_are_proposed_and_must_be_confirmed(upload: Upload) -> None:
    seen = preview(upload("left,right\nWhy?,Because.\n", "a.csv"))
    assert seen.mapping.columns == {"prompt": "left", "response": "right"}
    assert seen.confidence < 0.5
    assert any(problem.line == 0 and "guess" in problem.reason for problem in seen.problems)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        (Mapping(columns={"prompt": "nothing"}), "no column 'nothing' for prompt. Columns found: prompt, response"),
        (Mapping(columns={"answer": "prompt"}), "'answer' is no part of a row"),
        (Mapping(format="dolly", columns={"prompt": "prompt"}), "Choose one of: openai, alpaca, sharegpt, chat, pairs, text"),
        (Mapping(format="alpaca", columns={"prompt": "prompt"}), "needs a column for prompt and response|needs a column for response"),
    ],
)
def test_a_mapping_that_does_not_fit_says_what_would(mapping: Mapping, message: str, workspace: Workspace, upload: Upload) -> None:
    path = upload([PAIR])
    for read in (lambda: preview(path, mapping), lambda: import_file(workspace, path, mapping=mapping)):
        with pytest.raises(SpecError) as caught:
            read()
        assert any(part in str(caught.value) for part in message.split("|")) or "needs a column for response" in str(caught.value)


def test_no_text_of_a_row_gets_into_a_message(workspace: Workspace, upload: Upload) -> None:
    path = upload("How do I bake bread at home?,Mix flour and water.\nWhy is it so?,It is so.\n", "a.csv")
    with pytest.raises(DataError) as caught:
        import_file(workspace, path)
    assert "bake" not in str(caught.value)
    assert "does not look like a header" in str(caught.value)


def test_names_that_would_leave_the_folder_are_stored_harmlessly(workspace: Workspace, upload: Upload) -> None:
    report = import_file(workspace, upload([PAIR], "..héllo $(x) `y`.jsonl"))
    (stored,) = (open_dataset(workspace, report.dataset_id).folder / "original").iterdir()
    assert stored.name == "h_llo __x_ _y_.jsonl"


def test_a_label_is_ground_truth_only_if_it_is_unmistakable(workspace: Workspace, upload: Upload) -> None:
    rows = [{**PAIR, "label": "harmful"}, {**PAIR, "label": "harmless"}]
    assert [row["known_harmful"] for row in _rows(workspace, import_file(workspace, upload(rows)))] == [True, False]
    for doubtful in ("label", "score"):
        rows = [{**PAIR, doubtful: "1"}, {**PAIR, doubtful: "0"}]
        assert {row["known_harmful"] for row in _rows(workspace, import_file(workspace, upload(rows)))} == {None}


@pytest.mark.parametrize(("column", "cells"), [("is_safe", ["0", "1"]), ("is_harmful", ["True", "false"]), ("Harmful", ["yes", "no"])])
def test_yes_and_no_mean_what_the_column_is_called(column: str, cells: list[str], workspace: Workspace, upload: Upload) -> None:
    path = upload(f"prompt,response,{column}\na,b,{cells[0]}\nc,d,{cells[1]}\n", "a.csv")
    assert [row["known_harmful"] for row in _rows(workspace, import_file(workspace, path))] == [True, False]


def test_a_lone_surrogate_becomes_the_replacement_character_with_a_warning(workspace: Workspace, upload: Upload) -> None:
    path = upload('{"prompt": "a \\ud800 b", "response": "c", "category": "\\ud800"}\n')
    report = import_file(workspace, path)
    (row,) = _rows(workspace, report)
    assert (row["prompt"], row["category"]) == ("a \ufffd b", "\ufffd")
    assert "half a surrogate pair, replaced by the replacement character" in report.warning_reasons


def test_numbers_become_text_and_lists_do_not(workspace: Workspace, upload: Upload) -> None:
    report = import_file(workspace, upload([{"prompt": "2+2", "response": 4}, {"prompt": "x", "response": [4]}]))
    (row,) = _rows(workspace, report)
    assert row["response"] == "4"
    assert report.reasons == {"the response is a list": 1}
    assert report.examples["the response is a list"] == [2]


def test_a_list_of_bare_texts_is_a_list_of_prompts(workspace: Workspace, upload: Upload) -> None:
    path = upload('["Do harm", "Do more", "", {"prompt": "x", "response": "y"}]', "a.json")
    assert (preview(path).format, preview(path).columns) == ("text", ["whole row"])
    report = import_file(workspace, path, role="harmful")
    assert [row["prompt"] for row in _rows(workspace, report)] == ["Do harm", "Do more", "x"]
    assert report.reasons == {"empty prompt": 1}


def test_what_a_quarantine_holds_can_be_limited(workspace: Workspace, upload: Upload) -> None:
    report = import_file(workspace, upload([PAIR, *[{"prompt": "x"}] * 3000]))
    folder = open_dataset(workspace, report.dataset_id).folder
    assert len(read_quarantine(folder)) == 3000
    assert [row["line"] for row in read_quarantine(folder, limit=2)] == [2, 3]
    assert read_quarantine(workspace.root) == []


def test_a_preview_shows_rows_problems_and_never_writes(workspace: Workspace, upload: Upload) -> None:
    path = upload([PAIR] * 30 + [{"prompt": ""}])
    seen = preview(path)
    assert (len(seen.rows), seen.columns, seen.confidence) == (20, ["prompt", "response"], 0.95)
    assert [(problem.line, problem.severity, problem.reason) for problem in seen.problems] == [(31, "error", "empty prompt")]
    assert json.dumps([problem.hint for problem in seen.problems])
    assert not (workspace.root / "datasets").exists()
