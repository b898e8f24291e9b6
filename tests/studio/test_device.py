"""Who holds a device, as people read it, and how chat gives it back."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from pathlib import Path

import pytest

from reft_studio.chat.host import ModelHost
from reft_studio.errors import SpecError
from reft_studio.jobs import lease
from reft_studio.jobs.queue import JobQueue
from reft_studio.studio.device import Device
from reft_studio.workspace import Workspace
from tests.ui import training_job

JOB = replace(training_job.JOB, title="SST-2, Ref-Teacher", stage_count=2, rate=8.0, eta_s=362.0, device="cpu")


class Idle(ModelHost):
    """A host that runs, without a process."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace)
        self.runs, self.answering, self.wanted = True, False, list[bool]()

    @property
    def alive(self) -> bool:
        return self.runs

    @property
    def busy(self) -> bool:
        return self.answering

    def release(self) -> None:
        self.runs = False

    def release_if_idle(self, *, wanted: bool) -> bool:
        self.wanted.append(wanted)
        if wanted:
            self.release()
        return wanted


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Device:
    workspace = Workspace.open(tmp_path)
    found = Device(workspace, JobQueue(workspace), Idle(workspace))
    monkeypatch.setattr("reft_studio.jobs.devices.devices", lambda: ("cpu",))
    monkeypatch.setattr(found.jobs, "get", lambda job: JOB)
    monkeypatch.setattr(found.jobs, "list", lambda limit=60: [JOB])
    return found


def sentences(device: Device) -> list[str]:
    return [one.sentence for one in device.holders()]


def test_a_job_that_holds_the_device_is_named_with_the_time_it_needs(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    assert device.holders() == [] and device.of_chat() is None
    with lease.hold(device.workspace, "cpu", JOB.title, job=JOB.id):
        assert sentences(device) == ["Training “SST-2, Ref-Teacher” holds the processor, about 6 min left."]
        monkeypatch.setattr(device.jobs, "get", lambda job: dataclasses.replace(JOB, stage_count=5, eta_s=20.0))
        assert sentences(device) == ["Training “SST-2, Ref-Teacher” holds the processor, about 20 s left of stage 2 of 5."]
        monkeypatch.setattr(device.jobs, "get", lambda job: dataclasses.replace(JOB, eta_s=None, kind="demo"))
        assert sentences(device) == ["“SST-2, Ref-Teacher” holds the processor."]


def test_chat_gives_the_device_back_when_asked_but_not_while_it_answers(device: Device) -> None:
    host = device.host
    assert isinstance(host, Idle)
    with lease.hold(device.workspace, "cpu", lease.CHAT):
        held = device.of_chat()
        assert held is not None and held.job is None and held.sentence.startswith("Chat holds the processor since ")
    host.answering = True
    with pytest.raises(SpecError, match="answering now"):
        device.give_back()
    host.answering = False
    device.give_back()
    assert not host.alive and device.given_back.endswith("as you asked.")


def test_idle_chat_gives_way_to_a_job_that_wants_its_device(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    host = device.host
    assert isinstance(host, Idle)
    with monkeypatch.context() as patch:
        patch.setattr(device.jobs, "list", lambda limit=60: [dataclasses.replace(JOB, device="cuda:1")])
        device.tend()
    assert device.given_back == ""
    device.tend()
    device.tend()
    assert host.wanted == [False, True] and device.given_back.endswith("without a prompt, because a job waits for it.")
