"""A model is what it seems: folders that hold more, less or other than their config.json says are read right, or refused in words."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file

from reft_studio.data.dataset import Row, write_dataset
from reft_studio.errors import PrerequisiteError, SpecError
from reft_studio.models.adding import add, resolve_request
from reft_studio.models.batching import Encoder
from reft_studio.models.loading import load
from reft_studio.models.prompts import CUT, READY, PromptEncoder
from reft_studio.models.session import Session
from reft_studio.models.source import locate, read_folder
from reft_studio.models.spec import LoraSpec
from reft_studio.progress import Silent
from reft_studio.scoring.refusal_similarity import score
from reft_studio.teacher.quick import quick_spec
from reft_studio.teacher.training import prepare_teacher
from reft_studio.workspace import Workspace
from tests.tiny_gguf import make_gguf
from tests.tiny_models import make_model

CHAT = [{"role": "user", "content": "how do i bake bread"}]


class Told(Silent):
    """A progress that keeps what a person is warned of."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def changed(folder: Path, name: str, **values: Any) -> Path:
    """Set values of a JSON file in a folder."""
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **values}))
    return folder


# --- an adapter beside a base ------------------------------------------------------------------------------------------------------


def test_an_adapter_that_lies_beside_a_whole_base_is_not_loaded_and_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFT_STUDIO_MODELS", str(tmp_path / "shelf"))
    folder = make_model(tmp_path / "model")
    alone = load(str(folder))
    session = Session(alone)
    session.add("student", LoraSpec(rank=2), seed=1)
    with torch.no_grad():
        for value in session.adapted.parameters("student"):
            value.add_(0.5)
    session.adapted.save("student", folder, base_name="someone/elses-base")
    found = load(str(folder))
    stored = load_file(folder / "model.safetensors")
    held = dict(found.base.named_parameters())
    assert found.fingerprint == load(str(make_model(tmp_path / "again"))).fingerprint
    assert set(held) <= set(stored) | {"lm_head.weight"} and all(torch.equal(value, stored[key]) for key, value in held.items())
    assert "holds an adapter" in found.remarks[0] and not alone.remarks
    told = Told()
    add(resolve_request(str(folder), "mine"), told)
    assert any("base alone is loaded" in warning for warning in told.warnings)


# --- tokens that the model has no embedding for ------------------------------------------------------------------------------------


def with_tokens(folder: Path, *tokens: str, **special: str) -> Path:
    """Add tokens to the tokenizer and none to the model, as a resize that was forgotten does."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([*tokens, *special.values()])
    for name, token in special.items():
        setattr(tokenizer, name, token)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_pad_token_beyond_the_embedding_is_replaced_and_texts_that_hold_it_are_scored(tmp_path: Path) -> None:
    model = load(str(with_tokens(make_model(tmp_path / "model"), "<|x|>", pad_token="[PAD]")))
    rows = model.base.get_input_embeddings().weight.shape[0]
    ids = model.tokenizer("how [PAD] do <|x|> i")["input_ids"]
    assert max(ids) < rows and model.tokenizer.decode(ids).replace(" ", "") == "how[PAD]do<|x|>i"
    assert model.pad_id == model.eos_id < rows and "2 added tokens" in model.remarks[0]
    lists, fates = PromptEncoder(Encoder(model)).encode(["how [PAD] do <|x|> i", "bread"])
    assert fates.tolist() == [READY, READY] and lists.ids.max() < rows


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (lambda folder: with_tokens(folder, eos_token="<|end|>"), "its token for end of text"),
        (
            lambda folder: changed(
                with_tokens(folder, "<|turn|>"), "tokenizer_config.json", chat_template="{{ '<|turn|>' + messages[0].content }}"
            ),
            "its template puts it into every prompt",
        ),
    ],
)
def test_a_token_that_is_needed_and_has_no_embedding_is_refused_by_its_name(
    tmp_path: Path, broken: Callable[[Path], Path], why: str
) -> None:
    folder = make_model(tmp_path / "model")
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    with pytest.raises(
        PrerequisiteError, match=rf"<\|(end|turn)\|> with the number \d+, but the model has embeddings for \d+, and .*{why}"
    ):
        load(str(broken(folder)))


def test_the_tokenizer_of_a_larger_model_is_refused(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "model")
    path = folder / "tokenizer.json"
    told = json.loads(path.read_text("utf-8"))
    told["model"]["vocab"] |= {f"word{number}": 400 + number for number in range(50)}
    path.write_text(json.dumps(told))
    with pytest.raises(PrerequisiteError, match="belongs to another model"):
        load(str(folder))


# --- few positions -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("positions", [64])
def test_prompts_longer_than_the_model_are_cut_and_counted(tmp_path: Path, workspace: Workspace, positions: int) -> None:
    folder = short(tmp_path, positions)
    session = Session.open(str(folder))
    teacher = prepare_teacher(workspace, quick_spec(workspace, model=str(folder)), session, Silent())
    assert teacher.record["truncated"] > 0, "the calibration prompts have up to some hundred letters"
    long = "how do i bake bread at home and " * 40
    rows: list[Row] = [{"prompt": text, "response": "x"} for text in ("how do i bake bread", long, "bread")]
    found = score(workspace, write_dataset(workspace, rows, name="rows", role="user"), teacher, session, Silent())
    assert found.missing == 0 and found.info["truncated"] == 1 and found.info["cut_at"] == session.encoder.longest_prompt == positions - 24
    assert found.cut([0, 1, 2]) == [False, True, False]
    _, fates = PromptEncoder(session.encoder).encode(["bread", long])
    assert fates.tolist() == [READY, CUT]


def test_a_model_with_hardly_any_positions_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="has positions for 32 tokens; at least 64 are needed"):
        Session.open(str(short(tmp_path, 32)))


def short(tmp_path: Path, positions: int) -> Path:
    """GPT-2, whose positions are a table: one more than it has is an error of the library."""
    import transformers as hf

    folder = make_model(tmp_path / "model", "gpt2")
    config = hf.AutoConfig.from_pretrained(folder)
    config.n_positions = positions
    hf.AutoModelForCausalLM.from_config(config).save_pretrained(folder, safe_serialization=True)
    return folder


# --- absurd sizes ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("num_hidden_layers", value) for value in (10**9, 4, 0, -1, "3", 1e300, None, True)),
        *(("hidden_size", value) for value in (10**12, 33, "32")),
        *(("vocab_size", value) for value in (10**12, 5)),
        ("intermediate_size", 10**9),
        ("num_attention_heads", 10**9),
        ("num_key_value_heads", 10**9),
        ("head_dim", 10**9),
        ("num_local_experts", 10**9),
        ("max_position_embeddings", 10**15),
        ("intermediate_size", 60_000),
        ("head_dim", 60_000),
    ],
)
def test_a_configuration_that_the_files_cannot_fill_is_refused_before_anything_is_built(tmp_path: Path, key: str, value: Any) -> None:
    folder = changed(make_model(tmp_path / "model"), "config.json", **{key: value})
    before, started = psutil.Process().memory_info().rss, time.process_time()
    with pytest.raises(PrerequisiteError, match=r"config\.json"):
        load(str(folder))
    assert psutil.Process().memory_info().rss - before < 50_000_000 and time.process_time() - started < 1


def test_a_table_that_the_configuration_asks_for_is_seen_before_it_takes_memory(tmp_path: Path) -> None:
    """GPT-Neo makes a mask of positions times positions in every layer."""
    import transformers as hf

    folder = make_model(tmp_path / "model")
    config = hf.GPTNeoConfig(
        vocab_size=len(json.loads((folder / "tokenizer.json").read_text("utf-8"))["model"]["vocab"]),
        hidden_size=32,
        num_layers=2,
        attention_types=[[["global"], 2]],
        num_heads=2,
        max_position_embeddings=128,
    )
    hf.AutoModelForCausalLM.from_config(config).save_pretrained(folder, safe_serialization=True)
    changed(folder, "config.json", max_position_embeddings=100_000)
    with pytest.raises(PrerequisiteError, match=r"its weight files hold"):
        load(str(folder))


# --- GGUF --------------------------------------------------------------------------------------------------------------------------


def test_a_gguf_file_beside_a_stub_of_a_configuration_is_read_as_gguf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFT_STUDIO_MODELS", str(tmp_path / "shelf"))
    folder = tmp_path / "from the hub"
    folder.mkdir()
    made = make_gguf(folder / "tiny.gguf")
    (folder / "config.json").write_text('{"model_type": "llama"}')
    request = resolve_request(str(folder), "stub")
    assert request.kind == "gguf" and add(request, Silent()).kind
    assert load("stub").layers == load(locate("stub").name).layers and made.path.is_file()
    with pytest.raises(PrerequisiteError, match="holds the model as GGUF"):
        read_folder(folder, "it")


def test_a_template_that_reads_the_clock_gives_the_same_scores_every_day(tmp_path: Path, workspace: Workspace) -> None:
    folder = make_model(tmp_path / "model")
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    prints = "{{ strftime_now('%d %b %Y %H:%M:%S') }} {% for m in messages %}{{ m.content }}{% endfor %} go"
    changed(folder, "tokenizer_config.json", chat_template=prints)
    session = Session.open(str(folder))
    teacher = prepare_teacher(workspace, quick_spec(workspace, model=str(folder)), session, Silent())
    assert teacher.record["clock"] == "2025-01-01T12:00:00"
    assert session.model.template.prompt(CHAT).startswith("01 Jan 2025 12:00:00")
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    changed(copy, "tokenizer_config.json", chat_template=prints.replace("strftime_now('%d %b %Y %H:%M:%S')", "'01 Jan 2025 12:00:00'"))
    assert Session.open(str(copy)).model.template.hash != teacher.template_hash, "the time is part of what names a template"
