"""A base with an adapter folded in, loaded by transformers alone, says what base and adapter say side by side."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from reft_studio.errors import PrerequisiteError, StoreError
from reft_studio.models.loading import load
from reft_studio.models.merged_folder import Folded, fold, write_folder
from reft_studio.models.merged_size import Format, check_disk, format_of, needed
from reft_studio.models.source import locate
from reft_studio.models.spec import LoadSpec
from reft_studio.progress import Silent
from tests.models.trained import asked, logits, trained, with_peft
from tests.tiny_models import FAMILIES, make_model

SHARD = 40_000
TIED = {"gemma2", "gemma3", "gemma3_text", "qwen2.5", "gpt2"}


class Heard(Silent):
    """Keeps what was told of the progress."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[int, int]] = []

    def progress(self, done: int, total: int, **metrics: float) -> None:
        self.told.append((done, total))


def merged(
    base: Path, adapter: Path, target: Path, *, dtype: Format = "auto", held: str = "float32", progress: Any = None
) -> tuple[Folded, int]:
    model, told = load(str(base), loading=LoadSpec.checked(dtype=held, device="cpu")), progress or Silent()
    target.mkdir()
    folded = fold(model, adapter, told, dtype=dtype)
    return folded, write_folder(model, folded, target, told, shard=SHARD)


def plain(folder: Path) -> Any:
    """The folder as anybody loads it; nothing may be missing in it or left over."""
    model, told = AutoModelForCausalLM.from_pretrained(folder, dtype="auto", output_loading_info=True)
    assert {name: len(found) for name, found in told.items()} == dict.fromkeys(told, 0)
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_plain_transformers_says_the_same_for_every_family(tmp_path: Path, family: str) -> None:
    session, base, adapter = trained(tmp_path, family)
    folded, size = merged(base, adapter, tmp_path / "merged")
    with_adapter, bare = logits(session, "student"), logits(session, None)
    assert (asked(plain(tmp_path / "merged")) - with_adapter).abs().max() < 1e-5
    assert (with_adapter - bare).abs().max() > 0.02, "an adapter that changes nothing would show nothing"
    assert folded.dtype == "float32" and folded.rounding < 1e-6
    assert size == sum(path.stat().st_size for path in (tmp_path / "merged").glob("model-*-of-*.safetensors"))
    assert len(list((tmp_path / "merged").glob("*.safetensors"))) > 1 and (tmp_path / "merged" / "model.safetensors.index.json").is_file()


@pytest.mark.parametrize("family", ["llama3", "qwen2.5", "gemma3", "gpt2"])
def test_in_bfloat16_it_differs_by_no_more_than_the_number_format_does(tmp_path: Path, family: str) -> None:
    session, base, adapter = trained(tmp_path, family, dtype="bfloat16")
    folded, size = merged(base, adapter, tmp_path / "merged", held="bfloat16")
    model = plain(tmp_path / "merged")
    with_adapter, bare = logits(session, "student"), logits(session, None)
    assert folded.dtype == "bfloat16" and model.dtype == torch.bfloat16 and 0 < folded.rounding < 0.02
    assert (asked(model) - with_adapter).abs().max() < 0.05 * (with_adapter - bare).abs().max()
    assert size < needed(locate(str(base)), "bfloat16") + 30_000


def test_float32_keeps_what_bfloat16_would_cut_off(tmp_path: Path) -> None:
    session, base, adapter = trained(tmp_path, dtype="bfloat16")
    coarse, _ = merged(base, adapter, tmp_path / "coarse", held="bfloat16")
    fine, _ = merged(base, adapter, tmp_path / "fine", dtype="float32", held="bfloat16")
    exact = trained_in_float32(base, adapter)
    assert fine.rounding < 1e-6 < coarse.rounding
    assert (asked(plain(tmp_path / "fine")) - exact).abs().max() < 1e-5 < (asked(plain(tmp_path / "coarse")) - exact).abs().max()
    assert session.model.base.dtype == torch.bfloat16


def trained_in_float32(base: Path, adapter: Path) -> torch.Tensor:
    """Base and adapter side by side, both held in float32."""
    return asked(with_peft(base, adapter))


@pytest.mark.parametrize("family", sorted(TIED))
def test_tied_embeddings_stay_one_tensor(tmp_path: Path, family: str) -> None:
    _, base, adapter = trained(tmp_path, family)
    merged(base, adapter, tmp_path / "merged")
    model = plain(tmp_path / "merged")
    assert model.get_input_embeddings().weight.data_ptr() == model.get_output_embeddings().weight.data_ptr()
    assert not [
        name for name in json.loads((tmp_path / "merged" / "model.safetensors.index.json").read_text())["weight_map"] if "lm_head" in name
    ]


@pytest.mark.parametrize("rslora", [False, True])
def test_the_weights_are_those_that_peft_merges(tmp_path: Path, rslora: bool) -> None:
    _, base, adapter = trained(tmp_path)
    config = adapter / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "use_rslora": rslora}))
    merged(base, adapter, tmp_path / "merged")
    reference = with_peft(base, adapter).merge_and_unload().state_dict()
    ours = plain(tmp_path / "merged").state_dict()
    assert ours.keys() == reference.keys()
    assert all(torch.allclose(value, reference[name], atol=1e-6) for name, value in ours.items())


def test_tokenizer_template_settings_and_licence_go_along_and_code_does_not(tmp_path: Path) -> None:
    _, base, adapter = trained(tmp_path)
    (base / "LICENSE.txt").write_text("Take it.")
    (base / "modeling_own.py").write_text("raise SystemExit")
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "use_cache": True, "auto_map": {"AutoModelForCausalLM": "modeling_own.Own"}}))
    (base / "generation_config.json").write_text(json.dumps({"temperature": 0.7, "do_sample": True, "eos_token_id": [1, 2]}))
    merged(base, adapter, tmp_path / "merged")
    found = json.loads((tmp_path / "merged" / "config.json").read_text())
    assert found["use_cache"] is True and "auto_map" not in found and not list((tmp_path / "merged").glob("*.py"))
    assert str(tmp_path) not in json.dumps(found)
    assert (tmp_path / "merged" / "generation_config.json").read_bytes() == (base / "generation_config.json").read_bytes()
    assert (tmp_path / "merged" / "LICENSE.txt").read_text() == "Take it."
    talk = [{"role": "user", "content": "how do i bake bread"}]
    ours, theirs = (AutoTokenizer.from_pretrained(folder) for folder in (tmp_path / "merged", base))
    options = {"tokenize": False, "add_generation_prompt": True}
    assert ours.apply_chat_template(talk, **options) == theirs.apply_chat_template(talk, **options) != ""
    assert ours("how do i bake bread")["input_ids"] == theirs("how do i bake bread")["input_ids"]


def test_an_adapter_of_another_model_or_a_damaged_one_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    _, base, adapter = trained(tmp_path)
    other = make_model(tmp_path / "other", "gpt2")
    with pytest.raises(StoreError, match="no linear layer"):
        merged(other, adapter, tmp_path / "foreign")
    shutil.copytree(adapter, tmp_path / "broken")
    weights = load_file(adapter / "adapter_model.safetensors")
    save_file({name: value * float("nan") for name, value in weights.items()}, tmp_path / "broken" / "adapter_model.safetensors")
    with pytest.raises(StoreError, match="not finite"):
        merged(base, tmp_path / "broken", tmp_path / "nan")
    assert not list((tmp_path / "foreign").iterdir()) and not list((tmp_path / "nan").iterdir())


def test_weights_beyond_the_number_format_are_refused(tmp_path: Path) -> None:
    _, base, adapter = trained(tmp_path)
    weights = load_file(base / "model.safetensors")
    weights["model.layers.0.mlp.up_proj.weight"][0, 0] = 1e30
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(PrerequisiteError, match=r"too large for torch.float16. Choose bfloat16 or float32."):
        merged(base, adapter, tmp_path / "merged", dtype="float16")


def test_progress_is_told_for_weights_and_for_files(tmp_path: Path) -> None:
    _, base, adapter = trained(tmp_path)
    heard = Heard()
    merged(base, adapter, tmp_path / "merged", progress=heard)
    with safe_open(base / "model.safetensors", "pt") as file:
        weights = len(list(file.keys()))
    files = len(list((tmp_path / "merged").glob("*.safetensors")))
    assert heard.told == [*((done, weights) for done in range(weights)), *((done, files) for done in range(files + 1))]


def test_what_it_takes_on_the_disk_is_known_from_headers_and_compared_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, base, adapter = trained(tmp_path)
    source = locate(str(base))
    _, size = merged(base, adapter, tmp_path / "merged")
    assert format_of(source, "auto") == "float32" and format_of(source, "bfloat16") == "bfloat16"
    assert 0 <= size - (needed(source, "float32") - _beside(tmp_path / "merged")) < 30_000, "but for the headers of the files"
    check_disk(source, "float32", tmp_path)
    monkeypatch.setattr("reft_studio.models.merged_size.free_at", lambda place: 1_000_000)
    with pytest.raises(PrerequisiteError, match=r"takes 0.2 MB in float32, but 1.0 MB are free on the disk of .*Nothing was written"):
        check_disk(source, "float32", tmp_path)


def _beside(folder: Path) -> int:
    return sum(
        path.stat().st_size
        for path in folder.iterdir()
        if path.name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json")
    )
