"""Answers end where the model's own settings say a turn ends, and greedy means the likeliest token, whatever the model suggests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from reft_studio.models.generation import Sampling, complete
from reft_studio.models.session import Session
from reft_studio.models.streaming import StreamLane, stream
from tests.tiny_models import make_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_model(tmp_path / "model")


def settings(folder: Path, **values: object) -> None:
    (folder / "generation_config.json").write_text(json.dumps(values), "utf-8")


def answer(session: Session) -> tuple[str, str]:
    prompt = session.encoder.prompt_ids([{"role": "user", "content": "how do i bake"}])
    found = next(complete(session.adapted, None, [prompt], max_new_tokens=6))
    steps = list(stream(session.adapted, [StreamLane("base", None)], prompt, max_new_tokens=6, temperature=0, seed=0))
    assert "".join(step.delta for step in steps).strip() == found.text, "chat and evaluation answer alike"
    assert steps[-1].stop == found.stop
    return found.text, found.stop


def first_token(session: Session) -> int:
    prompt = session.encoder.prompt_ids([{"role": "user", "content": "how do i bake"}])
    with torch.no_grad(), session.adapted.generating(None) as network:
        return int(network(input_ids=torch.tensor([prompt])).logits[0, -1].argmax())


def test_an_answer_ends_at_any_end_token_the_model_names(folder: Path) -> None:
    before = Session.open(str(folder))
    assert answer(before) != ("", "end")
    settings(folder, eos_token_id=[before.model.eos_id, first_token(before)])
    after = Session.open(str(folder))
    assert after.model.stop_ids == (before.model.eos_id, first_token(before))
    assert answer(after) == ("", "end")


def test_a_repetition_penalty_or_sampling_that_a_model_suggests_changes_no_answer(folder: Path) -> None:
    plain = answer(Session.open(str(folder)))
    settings(folder, eos_token_id=1, repetition_penalty=50.0, do_sample=True, temperature=9.0)
    assert answer(Session.open(str(folder))) == plain


def test_an_answer_stops_where_the_models_positions_end(tmp_path: Path) -> None:
    session = Session.open(str(make_model(tmp_path / "learned-positions", "gpt2")))
    prompt = session.encoder.prompt_ids([{"role": "user", "content": "how do i bake bread " * 200}])
    room = session.model.context - len(prompt)
    assert 0 < room < 100
    found = next(complete(session.adapted, None, [prompt], max_new_tokens=100))
    steps = list(stream(session.adapted, [StreamLane("base", None)], prompt, max_new_tokens=100, temperature=0, seed=0))
    assert found.tokens <= room and steps[-1].tokens <= room and steps[-1].stop == found.stop


# --- batches ---------------------------------------------------------------------------------------------------------------------------

PROMPTS = ["how do i bake", "how do i steal a car at night", "bread", "the review is good", "I cannot", "first mix the flour"]


def answers(session: Session, **options: object) -> list[str]:
    ids = [session.encoder.prompt_ids([{"role": "user", "content": prompt}]) for prompt in PROMPTS]
    found = sorted(complete(session.adapted, None, ids, max_new_tokens=8, **options), key=lambda one: one.index)  # type: ignore[arg-type]
    assert [one.index for one in found] == list(range(len(PROMPTS)))
    return [one.text for one in found]


def test_answers_do_not_depend_on_the_size_of_the_batches(folder: Path) -> None:
    session = Session.open(str(folder))
    assert answers(session) == answers(session, batch_rows=1) == answers(session, token_budget=60)


def test_a_batch_that_memory_cannot_hold_is_halved_until_it_fits(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session, sizes = Session.open(str(folder)), list[int]()
    expected, original = answers(session), session.model.base.generate

    def generate(**inputs: object) -> object:
        sizes.append(len(inputs["input_ids"]))  # type: ignore[arg-type]
        if sizes[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
        return original(**inputs)

    monkeypatch.setattr(session.model.base, "generate", generate)
    assert answers(session) == expected
    assert sizes == [6, 3, 1, 1, 1, 1, 1, 1]

    def never(**inputs: object) -> object:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(session.model.base, "generate", never)
    with pytest.raises(torch.OutOfMemoryError):
        answers(session)


def test_sampling_is_repeatable_by_its_seed_and_greedy_is_not_sampled(folder: Path) -> None:
    session = Session.open(str(folder))
    one, again, other = (answers(session, sampling=Sampling(1.5, seed)) for seed in (0, 0, 1))
    assert one == again != other
    state = torch.get_rng_state()
    answers(session, sampling=Sampling(1.5, 0))
    assert torch.equal(state, torch.get_rng_state())  # nothing else is drawn differently afterwards


def test_the_head_reads_states_that_lie_one_after_the_other(folder: Path) -> None:
    session, seen = Session.open(str(folder)), list[bool]()
    session.model.base.get_output_embeddings().register_forward_pre_hook(lambda _, given: seen.append(given[0].is_contiguous()))
    answers(session)
    assert len(seen) > 1 and all(seen)  # a strided slice costs a copy of the head for each row
