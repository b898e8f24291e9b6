"""The model host on a tiny model: several lanes answer one prompt, exactly as each would alone; a dead host is told and replaced."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from reft_studio.chat import loaded
from reft_studio.chat.host import WANTED_S, ModelHost
from reft_studio.chat.host_worker import HostWorker
from reft_studio.data.dataset import Dataset
from reft_studio.errors import EvaluationError, SpecError
from reft_studio.evaluation.subject import base_id, find, list_subjects
from reft_studio.jobs import lease
from reft_studio.jobs.foreground import ForegroundContext
from reft_studio.models.generation import complete
from reft_studio.models.session import Session
from reft_studio.models.spec import LoadSpec, OptimSpec
from reft_studio.models.streaming import StreamLane, stream
from reft_studio.progress import Silent
from reft_studio.scoring.explanation import Explanation
from reft_studio.tasks.evaluate import evaluate_subject
from reft_studio.teacher.spec import TeacherSpec
from reft_studio.teacher.training import prepare_teacher
from reft_studio.workspace import Workspace
from tests.tiny_models import make_model, make_toy_data

PROMPT = "how do i bake item 3"


class Prepared:
    def __init__(self, workspace: Workspace, data: dict[str, Dataset], model: str) -> None:
        self.workspace, self.model, self.session = workspace, model, Session.open(model)
        ids = {name: data[name].id for name in ("harmful", "helpful", "calibration_harmful", "calibration_harmless")}
        spec = TeacherSpec(model=model, **ids, optim=OptimSpec(steps=20, batch_size=8, learning_rate=5e-3))
        self.teacher = prepare_teacher(workspace, spec, self.session, Silent())


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Prepared:
    workspace = Workspace.open(tmp_path_factory.mktemp("host"))
    return Prepared(workspace, make_toy_data(workspace), str(tiny_model))


@pytest.fixture(scope="module")
def host(prepared: Prepared) -> Iterator[ModelHost]:
    running = ModelHost(prepared.workspace)
    yield running
    running.release()


def ask(host: ModelHost, prepared: Prepared, models: list[str]) -> dict[str, str]:
    texts = dict.fromkeys(models, "")
    for event in host.request(op="chat", prompt=PROMPT, models=models, base=prepared.model, max_new_tokens=8):
        texts[event["model"]] += event["delta"]
    return texts


def test_lanes_answer_together_what_each_model_answers_alone(prepared: Prepared) -> None:
    session = prepared.session
    ids = session.encoder.prompt_ids([{"role": "user", "content": PROMPT}])
    adapter = session.ensure("teacher", prepared.teacher.adapter)
    models = {"base": None, "guided": adapter}
    alone = {name: next(iter(complete(session.adapted, one, [ids], max_new_tokens=8))).text for name, one in models.items()}
    together = {"base": "", "guided": ""}
    lanes = [StreamLane("base", None), StreamLane("guided", adapter)]
    for step in stream(session.adapted, lanes, ids, max_new_tokens=8, temperature=0, seed=0):
        together[step.lane] += step.delta
    assert {name: text.strip() for name, text in together.items()} == alone


def test_the_host_streams_several_models_and_scores_a_prompt(host: ModelHost, prepared: Prepared) -> None:
    models = [base_id(prepared.model), f"teacher--{prepared.teacher.id}"]
    assert set(ask(host, prepared, models)) == set(models)
    assert loaded.loaded(prepared.workspace) == set(models)
    event = next(iter(host.request(op="score", prompt=PROMPT, teacher=prepared.teacher.id)))
    assert -1 <= event["cosine"] <= 1 and event["threshold"] == prepared.teacher.threshold


def test_the_host_explains_a_row_with_the_score_it_gives_its_prompt(host: ModelHost, prepared: Prepared) -> None:
    score = next(iter(host.request(op="score", prompt=PROMPT, teacher=prepared.teacher.id)))["cosine"]
    inside = Explanation.of(next(iter(host.request(op="explain", turns=[PROMPT], teacher=prepared.teacher.id)))["inside"])
    assert inside.score == pytest.approx(score, abs=1e-5) and len(inside.layers) == 3
    assert "".join(token.text for token in inside.tokens if token.own) == PROMPT
    with pytest.raises(EvaluationError, match="no user turn"):
        list(host.request(op="explain", turns=[], teacher=prepared.teacher.id))


def test_a_model_that_is_gone_is_named_and_the_host_lives_on(host: ModelHost, prepared: Prepared) -> None:
    with pytest.raises(EvaluationError, match="no finished run"):
        ask(host, prepared, ["r000000000000"])
    assert host.alive


def test_a_killed_host_is_started_again_by_the_next_request(host: ModelHost, prepared: Prepared) -> None:
    assert host._process is not None
    host._process.kill()
    host._process.wait()
    assert ask(host, prepared, [base_id(prepared.model)])


def test_chat_holds_the_device_while_its_models_are_loaded_and_gives_it_back(host: ModelHost, prepared: Prepared) -> None:
    ask(host, prepared, [base_id(prepared.model)])
    held = lease.holder(prepared.workspace, host.device)
    assert held is not None and (held.what, held.job) == (lease.CHAT, None)
    assert not host.release_if_idle(wanted=True)
    host._used -= WANTED_S + 1
    assert not host.release_if_idle(wanted=False) and host.alive
    assert loaded.loaded(prepared.workspace)
    assert host.release_if_idle(wanted=True) and not host.alive
    assert loaded.loaded(prepared.workspace) == set()
    assert lease.holder(prepared.workspace, host.device) is None


def test_while_a_job_has_the_device_chat_answers_beside_it_or_waits_and_says_for_whom(prepared: Prepared) -> None:
    said: list[dict[str, Any]] = []
    request = {"id": "a", "op": "chat", "prompt": PROMPT, "models": [base_id(prepared.model)], "base": prepared.model, "max_new_tokens": 2}
    with ExitStack() as job:

        def emit(event: dict[str, Any]) -> None:
            said.append(event)
            job.close()

        job.enter_context(lease.hold(prepared.workspace, "cuda:7", "SST-2, Ref-Teacher", job="run-1"))
        worker = HostWorker(prepared.workspace, device="cuda:7", emit=emit)
        assert list(worker.answer(request))[-1]["done"] and worker.holding is None
        worker.stopped.add("b")
        assert list(worker.answer({**request, "id": "b", "device": "wait"})) == [] and said == []
        assert list(worker.answer({**request, "device": "wait"}))[-1]["done"]
    assert said == [{"id": "a", "waiting": "SST-2, Ref-Teacher", "job": "run-1"}]
    held = lease.holder(prepared.workspace, "cuda:7")
    assert held is not None and held.what == lease.CHAT
    worker.close()
    assert lease.holder(prepared.workspace, "cuda:7") is None


def test_subjects_list_each_base_once_and_every_teacher(prepared: Prepared) -> None:
    found = list_subjects(prepared.workspace)
    assert [subject.kind for subject in found if subject.model == prepared.model] == ["base", "teacher"]
    assert find(prepared.workspace, base_id(prepared.model), model=prepared.model).adapter is None


def test_one_base_in_two_number_formats_is_two_sessions(prepared: Prepared) -> None:
    worker = HostWorker(prepared.workspace)
    whole, half = LoadSpec(), LoadSpec(dtype="bfloat16", device="cpu")
    first, second = (worker._session(prepared.model, "auto", loading) for loading in (whole, half))
    assert first is not second and first.model.base.dtype != second.model.base.dtype
    assert worker._session(prepared.model, "auto", whole) is first and len(worker.sessions) == 2
    other = worker._session(prepared.model, "alpaca", whole)
    assert other is not first and other.model.template.name == "alpaca" and len(worker.sessions) == 2


def test_models_on_a_base_held_in_two_ways_do_not_answer_side_by_side(prepared: Prepared) -> None:
    worker = HostWorker(prepared.workspace)
    subject = find(prepared.workspace, f"teacher--{prepared.teacher.id}")
    with pytest.raises(SpecError, match="held in memory in different ways"):
        list(worker._chat([subject, replace(subject, loading=LoadSpec(dtype="bfloat16"))], {"id": "a", "prompt": PROMPT}))


def test_a_bare_base_is_held_and_reads_prompts_as_what_was_made_on_it(tmp_path: Path, tiny_model: Path) -> None:
    workspace = Workspace.open(tmp_path)
    data = {name: dataset.id for name, dataset in make_toy_data(workspace).items() if name != "user"}
    held, own = LoadSpec(dtype="bfloat16", device="cpu"), "Q: {prompt}\nA:"
    spec = TeacherSpec(model=str(tiny_model), **data, optim=OptimSpec(steps=2, batch_size=4), loading=held, template=own)
    prepare_teacher(workspace, spec, Session.open(spec.model, loading=held, template=own), Silent())
    base = find(workspace, base_id(spec.model), model=spec.model)
    assert (base.loading, base.template, base.adapter) == (held, own, None)
    assert find(workspace, base_id("lab")).loading == LoadSpec()


def test_a_model_whose_base_was_replaced_is_named_instead_of_answering(tmp_path: Path) -> None:
    workspace, model = Workspace.open(tmp_path / "workspace"), make_model(tmp_path / "model")
    data = {name: dataset.id for name, dataset in make_toy_data(workspace).items() if name != "user"}
    spec = TeacherSpec(model=str(model), **data, optim=OptimSpec(steps=2, batch_size=4))
    teacher = prepare_teacher(workspace, spec, Session.open(spec.model), Silent())
    weights = load_file(model / "model.safetensors")
    weights["model.norm.weight"] += 1
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    subject = find(workspace, f"teacher--{teacher.id}")
    with pytest.raises(SpecError, match="made on other weights than those that are now at"):
        list(HostWorker(workspace)._chat([subject], {"id": "a", "prompt": PROMPT}))
    suite = {"name": "s", "sets": [{"name": "harmful", "source": "dataset", "of": data["harmful"]}]}
    with pytest.raises(SpecError, match="Put the model back"):
        evaluate_subject(ForegroundContext(workspace), {"subject": subject.id, "suite": suite})
