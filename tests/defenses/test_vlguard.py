"""VLGuard: git-disl/Booster@6421918, `trainer.py`, `VlguardTrainer`, on quadratics; the training afterwards on a tiny model."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from reft_studio import fingerprint
from reft_studio.defenses.vlguard import Vlguard, VlguardConfig
from reft_studio.models.spec import OptimSpec
from reft_studio.progress import Silent, StopEarly
from reft_studio.training.run import train
from reft_studio.training.run_folder import RunInfo
from reft_studio.workspace import Workspace
from tests.defenses.toy import Quadratic, ToyContext
from tests.tiny_runs import TinyRuns

USER, REFUSALS, ALIGNMENT = Quadratic.drawn(4), Quadratic.drawn(5), Quadratic.drawn(2)
OPTIM = OptimSpec(steps=8, batch_size=4, alignment_batch_size=4, learning_rate=5e-3)
POST_HOC = {"recipe": "post_hoc"}


def vlguard(**settings: Any) -> tuple[Vlguard, ToyContext]:
    context = ToyContext({"user": USER, "refusals": REFUSALS, "alignment": ALIGNMENT}, steps=10)
    return Vlguard(VlguardConfig(**settings), context), context  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> TinyRuns:
    return TinyRuns(Workspace.open(tmp_path_factory.mktemp("vlguard")), tiny_model, steps=5, optim=OPTIM)


def run(tiny: TinyRuns, method: str = "vlguard", **changes: Any) -> RunInfo:
    return train(tiny.workspace, tiny.spec(method, **changes), tiny.session, Silent())


def adapter(run: RunInfo) -> str:
    return fingerprint.of_file(run.adapter / "adapter_model.safetensors")


def test_the_gradient_is_that_of_the_users_rows_and_lambda_times_that_of_the_refusals() -> None:
    method, context = vlguard(lam=0.3)
    method.finetune_step("user")  # type: ignore[arg-type]
    w = context.flat()
    assert torch.allclose(context.flat_gradient(), USER.gradient(w) + 0.3 * REFUSALS.gradient(w), atol=1e-12)
    assert context.passes == 2


def test_post_hoc_the_users_rows_come_first_and_alignment_rows_after_them() -> None:
    method, context = vlguard(**POST_HOC)
    for step, loss in ((1, USER), (10, USER), (11, ALIGNMENT), (12, ALIGNMENT)):
        context.step = step
        method.finetune_step("user")  # type: ignore[arg-type]
        assert torch.allclose(context.flat_gradient(), loss.gradient(context.flat()), atol=1e-12)
    assert context.passes == 4


@pytest.mark.parametrize(
    ("settings", "steps"), [({}, 0), (POST_HOC, 25), ({**POST_HOC, "lam": 0.0}, 0), ({**POST_HOC, "post_hoc_share": 0.001}, 1)]
)
def test_only_the_training_afterwards_adds_steps(settings: dict[str, Any], steps: int) -> None:
    assert Vlguard.steps_after(VlguardConfig(**settings), 100) == steps


@pytest.mark.parametrize("adapters", ["continue", "fresh"])
def test_a_step_reads_the_refusals_beside_the_users_rows_in_one_pass(tiny: TinyRuns, adapters: str) -> None:
    found = run(tiny, adapters=adapters)
    costs, plain = found.costs(), run(tiny, "aligned_sft", adapters=adapters).costs()
    assert costs is not None and plain is not None
    assert costs["passes"] == {"teacher": 0, "forward": 8, "backward": 9}, "once the gradients of both terms are taken apart"
    assert 1.4 < costs["tokens"]["forward"] / plain["tokens"]["forward"] < 2.6, "four refusals beside four user rows"
    assert {"task", "alignment", "grad_cosine"} <= found.log()[0].keys()


@pytest.mark.parametrize("adapters", ["continue", "fresh"])
def test_the_training_afterwards_starts_from_where_plain_finetuning_ends(tiny: TinyRuns, adapters: str) -> None:
    plain, repaired = run(tiny, "aligned_sft", adapters=adapters), run(tiny, adapters=adapters, method_config=POST_HOC)
    lines = repaired.log()
    assert [line["loss"] for line in lines[:8]] == [line["loss"] for line in plain.log()]
    assert len(lines) == repaired.result["steps"] == 10 and {line["steps"] for line in lines} == {10}
    stopped = run(tiny, adapters=adapters, method_config=POST_HOC, stop_after=8)
    assert adapter(stopped) == adapter(plain) != adapter(repaired)


def test_a_training_afterwards_that_is_stopped_or_killed_goes_on_there(
    tiny: TinyRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFT_STUDIO_CHECKPOINT_S", "0")
    spec = tiny.spec("vlguard", method_config=POST_HOC, seed=3)
    other = Workspace.open(Path(shutil.copytree(tiny.workspace.root, tmp_path / "other")))
    whole = train(tiny.workspace, spec, tiny.session, Silent())

    class Killed(BaseException):
        pass

    class At(Silent):
        def __init__(self, step: int, error: type[BaseException]) -> None:
            super().__init__()
            self.step, self.error, self.calls = step, error, 0

        def check(self) -> None:
            self.calls += 1
            if self.calls == self.step:
                raise self.error

    with pytest.raises(Killed):
        train(other, spec, tiny.session, At(10, Killed))
    parts = train(other, spec, tiny.session, Silent())
    assert adapter(parts) == adapter(whole)
    early = train(other, spec.model_copy(update={"seed": 4}), tiny.session, At(10, StopEarly))
    assert early.spec.stop_after == 9 and early.result["steps"] == 9


def test_what_the_training_afterwards_learns_are_refusals_and_answers(tiny: TinyRuns) -> None:
    lines = run(tiny, method_config={**POST_HOC, "post_hoc_share": 3.0}).log()
    assert len(lines) == 32 and lines[-1]["task"] < lines[8]["task"]
