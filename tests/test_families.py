"""The whole pipeline on a tiny random model of each family: prepare a teacher, score, finetune under its guidance, evaluate, chat.

The models are random, so no number here says how well the method works; each only has to be one that the next step can use.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reft_studio.chat.host_worker import HostWorker
from reft_studio.data.chat.own_template import MARK
from reft_studio.evaluation.result import load_result
from reft_studio.evaluation.subject import base_id
from reft_studio.evaluation.suite import PromptSet, Suite
from reft_studio.models.spec import LoadSpec
from reft_studio.scoring.scores import open_score_set
from reft_studio.tasks.score import score_dataset
from reft_studio.tasks.teacher import prepare_teacher
from reft_studio.tasks.train import train_run
from reft_studio.teacher.teacher import open_teacher
from reft_studio.training.run_folder import open_run
from reft_studio.workspace import Workspace
from tests.tiny_models import FAMILIES, make_model, make_toy_data

OPTIM = {"steps": 2, "batch_size": 4, "alignment_batch_size": 4, "learning_rate": 5e-3, "max_length": 128}
LORA = {"rank": 2, "alpha": 4}
OWN = MARK + "{% for m in messages %}<{{ m.role }}> {{ m.content }}\n{% endfor %}<assistant> "


class Quiet:
    """A job context that remembers what was told."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace, self.job_id, self.warnings = workspace, "test", list[str]()
        self.anew = False

    def stage(self, name: str, index: int, count: int) -> None:
        """Nothing is shown."""

    def progress(self, done: int, total: int, **metrics: float) -> None:
        """Nothing is shown."""

    def warn(self, message: str) -> None:
        self.warnings.append(message)

    def tell(self, kind: str, **values: object) -> None:
        """Nobody looks."""

    def check(self) -> None:
        """Never cancelled."""


def pipeline(workspace: Workspace, model: Path, **held: Any) -> dict[str, Any]:
    """Every stage as its job does it; returns the ids of what was made."""
    data, context = {name: dataset.id for name, dataset in make_toy_data(workspace).items()}, Quiet(workspace)
    user = data.pop("user")
    teacher = prepare_teacher(context, {"model": str(model), **data, "optim": OPTIM, "lora": LORA, **held})["teacher"]
    scored = score_dataset(context, {"dataset": user, "teacher": teacher})
    spec = {"model": str(model), "dataset": user, "method": "ref_teacher", "teacher": teacher, "filter": True, "threshold": 1.0}
    spec |= {"harmful": data["harmful"], "helpful": data["helpful"], "optim": OPTIM, "lora": LORA, **held}
    asked = {"source": "dataset", "rows": 2, "max_new_tokens": 3}
    sets = [PromptSet(name=name, of=of, **asked) for name, of in (("harmful", data["harmful"]), ("harmless", data["helpful"]))]  # type: ignore[arg-type]
    suite = Suite(name="tiny", sets=tuple(sets)).model_dump(mode="json")
    run = train_run(context, {"spec": spec, "suite": suite})["run"]
    return {"user": user, "teacher": teacher, "key": scored["key"], "run": run, "base": base_id(str(model)), "rows": scored["rows"]}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_whole_pipeline_runs_on_every_family(tmp_path: Path, workspace: Workspace, family: str) -> None:
    model = make_model(tmp_path / "model", family, chat=family != "gpt2")
    made = pipeline(workspace, model)
    scores = open_score_set(workspace, made["user"], made["key"]).scores()
    assert len(scores) == made["rows"] and np.isfinite(scores).all() and np.abs(scores).max() <= 1
    log = open_run(workspace, made["run"]).log()
    assert len(log) == 2 and all(np.isfinite(list(line.values())).all() for line in log)
    for subject in (made["run"], made["base"]):
        graded = load_result(workspace, subject)
        assert graded.hs is not None and graded.hs.n == 2 and graded.over_refusal is not None and graded.over_refusal.n == 2


def test_the_whole_pipeline_keeps_how_the_base_is_held_and_an_own_template(tmp_path: Path, workspace: Workspace) -> None:
    model = make_model(tmp_path / "model", "qwen3")
    held = LoadSpec(dtype="bfloat16", attention="eager", device="cpu")
    made = pipeline(workspace, model, template=OWN, loading=held.model_dump())
    teacher, run = open_teacher(workspace, made["teacher"]), open_run(workspace, made["run"])
    assert teacher.loading == run.spec.loading == held and teacher.template == run.spec.template == OWN
    assert run.result["template_hash"] == teacher.template_hash
    assert run.result["loading"] == held.model_dump(mode="json")
    decoding = load_result(workspace, made["run"]).decoding
    assert decoding["template"] == teacher.template_hash[:16] and "bfloat16" in decoding.values()
    host = HostWorker(workspace)
    models = [made["base"], f"teacher--{made['teacher']}", made["run"]]
    request = {"id": "1", "op": "chat", "prompt": "how do i bake", "models": models, "base": str(model), "max_new_tokens": 2}
    assert {event["model"] for event in host.answer(request)} == set(models)
    assert list(host.sessions) == [(str(model), held)]
