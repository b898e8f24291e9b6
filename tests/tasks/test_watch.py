"""Looking at a student while it trains: the same run with and without, the numbers of an evaluation, nothing lost when it fails."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reft_studio.data.dataset import Dataset, write_dataset
from reft_studio.evaluation.judges import PHRASES
from reft_studio.evaluation.judges.spec import JudgeSpec
from reft_studio.evaluation.suite import Suite, dataset_suite, lab_suite
from reft_studio.jobs.job import JobCancelled
from reft_studio.models.session import Session
from reft_studio.models.spec import LoraSpec, OptimSpec
from reft_studio.progress import Silent
from reft_studio.tasks import watch as watching
from reft_studio.tasks.train import _watch
from reft_studio.tasks.watch import SHARE, TOKENS, Watcher, observing, quick, usable
from reft_studio.training.run import train
from reft_studio.training.run_folder import RunInfo
from reft_studio.training.spec import RunSpec
from reft_studio.training.watch import WatchSpec, read_watch
from reft_studio.workspace import Workspace


class Context(Silent):
    """A job that nobody follows."""

    job_id = "run-1"

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self.workspace = workspace
        self.told: list[tuple[str, int]] = []
        self.stop_after: int | None = None
        self._done = 0

    def progress(self, done: int, total: int, **metrics: float) -> None:
        self._done = done

    def tell(self, kind: str, **values: Any) -> None:
        self.told.append((kind, int(values.get("step", 0))))

    def check(self) -> None:
        if self.stop_after is not None and self._done >= self.stop_after:
            raise JobCancelled


@pytest.fixture
def suite(workspace: Workspace, toy_data: dict[str, Dataset]) -> Suite:
    rows: list[Any] = [{"prompt": f"the review is good {number}", "response": "good"} for number in range(5)]
    task = write_dataset(workspace, rows, name="task", role="user")
    ids = {"harmful": toy_data["calibration_harmful"].id, "harmless": toy_data["calibration_harmless"].id, "task": task.id}
    return dataset_suite("own", **ids, max_new_tokens=4)


def run(
    workspace: Workspace,
    model: Path,
    data: Dataset,
    suite: Suite | None,
    watch: WatchSpec | None,
    *,
    context: Context | None = None,
    **changes: Any,
) -> RunInfo:
    optim = OptimSpec(steps=4, batch_size=4, micro_batch_size=2, learning_rate=5e-3, **changes)
    spec = RunSpec(model=str(model), dataset=data.id, method="sft", optim=optim, lora=LoraSpec(dropout=0.2))
    session, context = Session.open(str(model)), context or Context(workspace)
    with observing(context, session, spec, suite, PHRASES, watch) as observer:
        return train(workspace, spec, session, context, observer=observer)


@pytest.mark.parametrize("changes", [{}, {"gradient_checkpointing": True}])
def test_a_run_that_is_looked_at_learns_the_same_to_the_byte(
    tmp_path: Path, tiny_model: Path, workspace: Workspace, toy_data: dict[str, Dataset], suite: Suite, changes: dict[str, Any]
) -> None:
    other = Workspace.open(tmp_path / "other")
    (other.root / "datasets").symlink_to(workspace.root / "datasets")
    seen = run(workspace, tiny_model, toy_data["user"], suite, WatchSpec(every=1, prompts=3), **changes)
    alone = run(other, tiny_model, toy_data["user"], None, None, **changes)
    assert [line["step"] for line in read_watch(seen.folder)] == [1, 2, 3, 4]
    assert not read_watch(alone.folder)
    assert seen.run_id == alone.run_id
    kept = "adapter/adapter_model.safetensors"
    assert (seen.folder / kept).read_bytes() == (alone.folder / kept).read_bytes()
    assert [line["loss"] for line in seen.log()] == [line["loss"] for line in alone.log()]
    assert any((seen.folder / "tensorboard").iterdir())


def test_a_run_that_was_interrupted_keeps_what_was_seen_and_tells_it_again(
    workspace: Workspace, tiny_model: Path, toy_data: dict[str, Dataset], suite: Suite
) -> None:
    first, then = Context(workspace), Context(workspace)
    first.stop_after = 2
    with pytest.raises(JobCancelled):
        run(workspace, tiny_model, toy_data["user"], suite, WatchSpec(every=1, prompts=2), context=first)
    done = run(workspace, tiny_model, toy_data["user"], suite, WatchSpec(every=1, prompts=2), context=then)
    assert [line["step"] for line in read_watch(done.folder)] == [1, 3, 4]
    assert then.told == [("rows", 0), *(("watch", step) for step in (1, 3, 4))]  # it was stopped in a look
    assert len(list((done.folder / "tensorboard").iterdir())) == 2
    assert not any((workspace.root / "unfinished").iterdir())


def watched(workspace: Workspace, model: Path, suite: Suite, spec: WatchSpec, *, judge: JudgeSpec = PHRASES) -> tuple[Watcher, Silent]:
    session, told = Session.open(str(model)), Silent()
    session.add("student", LoraSpec(), seed=0)
    return Watcher(workspace, session, suite, judge, spec, told), told


def test_a_look_draws_no_random_number_and_grades_the_first_prompts_of_each_kind(
    workspace: Workspace, tiny_model: Path, suite: Suite
) -> None:
    look, _ = watched(workspace, tiny_model, suite, WatchSpec(every=2, prompts=3))
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    line = look.check(1, 10)
    assert line is not None and [step for step in range(1, 11) if look.due(step, 10)] == [1, 2, 4, 6, 8, 10]
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (random.getstate(), np.random.get_state()[1].tolist())
    assert [line[name][3] for name in ("hs", "over_refusal", "fa")] == [3, 3, 3]
    assert all(line[name][1] <= line[name][0] <= line[name][2] for name in ("hs", "over_refusal", "fa"))
    assert [one["set"] for one in line["answers"]] == ["harmful", "harmful", "harmless", "harmless", "task", "task"]
    assert line["seconds"] > 0 and line["judge"] == "refusal_phrases"


def test_without_a_number_of_steps_looking_takes_its_share_of_the_time_and_no_more(
    workspace: Workspace, tiny_model: Path, suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, _ = watched(workspace, tiny_model, suite, WatchSpec(prompts=1))
    now = [0.0]
    monkeypatch.setattr(watching.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(look, "_line", lambda step, *_: now.__setitem__(0, now[0] + 2.0) or {"step": step})
    seen = []
    for step in range(1, 201):
        now[0] += 1.0
        seen += [step] if look.due(step, 200) and look.check(step, 200) is not None else []
    assert seen[0] == 1 and len(seen) > 3
    assert 2.0 * len(seen) <= SHARE * 200


def test_a_look_that_fails_is_told_once_and_the_run_goes_on(
    workspace: Workspace, tiny_model: Path, suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **options: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(watching, "complete", fail)
    look, told = watched(workspace, tiny_model, suite, WatchSpec(every=1))
    assert look.due(1, 3) and look.check(1, 3) is None and not look.due(2, 3)
    assert told.warnings == ["The model is not looked at while it trains: there is not enough memory for it. Training goes on."]


def test_a_judge_that_is_a_model_leaves_quick_scores_to_the_one_of_the_suite(workspace: Workspace, tiny_model: Path, suite: Suite) -> None:
    assert not usable(JudgeSpec(name="wildguard")) and not usable(PHRASES.model_copy(update={"name": "human"}))
    look, _ = watched(workspace, tiny_model, suite, WatchSpec(every=1, prompts=1), judge=JudgeSpec(name="wildguard"))
    line = look.check(1, 1)
    assert line is not None and line["judge"] == suite.compliance


def test_a_quick_suite_asks_for_short_answers_of_the_first_prompts() -> None:
    short = quick(lab_suite(max_new_tokens=200), 16)
    assert [(part.rows, part.max_new_tokens) for part in short.sets] == [(16, TOKENS)] * 3
    assert [part.rows for part in quick(lab_suite(sizes={"harmful": 5}), 16).sets] == [5, 16, 16]


def test_a_real_base_on_a_cpu_is_looked_at_only_when_a_person_asks(workspace: Workspace, tiny_model: Path, suite: Suite) -> None:
    session, context = Session.open(str(tiny_model)), Context(workspace)
    spec = RunSpec(model=str(tiny_model), dataset="d", method="sft")
    for watch, looks in ((WatchSpec(), False), (WatchSpec(always=True), True), (WatchSpec(every=5), True), (None, False)):
        with observing(context, session, spec, suite, PHRASES, watch) as observer:
            assert (observer._student_check is not None) is looks


def test_a_job_is_looked_at_unless_its_parameters_say_nothing_of_it() -> None:
    assert _watch({"watch": {}}) == WatchSpec()
    assert _watch({"watch": {"every": 5}}).every == 5
    assert _watch({}).prompts == _watch({"watch": None}).prompts == 0
