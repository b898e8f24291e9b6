"""Rows packed into sequences: a plan holds every row once with little padding, and neither loss nor gradient changes."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reft_studio.models.batching import Example, collate
from reft_studio.models.packing import SLACK, Packer, lay_out, pack
from reft_studio.models.session import Session
from reft_studio.models.spec import LoraSpec
from reft_studio.models.supervised import supervise
from tests.tiny_models import FAMILIES, make_model

LENGTHS = [5, 31, 9, 17, 12, 26, 7]


def rows(lengths: list[int] = LENGTHS) -> list[Example]:
    return [
        Example([(number * 31 + token * 7) % 90 + 3 for token in range(count)], 1 + count // 3, number)
        for number, count in enumerate(lengths)
    ]


def padding(lengths: list[int], plan: list[list[int]]) -> float:
    width = max(sum(lengths[place] for place in sequence) for sequence in plan)
    return 1 - sum(lengths) / (len(plan) * width)


def test_a_plan_holds_every_row_once_within_the_context() -> None:
    plan = pack(LENGTHS, limit=40, d_model=32)
    assert sorted(place for sequence in plan for place in sequence) == list(range(len(LENGTHS)))
    assert all(sum(LENGTHS[place] for place in sequence) <= 40 for sequence in plan)


def test_rows_of_like_length_are_left_alone_since_a_block_mask_has_its_price() -> None:
    assert pack([20, 20, 19, 20], limit=512, d_model=32) == [[0], [1], [2], [3]]


@pytest.mark.parametrize("seed", range(8))
def test_padding_stays_below_five_percent_for_rows_of_very_different_length(seed: int) -> None:
    random = Random(seed)
    lengths = [min(512, int(20 + random.expovariate(1 / 60))) for _ in range(36)]
    assert padding(lengths, pack(lengths, limit=4096, d_model=384)) <= SLACK


def test_a_layout_restarts_positions_and_finds_the_states_that_predict_responses() -> None:
    layout = lay_out([Example([1, 2, 3], 1, 0), Example([4, 5], 1, 1), Example([6, 7, 8, 9], 2, 2)], [[0, 1], [2]], pad_id=0)
    assert layout.input_ids.tolist() == [[1, 2, 3, 4, 5], [6, 7, 8, 9, 0]]
    assert layout.positions is not None and layout.positions.tolist() == [[0, 1, 2, 0, 1], [0, 1, 2, 3, 4]]
    assert layout.predicting.tolist() == [0, 1, 3, 6, 7] and layout.labels.tolist() == [2, 3, 5, 8, 9] and layout.counts == [2, 1, 2]


@st.composite
def limited(draw: st.DrawFn) -> tuple[list[int], int]:
    """Lengths of rows, and a limit that the longest of them may just fill."""
    lengths = draw(st.lists(st.one_of(st.integers(2, 12), st.integers(2, 600)), min_size=1, max_size=24))
    return lengths, draw(st.one_of(st.just(max(lengths)), st.integers(max(lengths), 4 * max(lengths)), st.integers(1, 700)))


@given(limited(), st.integers(8, 4096))
@settings(deadline=None, max_examples=200)
def test_every_token_is_trained_once_and_no_pack_is_beyond_the_limit(case: tuple[list[int], int], d_model: int) -> None:
    lengths, limit = case
    ids = iter(range(1, sum(lengths) + 1))
    examples = [Example([next(ids) for _ in range(count)], 1 + count // 3, number) for number, count in enumerate(lengths)]
    plan = pack(lengths, limit=limit, d_model=d_model)
    assert sorted(place for sequence in plan for place in sequence) == list(range(len(lengths)))
    assert all(len(sequence) == 1 or sum(lengths[place] for place in sequence) <= limit for sequence in plan)
    layout = lay_out(examples, plan, pad_id=0)
    tokens, states = layout.input_ids.flatten(), layout.predicting
    assert tokens[tokens > 0].sort().values.tolist() == list(range(1, sum(lengths) + 1)), "every token is in the batch once"
    assert layout.labels.tolist() == [token for row in examples for token in row.ids[row.prompt :]]
    assert tokens[states + 1].tolist() == layout.labels.tolist(), "each is predicted by the state just before it"
    assert layout.counts == [len(row.ids) - row.prompt for row in examples]
    if layout.positions is not None:
        where = {int(token): int(place) for token, place in zip(tokens, layout.positions.flatten(), strict=True)}
        assert all(where[token] == place for row in examples for place, token in enumerate(row.ids))
        assert int(layout.positions.max()) < max(limit, max(lengths)), "no position that the model has not got"


def test_rows_that_fill_the_context_are_planned_at_any_limit() -> None:
    for limit in range(2, 130):
        assert pack([limit, 2, limit - 1, 3], limit=limit, d_model=32)


@pytest.mark.parametrize("family", FAMILIES)
def test_packing_changes_neither_loss_nor_gradient(family: str, tmp_path: Path) -> None:
    session = Session.open(str(make_model(tmp_path / family, family)))
    session.add("student", LoraSpec(), seed=1)
    model, parameters = session.model, session.adapted.parameters("student")
    torch.manual_seed(0)
    with torch.no_grad():
        for value in parameters:
            value.add_(0.05 * torch.randn_like(value))
    batches = [collate(rows()[:4], pad_id=model.pad_id), collate(rows()[4:], pad_id=model.pad_id)]
    found = []
    with session.adapted.active("student", train=True) as backbone:
        packer = Packer(model, backbone)
        assert packer.packs and any(len(sequence) > 1 for sequence in packer.plan([row for batch in batches for row in batch.examples]))
        for used in (None, packer):
            losses = [part.cross_entropy() for part in supervise(model, backbone, batches, packer=used)]
            gradient = torch.cat([one.flatten() for one in torch.autograd.grad(losses[0] + 2 * losses[1], parameters)])
            found.append((torch.stack(losses).detach(), gradient))
    (loss, gradient), (packed_loss, packed_gradient) = found
    torch.testing.assert_close(packed_loss, loss, rtol=1e-5, atol=0)
    assert float((packed_gradient - gradient).norm() / gradient.norm()) <= 1e-5


def test_a_model_that_mixes_packed_rows_is_found_out_and_runs_row_by_row(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session.open(str(tiny_model))
    backbone = session.model.base.base_model
    real = backbone.forward

    def forgetful(input_ids: torch.Tensor, position_ids: torch.Tensor | None = None, **rest: object) -> object:
        return real(input_ids=input_ids, **rest)

    monkeypatch.setattr(backbone, "forward", forgetful)
    packer = Packer(session.model, backbone)
    assert not packer.packs and packer.plan(rows()) == [[place] for place in range(len(LENGTHS))]
