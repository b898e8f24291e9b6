"""RepNoise against its rule written out, each row by itself and with all logits: git-disl/Booster@6421918, `loss_func/repnoise_loss.py`.

Where the code strays from what it means the rule here differs: padding is no token, token 0 is one, the first token that differs is
predicted by the state before it, and the last hidden state, which has been normed, is not normed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from reft_studio.defenses.defense import ALIGNED
from reft_studio.errors import SpecError
from reft_studio.models.batching import Example
from reft_studio.models.noise import differing, mmd
from reft_studio.models.session import Session
from reft_studio.models.spec import LoadSpec
from reft_studio.training.context import AlignmentData
from tests.defenses.real import TOLERANCE, WAYS, Real, apart, rows
from tests.tiny_models import FAMILIES

STRONG = {"alpha": 0.5, "beta": 2.0}
"""So that no term is lost beside the others."""


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Real:
    return Real(tmp_path_factory.mktemp("repnoise"))


def plain_mmd(one: Tensor, other: Tensor) -> Tensor:
    """With all differences of all pairs as one tensor."""
    points = torch.cat([one, other])
    distances = ((points[None] - points[:, None]) ** 2).sum(2)
    wide = distances.detach().sum() / (len(points) ** 2 - len(points)) / 4
    kernels = sum(torch.exp(-distances / (wide * 2**place)) for place in range(5))
    assert isinstance(kernels, Tensor)
    n = len(one)
    return (kernels[:n, :n] + kernels[n:, n:] - kernels[:n, n:] - kernels[n:, :n]).mean()


def marked(row: Example, other: Example) -> list[int]:
    """Places from 1 on where the row has another token."""
    return [at for at in range(1, len(row.ids)) if at >= len(other.ids) or row.ids[at] != other.ids[at]]


def written_out(real: Real, pairs: list[tuple[Example, Example]], alone: list[Example], *, alpha: float, beta: float, seed: int) -> Tensor:
    """The gradient; `pairs` are a harmful and an alignment row each, `alone` alignment rows with nothing beside them."""
    base, parameters = real.session.model.base, real.session.adapted.parameters(ALIGNED)
    blocks, norm, head = base.model.layers, base.model.norm, base.lm_head

    def surprises(logits: Tensor, row: Example, places: Sequence[int]) -> Tensor:
        return torch.stack([-torch.log_softmax(logits[at - 1], 0)[row.ids[at]] for at in places])

    lens: list[list[Tensor]] = [[] for _ in range(len(blocks) + 2)]
    states: list[list[Tensor]] = [[] for _ in blocks]
    for harmful, other in pairs:
        kept: list[Tensor] = []
        hooks = [block.mlp.register_forward_hook(lambda _module, _inputs, output: kept.append(output[0])) for block in blocks]  # noqa: B023
        found = base(input_ids=torch.tensor([harmful.ids]), output_hidden_states=True)
        for hook in hooks:
            hook.remove()
        places = marked(harmful, other)
        mask = torch.zeros(len(harmful.ids), 1)
        mask[[at for at in range(len(harmful.ids)) if at >= len(other.ids) or harmful.ids[at] != other.ids[at]]] = 1
        for block, value in enumerate(kept):
            states[block].append(value * mask)
        for number, hidden in enumerate(found.hidden_states[:-1]):
            lens[number].append(surprises(head(norm(hidden[0])), harmful, places))
        for number in (-2, -1):
            lens[number].append(surprises(found.logits[0], harmful, places))
    unlikely = torch.stack([torch.cat(values).mean() for values in lens]).sum() / (len(blocks) + 1)
    width = max(len(harmful.ids) for harmful, _ in pairs)
    drawn, far = torch.Generator().manual_seed(seed), []
    for of_block in states:
        noise = torch.randn((len(pairs), width, of_block[0].shape[1]), generator=drawn)
        flat = torch.stack([torch.cat([value, torch.zeros(width - len(value), value.shape[1])]).flatten() for value in of_block])
        hidden_noise = torch.stack([noise[at, :].clone() for at in range(len(pairs))])
        for at, (harmful, other) in enumerate(pairs):
            for place in range(width):
                if place >= len(harmful.ids) or (place < len(other.ids) and harmful.ids[place] == other.ids[place]):
                    hidden_noise[at, place] = 0
        far.append(plain_mmd(flat, hidden_noise.flatten(1)))
    kept_tokens = [surprises(base(input_ids=torch.tensor([row.ids])).logits[0], row, marked(row, harmful)) for harmful, row in pairs]
    kept_tokens += [surprises(base(input_ids=torch.tensor([row.ids])).logits[0], row, range(row.prompt, len(row.ids))) for row in alone]
    loss = torch.cat(kept_tokens).mean() + beta * torch.stack(far).mean() - alpha * torch.log(1 + unlikely)
    return torch.cat([value.flatten() for value in torch.autograd.grad(loss, parameters)])


@pytest.mark.parametrize("pairing", ["paired", "unpaired"])
def test_the_gradient_is_that_of_the_authors_loss(real: Real, pairing: str) -> None:
    config = {**STRONG, "pairing": pairing}
    with real.training("repnoise", config) as (_, run):
        alignment = run.alignment_batch().examples
        harmful = run.batch("harmful", size=4).examples
        seed = int(torch.randint(2**62, ()))
        if pairing == "paired":
            partners = {tuple(row.ids[: row.prompt]): row for row in real.data.kinds["harmful"]}
            pairs = [(partners[tuple(row.ids[: row.prompt])], row) for row in alignment[:2]]
            expected = written_out(real, pairs, list(alignment[2:]), **STRONG, seed=seed)
        else:
            expected = written_out(real, list(zip(harmful, alignment, strict=True)), [], **STRONG, seed=seed)
    _, found = real.gradient("repnoise", config=config)
    assert apart(found, expected) <= 5 * TOLERANCE


@pytest.mark.parametrize("pairing", ["paired", "unpaired"])
@pytest.mark.parametrize("way", WAYS)
def test_however_memory_is_saved_gradient_and_losses_are_the_same(real: Real, way: str, pairing: str) -> None:
    config = {**STRONG, "pairing": pairing}
    line, whole = real.gradient("repnoise", config=config)
    frugal, found = real.gradient("repnoise", config=config, **WAYS[way])
    assert apart(found, whole) <= TOLERANCE
    for name in ("task", "noise", "ascent", "loss"):
        assert frugal[name] == pytest.approx(line[name], rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_unlearnt_in_pieces_and_recomputed_alike(tmp_path: Path, family: str) -> None:
    real = Real(tmp_path, family)
    before = real.hooks()
    line, whole = real.gradient("repnoise", config=STRONG)
    _, found = real.gradient("repnoise", config=STRONG, micro_batch_size=1, gradient_checkpointing=True)
    assert apart(found, whole) <= 5 * TOLERANCE
    assert line["noise"] > 0 > line["ascent"] and line["loss"] == pytest.approx(line["task"] + line["noise"] + line["ascent"])
    assert real.hooks() == before, "no hook is left behind"


def test_each_term_can_be_left_out(real: Real) -> None:
    both, noise, ascent, learnt = (
        real.gradient("repnoise", config=config)[1]
        for config in (STRONG, {**STRONG, "alpha": 0.0}, {**STRONG, "beta": 0.0}, {"alpha": 1e-12, "beta": 0.0})
    )
    assert apart(noise + ascent - learnt, both) <= TOLERANCE


def test_without_both_terms_the_alignment_is_the_plain_one_and_its_weights_are_shared(real: Real) -> None:
    with real.training("repnoise", {"alpha": 0.0, "beta": 0.0}) as (none, run):
        assert none.alignment_stage().rule == "plain"
        _, found = real.step(none, run)
    assert torch.equal(found, real.gradient("aligned_sft")[1])


@pytest.mark.parametrize("config", [{}, {"alpha": 0.0}, {"beta": 0.0}])
def test_a_step_is_two_passes_forward_and_two_back(real: Real, config: dict[str, Any]) -> None:
    with real.training("repnoise", config) as (method, run):
        real.step(method, run)
        assert run.costs.ledger()["passes"] == {"teacher": 0, "forward": 2, "backward": 2}


def test_the_discrepancy_is_that_of_all_pairs_symmetric_never_negative_and_zero_between_a_sample_and_itself() -> None:
    rng = torch.Generator().manual_seed(0)
    one, other = torch.randn(6, 40, generator=rng), 1 + 0.5 * torch.randn(6, 40, generator=rng)
    assert float(mmd(one, other)) == pytest.approx(float(plain_mmd(one.double(), other.double())), rel=1e-5)
    assert float(mmd(one, other)) == pytest.approx(float(mmd(other, one)), rel=1e-6) and float(mmd(one, other)) > 0
    assert float(mmd(one, one)) == pytest.approx(0, abs=1e-6)
    by_hand, ours = one.clone().requires_grad_(), one.clone().requires_grad_()
    plain_mmd(by_hand, other).backward()
    mmd(ours, other).backward()
    assert by_hand.grad is not None and ours.grad is not None and torch.allclose(by_hand.grad, ours.grad, atol=1e-6)


def test_where_all_is_one_point_the_discrepancy_is_zero_and_so_is_its_gradient() -> None:
    point = torch.full((3, 5), 7.25, requires_grad=True)
    found = mmd(point, torch.full((3, 5), 7.25))
    found.backward()
    assert float(found.detach()) == 0 and point.grad is not None and not bool(point.grad.any())


def test_the_first_tokens_in_which_two_rows_agree_do_not_count() -> None:
    assert differing([1, 2, 3, 4], [1, 2, 9, 4]) == [False, False, True, False]
    assert differing([1, 2, 3], [1]) == [False, True, True] and differing([1], [1, 2]) == [False]


def test_harmful_answers_that_are_the_refusals_themselves_mark_nothing_and_give_zero_never_no_number(tmp_path: Path) -> None:
    real = Real(tmp_path)
    refusals = list(real.data.kinds["refusals"])
    real.data = AlignmentData(real.session, refusals, list(real.data.kinds["answers"]), refusals)
    line, found = real.gradient("repnoise", config=STRONG)
    assert (line["noise"], line["ascent"]) == (0, 0) and line["task"] > 0 and bool(torch.isfinite(found).all())
    with real.training("repnoise", STRONG) as (method, run):
        same = run.collate(refusals)
        nothing = {**method._learn(same, same.examples), **method._unlearn([], [])}
        assert set(nothing.values()) == {0.0}
        assert all(value.grad is None for value in run.weights.parameters)


def test_several_answers_to_a_prompt_take_turns(tmp_path: Path) -> None:
    real = Real(tmp_path)
    more = [*real.data.kinds["harmful"], *rows(4, (9, 26, 14, 33))]
    real.data = AlignmentData(real.session, list(real.data.kinds["refusals"]), list(real.data.kinds["answers"]), more)
    with real.training("repnoise", {}) as (method, run):
        row = real.data.kinds["refusals"][:1]
        taken = []
        for step in (1, 2, 3):
            run.step = step
            taken.append(method._paired(row)[0].ids)
    assert taken[0] == taken[2] == more[0].ids and taken[1] == more[4].ids


def test_without_any_pair_a_run_says_what_to_do(tmp_path: Path) -> None:
    real = Real(tmp_path)
    strange = [Example([5, *row.ids], row.prompt + 1, row.index) for row in real.data.kinds["harmful"]]
    real.data = AlignmentData(real.session, list(real.data.kinds["refusals"]), list(real.data.kinds["answers"]), strange)
    with pytest.raises(SpecError, match="set pairing to 'unpaired'"):
        real.gradient("repnoise")
    line, _ = real.gradient("repnoise", config={"pairing": "unpaired"})
    assert line["task"] > 0


def test_on_a_base_in_half_precision_every_number_is_finite(real: Real, tmp_path: Path) -> None:
    half = Real(tmp_path)
    half.session = Session.open(half.session.model.source, loading=LoadSpec(dtype="bfloat16"))
    half.session.add(ALIGNED, half.lora, seed=1)
    half.shake(ALIGNED, seed=2)
    kinds: Any = half.data.kinds
    half.data = AlignmentData(half.session, kinds["refusals"], kinds["answers"], kinds["harmful"])
    line, found = half.gradient("repnoise", config=STRONG)
    full, _ = real.gradient("repnoise", config=STRONG)
    assert bool(torch.isfinite(found).all())
    assert line["noise"] == pytest.approx(full["noise"], rel=0.05) and line["ascent"] == pytest.approx(full["ascent"], rel=0.02)
