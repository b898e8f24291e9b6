"""What waits for a device and what never does, and who holds a device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reft_studio.errors import PrerequisiteError
from reft_studio.jobs import devices, lease
from reft_studio.jobs.lanes import lane_of, wanted_device
from reft_studio.jobs.process import Process
from reft_studio.jobs.queue import JobQueue, JobView
from reft_studio.workspace import Workspace
from tests.tiny_models import make_toy_data

Until = Callable[[Callable[[], Any]], Any]
Start = Callable[..., tuple[str, Process]]
Finish = Callable[..., JobView]


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reft_studio.jobs.lanes.LIGHT", {"count", "endless"})
    monkeypatch.setattr("reft_studio.jobs.lanes.BACKGROUND", {"writes"})


def test_a_light_job_does_not_wait_for_a_model(queue: JobQueue, light: None) -> None:
    heavy = queue.submit("deaf", {}, title="heavy")
    small = queue.submit("count", {"to": 1}, title="small")
    assert queue.wait(small, timeout_s=20).state == "done"
    assert queue.get(heavy).state == "running"


def test_two_light_jobs_run_at_once_and_one_of_the_background(queue: JobQueue, light: None, until: Until) -> None:
    background = [queue.submit("writes", {}, title="background") for _ in range(2)]
    ahead = [queue.submit("endless", {}, title="ahead") for _ in range(2)]
    queue.tick()
    assert [queue.get(job).state for job in (*background, *ahead)] == ["running", "queued", "running", "queued"]
    queue.cancel(background[0])

    def followed() -> bool:
        queue.tick()
        return queue.get(background[1]).state == "running" or queue.get(ahead[1]).state == "running"

    until(followed)
    assert sum(view.state == "running" for view in queue.list()) == 2


def test_each_gpu_has_a_job_and_a_job_sees_only_its_own(
    workspace: Workspace, queue: JobQueue, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    queue._on = ("cuda:0", "cuda:1")
    stay = queue.submit("deaf", {}, title="stays")
    queue.tick()
    seen = queue.wait(queue.submit("device", {"device": "cuda:1"}, title="sees"), timeout_s=20)
    assert seen.result == {"visible": "1", "holder": "sees"} and seen.device == "cuda:1"
    named = {"device": "cuda:1", "loading": {"device": "cuda:1"}}
    assert queue.wait(queue.submit("device", named, title="named"), timeout_s=20).result == {"visible": None, "holder": "named"}
    waits = queue.submit("device", {"device": "cuda:0", "loading": {"device": "cuda:0"}}, title="waits")
    queue.tick()
    assert queue.get(waits).state == "queued" and queue.get(stay).device == "cuda:0"


def test_a_job_sees_one_of_the_gpus_that_the_app_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-5e")
    assert devices.visible("cuda:1") == {"CUDA_VISIBLE_DEVICES": "GPU-5e"}
    assert devices.visible("cpu") == devices.visible(None) == {}


def test_a_job_waits_for_the_device_says_who_has_it_and_goes_on(workspace: Workspace, queue: JobQueue, until: Until) -> None:
    queue._on = ("cpu",)
    with lease.hold(workspace, "cpu", "Chat"):
        job_id = queue.submit("device", {"device": "cpu"}, title="Train")
        queue.tick()
        until(lambda: queue.get(job_id).waits == "device")
        assert queue.get(job_id).message.startswith("Waits for the processor: chat has it")
        with pytest.raises(PrerequisiteError, match="in use by Chat"), lease.hold(workspace, "cpu", "other"):
            raise AssertionError
    assert queue.wait(job_id, timeout_s=20).result == {"visible": None, "holder": "Train"}


def test_scoring_waits_for_a_device_only_where_its_scorer_loads_a_model(workspace: Workspace) -> None:
    data = make_toy_data(workspace)["harmful"].id
    lanes = {name: lane_of(workspace, "score", {"dataset": data, "scorer": name}) for name in ("random", "response_compliance")}
    assert lanes == {"random": "light", "response_compliance": "light"}
    assert lane_of(workspace, "score", {"dataset": data, "teacher": "lab"}) == "model"
    assert lane_of(workspace, "score", {"dataset": data, "scorer": "is still to be made"}) == "model"
    assert lane_of(workspace, "scorer", {"scorer": "tfidf"}) == "light"
    assert lane_of(workspace, "scorer", {"scorer": "linear_probe"}) == "model"
    assert lane_of(workspace, "scorer", {"scorer": "ensemble", "members": ["random", "lab"]}) == "model"
    assert lane_of(workspace, "scorer", {"scorer": "ensemble", "members": ["random"]}) == "light"
    judges = {name: lane_of(workspace, "regrade", {"judge": {"name": name}}) for name in ("refusal_phrases", "llama_guard_3", "nobody")}
    assert judges == {"refusal_phrases": "light", "llama_guard_3": "model", "nobody": "model"}
    assert [lane_of(workspace, kind, {}) for kind in ("import", "index", "run")] == ["light", "background", "model"]


def test_a_job_may_name_its_device() -> None:
    assert wanted_device({"spec": {"loading": {"device": "cuda:1"}}}) == "cuda:1"
    assert wanted_device({"loading": {"device": "cpu"}}) == "cpu"
    assert wanted_device({"loading": {"device": "auto"}}) is None and wanted_device({"spec": "x"}) is None


def test_the_devices_are_found_without_torch(tmp_path: Path) -> None:
    assert devices.devices() and all(devices.title(one) for one in devices.devices())
