"""Antidote against Wanda's scores formed row by row: git-disl/Antidote@26e2ade, `utils.py`, `prune_wanda_outlier`, applied as 1 − mask."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from reft_studio import fingerprint
from reft_studio.defenses.defense import ALIGNED
from reft_studio.models.batching import Example
from reft_studio.models.low_rank import Layers
from reft_studio.models.pruning import InputSizes, prune_largest
from reft_studio.models.spec import LoraSpec, OptimSpec
from reft_studio.progress import Silent
from reft_studio.training.context import STUDENT
from reft_studio.training.run import train
from reft_studio.training.run_folder import RunInfo
from reft_studio.workspace import Workspace
from tests.defenses.real import WAYS, Real
from tests.tiny_models import FAMILIES
from tests.tiny_runs import TinyRuns

OPTIM = OptimSpec(steps=7, batch_size=4, alignment_batch_size=4, learning_rate=5e-3)
RATIO = 0.3


@contextmanager
def finetuned(real: Real, *, fresh: bool = False, **optim: Any) -> Iterator[tuple[Any, Layers]]:
    """The method at the end of a training, and the layers it is given."""
    with real.training("antidote", {"ratio": RATIO}, adapter=STUDENT, fresh=fresh, **optim) as (method, run):
        yield method, run.layers


def squares(real: Real, rows: list[Example], *, on: tuple[str, ...]) -> dict[str, tuple[Tensor, Tensor]]:
    """Running means over rows, one at a time, of what goes into A and, through A, into B: hooks on the frozen layers below."""
    found: dict[str, tuple[Tensor, Tensor]] = {}
    parts = real.session.adapted.parts(STUDENT)

    def watch(name: str, part: Any) -> Any:
        def hook(_module: Any, inputs: Any, _output: Any) -> None:
            tokens = inputs[0].reshape(-1, inputs[0].shape[-1])
            inner = tokens @ part.lora_A[STUDENT].weight.T
            seen = [value.norm(dim=0) ** 2 for value in (tokens, inner)]
            before = found.get(name)
            count = counts[name] = counts.get(name, 0) + 1
            mean = seen if before is None else [one * (count - 1) / count + two / count for one, two in zip(before, seen, strict=True)]
            found[name] = (mean[0], mean[1])

        return part.base_layer.register_forward_hook(hook)

    counts: dict[str, int] = {}
    handles = [watch(name, part) for name, part in parts.items()]
    for part in parts.values():
        vars(part).pop("forward", None)  # PEFT's own passes go through the layer below
    with torch.no_grad(), real.session.adapted.active(STUDENT, on=on):
        for row in rows:
            real.session.model.base(input_ids=torch.tensor([row.ids]))
    for handle in handles:
        handle.remove()
    return found


def written_out(weight: Tensor, begun: Tensor, size: Tensor) -> Tensor:
    """The matrix with, in each row, all but the int(n·(1 − ρ)) smallest scores back at the start."""
    pruned = weight.clone()
    for row in range(len(weight)):
        score = (weight[row] - begun[row]).abs() * size.sqrt()
        for place in sorted(range(len(score)), key=lambda at: float(score[at]))[int(len(score) * (1 - RATIO)) :]:
            pruned[row, place] = begun[row, place]
    return pruned


@pytest.fixture
def real(tmp_path: Path) -> Real:
    return Real(tmp_path)


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_entries_of_largest_score_go_back_to_where_finetuning_began(tmp_path: Path, family: str, fresh: bool) -> None:
    real = Real(tmp_path, family)
    with finetuned(real, fresh=fresh) as (method, layers):
        before = {name: (layer.up.detach().clone(), layer.down.detach().clone()) for name, layer in layers.items()}
        begun = {name: layer.begun for name, layer in layers.items()}
        method.finish(layers)
        after = {name: (layer.up.detach().clone(), layer.down.detach().clone()) for name, layer in layers.items()}
    with torch.no_grad():  # as it was, for the independent reading
        for name, part in real.session.adapted.parts(STUDENT).items():
            part.lora_B[STUDENT].weight.copy_(before[name][0])
            part.lora_A[STUDENT].weight.copy_(before[name][1])
    seen = squares(real, list(real.data.kinds["harmful"]), on=(ALIGNED,) if fresh else ())
    assert seen and not (fresh and any(bool(value.any()) for pair in begun.values() for value in pair))
    for name, (into_down, into_up) in seen.items():
        assert torch.equal(after[name][1], written_out(before[name][1], begun[name][1], into_down)), name
        assert torch.equal(after[name][0], written_out(before[name][0], begun[name][0], into_up)), name
    untouched = before.keys() - seen.keys()
    assert all(torch.equal(after[name][0], before[name][0]) for name in untouched), "layers that nothing went through"


@pytest.mark.parametrize("way", ["unpacked", "row by row", "in pieces"])
def test_however_rows_are_read_the_same_entries_are_pruned(real: Real, way: str) -> None:
    ends = []
    for settings in ({}, WAYS[way]):
        with finetuned(real, **settings) as (method, layers):
            method.finish(layers)
            ends.append([value.detach().clone() for layer in layers.values() for value in (layer.up, layer.down)])
    assert all(torch.equal(one, two) for one, two in zip(*ends, strict=True))


def test_the_order_of_the_rows_dropout_and_a_pass_that_failed_change_no_score(tmp_path: Path) -> None:
    real = Real(tmp_path, lora=LoraSpec(rank=4, alpha=8, dropout=0.5))
    with real.training("antidote", {}, adapter=STUDENT) as (_, run):
        rows = list(run.examples("harmful"))
        found = []
        for order in (rows, rows[::-1]):
            sizes = InputSizes(run.layers)
            run.read(run.collate(order), around=sizes.around, dropout=False)
            found.append(sizes.of)
        hooks = real.hooks()
        with pytest.raises(RuntimeError, match="short"), sizes.around(None):  # type: ignore[arg-type]
            raise RuntimeError("short of memory")
        assert real.hooks() == hooks
    for name, pair in found[0].items():
        assert all(torch.allclose(one, two, rtol=1e-5) for one, two in zip(pair, found[1][name], strict=True))
    assert sizes.of is found[1]


@pytest.mark.parametrize(
    ("ratio", "entries", "pruned"), [(0.1, 16, 2), (0.1, 10, 1), (0.9, 10, 9), (0.7, 10, 7), (0.05, 40, 2), (1.0, 5, 5)]
)
def test_the_number_of_pruned_entries_of_each_row_is_exact(ratio: float, entries: int, pruned: int) -> None:
    weight = torch.randn(6, entries, generator=torch.Generator().manual_seed(1))
    prune_largest(weight, torch.zeros_like(weight), torch.ones(entries), ratio)
    assert (weight == 0).sum(dim=1).tolist() == [pruned] * 6 and pruned == entries - math.floor(entries * (1 - ratio) + 1e-9)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> TinyRuns:
    return TinyRuns(Workspace.open(tmp_path_factory.mktemp("antidote-runs")), tiny_model, steps=5, optim=OPTIM)


def adapter(run: RunInfo) -> str:
    return fingerprint.of_file(run.adapter / "adapter_model.safetensors")


@pytest.mark.parametrize("adapters", ["continue", "fresh"])
def test_pruning_nothing_is_plain_finetuning_and_pruning_all_leaves_the_aligned_weights(tiny: TinyRuns, adapters: str) -> None:
    plain = train(tiny.workspace, tiny.spec("aligned_sft", adapters=adapters), tiny.session, Silent())

    def pruned(ratio: float) -> RunInfo:
        spec = tiny.spec("antidote", adapters=adapters, method_config={"ratio": ratio})
        return train(tiny.workspace, spec, tiny.session, Silent())

    assert adapter(pruned(0.0)) == adapter(plain) != adapter(pruned(0.1))
    tiny.session.ensure("all", pruned(1.0).adapter)
    tiny.session.ensure("aligned weights", tiny.aligned.adapter)
    whole, aligned = (Layers(tiny.session.adapted, name) for name in ("all", "aligned weights"))
    assert all(torch.allclose(layer.own.dense(), aligned[name].own.dense(), atol=1e-7) for name, layer in whole.items())
    if adapters == "continue":
        one, two = (
            load_file(pruned(1.0).adapter / "adapter_model.safetensors"),
            load_file(tiny.aligned.adapter / "adapter_model.safetensors"),
        )
        assert all(torch.equal(value, two[key]) for key, value in one.items()), "to the bit"


def test_harmful_answers_are_read_once_sixteen_at_a_time_after_the_training(tiny: TinyRuns) -> None:
    few = train(tiny.workspace, tiny.spec("antidote", method_config={"rows": 20}), tiny.session, Silent()).costs()
    every = train(tiny.workspace, tiny.spec("antidote"), tiny.session, Silent()).costs()
    assert few is not None and few["passes"] == {"teacher": 2, "forward": 7, "backward": 7}
    assert every is not None and every["passes"]["teacher"] == math.ceil(50 / 16)
