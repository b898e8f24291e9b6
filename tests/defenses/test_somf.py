"""SOMF against its mask and DPO written out with autograd: xinykou/safety_realignment@5a80593, `concrete_mask.py`, `modeling.py`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.func import functional_call

from reft_studio import fingerprint
from reft_studio.defenses.somf import Somf, SomfConfig
from reft_studio.errors import SpecError
from reft_studio.models.concrete_mask import masked_update, preference, sample_masks
from reft_studio.models.side_parameters import SideParameters
from reft_studio.models.spec import LoraSpec, OptimSpec
from reft_studio.progress import Silent, StopEarly
from reft_studio.training.context import STUDENT
from reft_studio.training.run import train
from reft_studio.training.run_folder import RunInfo
from reft_studio.workspace import Workspace
from tests.defenses.real import WAYS, Real
from tests.tiny_models import FAMILIES
from tests.tiny_runs import TinyRuns

OPTIM = OptimSpec(steps=7, batch_size=4, alignment_batch_size=4, learning_rate=5e-3)
SMALL = {"pairs": 3}


def test_a_mask_is_a_relaxed_bernoulli_of_its_logits_and_the_noise() -> None:
    logits = torch.tensor([[-2.0, 0.0], [1.0, 8.0]])
    torch.manual_seed(5)
    (found,) = sample_masks([logits], temperature=0.5)
    torch.manual_seed(5)
    noise = torch.rand(2, 2)
    expected = torch.sigmoid((logits + noise.log() - (1 - noise).log()) / 0.5)
    assert torch.allclose(found, expected, atol=1e-5) and bool(((found >= 0) & (found <= 1)).all())


def test_what_the_mask_leaves_is_scaled_up_by_its_mean_and_an_empty_mask_leaves_nothing() -> None:
    update, mask = torch.tensor([2.0, -4.0, 1.0]), torch.tensor([0.5, 0.25, 0.0])
    (change,) = masked_update([update], [mask], scale=0.6)
    assert torch.allclose(update + change, 0.6 * mask * update / mask.mean())
    for everywhere in (1.0, 0.5, 0.3):
        (change,) = masked_update([update], [torch.full((3,), everywhere)], scale=1.0)
        assert torch.equal(change, torch.zeros(3)), "to the bit"
    (change,) = masked_update([update], [torch.zeros(3)], scale=1.0)
    assert torch.equal(update + change, torch.zeros(3))


def test_dpo_is_the_log_of_the_odds_by_which_the_better_answers_gained() -> None:
    found, reference = torch.tensor([-3.0, -9.0, -5.0, -6.0]), torch.tensor([-4.0, -8.0, -7.0, -6.0])
    loss, margins = preference(found, reference, beta=0.1)
    assert margins.tolist() == [-1.0, -1.0]  # (−3 + 4) − (−5 + 7), (−9 + 8) − 0
    assert float(loss) == pytest.approx(-torch.log(torch.sigmoid(torch.tensor(-0.1))).item())
    assert float(preference(reference, reference, beta=0.1)[0]) == pytest.approx(0.6931, abs=1e-4)


def answers(real: Real, rows: list[Any], tensors: dict[str, Tensor] | None = None) -> Tensor:
    """log p of each row's response, by the model's own logits, with other tensors in the place of its own if given."""
    base, found = real.session.model.base, []
    for row in rows:
        ids = torch.tensor([row.ids])
        logits = functional_call(base, tensors, (ids,)).logits if tensors else base(input_ids=ids).logits
        found.append(torch.log_softmax(logits[0].float(), -1)[range(row.prompt - 1, len(row.ids) - 1), row.ids[row.prompt :]].sum())
    return torch.stack(found)


def written_out(real: Real, method: Any, run: Any, logits: list[Tensor]) -> list[Tensor]:
    """The gradient of the DPO of one step by the logits, the mask in the place of the weights, autograd through all of it."""
    updates, parameters = method._updates(run.layers), run.weights.parameters
    begun = [value.detach() - update for value, update in zip(parameters, updates, strict=True)]
    leaves = [value.clone().requires_grad_() for value in logits]
    masks = sample_masks(leaves, temperature=0.5)
    masked = [first + mask * update / mask.mean() for first, mask, update in zip(begun, masks, updates, strict=True)]
    names = {id(value): name for name, value in real.session.model.base.named_parameters()}
    pairs = method._drawn_pairs(1)
    rows = [*(pair[0] for pair in pairs), *(pair[1] for pair in pairs)]
    with torch.no_grad():
        reference = answers(real, rows)
    tensors = {names[id(value)]: other for value, other in zip(parameters, masked, strict=True)}
    margin = answers(real, rows, tensors) - reference
    loss = -torch.nn.functional.logsigmoid(0.1 * (margin[: len(pairs)] - margin[len(pairs) :])).mean()
    return list(torch.autograd.grad(loss, leaves))


def mask_step(real: Real, *, fresh: bool = False, check: bool = False, **optim: Any) -> list[Tensor]:
    """The gradient by the logits that the first step of the mask follows, from AdamW's first moment, cut to length 1."""
    with real.training("somf", SMALL, adapter=STUDENT, fresh=fresh, **optim) as (method, run):
        run.step = run.steps + 1
        rng = torch.Generator().manual_seed(8)
        start = [torch.randn(value.shape, generator=rng) for value in run.weights.parameters]
        method._logits, weights = SideParameters(start), run.weights.copy()
        torch.manual_seed(6)
        line = method.finetune_step(run.user_batch(real.user))
        assert all(torch.equal(one, two) for one, two in zip(run.weights.copy(), weights, strict=True)), "to the bit"
        assert all(value.grad is None for value in run.weights.parameters) and {"preference", "preferred"} <= line.keys()
        found = [value / 0.1 for name, value in sorted(method.state().items(), key=_place) if name.startswith("exp_avg-")]
        if check:
            torch.manual_seed(6)
            expected = written_out(real, method, run, start)
            norm = float(torch.cat([value.flatten() for value in expected]).norm())
            for one, two in zip(found, expected, strict=True):
                assert torch.allclose(one, two / max(norm, 1.0), atol=2e-4 * min(norm, 1.0) + 1e-8)
        return found


def _place(item: tuple[str, Any]) -> int:
    return int(item[0].rpartition("-")[2])


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_logits_learn_by_dpo_through_the_mask_and_no_weight_changes(tmp_path: Path, family: str, fresh: bool) -> None:
    mask_step(Real(tmp_path, family), fresh=fresh, check=True)


@pytest.mark.parametrize("way", WAYS)
def test_saving_memory_changes_no_gradient_of_the_mask(tmp_path: Path, way: str) -> None:
    real = Real(tmp_path)
    plain, other = (torch.cat([value.flatten() for value in mask_step(real, **settings)]) for settings in ({}, WAYS[way]))
    assert float((plain - other).norm() / plain.norm()) < 2e-4


@pytest.mark.parametrize("fresh", [False, True])
def test_a_full_mask_leaves_the_finetuned_weights_to_the_bit_and_an_empty_one_those_where_it_began(tmp_path: Path, fresh: bool) -> None:
    real = Real(tmp_path)
    with real.training("somf", {}, adapter=STUDENT, fresh=fresh) as (method, run):
        finetuned = run.weights.copy()
        begun = [value - update for value, update in zip(finetuned, method._updates(run.layers), strict=True)]
        for logit, expected in ((1000.0, finetuned), (0.0, finetuned), (-1000.0, begun)):
            method._logits = SideParameters([torch.full_like(value, logit) for value in finetuned])
            method.finish(run.layers)
            close = torch.equal if expected is finetuned else torch.allclose
            assert all(close(one, two) for one, two in zip(run.weights.copy(), expected, strict=True))
            run.weights.restore(finetuned)
        assert not fresh or not any(bool(value.any()) for value in begun)


def test_pairs_are_answers_to_one_prompt_and_rows_without_a_partner_are_in_none(tmp_path: Path) -> None:
    real = Real(tmp_path)
    refusals, harmful = real.data.kinds["refusals"], list(real.data.kinds["harmful"])
    with real.training("somf", SMALL, adapter=STUDENT) as (method, _run):
        found = method._all_pairs()
        assert len(found) == len(harmful) and all(one.ids[: one.prompt] == two.ids[: two.prompt] for one, two in found)
        steps = [pair[1].index for step in (1, 2, 3, 4) for pair in method._drawn_pairs(step)]
        assert [sorted(steps[place : place + 4]) for place in (0, 4, 8)] == [[0, 1, 2, 3]] * 3, "each once in a pass"
        assert method._drawn_pairs(3) == method._drawn_pairs(3)
    real.data.kinds = {**real.data.kinds, "refusals": refusals[1:]}
    with real.training("somf", SMALL, adapter=STUDENT) as (method, _run):
        assert len(method._all_pairs()) == len(harmful) - 1
    real.data.kinds = {**real.data.kinds, "refusals": real.data.kinds["answers"]}
    with real.training("somf", SMALL, adapter=STUDENT) as (method, _run), pytest.raises(SpecError, match="no pairs"):
        method.select()


@pytest.mark.parametrize(("share", "steps"), [(0.5, 50), (0.0, 0), (0.001, 1)])
def test_the_mask_adds_steps_of_its_own(share: float, steps: int) -> None:
    assert Somf.steps_after(SomfConfig(mask_share=share), 100) == steps


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> TinyRuns:
    return TinyRuns(Workspace.open(tmp_path_factory.mktemp("somf")), tiny_model, steps=5, optim=OPTIM)


def run(tiny: TinyRuns, method: str = "somf", **changes: Any) -> RunInfo:
    return train(tiny.workspace, tiny.spec(method, **changes), tiny.session, Silent())


def adapter(run: RunInfo) -> str:
    return fingerprint.of_file(run.adapter / "adapter_model.safetensors")


@pytest.mark.parametrize("adapters", ["continue", "fresh"])
def test_up_to_the_mask_it_is_plain_finetuning_and_each_of_its_steps_reads_the_pairs_twice(tiny: TinyRuns, adapters: str) -> None:
    plain, masked = run(tiny, "aligned_sft", adapters=adapters), run(tiny, adapters=adapters, method_config={"mask_share": 1.0})
    lines = masked.log()
    assert [line["loss"] for line in lines[:7]] == [line["loss"] for line in plain.log()] and len(lines) == 14
    assert all("preference" in line and "task" not in line for line in lines[7:])
    costs = masked.costs()
    assert costs is not None and costs["passes"] == {"teacher": 7, "forward": 14, "backward": 14}
    stopped = run(tiny, adapters=adapters, method_config={"mask_share": 1.0}, stop_after=7)
    assert adapter(stopped) == adapter(plain) != adapter(masked)


def test_refusals_gain_on_harmful_answers_under_a_mask_that_learns(tiny: TinyRuns) -> None:
    lines = run(tiny, method_config={"mask_share": 10.0, "learning_rate": 0.1}, optim=OPTIM.model_copy(update={"steps": 3})).log()[3:]
    early, late = (sum(line["preference"] for line in some) / 10 for some in (lines[:10], lines[-10:]))
    assert late < early


def test_a_mask_that_is_stopped_or_killed_goes_on_there(tiny: TinyRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    class At(Silent):
        def __init__(self, step: int, error: type[BaseException]) -> None:
            super().__init__()
            self.left, self.error = step, error

        def check(self) -> None:
            self.left -= 1
            if not self.left:
                raise self.error

    monkeypatch.setenv("REFT_STUDIO_CHECKPOINT_S", "0")
    lora = LoraSpec(rank=4, alpha=8, dropout=0.2)
    spec = tiny.spec("somf", adapters="fresh", lora=lora, seed=3, method_config={"mask_share": 1.0})
    other = Workspace.open(Path(shutil.copytree(tiny.workspace.root, tmp_path / "other")))
    whole = train(tiny.workspace, spec, tiny.session, Silent())
    for left in (10, 3):
        with pytest.raises(Killed):
            train(other, spec, tiny.session, At(left, Killed))
    parts = train(other, spec, tiny.session, Silent())
    assert adapter(parts) == adapter(whole)
    assert [line["loss"] for line in parts.log()] == [line["loss"] for line in whole.log()]
    early = train(other, spec.model_copy(update={"seed": 4}), tiny.session, At(10, StopEarly))
    asked = train(tiny.workspace, early.spec, tiny.session, Silent())
    assert early.spec.stop_after == 9 and adapter(asked) == adapter(early)
    tensors = load_file(early.adapter / "adapter_model.safetensors")
    assert all(bool(torch.isfinite(value).all()) for value in tensors.values())
