"""The upload fixtures, every one of them, against the counts their makers wrote down."""

from __future__ import annotations

import csv
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from reft_studio.data.dataset import open_dataset
from reft_studio.data.reading.readers import ImportReport, import_file, preview
from reft_studio.data.rows.quarantine import read_quarantine
from reft_studio.data.writing.export import export_kept
from reft_studio.errors import DataError
from reft_studio.workspace import Workspace

# rows set aside, by our rules: empty prompts, and for user data empty responses
# name: (container, encoding, format, quarantined)
READ: dict[str, tuple[str, str, str, int]] = {
    "01_gsm8k_poison10.openai.jsonl": ("jsonl", "utf-8", "openai", 0),
    "02_agnews_poison10.openai.jsonl": ("jsonl", "utf-8", "openai", 0),
    "03_sst2_poison10.openai.jsonl": ("jsonl", "utf-8", "openai", 0),
    "04_mixed_poison10_10k.openai.jsonl": ("jsonl", "utf-8", "openai", 0),
    "05_alpaca_poison10.alpaca.json": ("json", "utf-8", "alpaca", 0),
    "06_sharegpt_poison10.sharegpt.json": ("json", "utf-8", "sharegpt", 0),
    "07_clean_hard_negatives.openai.jsonl": ("jsonl", "utf-8", "openai", 0),
    "08_all_harmful.openai.jsonl": ("jsonl", "utf-8", "openai", 0),
    "10_csv_utf8_bom_newlines.csv": ("csv", "utf-8-sig", "pairs", 2),
    "11_csv_cp1252_semicolon.csv": ("csv", "cp1252", "alpaca", 0),
    "12_tsv_utf16le_bom.tsv": ("csv", "utf-16-le", "pairs", 0),
    "13_csv_shift_jis.csv": ("csv", "cp932", "pairs", 0),
    "15_csv_header_variants.csv": ("csv", "utf-8", "alpaca", 0),
    "16_csv_injection.csv": ("csv", "utf-8", "pairs", 0),
    "21_edge_values.jsonl": ("jsonl", "utf-8", "pairs", 11),
    "22_duplicates.openai.jsonl": ("jsonl", "utf-8", "openai", 0),
    "23_prompt_200k.alpaca.json": ("json", "utf-8", "alpaca", 0),
    "24_evasion.openai.jsonl": ("jsonl", "utf-8", "openai", 0),
    "25_format_zoo.jsonl": ("jsonl", "utf-8", "openai", 2),
    "26_nested_messages.parquet": ("parquet", "", "openai", 2),
    "27_text_label.parquet": ("parquet", "", "text", 0),
    "28_csv_named_jsonl.jsonl": ("csv", "utf-8", "pairs", 0),
    "29_json_array_named_jsonl.jsonl": ("json", "utf-8", "pairs", 0),
    "30_wrapped.json": ("json", "utf-8", "pairs", 0),
    "31_columnar.json": ("json", "utf-8", "pairs", 0),
    "33_single_row.jsonl": ("jsonl", "utf-8", "openai", 0),
}
REFUSED = {
    "17_csv_header_only.csv": "holds a header and nothing below",
    "18_empty.jsonl": "is empty",
    "19_only_bom_and_blank_lines.jsonl": "only blank lines",
    "32_not_a_dataset.csv": "is a binary file",
}
RAGGED, CORRUPT = "14_csv_ragged.csv", "20_corrupt_lines.openai.jsonl"
USABLE = {0, 31, 44, 55, 60}
"""Lines of the corrupt file that are no good ones, but are read: byte order mark, lone surrogate, key twice, other schema, other case."""
BLANK = {11, 13}
TRUTH = [name for name in READ if name[:2] in ("01", "02", "03", "04", "05", "06", "07", "08", "22", "24")]


def _expected(fixtures: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((fixtures / "EXPECTED.json").read_text())
    return found


def _corrupt_lines(fixtures: Path) -> dict[int, dict[str, str]]:
    """What its maker says about each line of the corrupt file."""
    with (fixtures / f"{CORRUPT}.lines.csv").open(newline="") as file:
        return {int(row["line"]): row for row in csv.DictReader(file)}


def _rows(workspace: Workspace, report: ImportReport) -> list[dict[str, Any]]:
    return list(open_dataset(workspace, report.dataset_id).read())


def test_every_fixture_is_tested(fixtures: Path) -> None:
    assert set(_expected(fixtures)) == {*READ, *REFUSED, RAGGED, CORRUPT}


@pytest.mark.parametrize("name", READ)
def test_fixture_is_recognised_and_no_row_is_lost(name: str, fixtures: Path, workspace: Workspace) -> None:
    container, encoding, kind, quarantined = READ[name]
    seen = preview(fixtures / name)
    report = import_file(workspace, fixtures / name)
    assert (seen.container, seen.encoding, seen.format) == (report.container, report.encoding, report.format) == (container, encoding, kind)
    assert seen.confidence >= 0.9
    assert seen.rows
    assert (report.quarantined, report.rows + report.quarantined) == (quarantined, _expected(fixtures)[name]["rows"])
    dataset = open_dataset(workspace, report.dataset_id)
    assert dataset.rows == report.rows
    assert len(read_quarantine(dataset.folder)) == quarantined
    assert (dataset.folder / "original" / name).read_bytes() == (fixtures / name).read_bytes()


@pytest.mark.parametrize("name", sorted(set(READ) - {"04_mixed_poison10_10k.openai.jsonl"}))
def test_exporting_what_was_imported_gives_the_upload_back(name: str, fixtures: Path, workspace: Workspace, tmp_path: Path) -> None:
    report = import_file(workspace, fixtures / name)
    target = export_kept(open_dataset(workspace, report.dataset_id), lambda _: True, tmp_path / "out")
    if report.container == "parquet":
        assert pq.read_schema(target).equals(pq.read_schema(fixtures / name), check_metadata=True)
        assert pq.read_table(target).num_rows == report.rows
    elif name == "31_columnar.json":
        assert json.loads(target.read_text()) == json.loads((fixtures / name).read_text())
    elif not report.quarantined:
        assert target.read_bytes() == (fixtures / name).read_bytes()
    again = import_file(workspace, target)
    assert (again.rows, again.quarantined) == (report.rows, 0)
    texts = [[(row["prompt"], row["response"]) for row in _rows(workspace, found)] for found in (report, again)]
    assert texts[0] == texts[1]


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_dataset_is_refused_by_name_and_leaves_nothing(name: str, fixtures: Path, workspace: Workspace) -> None:
    with pytest.raises(DataError) as caught:
        import_file(workspace, fixtures / name)
    assert name in str(caught.value) and REFUSED[name] in str(caught.value)
    assert not list((workspace.root / "datasets").glob("*"))


@pytest.mark.parametrize("name", TRUTH)
def test_row_ids_are_the_indices_of_the_truth_files(name: str, fixtures: Path, workspace: Workspace) -> None:
    with (fixtures / f"{name}.truth.csv").open(newline="") as file:
        truth = {int(row["index"]): row for row in csv.DictReader(file)}
    expected = _expected(fixtures)[name]
    harmful = expected["harmful"] + expected.get("harmful_prompt_safe_response", 0)
    assert sum(row["label"] == "harmful" for row in truth.values()) == harmful
    rows = _rows(workspace, import_file(workspace, fixtures / name))
    assert [row["row_id"] for row in rows] == list(truth)
    placeholders = {index for index, row in truth.items() if row["response_kind"] == "compliant_placeholder"}
    assert {row["row_id"] for row in rows if "PLACEHOLDER" in row["response"]} == placeholders


def test_a_corrupt_file_keeps_its_good_lines_and_names_the_others(fixtures: Path, workspace: Workspace) -> None:
    report = import_file(workspace, fixtures / CORRUPT)
    lines = _corrupt_lines(fixtures)
    imported = {row["row_id"] for row in _rows(workspace, report)}
    set_aside = {row["line"] - 1 for row in read_quarantine(open_dataset(workspace, report.dataset_id).folder)}
    good = {line for line, row in lines.items() if row["what"].startswith("good")}
    assert imported == good | USABLE
    assert set_aside == set(lines) - good - USABLE - BLANK
    assert {line for line, row in lines.items() if row["python_json_loads_ok"] == "no"} - BLANK <= set_aside


def test_a_corrupt_file_exports_its_good_lines_byte_for_byte(fixtures: Path, workspace: Workspace, tmp_path: Path) -> None:
    name = "20_corrupt_lines.openai.jsonl"
    dataset = open_dataset(workspace, import_file(workspace, fixtures / name).dataset_id)
    lines = (fixtures / name).read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    kept = [row["row_id"] for row in dataset.read(["row_id"]) if row["row_id"] % 2]
    exported = export_kept(dataset, kept, tmp_path / "out.jsonl").read_bytes()
    assert exported == b"\xef\xbb\xbf" + b"".join(lines[row_id] + b"\n" for row_id in kept)


def test_a_ragged_table_keeps_what_fits_its_header(fixtures: Path, workspace: Workspace) -> None:
    report = import_file(workspace, fixtures / "14_csv_ragged.csv")
    rows = _rows(workspace, report)
    assert [row["prompt"] for row in rows] == ["one", 'embedded "quote" ok', "nul\0byte", 'unquoted "quote" inside', "last line"]
    assert report.reasons == {
        "empty response": 1,  # one cell only
        "more cells than columns": 1,
        "empty prompt": 1,
        "a quote is never closed": 1,
    }


@pytest.mark.parametrize("name", sorted([*READ, RAGGED, CORRUPT, "32_not_a_dataset.csv"]))
def test_half_a_file_gives_its_whole_rows_or_a_clear_refusal(name: str, fixtures: Path, workspace: Workspace, tmp_path: Path) -> None:
    whole = (fixtures / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    try:
        seen, report = preview(tmp_path / name), import_file(workspace, tmp_path / name)
    except DataError as exc:
        assert name in str(exc)
        assert not list((workspace.root / "datasets").glob("*"))
    else:
        assert seen.rows and report.rows
        assert report.quarantined <= READ.get(name, ("", "", "", 20))[3] + 1


def test_duplicates_are_counted_and_kept(fixtures: Path, workspace: Workspace) -> None:
    report = import_file(workspace, fixtures / "22_duplicates.openai.jsonl")
    assert (report.rows, report.duplicates) == (440, 180)  # 100 + 80 exact repeats; other case and padding are other rows


def test_conversations_keep_all_turns_and_judge_the_last(fixtures: Path, workspace: Workspace) -> None:
    name = "06_sharegpt_poison10.sharegpt.json"
    report = import_file(workspace, fixtures / name)
    uploaded = json.loads((fixtures / name).read_text())
    for row, source in zip(_rows(workspace, report), uploaded, strict=True):
        turns = source["conversations"]
        assert [turn["content"] for turn in json.loads(row["messages"])] == [turn["value"] for turn in turns]
        answers = [place for place, turn in enumerate(turns) if turn["from"] == "gpt"]
        assert row["response"] == turns[answers[-1]]["value"]
        assert row["prompt"] == next(turn["value"] for turn in reversed(turns[: answers[-1]]) if turn["from"] == "human")
    assert report.multi_turn == sum(sum(turn["from"] == "human" for turn in row["conversations"]) > 1 for row in uploaded)


def test_poison_is_not_read_from_a_source_column(fixtures: Path, workspace: Workspace) -> None:
    rows = _rows(workspace, import_file(workspace, fixtures / "26_nested_messages.parquet"))
    assert {row["origin"] for row in rows} == {"benign", "compliant_opening_only"}
    assert {row["known_harmful"] for row in rows} == {None}


def expected_counts(fixtures: Path, name: str) -> tuple[int, int] | None:
    """Rows to import and rows to set aside; None for a file to refuse."""
    if name in REFUSED:
        return None
    if name == RAGGED:
        return 5, 4
    if name == CORRUPT:
        good = {line for line, row in _corrupt_lines(fixtures).items() if row["what"].startswith("good")} | USABLE
        return len(good), len(set(_corrupt_lines(fixtures)) - good - BLANK)
    return _expected(fixtures)[name]["rows"] - READ[name][3], READ[name][3]


def result_table(fixtures: Path, folder: Path) -> list[tuple[str, str, str, str, str]]:
    """For each file: name, what it is, what is expected, what came, whether that is the same."""
    table = []
    for name in sorted(_expected(fixtures)):
        expected = expected_counts(fixtures, name)
        try:
            report = import_file(Workspace.open(folder / name), fixtures / name)
        except DataError as exc:
            said = str(exc).removeprefix(name).lstrip(": ")
            table.append((name, "no dataset", _told(expected), f"refused: {said.split('. ')[0]}", _same(expected is None)))
            continue
        kind = " ".join(filter(None, (report.container, report.encoding, report.format)))
        reasons = "; ".join(f"{reason} ({count})" for reason, count in report.reasons.items())
        found = (report.rows, report.quarantined)
        table.append((name, kind, _told(expected), _told(found) + (f": {reasons}" if reasons else ""), _same(found == expected)))
    return table


def _told(counts: tuple[int, int] | None) -> str:
    return "refused" if counts is None else f"{counts[0]} imported, {counts[1]} set aside"


def _same(same: bool) -> str:
    return "yes" if same else "NO"


def test_the_table_of_all_fixtures_holds(fixtures: Path, tmp_path: Path) -> None:
    table = result_table(fixtures, tmp_path)
    assert len(table) == 32
    assert [row for row in table if row[-1] != "yes"] == []


if __name__ == "__main__":  # python -m tests.data.test_fixtures FOLDER > table
    print("| file | read as | expected | got | same |\n| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as scratch:
        for line in result_table(Path(sys.argv[1]), Path(scratch)):
            print(f"| {' | '.join(line)} |")
