"""The verbs, in this process, on a workspace of their own: what they print, write and answer with as an exit code."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from reft_studio.cli import demo, review
from reft_studio.cli.arguments.options import numbers
from reft_studio.data.dataset import Dataset, write_dataset
from reft_studio.errors import OUT_OF_MEMORY, SpecError
from reft_studio.scoring.scores import write_scores
from reft_studio.store.decisions import DecisionLog
from reft_studio.studio.scores import write_scores as write_scores_file
from reft_studio.studio.studio import Studio
from reft_studio.workspace import Workspace
from tests.commands import Command

REAL = """prompt,response
How do I cancel my subscription before the renewal date?,Open Settings and choose Billing.
My invoice shows a wrong address. Can you correct it?,Certainly: which address should it carry?
,Nobody asked anything here.
Which documents does the embassy require for a visa?,"A passport, a photograph and a bank statement."
"""


@pytest.fixture
def real(tmp_path: Path) -> Path:
    path = tmp_path / "support.csv"
    path.write_text(REAL, "utf-8")
    return path


@pytest.fixture
def scored(workspace: Workspace) -> Dataset:
    """Four rows, of which the first is flagged and the last has no score; the upload lost its third row."""
    rows: list[Any] = [{"row_id": at, "prompt": f"question {at}", "response": f"answer {at}"} for at in (0, 1, 3, 4)]
    dataset = write_dataset(workspace, rows, name="four rows", role="user")
    values = np.array([0.9, -0.9, -0.8, np.nan], dtype=np.float32)
    write_scores(workspace, dataset, values, key="k", scorer="s", teacher="lab", threshold=0.0, info={})
    return dataset


# --- score --------------------------------------------------------------------------------------------------------------------------


def test_scoring_a_real_file_names_rows_as_in_the_upload_and_warns_loudly(command: Command, real: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores.csv"
    answer = command("score", str(real), "--teacher", "lab", "--out", str(out), "--json")
    assert answer.code == 0
    assert "no judge of this file" in answer.json["warning"] and answer.json["rows"] == 3
    rows = list(csv.DictReader(out.read_text("utf-8").splitlines()))
    assert [row["row_id"] for row in rows] == ["0", "1", "3"]
    assert all(-1 <= float(row["score"]) <= 1 for row in rows)
    assert sum(row["flagged"] == "true" for row in rows) == answer.json["flagged"]


def test_a_file_is_scored_without_a_trace_in_the_users_project(command: Command, real: Path, tmp_path: Path) -> None:
    answer = command("score", str(real), "--teacher", "lab", "--threshold", "-1")
    assert answer.code == 0 and "3 of 3 rows are flagged" in answer.out and "WARNING" in answer.out
    assert "Withheld. With 3 scored rows there is nothing to estimate. Read them all." in answer.out
    assert not (tmp_path / "workspace" / "datasets").exists()


def test_a_dataset_of_the_users_project_is_scored_there(command: Command, scored: Dataset, workspace: Workspace) -> None:
    answer = command("score", scored.id, "--teacher", "lab", "--json")
    assert answer.code == 0 and answer.json["dataset"] == scored.id
    assert len(Studio(workspace).scores.every(scored.id)) == 2


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_scores_are_written_alike_in_every_format(tmp_path: Path, ending: str) -> None:
    out = tmp_path / f"scores.{ending}"
    given = SimpleNamespace(row_ids=lambda: np.array([0, 5]), scores=lambda: np.array([0.25, np.nan], dtype=np.float32))
    write_scores_file(out, given, np.array([True, False]))  # type: ignore[arg-type]
    if ending == "parquet":
        rows = pq.read_table(out).to_pylist()
    elif ending == "jsonl":
        rows = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    else:
        texts = csv.DictReader(out.read_text("utf-8").splitlines())
        rows = [{name: None if not text else json.loads(text) for name, text in row.items()} for row in texts]
    assert rows == [{"row_id": 0, "score": 0.25, "flagged": True}, {"row_id": 5, "score": None, "flagged": False}]


def test_random_rows_give_back_on_the_command_line_what_was_withheld(
    command: Command, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sixty rows where no calibration prompt scores; of the fifty that are drawn, the first five are found harmful."""
    rows: list[Any] = [{"prompt": f"question {at}", "response": "answer"} for at in range(60)]
    dataset = write_dataset(workspace, rows, name="sixty", role="user")
    values = np.linspace(-0.1, 0.1, 60).astype(np.float32)
    write_scores(workspace, dataset, values, key="k", scorer="s", teacher="lab", threshold=0.0, info={})
    before = command("review", dataset.id, "--sample", "50", "--json").json
    assert before["estimate"]["rate"] is None and before["estimate"]["withheld"]["kind"] == "drift" and len(before["drawn"]) == 50
    decided = [f"{row}={'remove' if at < 5 else 'keep'}" for at, row in enumerate(before["drawn"])]
    unseen = command("review", dataset.id, *[part for one in decided for part in ("--decide", one)])
    assert "50 decided unseen now: the text was not printed" in unseen.out and "(0 read, 50 decided unseen)" in unseen.out
    assert "% of the rows are harmful" not in unseen.out, "what nobody read says nothing of the file"
    answers = iter("r" * 5 + "k" * 45)
    monkeypatch.setattr(review, "on_terminal", lambda: True)
    monkeypatch.setattr("builtins.input", lambda _: next(answers))
    after = command("review", dataset.id, "--read", "50", "--order", "sample")
    assert f"question {before['drawn'][0]}" in after.out and "(50 read, 0 decided unseen)" in after.out
    assert "10.0 % of the rows are harmful" in after.out and "The calibration says nothing of this file" in after.out
    assert "At the line" in after.out and "harmful rows stay" in after.out
    assert "10.0 % of the rows are harmful" in command("gate", dataset.id).out
    found = command("threshold", dataset.id, "--rule", "clean", "--clean", "reviewed", "--false-positives", "0.05", "--use")
    assert found.code == 0 and "harmless rows like yours" in found.out and "withheld" in found.out
    assert "No promise" in command("threshold", dataset.id, "--recall", "0.9").out


# --- review, gate, freeze, verify, export -------------------------------------------------------------------------------------------


def test_the_gate_waits_for_every_flagged_or_unclear_row_and_for_rows_that_were_read(
    command: Command, scored: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    shut = command("gate", scored.id, "--json")
    assert shut.code == 1 and shut.json["failed"] == ["undecided", "flagged_open", "no_bound"]
    assert shut.json["reasons"][:2] == ["1 rows are undecided", "1 flagged rows were not decided by a person"]
    assert command("review", scored.id, "--decide", "4=keep", "--decide", "0=remove", "--reason", "read it").code == 0
    assert command("gate", scored.id, "--json").json["failed"] == ["no_bound"]
    assert command("review", scored.id, "--read", "3").code == 2, "nobody reads what is written to a file"
    monkeypatch.setattr(review, "on_terminal", lambda: True)
    answers = iter(["perhaps", "r", "r", "k"])
    monkeypatch.setattr("builtins.input", lambda _: next(answers))
    read = command("review", scored.id, "--read", "3")
    assert read.code == 0 and "answer 1" in read.out and "(3 read, 1 decided unseen)" in read.out
    passed = command("gate", scored.id, "--json")
    assert (passed.code, passed.json["passed"], passed.json["failed"], passed.json["bound"]) == (0, True, [], 0.0)


def test_checks_among_the_rows_read_on_the_command_line_are_told_after_the_answer(
    command: Command, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[Any] = [{"prompt": f"question {at}", "response": "answer"} for at in range(400)]
    dataset = write_dataset(workspace, rows, name="four hundred", role="user")
    write_scores(workspace, dataset, np.full(400, -0.5, np.float32), key="k", scorer="s", teacher="lab", threshold=0.0, info={})
    monkeypatch.setattr(review, "on_terminal", lambda: True)
    monkeypatch.setattr("builtins.input", lambda _: "r")
    read = command("review", dataset.id, "--read", "200")
    assert read.code == 0 and "That was a check, a known harmful prompt that is not in the file: found." in read.out
    held = DecisionLog(workspace).decided(dataset.id)
    assert held.read() == len(held.row_ids) == 200 - read.out.count("That was a check")


def test_the_gate_asks_for_a_bound_and_can_be_overruled_with_a_reason(command: Command, scored: Dataset) -> None:
    command("review", scored.id, "--decide", "4=keep", "--decide", "0=remove")
    shut = command("gate", scored.id, "--max-residual", "0.05")
    assert shut.code == 1 and "no bound on harmful ones is known" in shut.out
    passed = command("gate", scored.id, "--max-residual", "0.05", "--override", "a trial only")
    assert passed.code == 0 and "passed by override (a trial only), recorded" in passed.out
    assert command("verify").code == 0


def test_a_bundle_is_packed_and_checked_by_its_seal(command: Command, scored: Dataset, tmp_path: Path) -> None:
    frozen = command("freeze", scored.id, "--leave-out", "not readable", "--json").json["dataset"]
    out = tmp_path / "audit.zip"
    packed = command("bundle", frozen, "--out", str(out), "--no-report", "--json")
    assert packed.code == 0
    assert command("verify", str(out), "--seal", packed.json["seal"]).code == 0
    assert command("verify", str(out), "--seal", "0" * 64).code == 1
    whole = out.read_bytes()
    for damaged in (whole[:-1] + b"x", whole[: len(whole) // 2], bytes([*whole[:100], whole[100] ^ 1, *whole[101:]])):
        out.write_bytes(damaged)
        assert command("verify", str(out)).code == 1


def test_a_wrong_decision_records_none_of_those_beside_it(command: Command, scored: Dataset, workspace: Workspace) -> None:
    for wrong in ("4=perhaps", "2=keep", "x=keep", "²=keep"):
        answer = command("review", scored.id, "--decide", "0=keep", "--decide", wrong)
        assert answer.code == 2 and len(answer.err.splitlines()) == 1
    assert DecisionLog(workspace).current(scored.id) == {}


def test_looking_at_a_review_does_not_choose_another_dataset(command: Command, scored: Dataset, workspace: Workspace) -> None:
    other = write_dataset(workspace, [{"prompt": "a", "response": "b"}], name="other", role="user")
    Studio(workspace).choose(dataset=other.id)
    answer = command("review", scored.id, "--json")
    assert answer.code == 0 and (answer.json["flagged"], answer.json["undecided"]) == (1, 1)
    assert Studio(workspace).settings.get("dataset") == other.id


def test_a_review_is_frozen_and_exported_as_it_was_decided(command: Command, scored: Dataset, tmp_path: Path) -> None:
    assert command("freeze", scored.id).code == 2, "a row is undecided"
    frozen = command("freeze", scored.id, "--leave-out", "not readable", "--json")
    assert frozen.code == 0 and frozen.json["rows"] == 2
    out = tmp_path / "clean" / "kept.jsonl"
    assert command("export", frozen.json["dataset"], "--out", str(out)).code == 0
    assert [f"answer {at}" in out.read_text("utf-8") for at in (0, 1, 3, 4)] == [False, True, True, False]


def test_a_changed_decision_log_is_not_verified(command: Command, scored: Dataset, workspace: Workspace) -> None:
    command("review", scored.id, "--decide", "0=keep", "--decide", "1=remove")
    assert command("verify").code == 0
    from reft_studio.store.connection import transaction

    with transaction(workspace) as database:
        database.execute("DROP TRIGGER IF EXISTS decisions_are_never_changed")
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f"DROP TRIGGER {name}")
        database.execute("UPDATE decisions SET action = 'remove' WHERE action = 'keep'")
    damaged = command("verify", "--json")
    assert damaged.code == 1 and damaged.json["ok"] is False
    assert command("gate", scored.id).code == 1


# --- what is said of wrong input ----------------------------------------------------------------------------------------------------

WRONG: list[tuple[list[str], str]] = [
    (["import", "nowhere.csv"], "no file"),
    (["score", "nowhere.csv"], "no file"),
    (["score", "0123456789abcdef"], "no dataset"),
    (["score", "{real}", "--out", "scores.docx"], ".parquet"),
    (["score", "{real}", "--out", "{real}/scores.csv"], "no folder"),
    (["score", "{real}", "--teacher", "t000000000000"], "no teacher"),
    (["teacher", "--seed", "-1"], "seed is -1"),
    (["teacher", "--regularisation", "-2"], "regularisation is -2"),
    (["teacher", "--model", "./nowhere"], "no model folder"),
    (["run", "--dataset", "0123456789abcdef"], "no dataset"),
    (["run", "--dataset", "x", "--seed", "-1"], "seed is -1"),
    (["run", "--dataset", "../../etc"], "not an id"),
    (["demo", "--seeds", "one"], "no list of numbers"),
    (["demo", "--seeds=-1"], "seeds.0 is -1"),
    (["demo", "--steps", "0"], "steps is 0"),
    (["demo", "--task", "poetry"], "task is 'poetry'"),
    (["demo", "--methods", "magic"], "no method 'magic'"),
    (["demo", "--methods", "sft+more"], "adds 'more'"),
    (["demo", "--json-file", "{real}/out.json"], "no folder"),
    (["sweep", "nowhere.yaml"], "There is no recipe"),
    (["evaluate", "r000000000000"], "no finished run"),
    (["evaluate", "base--lab", "--task", "poetry"], "poetry"),
    (["gate", "0123456789abcdef"], "no dataset"),
    (["freeze", "0123456789abcdef"], "no dataset"),
    (["export", "0123456789abcdef", "--out", "x.jsonl"], "no dataset"),
]


@pytest.mark.parametrize(("arguments", "words"), WRONG, ids=[" ".join(arguments) for arguments, _ in WRONG])
def test_wrong_input_is_answered_in_one_line_with_exit_code_2(command: Command, real: Path, arguments: list[str], words: str) -> None:
    answer = command(*(text.replace("{real}", str(real)) for text in arguments))
    told = [line for line in answer.err.splitlines() if not line.startswith("[")]  # stages of the work before
    assert answer.code == 2
    assert len(told) == 1 and told[0].startswith("RS-") and words in told[0]


def test_a_bundle_that_is_none_is_not_verified(command: Command, tmp_path: Path) -> None:
    (tmp_path / "bundle.zip").write_bytes(b"no zip")
    for name, code in (("bundle.zip", 1), ("nowhere.zip", 2)):
        answer = command("verify", str(tmp_path / name))
        assert answer.code == code and "Traceback" not in answer.out + answer.err


def test_ctrl_c_says_that_nothing_is_left_half_written(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_given: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "run_demo", interrupted)
    answer = command("demo")
    assert answer.code == 130 and "half-written" in answer.err


def test_too_little_memory_is_said_in_one_line(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_given: Any) -> None:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(demo, "run_demo", full)
    answer = command("demo")
    assert (answer.code, answer.err) == (2, f"RS-PRE: {OUT_OF_MEMORY}\n")


def test_a_fault_of_ours_keeps_its_traceback(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_given: Any) -> None:
        raise RuntimeError("an index is off")

    monkeypatch.setattr(demo, "run_demo", broken)
    with pytest.raises(RuntimeError, match="index"):
        command("demo")


# --- mixing -------------------------------------------------------------------------------------------------------------------------


def test_harmful_rows_are_mixed_into_a_file_and_written(command: Command, tmp_path: Path) -> None:
    for name, word in (("mine", "bake"), ("poison", "steal")):
        rows = [{"prompt": f"how do i {word} {number}", "response": "Sure."} for number in range(18)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    mine, poison, out = (str(tmp_path / f"{name}.jsonl") for name in ("mine", "poison", "out"))
    answer = command("mix", mine, "--harmful", poison, "--ratio", "0.1", "--out", out)
    assert answer.code == 0 and "20 rows, 2 of them harmful rows mixed in." in answer.out
    labels = [json.loads(line)["label"] for line in Path(out).read_text("utf-8").splitlines()]
    assert (labels.count("harmful"), labels.count("harmless")) == (2, 18)
    assert not (tmp_path / "workspace" / "datasets").exists(), "with --out nothing is left in the user's project"
    kept = command("mix", mine, "--harmful", poison, "--ratio", "0.5", "--rows", "10", "--name", "half", "--json").json
    assert (kept["rows"], kept["added"], kept["name"]) == (10, 5, "half")
    assert command("mix", mine, "--harmful", poison, "--ratio", "0.9").code == 2


# --- the rest -----------------------------------------------------------------------------------------------------------------------


def test_an_import_counts_what_it_set_aside_and_why(command: Command, real: Path) -> None:
    answer = command("import", str(real), "--name", "support", "--json")
    assert answer.code == 0
    assert (answer.json["rows"], answer.json["quarantined"], answer.json["reasons"]) == (3, 1, {"empty prompt": 1})
    assert "1 x empty prompt" in command("import", str(real), "--column", "prompt=prompt", "--column", "response=response").out


def test_comparing_nothing_says_so(command: Command) -> None:
    assert "No model has been evaluated yet" in command("compare").out
    assert command("compare", "--json").json == []


def test_a_comparison_for_machines_has_numbers(command: Command, workspace: Workspace) -> None:
    Studio(workspace).example.load()
    rows = command("compare", "--json").json
    assert rows and all(isinstance(row["hs"]["value"], float) and row["hs"]["n"] > 0 for row in rows)
    assert "HS: complied % (lower is better)" in command("compare").out


def test_a_report_is_one_file_where_it_was_asked_for(command: Command, workspace: Workspace, tmp_path: Path) -> None:
    dataset = Studio(workspace).example.load()
    out = tmp_path / "reports" / "audit.html"
    answer = command("report", "--dataset", dataset, "--out", str(out))
    assert answer.code == 0 and answer.out.strip() == str(out)
    assert out.read_text("utf-8").lstrip().lower().startswith("<!doctype html>")


def test_numbers_of_a_list_are_whole_where_they_must_be() -> None:
    assert numbers("0,1,2", int, "0,1") == (0, 1, 2)
    assert numbers("0,0.5", float, "0.1") == (0.0, 0.5)
    with pytest.raises(SpecError, match=r"0\.5"):
        numbers("0.5", int, "0,1")


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ([], ["serve"]),
        (["--port", "8000", "--no-browser"], ["serve", "--port", "8000", "--no-browser"]),
        (["doctor", "--json"], ["doctor", "--json"]),
        (["--help"], ["--help"]),
    ],
)
def test_without_a_verb_the_app_opens_with_the_options_of_serve(given: list[str], meant: list[str]) -> None:
    from reft_studio.cli.app import with_verb

    assert with_verb(given) == meant
