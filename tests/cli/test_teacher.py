"""The verb `teacher` on files of prompts, and `score` with the folder it leaves: what a person does without opening the app."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reft_studio.cli import app
from reft_studio.errors import StoreError
from reft_studio.teacher.teacher import adopt, open_teacher
from reft_studio.workspace import Workspace
from tests.tiny_models import toy_rows

Command = Callable[..., tuple[int, str, str]]
QUICK = ("--set", "optim.steps=2", "--set", "optim.batch_size=8", "--set", "layer=2")


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Run `reft-studio …`; gives exit code, output and errors."""
    monkeypatch.setenv("REFT_STUDIO_WORKSPACE", str(tmp_path / "workspace"))

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["reft-studio", *map(str, arguments)])
        capsys.readouterr()
        try:
            app.main()
            code = 0
        except SystemExit as exc:
            code = int(exc.code or 0)
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Harmful prompts without answers in two formats, harmless ones with answers in another."""
    harmful, harmless = toy_rows("harmful", 170, answer=""), toy_rows("harmless", 170, answer="Sure, first mix.")
    found = {name: tmp_path / name for name in ("harmful.parquet", "more.csv", "harmless.jsonl", "audit.parquet")}
    pq.write_table(pa.table({"prompt": [row["prompt"] for row in harmful[:100]]}), found["harmful.parquet"])
    found["more.csv"].write_text("prompt\n" + "".join(f"{row['prompt']}\n" for row in harmful[100:160]), "utf-8")
    lines = [{"prompt": row["prompt"], "response": row["response"]} for row in harmless[:160]]
    found["harmless.jsonl"].write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    audited = [row["prompt"] for row in (*harmful[160:], *harmless[160:])]
    pq.write_table(pa.table({"prompt": audited}), found["audit.parquet"])
    return found


def test_from_files_of_prompts_to_scores(command: Command, files: dict[str, Path], tiny_model: Path, tmp_path: Path) -> None:
    out, scores = tmp_path / "my teacher", tmp_path / "scores.parquet"
    given = ("--harmful", files["harmful.parquet"], files["more.csv"], "--harmless", files["harmless.jsonl"])
    code, told, err = command("teacher", "--base", tiny_model, *given, "--out", out, *QUICK)
    assert code == 0, err
    assert "160 harmful prompts: 112 training, 16 selection, 32 calibration." in err and "160 ours" in err
    assert "AUROC" in told and str(out) in told
    assert {path.name for path in out.iterdir()} == {
        "adapter", "calibration.parquet", "layers.safetensors", "log.jsonl", "neighbours.parquet", "refusal_feature.safetensors",
        "separation.json", "SHA256SUMS", "teacher.json",
    }  # fmt: skip
    assert not (tmp_path / "workspace" / "datasets").exists(), "what was made for a folder leaves no trace in the project"
    code, told, err = command("score", files["audit.parquet"], "--teacher", out, "--out", scores)
    assert code == 0, err
    rows = pq.read_table(scores).to_pylist()
    assert list(rows[0]) == ["row_id", "score", "flagged"] and [row["row_id"] for row in rows] == list(range(20))
    threshold = json.loads((out / "teacher.json").read_text("utf-8"))["threshold"]
    assert all(row["flagged"] == (round(row["score"], 3) >= round(threshold, 3)) for row in rows)


def test_a_sweep_is_shown_as_a_table(command: Command, files: dict[str, Path], tiny_model: Path, tmp_path: Path) -> None:
    given = ("--harmful", files["harmful.parquet"], "--harmful", files["more.csv"], "--harmless", files["harmless.jsonl"])
    code, told, err = command(
        "teacher", "--base", tiny_model, *given, "--sweep-lambda", "0.1,1", *QUICK, "--json", "--out", tmp_path / "teacher"
    )
    assert code == 0, err
    assert [line["regularisation"] for line in json.loads(told)["record"]["sweep"]] == [0.1, 1.0]
    assert json.loads(told)["pooled"]["refusals"] == {"file": 0, "ours": 160}


def test_a_quick_teacher_needs_only_a_model(command: Command, tiny_model: Path, tmp_path: Path) -> None:
    code, _, err = command("teacher", "--quick", "--base", tiny_model, "--out", tmp_path / "quick")
    assert code == 0, err
    assert not (tmp_path / "quick" / "adapter").exists()
    facts = json.loads((tmp_path / "quick" / "teacher.json").read_text("utf-8"))
    assert facts["spec"]["kind"] == "ready" and facts["calibration"]["harmless"] == 210


def test_an_adopted_teacher_is_copied_once(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "workspace")
    lab = open_teacher(workspace, "lab").folder
    first = adopt(workspace, lab)
    assert adopt(workspace, lab) == first and len(workspace.finished("teachers")) == 1
    assert open_teacher(workspace, first).threshold == open_teacher(workspace, "lab").threshold


@pytest.mark.parametrize(
    "changes",
    [
        {"spec": {}},
        {"layer": "deep"},
        {"threshold": None},
        {"record": {"loaded": {"dtype": "int3"}}},
        {"spec": {"optim": {"max_length": 0}}},
    ],
)
def test_a_damaged_teacher_folder_is_named(tmp_path: Path, changes: dict[str, Any]) -> None:
    workspace = Workspace.open(tmp_path / "workspace")
    folder = Path(shutil.copytree(open_teacher(workspace, "lab").folder, tmp_path / "mine"))
    facts = json.loads((folder / "teacher.json").read_text("utf-8"))
    (folder / "teacher.json").write_text(json.dumps({**facts, **changes}))
    with pytest.raises(StoreError, match=r"teacher\.json is damaged"):
        adopt(workspace, folder)


def test_a_teacher_folder_whose_adapter_changes_the_base_is_not_taken_over(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "workspace")
    folder = Path(shutil.copytree(open_teacher(workspace, "lab").folder, tmp_path / "mine"))
    path = folder / "adapter" / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), "init_lora_weights": "pissa"}))
    with pytest.raises(StoreError, match='init_lora_weights is "pissa"'):
        adopt(workspace, folder)
    assert workspace.finished("teachers") == []


WRONG: list[tuple[list[str], str]] = [
    (["--harmful", "{harmful.parquet}"], "only harmful prompts"),
    (["--harmless", "{harmless.jsonl}"], "only harmless prompts"),
    (["--harmful", "{harmful.parquet}", "--harmless", "{harmless.jsonl}"], "100 different harmful prompts; at least 150"),
    (["--harmful", "{harmful.parquet}", "--harmless", "{harmful.parquet}"], "both as harmful and as harmless"),
    (["--harmful", "{harmful.parquet}", "--harmless", "{harmless.jsonl}", "--calibration-harmful", "lab"], "both kinds"),
    (["--harmful", "nowhere.csv", "--harmless", "{harmless.jsonl}"], "no file"),
    (["--quick", "--harmful", "{harmful.parquet}"], "--quick uses the prompts that ship"),
    (["--quick", "--sweep-lambda", "1"], "no sweep"),
    (["--sweep-lambda", "much"], "no list of numbers"),
    (["--set", "speed=9"], "no setting of a teacher"),
    (["--set", "momentum=2"], "momentum is '2'"),
    (["--out", "{taken}"], "is no teacher"),
]


@pytest.mark.parametrize(("arguments", "words"), WRONG, ids=[" ".join(arguments) for arguments, _ in WRONG])
def test_what_cannot_become_a_teacher_is_answered_in_one_line(
    command: Command, files: dict[str, Path], tmp_path: Path, arguments: list[str], words: str
) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.txt").write_text("precious", "utf-8")
    places: dict[str, Any] = {**files, "taken": tmp_path / "taken"}
    known = {f"{{{name}}}": str(path) for name, path in places.items()}
    code, _, err = command("teacher", *(known.get(text, text) for text in arguments))
    told = [line for line in err.splitlines() if not line.startswith("[")]
    assert code == 2 and len(told) == 1 and told[0].startswith("RS-") and words in told[0]
    assert (tmp_path / "taken" / "thesis.txt").read_text("utf-8") == "precious"
