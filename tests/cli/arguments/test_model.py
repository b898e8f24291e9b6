"""The verb `model`: what it prints, for people and for machines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from reft_studio.cli.app import app
from reft_studio.errors import PrerequisiteError, SpecError
from reft_studio.models import shelf
from reft_studio.models.adding import add, resolve_request
from reft_studio.progress import Silent


@pytest.fixture(autouse=True)
def empty_shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFT_STUDIO_MODELS", str(tmp_path / "shelf"))


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["model", *arguments])
    if done.exception is not None:
        raise done.exception
    return done.stdout


def test_the_list_says_what_is_here_and_what_can_be_added(tiny_model: Path) -> None:
    add(resolve_request(str(tiny_model), "tiny"), Silent())
    lines = run("list").splitlines()
    assert lines[0].split() == ["name", "here", "size", "parameters", "licence", "languages", "kind", "fits", "1,000", "prompts"]
    assert lines[1].split()[:2] == ["tiny", "yes"] and lines[2].split()[:2] == ["smollm2-135m", "-"]
    assert "Llama 3.2 Community (gated)" in "".join(lines) and "(est.)" in lines[2]
    facts = json.loads(run("list", "--json"))
    assert facts[0]["name"] == "tiny" and facts[0]["here"] is True and facts[1]["download"] == 92_871_040


def test_a_folder_is_added_in_a_worker_shown_and_removed(tiny_model: Path) -> None:
    assert "'tiny' is on this machine; it reads" in run("add", str(tiny_model), "--name", "tiny")
    told = run("show", "tiny")
    assert f"path: {tiny_model}" in told and "kind: instruct" in told
    assert json.loads(run("show", "tiny", "--json"))["files"].keys() == {"model.safetensors"}
    assert run("remove", "tiny").strip() == f"'tiny' is off the list; its folder {tiny_model} stays."
    assert shelf.names() == [] and tiny_model.is_dir()


def test_what_cannot_be_added_or_is_not_there_is_said() -> None:
    with pytest.raises(PrerequisiteError, match="no Hub id"):
        run("add", "nothing of mine")
    with pytest.raises(SpecError, match="There is no model 'x' on this machine"):
        run("remove", "x")
    assert "sha256" in run("show", "smollm2-135m")
