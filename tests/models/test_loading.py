"""Any Hugging Face causal language model is taken, its parts found by what they do; what cannot work says so before it is loaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from reft_studio.errors import PrerequisiteError, SpecError
from reft_studio.models import loading
from reft_studio.models.architecture import Anatomy, check_logits, examine
from reft_studio.models.batching import collate
from reft_studio.models.features import captured, last_prompt_features
from reft_studio.models.memory import MemoryWork, Room
from reft_studio.models.session import Session
from reft_studio.models.spec import LoadSpec, LoraSpec
from reft_studio.models.supervised import supervise
from tests.tiny_models import FAMILIES, make_model

ROW = {
    "messages": '[{"role":"user","content":"how do i bake bread"},{"role":"assistant","content":"Sure."}]',
    "prompt": "",
    "response": "Sure.",
}


@pytest.fixture(scope="module", params=FAMILIES)
def session(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Session:
    folder = tmp_path_factory.mktemp("family") / request.param
    return Session.open(str(make_model(folder, request.param, chat=request.param != "gpt2")))


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


def test_the_final_norm_makes_the_last_hidden_state_of_the_last_block(session: Session) -> None:
    ids = torch.tensor([[5, 9, 4, 3]])
    with session.adapted.active(None) as backbone, captured(session.model, [session.model.layers]) as found:
        last = backbone(input_ids=ids).last_hidden_state
    assert torch.allclose(session.model.final_norm(found[session.model.layers]), last, atol=1e-6)
    assert not torch.allclose(found[session.model.layers], last, atol=1e-2)


def test_a_fresh_adapter_starts_exactly_at_the_base_and_can_be_trained(session: Session) -> None:
    ids = torch.tensor([session.encoder.prompt_ids([{"role": "user", "content": "bake"}])])
    before = session.model.base(input_ids=ids).logits
    session.add("new", LoraSpec(), seed=1)
    with session.adapted.generating("new") as network:
        assert torch.equal(network(input_ids=ids).logits, before)
    with session.adapted.active("new", train=True) as backbone:
        backbone(input_ids=ids).last_hidden_state.square().mean().backward()
        gradients = [value.grad for value in session.adapted.parameters("new")]
    assert len(gradients) >= 8 * session.model.layers - 2 and all(value is not None for value in gradients[1::2])
    assert all(value.grad is None for value in session.model.base.get_input_embeddings().parameters())


def test_reading_features_leaves_no_hook_behind(session: Session) -> None:
    modules = [*session.model.blocks, session.model.final_norm, session.model.base.get_output_embeddings()]

    def hooks() -> int:  # transformers keeps some of its own, once it was asked for hidden states
        return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in modules)

    before = hooks()
    with session.adapted.active(None) as backbone, captured(session.model, [1]):
        assert hooks() == before + 1
        backbone(input_ids=torch.tensor([[3, 4]]))
    assert hooks() == before


def test_merged_weights_answer_as_the_adapter_does(session: Session) -> None:
    """T12: the change that merging makes to an answer is rounding, 1e-5."""
    from peft import PeftModel

    ids = torch.tensor([[5, 9, 4, 3]])
    session.add("merged", LoraSpec(rank=4, alpha=8), seed=2)
    with torch.no_grad():
        for value in session.adapted.parameters("merged"):
            value.add_(0.02 * torch.randn(value.shape, generator=torch.Generator().manual_seed(3)))
    with session.adapted.generating("merged") as network, torch.no_grad():
        apart = network(input_ids=ids).logits
        peft: PeftModel = session.adapted._peft
        peft.merge_adapter(["merged"])
        together = network(input_ids=ids).logits
        peft.unmerge_adapter()
    with session.adapted.generating(None) as network:
        bare = network(input_ids=ids).logits
    assert torch.allclose(together, apart, atol=1e-5) and not torch.allclose(apart, bare, atol=1e-4)


def test_a_model_that_also_sees_is_used_as_its_text_model(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    folder = make_model(tmp_path / "model", "gemma3")
    wrapper = AutoModelForCausalLM.from_pretrained(folder)
    model = loading.load(str(folder))
    ids = torch.tensor([[5, 9, 4]])
    assert type(wrapper).__name__ == "Gemma3ForConditionalGeneration" and type(model.base).__name__ == "Gemma3ForCausalLM"
    assert torch.allclose(model.base(input_ids=ids).logits, wrapper(input_ids=ids).logits, atol=1e-6)
    assert not any("vision" in name for name, _ in model.base.named_modules())


# --- how it is held in memory ------------------------------------------------------------------------------------------------------


def test_the_record_says_what_was_really_used(tmp_path: Path) -> None:
    folder = str(make_model(tmp_path / "model"))
    found = loading.load(folder).loading
    assert found == LoadSpec(dtype="float32", attention="sdpa", device=str(loading._device("auto")))
    eager = loading.load(folder, loading=LoadSpec(dtype="bfloat16", attention="eager", device="cpu"))
    assert eager.loading.attention == eager.base.config._attn_implementation == "eager" and eager.base.dtype == torch.bfloat16


def test_float16_stays_float16_for_scoring_and_is_refused_for_training(tmp_path: Path) -> None:
    folder = str(make_model(tmp_path / "model"))
    half = LoadSpec(dtype="float16", device="cpu")
    assert loading.load(folder, loading=half).base.dtype == torch.float16
    with pytest.raises(SpecError, match=r"float16, but small gradients vanish.*bfloat16"):
        loading.load(folder, loading=half, work=MemoryWork(rank=8))


def test_one_model_in_two_number_formats_has_two_fingerprints(tmp_path: Path) -> None:
    folder = str(make_model(tmp_path / "model"))
    formats = [loading.load(folder, loading=LoadSpec(dtype=kind, device="cpu")).fingerprint for kind in ("float32", "bfloat16")]
    assert len(set(formats)) == 2


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (LoadSpec(quantization="nf4", device="cpu"), "need an NVIDIA GPU"),
        (LoadSpec(attention="flash_attention_2", device="cpu"), "flash_attention_2 needs an NVIDIA GPU"),
        (LoadSpec(device="cuda:9"), r"device is cuda:9, but PyTorch sees only"),
    ],
)
def test_what_this_machine_has_not_got_is_said_with_what_to_choose(tmp_path: Path, wanted: LoadSpec, words: str) -> None:
    with pytest.raises(PrerequisiteError, match=words):
        loading.load(str(make_model(tmp_path / "model")), loading=wanted)


def test_packages_that_are_missing_are_named_with_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "find_spec", lambda _: None)
    with pytest.raises(PrerequisiteError, match="pip install 'bitsandbytes"):
        loading._check_four_bit(cuda=True)
    with pytest.raises(PrerequisiteError, match="pip install flash-attn"):
        loading._check_flash(LoadSpec(attention="flash_attention_2"), cuda=True)
    with pytest.raises(PrerequisiteError, match="bfloat16 or float16"):
        loading._check_flash(LoadSpec(attention="flash_attention_2", dtype="float32"), cuda=True)


def test_a_revision_of_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"revision is 'v2', but .* is a folder"):
        loading.load(str(make_model(tmp_path / "model")), loading=LoadSpec(revision="v2"))


def test_too_little_memory_is_told_before_any_weight_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = str(make_model(tmp_path / "model"))
    monkeypatch.setattr(loading, "free_memory", lambda device: Room(device, 10_000.0, 20_000.0))
    monkeypatch.setattr(loading, "_weights", lambda *_: pytest.fail("weights were read"))
    with pytest.raises(PrerequisiteError, match=r"needs about .* in float32, but .* are free on"):
        loading.load(folder)


# --- what is wrong with a folder ---------------------------------------------------------------------------------------------------


def rewrite_config(folder: Path, **changes: Any) -> None:
    facts = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**facts, **changes}))


def drop_a_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights.pop("model.layers.1.mlp.up_proj.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def spoil_a_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][0, 0] = torch.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer"),
        (lambda folder: [path.unlink() for path in folder.glob("tokenizer*")], "has no tokenizer: none of"),
        (lambda folder: (folder / "config.json").unlink(), "config.json"),
        (lambda folder: (folder / "config.json").rename(folder / "adapter_config.json"), "an adapter: give the model it was made for"),
        (lambda folder: (folder / "config.json").write_text("{"), "not valid JSON"),
        (lambda folder: (folder / "model.safetensors").unlink(), "safetensors"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"half"), "cut off"),
        (lambda folder: shutil.rmtree(folder), "no model folder"),
        (lambda folder: rewrite_config(folder, model_type="mine", auto_map={"AutoModelForCausalLM": "mine.Mine"}), "code of its own"),
        (lambda folder: rewrite_config(folder, quantization_config={"quant_method": "gptq", "bits": 4}), "quantised already .gptq."),
        (lambda folder: rewrite_config(folder, model_type="t5"), "type 't5', which is no causal language model"),
        (lambda folder: rewrite_config(folder, hidden_size=40, head_dim=8), "hidden_size = 40, but no tensor .* has that size"),
        (lambda folder: rewrite_config(folder, intermediate_size=32), "weights that the model .* or have another shape"),
        (drop_a_weight, r"1 weights that the model .* first model.layers.1.mlp.up_proj.weight"),
        (spoil_a_weight, "numbers that are not finite"),
        (lambda folder: rewrite_config(folder, hidden_size="wide"), "config.json of .* says hidden_size = wide, but no tensor"),
        (lambda folder: rewrite_config(folder, vocab_size="many"), "config.json of .* says vocab_size = many, but no tensor"),
        (lambda folder: rewrite_config(folder, num_attention_heads=3), "config.json of .* does not describe a model"),
        (lambda folder: rewrite_config(folder, hidden_act="wave"), "cannot be loaded .KeyError: 'wave'"),
        (lambda folder: rewrite_config(folder, text_config=[1]), "cannot be loaded"),
        (lambda folder: (folder / "tokenizer.json").write_text("[]"), "no tokenizer that can be read"),
    ],
)
def test_a_broken_model_folder_is_named_with_what_is_missing(tmp_path: Path, break_it: Any, words: str) -> None:
    folder = make_model(tmp_path / "model")
    break_it(folder)
    with pytest.raises(PrerequisiteError, match=words):
        Session.open(str(folder))


def without(folder: Path, *names: str) -> Path:
    """The folder with a tokenizer that names no such tokens."""
    facts = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({name: value for name, value in facts.items() if name not in names}))
    return folder


def test_a_tokenizer_without_a_padding_token_pads_with_the_end_token_and_changes_no_feature(tmp_path: Path) -> None:
    plain = Session.open(str(make_model(tmp_path / "plain")))
    padless = Session.open(str(without(make_model(tmp_path / "other"), "pad_token")))
    assert plain.model.pad_id != padless.model.pad_id == padless.model.eos_id
    prompts = [[5, 6, 7, 8, 9], [7, 8]]  # the second is padded
    found = []
    for session in (plain, padless):
        with session.adapted.active(None) as backbone:
            found.append(last_prompt_features(session.model, backbone, prompts, layers=[2]))
    assert torch.allclose(*found, atol=1e-6)


def test_a_tokenizer_without_an_end_token_is_refused(tmp_path: Path) -> None:
    folder = without(make_model(tmp_path / "model"), "eos_token")
    with pytest.raises(PrerequisiteError, match="names no eos_token"):
        loading.load(str(folder))


def test_a_models_own_code_is_never_run_even_if_transformers_knows_its_type(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "model")
    (folder / "mine.py").write_text("raise SystemExit('code of a model was run')")
    rewrite_config(folder, auto_map={"AutoModelForCausalLM": "mine.Mine", "AutoConfig": "mine.Config"})
    assert type(loading.load(str(folder)).base).__module__.startswith("transformers.")


def test_a_head_that_this_app_does_not_know_is_refused(session: Session) -> None:
    hidden, logits = torch.ones(1, 2, 4), torch.ones(1, 2, 8)
    known = Anatomy(session.model.blocks, session.model.final_norm, hidden, logits)
    check_logits(known, lambda _: logits, name="m")
    with pytest.raises(PrerequisiteError, match="between its last hidden state and its logits"):
        check_logits(known, lambda _: 2 * logits, name="m")


def test_a_model_whose_blocks_cannot_be_told_is_refused(tmp_path: Path) -> None:
    base = loading.load(str(make_model(tmp_path / "model"))).base
    base.config.num_hidden_layers = 7
    with pytest.raises(PrerequisiteError, match="no list of 7 equal decoder blocks"):
        examine(base)


def test_a_model_whose_tokens_see_later_ones_is_refused(tmp_path: Path) -> None:
    from transformers import BertConfig, BertLMHeadModel

    folder = make_model(tmp_path / "model")
    shape: Any = {"vocab_size": 400, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    BertLMHeadModel(BertConfig(**shape, max_position_embeddings=64)).save_pretrained(folder)
    with pytest.raises(PrerequisiteError, match="Choose a decoder-only model"):
        loading.load(str(folder))
