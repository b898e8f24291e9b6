"""The engine computes what a plain forward pass computes, with a shared prefix or without, in whatever batches memory allows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from reft_studio.errors import PrerequisiteError
from reft_studio.models.prefix import SharedPrefix, common_prefix
from reft_studio.models.prompts import TokenLists
from reft_studio.models.session import Session
from reft_studio.scoring.cache import digests_of
from reft_studio.scoring.engine import Engine
from reft_studio.scoring.journal import ScoreJournal
from reft_studio.scoring.plan import BatchPlan
from tests.tiny_models import FAMILIES, make_model

LAYER = 2
PREFIX = [*range(20, 40)]
OWN = [[41, 42], [43], [44, 45, 46, 47, 48], [41], *([50 + place] * (place + 1) for place in range(12))]
LISTS = TokenLists.of([PREFIX + own for own in OWN])
KEY = "00" * 32


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Session:
    return Session.open(str(make_model(tmp_path_factory.mktemp("family") / request.param, request.param)))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Session:
    return Session.open(str(make_model(tmp_path_factory.mktemp("tiny") / "model")))


def engine(session: Session, *, scale: float = 1.0) -> Engine:
    width = session.model.base.config.get_text_config().hidden_size
    direction = scale * torch.randn(width, generator=torch.Generator().manual_seed(3))
    with session.adapted.active(None) as backbone:

        def similarity(features: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.cosine_similarity(features, direction, dim=-1)

        return Engine(session.model, backbone, similarity, layer=LAYER)


def plain(session: Session, lists: TokenLists) -> NDArray[np.float32]:
    """Each prompt alone through the whole model, no cache, no padding."""
    one = engine(session)
    states = [
        session.model.base(input_ids=torch.from_numpy(lists[place].astype(np.int64))[None], output_hidden_states=True).hidden_states[LAYER]
        for place in range(len(lists))
    ]
    found: NDArray[np.float32] = torch.cat([one.similarity(state[:, -1].float()) for state in states]).detach().numpy()
    return found


def run(one: Engine, lists: TokenLists, folder: Path, **extra: Any) -> NDArray[np.float32]:
    known = np.full(len(lists), np.nan, dtype=np.float32)
    plan = extra.pop("plan", None) or one.plan(lists, digests_of(lists, KEY), known)
    folder.mkdir(exist_ok=True)
    with ScoreJournal(folder / "journal") as journal:
        return one.run(plan, lists, journal, on_split=extra.pop("on_split", lambda plan: None), progress=lambda share: None)


def test_a_shared_prefix_changes_no_score(family: Session, tmp_path: Path) -> None:
    """In every family, sliding windows and learned positions included; and it is in use, or this would show nothing."""
    one = engine(family)
    lists = TokenLists.of([PREFIX[:9] + own for own in OWN])
    plan = one.plan(lists, digests_of(lists, KEY), np.full(len(lists), np.nan, dtype=np.float32))
    assert plan.prefix == 9 and int(lists.lengths.max()) > 16, "beyond the tiny models' sliding windows"
    assert np.abs(run(one, lists, tmp_path / "a", plan=plan) - plain(family, lists)).max() <= 1e-4


def test_scores_do_not_depend_on_the_batch_or_the_padding(family: Session, tmp_path: Path) -> None:
    one, alone = engine(family), plain(family, LISTS)
    for budget in (1, 64, 10_000):
        one.budget = budget
        assert np.abs(run(one, LISTS, tmp_path / str(budget)) - alone).max() <= 1e-4


def test_scores_do_not_depend_on_the_length_of_the_feature(tiny: Session, tmp_path: Path) -> None:
    one, two = (run(engine(tiny, scale=scale), LISTS, tmp_path / str(scale)) for scale in (1.0, 250.0))
    assert np.abs(one - two).max() <= 1e-5


def test_the_prefix_is_of_tokens_and_leaves_each_prompt_one() -> None:
    assert common_prefix(LISTS) == len(PREFIX)
    assert common_prefix(TokenLists.of([[1, 2, 3], [1, 2, 3]])) == 2
    assert common_prefix(TokenLists.of([[1, 2, 3], [1, 2]])) == 1
    assert common_prefix(TokenLists.of([[1, 2, 3], [4]])) == 0
    assert common_prefix(TokenLists.of([[1, 2, 3]])) == common_prefix(TokenLists.of([])) == 0


def test_a_prefix_as_wide_as_the_window_is_not_shared(tmp_path: Path) -> None:
    session = Session.open(str(make_model(tmp_path / "mistral", "mistral")))
    config = session.model.base.config
    config.sliding_window = 16
    ids = np.array(PREFIX, dtype=np.int32)
    assert SharedPrefix.of(session.model, session.model.base.base_model, ids, layer=LAYER) is None
    assert SharedPrefix.of(session.model, session.model.base.base_model, ids[:8], layer=LAYER) is not None


def test_a_prefix_that_would_change_scores_is_not_used(tiny: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some architectures do not answer alike from a cache; that is seen on the first prompts, and the plain way is taken."""
    broken = SharedPrefix.cache

    def wrong(self: SharedPrefix, rows: int) -> Any:
        cache = broken(self, rows)
        for part in cache.layers[:LAYER]:
            part.values = part.values + 1
        return cache

    monkeypatch.setattr(SharedPrefix, "cache", wrong)
    one = engine(tiny)
    plan = one.plan(LISTS, digests_of(LISTS, KEY), np.full(len(LISTS), np.nan, dtype=np.float32))
    assert plan.prefix == 0
    assert np.abs(run(one, LISTS, tmp_path / "a", plan=plan) - plain(tiny, LISTS)).max() <= 1e-4


class Scarce(Engine):
    """An engine on a machine that holds `room` prompts at once."""

    room = 3

    def scores(self, prompts: Sequence[NDArray[np.int32]], *, prefix: SharedPrefix | None = None) -> NDArray[np.float32]:
        if len(prompts) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
        return super().scores(prompts, prefix=prefix)


def scarce(session: Session) -> Scarce:
    one = engine(session)
    return Scarce(one.model, one.backbone, one.similarity, layer=LAYER)


def test_a_batch_that_does_not_fit_is_halved_and_the_plan_remembers(tiny: Session, tmp_path: Path) -> None:
    one, kept = scarce(tiny), list[BatchPlan]()
    found = run(one, LISTS, tmp_path / "a", on_split=kept.append)
    assert np.abs(found - plain(tiny, LISTS)).max() <= 1e-4
    assert kept and max(len(batch) for batch in kept[-1].batches()) <= Scarce.room
    again = run(one, LISTS, tmp_path / "b", plan=kept[-1], on_split=lambda plan: pytest.fail("the plan was known to fit"))
    assert again.tobytes() == found.tobytes()


def test_a_prompt_that_does_not_fit_alone_is_said_with_what_to_do(tiny: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scarce, "room", 0)
    plan = engine(tiny).plan(LISTS, digests_of(LISTS, KEY), np.full(len(LISTS), np.nan, dtype=np.float32))
    with pytest.raises(PrerequisiteError, match=r"A prompt of 32 tokens does not fit into memory.*max_length"):
        run(scarce(tiny), LISTS, tmp_path / "a", plan=plan)


def test_another_error_is_not_taken_for_want_of_memory(tiny: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = engine(tiny)
    plan = one.plan(LISTS, digests_of(LISTS, KEY), np.full(len(LISTS), np.nan, dtype=np.float32))

    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(one, "scores", fails)
    with pytest.raises(RuntimeError, match="shapes"):
        run(one, LISTS, tmp_path / "a", plan=plan)


def test_a_state_that_is_not_finite_spoils_its_own_prompt_only(tiny: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, usual = engine(tiny), run(engine(tiny), LISTS, tmp_path / "usual")
    table = tiny.model.base.get_input_embeddings().weight
    kept = table.detach().clone()
    with torch.no_grad():
        table[44] = float("inf")
        found = run(one, LISTS, tmp_path / "spoilt")
        table.copy_(kept)
    assert np.flatnonzero(np.isnan(found)).tolist() == [2]
    rest = np.arange(len(LISTS)) != 2
    assert np.abs(found[rest] - usual[rest]).max() <= 1e-4


def test_a_run_that_stops_goes_on_to_the_same_bits(tiny: Session, tmp_path: Path) -> None:
    one = engine(tiny)
    one.budget = 16
    whole = run(one, LISTS, tmp_path / "whole")
    data = (tmp_path / "whole" / "journal").read_bytes()
    (tmp_path / "part").mkdir()
    for size in (0, 30, len(data) // 2, len(data) - 1):
        (tmp_path / "part" / "journal").write_bytes(data[:size])
        assert run(one, LISTS, tmp_path / "part").tobytes() == whole.tobytes()
        assert (tmp_path / "part" / "journal").read_bytes() == data
