"""A teacher that is another model: its logits, its tokens, that it is read once, let go, and never confused with one on the base."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from reft_studio import fingerprint
from reft_studio.data.dataset import Dataset
from reft_studio.errors import SpecError, StoreError
from reft_studio.models.batching import collate
from reft_studio.models.loading import load_tokenizer
from reft_studio.models.session import Session
from reft_studio.models.spec import OptimSpec
from reft_studio.models.supervised import supervise
from reft_studio.progress import Silent
from reft_studio.scoring.scores import list_score_sets
from reft_studio.teacher.spec import TeacherSpec
from reft_studio.teacher.teacher import TeacherInfo
from reft_studio.teacher.training import prepare_teacher
from reft_studio.training import foreign, inputs
from reft_studio.training.context import AlignmentData
from reft_studio.training.cost import Costs
from reft_studio.training.run import train
from reft_studio.training.run_folder import RunInfo
from reft_studio.training.spec import RunSpec
from reft_studio.training.teacher_states import CacheLocation as States
from reft_studio.workspace import Workspace
from tests.tiny_models import make_model
from tests.tiny_runs import TinyRuns
from tests.training.test_checkpoint import Interrupting, Killed

OPTIM = OptimSpec(steps=4, batch_size=4, alignment_batch_size=4, learning_rate=5e-3)


def another_model(folder: Path, *, hidden: int = 24, rows: int | None = None, family: str = "llama") -> Path:
    """A model with the tokenizer of `make_model`, of another width; `rows` of its embeddings, if more than tokens."""
    import transformers as hf

    from tests.tiny_models import make_config

    make_model(folder, family)
    tokenizer = hf.AutoTokenizer.from_pretrained(str(folder))
    shape: dict[str, Any] = {"vocab_size": rows or len(tokenizer), "hidden_size": hidden, "num_hidden_layers": 2, "num_attention_heads": 4}
    shape |= {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    torch.manual_seed(7)
    model = hf.AutoModelForCausalLM.from_config(make_config(family, {**shape, "max_position_embeddings": 512}))
    model.save_pretrained(folder, safe_serialization=True)
    return folder


def ready(workspace: Workspace, model: Path, data: dict[str, Dataset]) -> TeacherInfo:
    """A ready teacher on a model, as the verb `teacher` makes one."""
    sets = {name: data[name].id for name in ("harmful", "helpful", "calibration_harmful", "calibration_harmless")}
    return prepare_teacher(workspace, TeacherSpec(model=str(model), kind="ready", layer=1, **sets), Session.open(str(model)), Silent())


class Bench(TinyRuns):
    """Runs on the tiny base, guided by a narrower model."""

    def __init__(self, root: Path, model: Path) -> None:
        super().__init__(Workspace.open(root / "start"), model, steps=6, optim=OPTIM)
        self.root, self.made = root, 0
        self.other = ready(self.workspace, another_model(root / "other"), self.data)

    def guided(self, teacher: TeacherInfo, **changes: Any) -> RunSpec:
        return self.spec("distill_only", teacher=teacher.id, **changes)

    def workspace_of_its_own(self) -> Workspace:
        self.made += 1
        return Workspace.open(Path(shutil.copytree(self.workspace.root, self.root / str(self.made))))

    def data_for(self, teacher: TeacherInfo, workspace: Workspace, costs: Costs | None = None) -> AlignmentData:
        spec = self.guided(teacher)
        found = inputs.alignment_data(workspace, spec, self.session, {}, progress=Silent(), costs=costs or Costs())
        assert found is not None
        return found


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Bench:
    return Bench(tmp_path_factory.mktemp("foreign"), tiny_model)


def adapter(run: RunInfo) -> str:
    return fingerprint.of_file(run.adapter / "adapter_model.safetensors")


@pytest.mark.parametrize("rows", [None, 400], ids=["as many rows", "more rows than tokens"])
@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_the_gradient_is_that_of_the_kl_of_whole_logits(bench: Bench, tmp_path: Path, family: str, rows: int | None) -> None:
    workspace = bench.workspace_of_its_own()
    other = ready(workspace, another_model(tmp_path / "m", rows=rows, family=family), bench.data)
    data = bench.data_for(other, workspace)
    asked = collate([data.examples[place] for place in (0, 3, 60)], pad_id=0)
    teacher, model = Session.open(other.model).model, bench.session.model
    with bench.session.adapted.active(None) as backbone:
        part = supervise(model, backbone, [asked])[0]
    hidden = part.hidden.detach().clone().requires_grad_()
    part = replace(part, hidden=hidden)
    loss = part.distillation(data.states(asked), head=data.head, temperature=2.0)
    (gradient,) = torch.autograd.grad(loss, hidden)
    wanted = []
    for row in asked.examples:
        with torch.no_grad():
            wanted.append(teacher.base(input_ids=torch.tensor([row.ids])).logits[0, row.prompt - 1 : -1].float())
    shared = min(wanted[0].shape[1], len(model.base.get_output_embeddings().weight))
    own = model.logits(hidden)[:, :shared]
    target = functional.log_softmax(torch.cat(wanted)[:, :shared] / 2, dim=-1)
    plain = 4 * functional.kl_div(functional.log_softmax(own / 2, dim=-1), target, log_target=True, reduction="sum") / len(target)
    (expected,) = torch.autograd.grad(plain, hidden)
    assert float(loss.detach()) > 1e-3 and float(gradient.norm()) > 1e-4
    torch.testing.assert_close(loss, plain, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-5)


def test_base_and_adapter_merged_into_another_model_guide_as_the_adapter_does(bench: Bench, tmp_path: Path) -> None:
    merged = tmp_path / "merged"
    shutil.copytree(bench.model, merged)
    weights = load_file(merged / "model.safetensors")
    lora = load_file(bench.teacher.folder / "adapter" / "adapter_model.safetensors")
    scale = bench.teacher_spec.lora.alpha / bench.teacher_spec.lora.rank
    for name in [one for one in lora if ".lora_A." in one]:
        layer = name.removeprefix("base_model.model.").replace(".lora_A.weight", ".weight")
        weights[layer] = weights[layer] + scale * lora[name.replace(".lora_A.", ".lora_B.")] @ lora[name]
    from safetensors.torch import save_file

    save_file(weights, merged / "model.safetensors", metadata={"format": "pt"})
    copy = ready(bench.workspace, merged, bench.data)
    native, from_copy = (train(bench.workspace_of_its_own(), bench.guided(one), bench.session, Silent()) for one in (bench.teacher, copy))
    for one, two in zip(native.log(), from_copy.log(), strict=True):
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-4)
    ours, theirs = (load_file(run.adapter / "adapter_model.safetensors") for run in (native, from_copy))
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-2, atol=2e-4)


def test_it_is_read_once_counted_and_gone_before_the_first_step(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace, opened = bench.workspace_of_its_own(), list[str]()
    session_of = foreign.session_of
    monkeypatch.setattr(foreign, "session_of", lambda teacher: (opened.append(teacher.id), session_of(teacher))[1])
    first = train(workspace, bench.guided(bench.other), bench.session, Silent())
    costs = json.loads((first.folder / "cost.json").read_text("utf-8"))
    data = bench.data_for(bench.other, workspace)
    assert costs["passes"]["teacher"] > 0 and costs["tokens"]["teacher"] >= sum(len(one.ids) for one in data.examples)
    assert costs["flops"]["teacher"] > 0 and "teacher states" in [one["stage"] for one in costs["stages"]]
    second = train(workspace, bench.guided(bench.other, seed=1), bench.session, Silent())
    assert json.loads((second.folder / "cost.json").read_text("utf-8"))["passes"]["teacher"] == 0 and opened == [bench.other.id]


def test_its_operations_are_those_of_its_own_size(bench: Bench, tmp_path: Path) -> None:
    wide = ready(bench.workspace, another_model(tmp_path / "wide", hidden=64), bench.data)
    found = {}
    for one in (bench.other, wide):
        costs = Costs()
        bench.data_for(one, bench.workspace_of_its_own(), costs)
        tokens, operations = costs.state()["counted"]["teacher"]
        found[one.id] = operations / tokens
    assert found[wide.id] > 2 * found[bench.other.id]


@pytest.mark.parametrize("share", [0.1, 0.4, 1.0])
def test_a_run_that_is_killed_at_any_point_ends_with_the_same_bytes(bench: Bench, share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFT_STUDIO_CHECKPOINT_S", "0")
    monkeypatch.setattr(foreign, "BUDGET", 300)
    spec, watched = bench.guided(bench.other), Interrupting()
    whole = train(bench.workspace_of_its_own(), spec, bench.session, watched)
    workspace, stop = bench.workspace_of_its_own(), max(1, int(share * watched.calls))
    with pytest.raises(Killed):
        train(workspace, spec, bench.session, Interrupting(at=[stop], error=Killed))
    assert adapter(train(workspace, spec, bench.session, Silent())) == adapter(whole)


def test_it_filters_through_its_own_model(bench: Bench) -> None:
    workspace = bench.workspace_of_its_own()
    spec = bench.spec("ref_teacher", teacher=bench.other.id, threshold=0.999)
    run = train(workspace, spec, bench.session, Silent())
    (score,) = list_score_sets(workspace, bench.data["user"].id)
    assert (score.teacher, score.info["layer"]) == (bench.other.id, bench.other.layer) and run.result["kept"] > 0


def test_other_ends_of_text_change_places_and_that_is_said(bench: Bench, tmp_path: Path) -> None:
    folder = another_model(tmp_path / "instruct")
    tokenizer = load_tokenizer(str(folder))
    tokenizer.eos_token = "<unk>"
    tokenizer.save_pretrained(folder)
    workspace, progress = bench.workspace_of_its_own(), Silent()
    other = ready(workspace, folder, bench.data)
    spec = bench.guided(other)
    data = inputs.alignment_data(workspace, spec, bench.session, {}, progress=progress, costs=Costs())
    assert data is not None and data.head is not None
    head = Session.open(str(folder)).model.base.get_output_embeddings().weight
    mine, its = bench.session.model.eos_id, int(tokenizer.eos_token_id)
    assert mine != its and torch.equal(data.head.weight[mine], head[its]) and torch.equal(data.head.weight[its], head[mine])
    assert any("change places" in text for text in progress.warnings)


def rename(folder: Path, change: Any) -> Path:
    """Change tokenizer.json."""
    path = folder / "tokenizer.json"
    told = json.loads(path.read_text("utf-8"))
    change(told)
    path.write_text(json.dumps(told), "utf-8")
    return folder


def another_word(told: dict[str, Any]) -> None:
    token = next(one for one in told["model"]["vocab"] if len(one) == 1)
    told["model"]["vocab"]["§§"] = told["model"]["vocab"].pop(token)


def no_merges(told: dict[str, Any]) -> None:
    told["model"]["merges"] = []


def opening(told: dict[str, Any]) -> None:
    pad = {"<pad>": {"id": "<pad>", "ids": [0], "tokens": ["<pad>"]}}
    told["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<pad>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": pad,
    }


@pytest.mark.parametrize(
    ("change", "template", "told"),
    [
        (another_word, "chat", "The vocabulary differs: .* 1 and 1 are in one only"),
        (no_merges, "chat", "The tokens differ: .* 100 of the 100 alignment rows"),
        (opening, "alpaca", "The special tokens differ"),
    ],
)
def test_another_tokenizer_is_refused_with_what_differs(bench: Bench, tmp_path: Path, change: Any, template: str, told: str) -> None:
    folder = rename(another_model(tmp_path / "strange"), change)
    student = Session.open(bench.model, template=template)
    rows = [*bench.data["harmful"].read(), *bench.data["helpful"].read()]
    with pytest.raises(SpecError, match=told):
        foreign.check_tokenizer(student, load_tokenizer(str(folder)), rows, name="strange")
    foreign.check_tokenizer(student, load_tokenizer(bench.other.model), rows, name="other")
    assert student.encoder.truncated == 0


def test_a_damaged_head_is_made_again_and_a_full_disk_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = bench.workspace_of_its_own()
    wanted = bench.data_for(bench.other, workspace).head
    (path,) = workspace.root.rglob(foreign.HEAD)
    path.write_bytes(b"damaged")
    again = bench.data_for(bench.other, workspace).head
    assert wanted is not None and again is not None and torch.equal(wanted.weight, again.weight)
    shutil.rmtree(path.parent)
    monkeypatch.setattr(States, "budget", lambda self: 0)
    with pytest.raises(StoreError, match="no room"):
        bench.data_for(bench.other, workspace)
