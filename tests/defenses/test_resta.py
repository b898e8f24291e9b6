"""RESTA against plain sums of full matrices: xinykou/safety_realignment@5a80593, `resta_eval.py`; DARE as in its `tasks/dare.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from reft_studio import fingerprint
from reft_studio.models.low_rank import low_rank
from reft_studio.models.pruning import drop_and_rescale
from reft_studio.models.spec import LoraSpec, OptimSpec
from reft_studio.progress import Silent
from reft_studio.training.run import train
from reft_studio.training.run_folder import RunInfo
from reft_studio.training.stages import FOLDER
from reft_studio.workspace import Workspace, read_json
from tests.tiny_runs import TinyRuns

OPTIM = OptimSpec(steps=7, batch_size=4, alignment_batch_size=4, learning_rate=5e-3)


class Bench(TinyRuns):
    """Runs and, of what they stored, every layer's matrix."""

    def __init__(self, workspace: Workspace, model: Path) -> None:
        super().__init__(workspace, model, steps=5, optim=OPTIM)

    def run(self, method: str = "resta", **changes: Any) -> RunInfo:
        return train(self.workspace, self.spec(method, **changes), self.session, Silent())

    def matrices(self, adapter: Path) -> dict[str, Tensor]:
        self.session.ensure("asked", adapter)
        return {name: update.dense() for name, update in low_rank(self.session.adapted, "asked").items()}

    def unaligned(self, run: RunInfo) -> dict[str, Tensor]:
        """What the adapter of the stage adds to the aligned weights."""
        return self.matrices(self.workspace.folder(FOLDER, run.result["stages"][0]["id"]) / "adapter")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Bench:
    return Bench(Workspace.open(tmp_path_factory.mktemp("resta")), tiny_model)


def adapter(run: RunInfo) -> str:
    return fingerprint.of_file(run.adapter / "adapter_model.safetensors")


@pytest.mark.parametrize("adapters", ["continue", "fresh"])
def test_gamma_times_aligned_minus_unaligned_is_added_to_the_finetuned_weights(bench: Bench, adapters: str) -> None:
    plain, found = bench.run("aligned_sft", adapters=adapters), bench.run(adapters=adapters, method_config={"gamma": 0.3})
    finetuned, ended, taken = bench.matrices(plain.adapter), bench.matrices(found.adapter), bench.unaligned(found)
    aligned = bench.matrices(bench.aligned.adapter)
    assert [line["loss"] for line in found.log()] == [line["loss"] for line in plain.log()]
    for name, value in ended.items():
        safety = aligned[name] - (aligned[name] + taken[name])
        assert torch.allclose(value, finetuned[name] + 0.3 * safety, atol=1e-6), name
        assert float(safety.norm()) > 1e-3


def test_without_the_vector_it_is_plain_finetuning_and_no_stage_is_made(bench: Bench) -> None:
    for adapters in ("continue", "fresh"):
        zero = bench.run(adapters=adapters, method_config={"gamma": 0.0})
        assert adapter(zero) == adapter(bench.run("aligned_sft", adapters=adapters)) and "stages" not in zero.result


def test_the_stage_learns_harmful_answers_on_top_of_the_aligned_weights_and_is_shared(bench: Bench) -> None:
    one, two = bench.run(seed=5, method_config={"gamma": 0.2}), bench.run(seed=5, method_config={"gamma": 0.4})
    assert one.result["stages"][0]["id"] == two.result["stages"][0]["id"] and two.result["stages"][0]["shared"]
    folder = bench.workspace.folder(FOLDER, one.result["stages"][0]["id"])
    assert read_json(folder / "stage.json")["facts"]["on"] == [bench.aligned.id]
    assert read_json(folder / "cost.json")["passes"] == {"teacher": 0, "forward": 7, "backward": 7}
    longer = bench.run(method_config={"unaligned_steps": 30})
    lines = (bench.workspace.folder(FOLDER, longer.result["stages"][0]["id"]) / "log.jsonl").read_text().splitlines()
    assert len(lines) == 30 == longer.result["stages"][0]["steps"]
    costs = one.costs()
    assert costs is not None and costs["passes"] == {"teacher": 0, "forward": 7, "backward": 7}


def test_an_instruct_model_is_its_own_aligned_weights(bench: Bench) -> None:
    lora = LoraSpec(rank=4)
    plain = bench.run("sft", lora=lora)
    found = bench.run(start="base", aligned=None, lora=lora)
    assert read_json(bench.workspace.folder(FOLDER, found.result["stages"][0]["id"]) / "stage.json")["facts"]["on"] == []
    finetuned, ended, taken = bench.matrices(plain.adapter), bench.matrices(found.adapter), bench.unaligned(found)
    assert all(torch.allclose(value, finetuned[name] - 0.5 * taken[name], atol=1e-6) for name, value in ended.items())


def test_weights_that_are_made_for_the_run_are_unaligned_too(bench: Bench) -> None:
    sets = {"harmful": bench.data["harmful"].id, "helpful": bench.data["helpful"].id}
    stages = bench.run(aligned=None, **sets).result["stages"]
    assert [stage["name"] for stage in stages] == ["aligned", "unaligned"]


def test_dropped_entries_go_back_and_the_others_make_up_for_them() -> None:
    rng = torch.Generator().manual_seed(1)
    begun, changed = torch.randn(200, 50, generator=rng), torch.randn(200, 50, generator=rng)
    weight = begun + changed
    drop_and_rescale(weight, begun, 0.25, seed=3)
    dropped = weight == begun
    assert 0.23 < float(dropped.float().mean()) < 0.27
    assert torch.allclose(weight[~dropped], (begun + changed / 0.75)[~dropped], atol=1e-5)
    again = begun + changed
    drop_and_rescale(again, begun, 0.25, seed=3)
    assert torch.equal(again, weight)


@pytest.mark.parametrize("adapters", ["continue", "fresh"])
def test_entries_of_the_update_can_be_dropped_before(bench: Bench, adapters: str) -> None:
    whole = bench.run(adapters=adapters)
    dropped, again = (bench.run(adapters=adapters, method_config={"drop": 0.2}, loading={"dtype": dtype}) for dtype in ("auto", "float32"))
    one, two, other = (bench.matrices(run.adapter) for run in (dropped, again, whole))
    assert all(torch.equal(value, two[name]) for name, value in one.items()), "chance by the seed"
    assert all(not torch.allclose(value, other[name], atol=1e-6) for name, value in one.items())
