"""The command line is of one piece: every verb answers machines, and what a page does a verb does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from reft_studio.cli import app
from tests.commands import Command


def every_verb() -> dict[str, Any]:
    """Click commands by what is typed, those of groups as `model list`."""
    found: dict[str, Any] = {}
    for name, one in typer.main.get_group(app.app).commands.items():
        found |= {f"{name} {inner}": two for inner, two in one.commands.items()} if hasattr(one, "commands") else {name: one}
    return found


def test_every_verb_but_serve_prints_json_and_writes_it_to_a_file() -> None:
    without = [name for name, one in every_verb().items() if not {"as_json", "json_file"} <= {option.name for option in one.params}]
    assert without == ["serve"]


def test_help_before_set_up_lists_every_verb_with_what_it_does() -> None:
    listed = (Path(__file__).resolve().parents[2] / "assets" / "setup" / "verbs.txt").read_text("utf-8")
    told = {name: " ".join(str(one.help).split("\n\n")[0].split()) for name, one in every_verb().items()}
    assert listed == "".join(f"{name:<16}{what}\n" for name, what in told.items())


def test_a_sample_is_listed_inspected_asked_and_deleted(command: Command, tmp_path: Path) -> None:
    made = command("sample", "--rows", "40", "--json").json["dataset_id"]
    assert [one["id"] for one in command("list", "datasets", "--json").json["datasets"]] == [made]
    assert made in command("list").out
    assert command("inspect", made, "--json").json["inspection"]["rows"] == 40
    counted = command("query", made, "--sql", "SELECT count(*) AS n FROM rows", "--json").json
    assert (counted["columns"], counted["rows"]) == (["n"], [[40]])
    found = command("query", made, "--search", "review", "--limit", "3", "--json").json
    assert len(found["rows"]) == 3 and found["total"] >= 3
    assert command("query", made, "--search", "x", "--sql", "SELECT 1").code == 2
    out = tmp_path / "jobs.json"
    assert "Inspect lab sentiment" in command("jobs", "--json-file", str(out)).out
    (waiting,) = json.loads(out.read_text("utf-8"))
    job = waiting["id"]
    assert command("jobs", "--first", job, "--pause", job, "--json").json[0]["state"] == "paused"
    assert f"{job}: Held back." in command("jobs").out
    assert command("jobs", "--resume", job, "--json").json[0]["state"] == "queued"
    assert "is not training now" in command("jobs", "--stop-and-save", job).err
    assert command("jobs", "--cancel", job, "--json").json[0]["state"] == "cancelled"
    assert command("jobs", "--retry", job, "--anew", "--json").json[0]["state"] == "queued"
    assert command("jobs", "--anew").code == 2
    assert "choose 'go on' or 'hold'" in command("jobs", "--after-failure", "panic").err
    assert command("jobs", "--after-failure", "hold").code == 0
    assert command("jobs", "--cancel", job, "--json").json[0]["state"] == "cancelled"
    assert command("delete", made, "--yes").code == 0
    assert command("list", "datasets", "--json").json == {"datasets": []}


def test_models_are_asked_side_by_side(command: Command) -> None:
    asked = ["chat", "review : the film was good .", "--max-new-tokens", "4", "--model", "base--lab", "--model", "teacher--lab", "--json"]
    answers = command(*asked).json["answers"]
    assert list(answers) == ["base--lab", "teacher--lab"] and all(one["refusal"] is not None for one in answers.values())
    assert "There is no model 'nobody'" in command("chat", "hello", "--model", "nobody").err
    assert "made on different bases" in command("chat", "hello", "--model", "base--lab", "--model", "base--smollm2-135m").err
