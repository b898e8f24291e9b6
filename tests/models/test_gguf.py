"""A GGUF file becomes a Hugging Face folder with the same answers, or is refused in one sentence before anything is loaded."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reft_studio.errors import PrerequisiteError
from reft_studio.models import gguf, memory
from reft_studio.models.gguf_header import read_gguf
from reft_studio.models.loading import load
from reft_studio.progress import Silent
from tests.tiny_gguf import TinyGguf, make_gguf

TEXT = "how do i bake bread at home"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> TinyGguf:
    return make_gguf(tmp_path_factory.mktemp("gguf") / "tiny-F32.gguf")


def converted(source: TinyGguf, target: Path, kind: str) -> Any:
    target.mkdir()
    gguf.convert(read_gguf(source.path), target, Silent(), kind=kind)
    return load(str(target))


def logits(model: Any, ids: list[int]) -> Any:
    import torch

    with torch.inference_mode():
        return model(input_ids=torch.tensor([ids])).logits.float()


@pytest.mark.parametrize(("quantisation", "tolerance"), [("F32", 1e-5), ("Q8_0", 0.05), ("Q4_1", 0.5)])
def test_what_was_read_answers_as_the_model_that_was_written(tmp_path: Path, quantisation: str, tolerance: float) -> None:
    source = make_gguf(tmp_path / "tiny.gguf", quantisation=quantisation)
    found = converted(source, tmp_path / "folder", "float32")
    ids = source.tokenizer(TEXT)["input_ids"]
    assert found.tokenizer(TEXT)["input_ids"] == ids
    before, after = logits(source.model, ids), logits(found.base, ids)
    assert float((before - after).abs().max()) <= tolerance * float(before.abs().max())


def test_chat_template_end_of_text_and_tied_weights_come_along(whole: TinyGguf, tmp_path: Path) -> None:
    found = converted(whole, tmp_path / "folder", "bfloat16")
    assert found.template.name == "chat" and found.tokenizer.eos_token == "</s>"
    assert found.base.get_output_embeddings().weight.data_ptr() == found.base.get_input_embeddings().weight.data_ptr()
    assert not hasattr(found.base.config, "quantization_config")


def test_the_header_tells_what_is_in_the_file(whole: TinyGguf) -> None:
    facts = read_gguf(whole.path)
    numbers = sum(value.numel() for name, value in whole.model.state_dict().items() if name != "lm_head.weight")
    assert (facts.architecture, facts.parameters, facts.types) == ("llama", numbers, ("F32",))
    assert (facts.title, facts.licence, facts.languages, facts.chat) == ("Tiny Llama", "apache-2.0", "en", True)
    assert gguf.format_of(facts) == "float32" and gguf.format_of(facts, "bfloat16") == "bfloat16"


@pytest.mark.parametrize("share", [0.5, 0.999, 0.02, 0.0001])
def test_a_file_that_was_cut_is_refused_wherever_it_ends(whole: TinyGguf, tmp_path: Path, share: float) -> None:
    path = tmp_path / "half.gguf"
    data = whole.path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(PrerequisiteError, match=r"half\.gguf is cut off or damaged: it (has|ends after) [\d,]+ bytes.*Copy or download"):
        read_gguf(path)


def test_another_file_is_no_gguf(tmp_path: Path) -> None:
    path = tmp_path / "notes.gguf"
    path.write_bytes(b"PK" + bytes(100))
    with pytest.raises(PrerequisiteError, match="is no GGUF file"):
        read_gguf(path)


def header(*, pairs: bytes, count: int, version: int = 3, tensors: int = 0) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, count) + pairs


@pytest.mark.parametrize(
    "data",
    [
        header(pairs=struct.pack("<Q", 1 << 60), count=1),
        header(pairs=struct.pack("<Q", 1) + b"a" + struct.pack("<IIQ", 9, 8, 1 << 50), count=1),
        header(pairs=struct.pack("<Q", 1) + b"a" + struct.pack("<IIQ", 9, 9, 1) * 4000, count=1),
        header(pairs=b"", count=0, tensors=1 << 62) + bytes(64),
        header(pairs=struct.pack("<Q", 1) + b"a" + struct.pack("<I", 77), count=1) + bytes(64),
        header(pairs=struct.pack("<Q", 17) + b"general.alignment" + struct.pack("<II", 4, 0), count=1) + bytes(64),
    ],
    ids=["long name", "long array", "nested arrays", "many tensors", "unknown type", "alignment of 0"],
)
def test_hostile_lengths_end_in_a_sentence(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "hostile.gguf"
    path.write_bytes(data + bytes(16))
    with pytest.raises(PrerequisiteError, match="hostile"):
        read_gguf(path)


def test_a_file_without_tokenizer_is_refused(tmp_path: Path) -> None:
    path = make_gguf(tmp_path / "weights.gguf", tokenizer=False).path
    with pytest.raises(PrerequisiteError, match="has no tokenizer in it"):
        read_gguf(path)


def test_a_quantisation_that_cannot_be_read_is_named(whole: TinyGguf, tmp_path: Path) -> None:
    path = tmp_path / "odd.gguf"
    data = whole.path.read_bytes()
    name = b"blk.0.ffn_up.weight"
    place = data.index(name) + len(name) + 4 + 16  # dimensions: their number, then two of them
    path.write_bytes(data[:place] + struct.pack("<I", 9) + data[place + 4 :])  # 9 is Q8_1, made for sums only
    with pytest.raises(PrerequisiteError, match=r"weights in Q8_1, which cannot be turned back.*Q4_K"):
        read_gguf(path)
    path.write_bytes(data[:place] + struct.pack("<I", 999) + data[place + 4 :])
    with pytest.raises(PrerequisiteError, match="weights in number 999"):
        read_gguf(path)


def test_an_architecture_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    facts = read_gguf(make_gguf(tmp_path / "rwkv.gguf", architecture="rwkv7").path)
    with pytest.raises(PrerequisiteError, match=r"architecture 'rwkv7', which cannot be read from GGUF here.*llama.*qwen3"):
        gguf.convert(facts, tmp_path, Silent(), kind="float32")


def test_a_missing_weight_is_refused_and_not_drawn_at_random(whole: TinyGguf, tmp_path: Path) -> None:
    path = tmp_path / "lacking.gguf"
    path.write_bytes(whole.path.read_bytes().replace(b"blk.1.ffn_up.weight", b"blk.1.ffn_xx.weight"))
    (tmp_path / "folder").mkdir()
    with pytest.raises(PrerequisiteError, match=r"1 weights that the model needs are not in lacking\.gguf, first .*up_proj"):
        gguf.convert(read_gguf(path), tmp_path / "folder", Silent(), kind="float32")


def disk_with(free: int) -> Callable[[Any], Any]:
    usage = shutil.disk_usage("/")
    return lambda _: type(usage)(usage.total, usage.used, free)


def test_too_little_disk_or_memory_is_told_before_it_begins(whole: TinyGguf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = read_gguf(whole.path)
    monkeypatch.setattr(memory, "room", lambda device="auto": memory.Room("cpu", 1e6, 1e9))
    with pytest.raises(PrerequisiteError, match=r"takes about 0\.4 GB of memory; 0\.0 GB are free"):
        gguf.check_room(facts, "bfloat16", tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", disk_with(1000))
    with pytest.raises(PrerequisiteError, match=r"0\.00 GB are free in .*REFT_STUDIO_MODELS"):
        gguf.check_room(facts, "bfloat16", tmp_path)


def test_a_disk_that_fills_up_while_it_writes_is_told(whole: TinyGguf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors import SafetensorError
    from transformers import PreTrainedModel

    def full(*_: Any, **__: Any) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(PreTrainedModel, "save_pretrained", full)
    with pytest.raises(PrerequisiteError, match=r"failed \(No space left on device; .* Free some space"):
        gguf.convert(read_gguf(whole.path), tmp_path, Silent(), kind="float32")


def test_it_can_be_stopped_between_two_tensors(whole: TinyGguf, tmp_path: Path) -> None:
    class Stopped(Silent):
        def progress(self, done: int, total: int, **metrics: float) -> None:
            if done == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gguf.convert(read_gguf(whole.path), tmp_path, Stopped(), kind="float32")
    assert list(tmp_path.iterdir()) == []
