"""Any Hugging Face causal language model folder is taken; what cannot work says so before anything is loaded."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from reft_studio.errors import PrerequisiteError
from reft_studio.models.batching import collate
from reft_studio.models.features import captured, last_prompt_features
from reft_studio.models.session import Session
from reft_studio.models.supervised import supervise
from tests.tiny_models import FAMILIES, make_model

ROW = {
    "messages": '[{"role":"user","content":"how do i bake bread"},{"role":"assistant","content":"Sure."}]',
    "prompt": "",
    "response": "Sure.",
}


@pytest.fixture(params=FAMILIES)
def session(request: pytest.FixtureRequest, tmp_path: Path) -> Session:
    return Session.open(str(make_model(tmp_path / request.param, request.param, chat=request.param != "gpt2")))


def test_our_logits_are_the_models_own(session: Session) -> None:
    batch = collate([session.encoder.example(ROW, 0)], pad_id=session.model.pad_id)
    own = session.model.base(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits[0].float()
    with session.adapted.active(None) as backbone:
        part = supervise(session.model, backbone, [batch])[0]
    trained = batch.labels[0, 1:] != -100
    assert torch.allclose(session.model.logits(part.hidden), own[:-1][trained], atol=1e-5)


def test_features_are_the_raw_output_of_the_block_at_the_last_prompt_token(session: Session) -> None:
    prompt = session.encoder.prompt_ids([{"role": "user", "content": "how do i bake bread"}])
    with session.adapted.active(None) as backbone:
        found = last_prompt_features(session.model, backbone, [prompt], layers=[2])[0, 0]
        hidden = session.model.base(input_ids=torch.tensor([prompt]), output_hidden_states=True).hidden_states
    assert torch.allclose(found, hidden[2][0, -1].float(), atol=1e-5)


def test_a_fresh_adapter_starts_exactly_at_the_base(session: Session) -> None:
    from reft_studio.models.spec import LoraSpec

    ids = torch.tensor([session.encoder.prompt_ids([{"role": "user", "content": "bake"}])])
    before = session.model.base(input_ids=ids).logits
    session.adapted.add("new", LoraSpec(), seed=1)
    with session.adapted.generating("new") as network:
        assert torch.equal(network(input_ids=ids).logits, before)


def test_reading_features_leaves_no_hook_behind(session: Session) -> None:
    with session.adapted.active(None) as backbone, captured(session.model, [1]):
        backbone(input_ids=torch.tensor([[3, 4]]))
    assert not any(block._forward_hooks for block in session.model.blocks)


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer"),
        (lambda folder: (folder / "config.json").unlink(), "config.json"),
        (lambda folder: (folder / "config.json").write_text("{"), "not valid JSON"),
        (lambda folder: (folder / "model.safetensors").unlink(), "safetensors"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"half"), "cannot be loaded"),
        (lambda folder: shutil.rmtree(folder), "no model folder"),
    ],
)
def test_a_broken_model_folder_is_named_with_what_is_missing(tmp_path: Path, break_it: object, words: str) -> None:
    folder = make_model(tmp_path / "model")
    break_it(folder)  # type: ignore[operator]
    with pytest.raises(PrerequisiteError, match=words):
        Session.open(str(folder))


def test_a_hub_id_is_refused_offline_without_asking_the_network() -> None:
    with pytest.raises(PrerequisiteError, match="offline"):
        Session.open("someone/some-model")
