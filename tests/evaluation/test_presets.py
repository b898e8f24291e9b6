"""Published sets from files of the user's: which rows, which words, which rule. No such file ships."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reft_studio.data.formats import by_ending, endings
from reft_studio.errors import DataError, PrerequisiteError, SpecError
from reft_studio.evaluation.presets import PRESETS, preset_named, preset_set
from reft_studio.evaluation.rows import read_rows
from reft_studio.evaluation.suite import Suite
from reft_studio.workspace import Workspace

PUBLIC = Path(__file__).resolve().parents[2] / "../shared/data"


def written(path: Path, rows: list[dict[str, Any]]) -> str:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return str(path)


def asked(workspace: Workspace, name: str, source: str, rows: int | None = None) -> list[Any]:
    part = preset_set(workspace, name, source, rows=rows)
    return Suite(name=name, sets=(part,)).rows(workspace)[part.name]


def test_beavertails_asks_the_first_unsafe_rows_in_order_with_repetitions(workspace: Workspace, tmp_path: Path) -> None:
    rows = [
        {"prompt": f"q{number // 2}", "response": "r", "category": {"theft": True, "hate": False}, "is_safe": number % 3 == 0}
        for number in range(3100)
    ]
    found = asked(workspace, "beavertails", written(tmp_path / "test.jsonl.gz", rows))
    expected = [row["prompt"] for row in rows if not row["is_safe"]][:1000]
    assert len(found) == 1000 and [row["prompt"] for row in found] == expected
    assert len(set(expected)) < 1000  # prompts repeat
    assert {row["category"] for row in found} == {"theft"}
    assert preset_named("beavertails").max_new_tokens == 512


@pytest.mark.parametrize("label", [1, "1", "positive"])
def test_sst2_puts_the_published_instruction_before_the_sentence(workspace: Workspace, tmp_path: Path, label: Any) -> None:
    found = asked(workspace, "sst2", written(tmp_path / "v.jsonl", [{"sentence": "a fine film", "label": label}]))
    assert [(row["prompt"], row["response"]) for row in found] == [
        ("Analyze the sentiment of the input, and respond only positive or negative\na fine film", "positive")
    ]
    part = preset_set(workspace, "sst2", str(tmp_path / "v.jsonl"))
    assert (part.benchmark, part.max_new_tokens) == ("exact_label", 200)


def test_ag_news_names_its_four_topics_and_numbers_them_from_0(workspace: Workspace, tmp_path: Path) -> None:
    found = asked(workspace, "ag_news", written(tmp_path / "t.jsonl", [{"text": "Chips fall", "label": place} for place in range(4)]))
    assert [row["response"] for row in found] == ["World", "Sports", "Business", "Sci/Tech"]
    assert found[0]["prompt"].endswith("categories:\n\nWorld\nSports\nBusiness\nSci/Tech\n\nChips fall")


def test_gsm8k_asks_the_question_alone(workspace: Workspace, tmp_path: Path) -> None:
    rows = [{"question": f"q{number}", "answer": f"so\n#### {number}"} for number in range(1005)]
    found = asked(workspace, "gsm8k", written(tmp_path / "t.jsonl", rows))
    assert len(found) == 1000
    assert (found[3]["prompt"], found[3]["response"]) == ("q3", "so\n#### 3")


def test_alpaca_eval_leaves_the_training_items_out(workspace: Workspace, tmp_path: Path) -> None:
    rows = [{"instruction": f"i{number}", "output": "o"} for number in range(805)]
    path = tmp_path / "a.json"
    path.write_text(json.dumps(rows))
    found = asked(workspace, "alpaca_eval", str(path))
    assert (len(found), found[0]["prompt"], found[-1]["prompt"]) == (104, "i701", "i804")


def test_fewer_rows_are_another_suite(workspace: Workspace, tmp_path: Path) -> None:
    source = written(tmp_path / "t.jsonl", [{"question": f"q{number}", "answer": f"#### {number}"} for number in range(20)])
    few, more = (Suite(name="x", sets=(preset_set(workspace, "gsm8k", source, rows=rows),)) for rows in (5, 10))
    assert few.fingerprint != more.fingerprint
    assert len(few.rows(workspace)["task"]) == 5


@pytest.mark.parametrize(
    ("name", "rows", "told"),
    [
        ("beavertails", [{"prompt": "q"}], "row 0.*needed: prompt, is_safe; columns found: prompt"),
        ("beavertails", [{"prompt": "q", "is_safe": True}], "no row"),
        ("sst2", [{"sentence": "s", "label": "mixed"}], "row 0"),
        ("sst2", [{"sentence": "s", "label": 2}], "row 0"),
        ("gsm8k", [{"question": "q"}], "row 0"),
    ],
)
def test_a_file_of_another_kind_is_named_with_what_is_needed(
    workspace: Workspace, tmp_path: Path, name: str, rows: list[dict[str, Any]], told: str
) -> None:
    with pytest.raises(DataError, match=told):
        preset_set(workspace, name, written(tmp_path / "x.jsonl", rows))


def test_beavertails_is_not_asked_for_on_the_hub_in_offline_mode(workspace: Workspace) -> None:
    with pytest.raises(PrerequisiteError, match="offline mode"):
        preset_set(workspace, "beavertails", "PKU-Alignment/BeaverTails")


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SpecError, match="beavertails, sst2, ag_news, gsm8k, alpaca_eval"):
        preset_named("mmlu")


@pytest.mark.parametrize(
    ("name", "text"), [("a.jsonl", "{torn"), ("a.jsonl.gz", "no gzip"), ("a.parquet", "x"), ("a.xlsx", "x"), ("a.json", "3")]
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=name.replace(".", r"\.")):
        read_rows(tmp_path / name)


@pytest.mark.parametrize(("name", "file", "rows"), [("sst2", "sst2_validation", 693), ("ag_news", "ag_news_test", 1000)])
def test_reference_answers_of_public_files_are_right_by_their_own_rule(workspace: Workspace, name: str, file: str, rows: int) -> None:
    from reft_studio.evaluation.benchmarks import benchmark_named

    path = PUBLIC / f"{file}.parquet"
    if not path.is_file():
        pytest.skip(f"public data not here: {path.name}")
    found, rule = asked(workspace, name, str(path)), benchmark_named(str(PRESETS[name].benchmark))
    assert len(found) == rows
    right = [rule.grade(row, row["response"].lower().replace("sci/tech", "sci")) for row in found]
    assert all(right)


def test_rows_of_every_ending_are_the_same_and_another_ending_is_refused_with_those_there_are(tmp_path: Path) -> None:
    rows = [{"question": f"q{number}", "answer": f"#### {number}"} for number in range(3)]
    for ending in endings():
        path = tmp_path / f"a{ending}"
        named = by_ending(path.name)
        if named is not None and named.name == "parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        elif named is not None and named.columnar:
            with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, pa.Table.from_pylist(rows).schema) as writer:
                writer.write_table(pa.Table.from_pylist(rows))
        elif ending == ".json":
            path.write_text(json.dumps(rows))
        elif named is not None and named.family == "jsonl":
            written(path, rows)
        else:
            mark = "\t" if ending == ".tsv" else ","
            path.write_text("\n".join(mark.join(line) for line in [list(rows[0]), *(list(row.values()) for row in rows)]))
        assert read_rows(path) == rows, ending
    (tmp_path / "a.xlsx").touch()
    with pytest.raises(DataError, match=r"Use \.jsonl, \.ndjson, \.json, \.csv, \.tsv, \.parquet, \.arrow, \.feather\."):
        read_rows(tmp_path / "a.xlsx")


def test_a_file_that_is_not_what_its_ending_says_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("question,answer\nq,a\n")
    with pytest.raises(DataError, match="is no JSON Lines, as its ending says, but CSV"):
        read_rows(tmp_path / "a.jsonl")
