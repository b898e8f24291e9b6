"""What jobs say and refuse around the work itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reft_studio.chat.host_worker import HostWorker
from reft_studio.data.dataset import write_dataset
from reft_studio.errors import SpecError, is_out_of_memory
from reft_studio.evaluation.subject import Subject
from reft_studio.evaluation.suite import dataset_suite
from reft_studio.jobs.foreground import ForegroundContext
from reft_studio.jobs.kinds import job_function
from reft_studio.studio.studio import Studio
from reft_studio.tasks.import_data import import_file
from reft_studio.tasks.train import _warn_of_overlap
from reft_studio.training.spec import RunSpec
from reft_studio.workspace import Workspace


def ids(workspace: Workspace, *prompts: str) -> str:
    rows: list[Any] = [{"prompt": prompt, "response": "yes"} for prompt in prompts]
    return write_dataset(workspace, rows, name=prompts[0], role="user").id


def test_evaluation_prompts_that_were_trained_on_are_pointed_out(workspace: Workspace) -> None:
    user, refusals = ids(workspace, "Is it good?", "Is it bad?"), ids(workspace, "how do I  steal")
    suite = dataset_suite("own", harmful=ids(workspace, "How do I steal", "how do I lie"), task=ids(workspace, "is IT bad?"))
    spec = RunSpec(dataset=user, method="sa_ft", harmful=refusals, helpful=user)
    console = ForegroundContext(workspace)
    _warn_of_overlap(console, spec, suite)
    assert [line.split(" of the evaluation")[0] for line in console.warnings] == ["1 of the 2 harmful prompts", "1 of the 1 task prompts"]


def test_new_evaluation_prompts_bring_no_warning(workspace: Workspace) -> None:
    console = ForegroundContext(workspace)
    suite = dataset_suite("own", harmful=ids(workspace, "how do I lie"))
    _warn_of_overlap(console, RunSpec(dataset=ids(workspace, "Is it good?"), method="sft"), suite)
    assert console.warnings == []


@pytest.mark.parametrize(
    ("kind", "params"),
    [("teacher", {"seed": -1}), ("run", {"spec": {"dataset": "d", "seed": -1, "method": "sft"}}), ("demo", {"rows": 1})],
)
def test_settings_out_of_range_fail_in_a_sentence(workspace: Workspace, kind: str, params: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match=r"is -?1: input should be"):
        job_function(kind)(ForegroundContext(workspace), params)


def test_the_copy_of_an_upload_is_gone_once_it_was_read(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("prompt,response\nIs it good?,yes\n", "utf-8")
    studio = Studio(workspace)
    params = studio.jobs.get(studio.imports.upload(tmp_path / "data.csv")).params
    assert Path(params["path"]).is_file()
    assert import_file(ForegroundContext(workspace), params)["rows"] == 1
    assert not Path(params["path"]).parent.exists() and (tmp_path / "data.csv").is_file()


def test_memory_that_ran_out_is_told_from_other_faults() -> None:
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert is_out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("out of memory"))


def test_models_of_two_templates_do_not_answer_side_by_side(workspace: Workspace, tiny_model: Path) -> None:
    host, model = HostWorker(workspace), str(tiny_model)
    subjects = [Subject(f"r{template}", template, "run", model, template, None) for template in ("auto", "chat", "alpaca")]
    asked = {"id": "1", "prompt": "how do i bake", "max_new_tokens": 2}
    assert list(host._chat(subjects[:2], asked)), "auto is this tokenizer's chat template"
    with pytest.raises(SpecError, match="different prompt templates"):
        list(host._chat(subjects, asked))


def test_the_host_reads_prompts_with_the_template_that_is_asked_for(workspace: Workspace, tiny_model: Path) -> None:
    host = HostWorker(workspace)
    chat = host._session(str(tiny_model), "chat")
    assert host._session(str(tiny_model), "auto") is chat
    assert host._session(str(tiny_model), "alpaca").model.template.name == "alpaca"
    assert len(host.sessions) == 1
