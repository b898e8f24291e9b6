"""Memory is estimated from headers: exact for weights, measured for what training keeps; a refusal says what would fit."""

from __future__ import annotations

import json
import random
import re
import tracemalloc
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from reft_studio.errors import PrerequisiteError
from reft_studio.models import memory
from reft_studio.models.batching import Example
from reft_studio.models.memory import MemoryWork, Room, check, need, warning
from reft_studio.models.session import Session
from reft_studio.models.source import ModelSource, TensorFacts, locate
from reft_studio.models.spec import LoadSpec, LoraSpec, OptimSpec
from tests.tiny_models import make_model

WORK = MemoryWork(rows=20, length=512, rank=16)


def eight_billion() -> ModelSource:
    """Llama 3 8B by its published shapes, stored in bfloat16."""
    width, inner, vocabulary = 4096, 14336, 128256
    block = {"q": (width, width), "k": (1024, width), "v": (1024, width), "o": (width, width)}
    block |= {"gate": (inner, width), "up": (inner, width), "down": (width, inner), "norm": (width,)}
    shapes = {f"{layer}.{name}": shape for layer in range(32) for name, shape in block.items()}
    shapes |= {"embed": (vocabulary, width), "head": (vocabulary, width)}
    config = {"hidden_size": width, "intermediate_size": inner, "num_hidden_layers": 32, "vocab_size": vocabulary}
    return ModelSource(
        "org/8b", None, "c0ffee", config, {name: TensorFacts("BF16", shape) for name, shape in shapes.items()}, 16_060_000_000
    )


def smollm2() -> ModelSource:
    """SmolLM2-135M by its published shapes."""
    width, inner, vocabulary = 576, 1536, 49152
    block = {"q": (width, width), "k": (192, width), "v": (192, width), "o": (width, width)}
    block |= {"gate": (inner, width), "up": (inner, width), "down": (width, inner), "norm": (width,)}
    shapes = {f"{layer}.{name}": shape for layer in range(30) for name, shape in block.items()} | {"embed": (vocabulary, width)}
    config = {"hidden_size": width, "intermediate_size": inner, "num_hidden_layers": 30, "vocab_size": vocabulary}
    return ModelSource("smollm2", None, "c0ffee", config, {name: TensorFacts("BF16", shape) for name, shape in shapes.items()}, 269_000_000)


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_weights_are_counted_to_the_byte(tmp_path: Path, kind: str) -> None:
    folder = make_model(tmp_path / "model", "qwen2.5")
    loading = LoadSpec.checked(dtype=kind, device="cpu")
    held = Session.open(str(folder), loading=loading).model.base
    assert need(locate(str(folder)), loading, cuda=False).weights == sum(
        value.numel() * value.element_size() for value in held.parameters()
    )


def test_an_eight_billion_model_takes_what_is_known_of_it() -> None:
    sizes = {kind: need(eight_billion(), LoadSpec.checked(dtype=kind), cuda=True).weights / 1e9 for kind in ("auto", "float32")}
    assert sizes["auto"] == pytest.approx(16.06, abs=0.01) and sizes["float32"] == pytest.approx(32.12, abs=0.01)
    four_bit = need(eight_billion(), LoadSpec(quantization="nf4"), cuda=True).weights / 1e9
    assert four_bit == pytest.approx(5.70, abs=0.05)  # 6.98 B numbers in 4 bits, 1.05 B of embeddings and head in bfloat16


@pytest.mark.parametrize("family", ["llama2", "qwen3", "phi3", "gemma2"])
@pytest.mark.parametrize(("kind", "checkpointing"), [("float32", False), ("bfloat16", False), ("bfloat16", True)])
def test_what_training_keeps_is_near_what_is_measured(tmp_path: Path, kind: str, checkpointing: bool, family: str) -> None:
    folder = make_model(tmp_path / "model", family)
    session = Session.open(str(folder), loading=LoadSpec.checked(dtype=kind, device="cpu"))
    session.add("student", LoraSpec(rank=1), seed=0)
    frozen = {value.untyped_storage().data_ptr() for value in session.model.base.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def pack(value: torch.Tensor) -> torch.Tensor:
        if value.untyped_storage().data_ptr() not in frozen:
            kept[value.untyped_storage().data_ptr()] = value
        return value

    ids = torch.ones(4, 64, dtype=torch.long)
    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value)
    with session.adapted.active("student", train=True, checkpointing=checkpointing) as backbone, hooks:
        backbone(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
    measured = sum(value.untyped_storage().nbytes() for value in kept.values())
    found = locate(str(folder))
    work = MemoryWork(rows=4, length=64, rank=1, checkpointing=checkpointing)
    estimated = memory._activations(found.config, session.model.loading, {"float32": 4, "bfloat16": 2}[kind], tokens=256, work=work)
    estimated -= 256 * 331 * 12  # the logits, which come after what is measured here
    if checkpointing:  # one block at a time is computed again, beside what is kept
        once = memory._activations(found.config, session.model.loading, 2, tokens=256, work=MemoryWork(rows=4, length=64))
        estimated -= once
    assert 0.55 < estimated / measured < 1.6


def test_work_is_one_pass_of_a_run() -> None:
    optim = OptimSpec(batch_size=8, alignment_batch_size=4, max_length=256)
    assert MemoryWork.training(optim, LoraSpec(rank=2)) == MemoryWork(8, 256, 2)
    assert MemoryWork.training(optim, LoraSpec(rank=2), alignment=True).rows == 12
    small = optim.model_copy(update={"micro_batch_size": 2, "gradient_checkpointing": True})
    assert MemoryWork.training(small, LoraSpec(rank=2), alignment=True) == MemoryWork(2, 256, 2, checkpointing=True)


def test_the_range_is_narrow_where_the_lengths_of_the_rows_are_known() -> None:
    work = MemoryWork(rows=16, length=512, rank=16).on([70] * 9 + [350])
    assert (work.length, work.usual) == (48 + 100, 48 + 28)
    assert MemoryWork(length=100).on([10_000]).length == MemoryWork(length=100).on([10_000]).usual == 100
    known, blind = (need(smollm2(), LoadSpec(dtype="bfloat16"), cuda=False, work=one) for one in (work, MemoryWork(rows=16, rank=16)))
    assert 1.9e9 < known.usual < 2.5e9 and 2.8e9 < known.most < 3.4e9, "measured: 2.1 GB after three steps, 3.1 after 35"
    assert known.least == blind.least and known.most < 0.5 * blind.most
    space = Room("cpu", 20e9, 24e9)
    told = memory.summary(smollm2(), LoadSpec(dtype="bfloat16"), space, work=work)
    assert re.fullmatch(r"about 2\.\d GB to [23]\.\d GB of 24\.0 GB on cpu, by the lengths of the rows", told)


def test_rows_that_wait_for_their_turn_take_as_much_as_is_measured() -> None:
    draw = random.Random(0)
    texts = [json.dumps([draw.randrange(300, 49_000) for _ in range(100)]) for _ in range(500)]
    tracemalloc.start()
    rows = [Example(json.loads(text), 50, index) for index, text in enumerate(texts)]
    measured = tracemalloc.get_traced_memory()[0] / sum(len(row.ids) for row in rows)
    tracemalloc.stop()
    assert measured == pytest.approx(memory.PER_TOKEN, rel=0.2)


def test_all_rows_are_in_the_machines_own_memory_whatever_trains() -> None:
    work = MemoryWork(rows=16, length=512, rank=16).on([350], rows=1_000_000)
    assert work.total_tokens == 148_000_000
    on_cpu = [need(smollm2(), LoadSpec(dtype="bfloat16"), cuda=False, work=one) for one in (work, replace(work, total_tokens=0))]
    assert on_cpu[0].most - on_cpu[1].most == pytest.approx(memory.PER_TOKEN * 148e6) and on_cpu[0].least == on_cpu[1].least
    on_gpu = [need(smollm2(), LoadSpec(dtype="bfloat16"), cuda=True, work=one) for one in (work, replace(work, total_tokens=0))]
    assert on_gpu[0] == on_gpu[1] and memory.host_memory(smollm2(), work=work).rows == memory.PER_TOKEN * 148e6


def test_beside_a_gpu_four_weights_are_in_hand_at_once_or_a_checkpoint_is_written() -> None:
    table, adapter = 128256 * 4096, 32 * (2 * 8192 + 2 * (4096 + 1024) + 3 * (4096 + 14336))
    assert memory.host_memory(eight_billion(), work=MemoryWork()).passing == pytest.approx(4 * table * 2, rel=1e-3)
    assert memory.host_memory(eight_billion(), work=MemoryWork(rank=256)).passing == 6 * 4 * 256 * adapter


def test_a_model_that_cannot_fit_is_refused_with_what_would() -> None:
    with pytest.raises(PrerequisiteError) as told:
        check(eight_billion(), LoadSpec(), Room("cuda:0", 7.2e9, 8.0e9))
    words = str(told.value)
    assert "needs about 16.1 GB in bfloat16, but 7.2 GB of 8.0 GB are free on cuda:0" in words
    assert "quantization nf4 (about 5.7 GB)" in words
    with pytest.raises(PrerequisiteError, match=r"Nothing fits it here: .* a model of at most about 0\.\d billion parameters"):
        check(eight_billion(), LoadSpec(), Room("cpu", 1.0e9, 8.0e9))


def test_a_batch_that_may_not_fit_is_a_warning_and_no_refusal() -> None:
    check(eight_billion(), LoadSpec(), Room("cuda:0", 24e9, 25e9), work=WORK)
    told = warning(eight_billion(), LoadSpec(), Room("cuda:0", 24e9, 25e9), work=WORK)
    assert "Batches of 20 rows need up to" in told and "checkpointing" in told
    assert warning(eight_billion(), LoadSpec(), Room("cuda:0", 140e9, 141e9), work=WORK) == ""


def test_what_the_driver_says_of_each_gpu_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.shutil, "which", lambda _: "nvidia-smi")
    monkeypatch.setattr(memory.importlib.metadata, "version", lambda _: "2.13.0")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(memory.subprocess, "run", lambda *_, **__: SimpleNamespace(stdout="GPU-ab, 1024, 2048\nGPU-cd, 512, 2048\n"))
    assert memory.gpus()[1] == Room("cuda:1", 512 * 2**20, 2048 * 2**20) and memory.room("cuda:1") == memory.gpus()[1]
    assert memory.room("cuda:5") is None
    for shown, free in (("1", [512]), ("1,0", [512, 1024]), ("GPU-c", [512]), ("", []), ("-1", []), ("0,7,1", [1024])):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
        assert [card.free / 2**20 for card in memory.gpus()] == free, shown
        assert [card.device for card in memory.gpus()] == [f"cuda:{number}" for number in range(len(free))]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(memory.subprocess, "run", lambda *_, **__: SimpleNamespace(stdout="GPU-ab, [N/A], [N/A]\n"))
    assert memory.gpus() == [] and (memory.room() or Room("", 0, 0)).device == "cpu"


def test_the_lab_fits_almost_anywhere() -> None:
    assert need(locate("lab"), LoadSpec(), cuda=False, work=WORK).least < 100e6
