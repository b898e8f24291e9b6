"""Preparing a teacher on a tiny random model: the laws of its loss, its moving feature, early stop, sweep and record."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from reft_studio import seeding
from reft_studio.data.dataset import Dataset, write_dataset
from reft_studio.data.splits import group_key
from reft_studio.errors import DataError, SpecError, TrainingError
from reft_studio.models.batching import Stream, collate
from reft_studio.models.fit import backward, fit
from reft_studio.models.session import Session
from reft_studio.models.spec import LoraSpec, OptimSpec
from reft_studio.models.supervised import supervise
from reft_studio.progress import Silent
from reft_studio.scoring.refusal_similarity import score_prompts
from reft_studio.teacher import loop
from reft_studio.teacher.material import Material, check_finite
from reft_studio.teacher.refusal_feature import RefusalFeature
from reft_studio.teacher.spec import Reading, TeacherSpec
from reft_studio.teacher.training import prepare_teacher
from reft_studio.workspace import Workspace
from tests.tiny_models import toy_rows

QUICK = OptimSpec(steps=4, batch_size=8, learning_rate=3e-3)
NAMES = ("harmful", "helpful", "calibration_harmful", "calibration_harmless")


@pytest.fixture(scope="module")
def session(tiny_model: Path) -> Session:
    return Session.open(str(tiny_model))


@pytest.fixture
def spec(tiny_model: Path, toy_data: dict[str, Dataset]) -> TeacherSpec:
    sets = {name: toy_data[name].id for name in NAMES}
    return TeacherSpec(model=str(tiny_model), lora=LoraSpec(rank=4, alpha=8), optim=QUICK, layer=2, **sets)


@pytest.fixture
def regularised(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[torch.Tensor]]:
    """The directions that the regulariser was given, step by step."""
    seen: list[torch.Tensor] = []
    real = loop.regulariser

    def recorded(direction: torch.Tensor, *states: torch.Tensor, **settings: Any) -> torch.Tensor:
        seen.append(direction.detach().clone())
        return real(direction, *states, **settings)

    monkeypatch.setattr(loop, "regulariser", recorded)
    yield seen


def trained(workspace: Workspace, session: Session, spec: TeacherSpec, weight: float) -> tuple[loop.Trained, list[torch.Tensor]]:
    found = loop.train(Material(workspace, spec, session, Silent()), spec, 2, weight, Silent())
    return found, [value.detach().clone() for value in session.adapted.parameters(loop.ADAPTER)]


def feature_of(x: list[float], layer: int = 1, centre: list[float] | None = None) -> RefusalFeature:
    return RefusalFeature(torch.tensor(x), layer, None if centre is None else torch.tensor(centre))


# --- the loss -----------------------------------------------------------------------------------------------------------------------


def test_without_a_regulariser_the_loss_is_joint_cross_entropy_alone(
    workspace: Workspace, session: Session, spec: TeacherSpec, regularised: list[torch.Tensor]
) -> None:
    first, weights = trained(workspace, session, spec, 0.0)
    assert regularised == [] and all("regulariser" not in line for line in first.log)
    assert all(line["loss"] == line["supervised"] for line in first.log)
    # what the moving feature does cannot matter then
    _, others = trained(workspace, session, spec.model_copy(update={"momentum": 0.0, "reading": "centred"}), 0.0)
    assert all(torch.equal(one, other) for one, other in zip(weights, others, strict=True))


def test_without_a_regulariser_training_is_joint_finetuning_to_the_bit(workspace: Workspace, session: Session, spec: TeacherSpec) -> None:
    _, weights = trained(workspace, session, spec, 0.0)
    material = Material(workspace, spec, session, Silent())
    session.add("plain", spec.lora, seed=seeding.derive(spec.seed, "adapter"))
    draws = [
        Stream(rows, size=4, rng=seeding.generator(spec.seed, "teacher", name))
        for rows, name in ((material.harmful, "harmful"), (material.helpful, "helpful"))
    ]
    with session.adapted.active("plain", train=True) as backbone:
        parameters = session.adapted.parameters("plain")

        def step(_number: int) -> dict[str, float]:
            batches = [collate(next(draw), pad_id=session.model.pad_id) for draw in draws]
            harmful, helpful = supervise(session.model, backbone, batches)
            return backward({"task": 0.5 * (harmful.cross_entropy() + helpful.cross_entropy())}, parameters)

        fit(parameters, step, steps=4, optim=spec.optim)
    assert all(torch.equal(one, other) for one, other in zip(weights, session.adapted.parameters("plain"), strict=True))


def test_gradient_checkpointing_changes_memory_and_nothing_else(workspace: Workspace, session: Session, spec: TeacherSpec) -> None:
    plain, weights = trained(workspace, session, spec, 1.0)
    saving = spec.model_copy(update={"optim": QUICK.model_copy(update={"gradient_checkpointing": True})})
    found, others = trained(workspace, session, saving, 1.0)
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(weights, others, strict=True))
    assert [line["regulariser"] for line in found.log] == pytest.approx([line["regulariser"] for line in plain.log], abs=1e-5)


def test_the_regulariser_trains_nothing_above_its_layer(workspace: Workspace, session: Session, spec: TeacherSpec) -> None:
    material = Material(workspace, spec, session, Silent())
    session.add(loop.ADAPTER, spec.lora, seed=1)
    with session.adapted.active(loop.ADAPTER, train=True) as backbone:
        with loop.captured(session.model, [2]) as caught:
            batch = loop.collate([*material.harmful[:2], *material.helpful[:2]], pad_id=session.model.pad_id)
            backbone(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False)
        states = caught[2][torch.arange(4), batch.last_prompt]
        direction = torch.randn(32, generator=torch.Generator().manual_seed(0))
        loop.regulariser(direction, states[:2], states[2:]).backward()
        named = {key: value for key, value in session.model.base.named_parameters() if f".{loop.ADAPTER}." in key}
        moved = {key for key, value in named.items() if value.grad is not None and bool(value.grad.any())}
        session.model.base.zero_grad(set_to_none=True)
    assert any("layers.1." in key for key in moved) and not any("layers.2." in key for key in moved)


def test_a_harmless_prompt_without_an_answer_counts_for_the_regulariser_only(
    workspace: Workspace, session: Session, spec: TeacherSpec
) -> None:
    rows = [{**row, "response": ""} for row in toy_rows("harmless", 60, answer="")[:40]]
    silent = write_dataset(workspace, rows, name="prompts", role="helpful")
    found, _ = trained(workspace, session, spec.model_copy(update={"helpful": silent.id}), 1.0)
    assert all(math.isfinite(line["supervised"]) and line["regulariser"] > 0 for line in found.log)
    mute = write_dataset(workspace, rows, name="no refusals", role="harmful")
    with pytest.raises((DataError, SpecError)):
        trained(workspace, session, spec.model_copy(update={"harmful": mute.id}), 1.0)


# --- the moving feature -------------------------------------------------------------------------------------------------------------


def test_the_moving_feature_follows_its_recurrence_by_hand(spec: TeacherSpec) -> None:
    states = torch.tensor([[4.0, 0.0], [2.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    start = feature_of([1.0, 1.0], centre=[0.0, 0.0])
    moved = loop.refreshed(start, states, spec.model_copy(update={"momentum": 0.75}), 1, lambda: start)
    assert moved.direction.tolist() == [0.75 + 0.25 * 3, 0.75 - 0.25 * 2]
    assert moved.centre is not None and moved.centre.tolist() == [0.25 * 1.5, 0.25 * 1.0]
    batch_only = loop.refreshed(start, states, spec.model_copy(update={"momentum": 0.0}), 1, lambda: start)
    assert batch_only.direction.tolist() == [3, -2]


def test_only_the_ablation_lets_gradient_into_the_feature(spec: TeacherSpec) -> None:
    states = torch.randn(3, 4, requires_grad=True), torch.randn(3, 4)
    plain = loop.refreshed(feature_of([1.0] * 4), states, spec, 1, lambda: feature_of([1.0] * 4))
    through = loop.refreshed(feature_of([1.0] * 4), states, spec.model_copy(update={"through_feature": True}), 1, lambda: plain)
    assert not plain.direction.requires_grad and through.direction.requires_grad
    assert torch.equal(through.direction.detach(), (states[0].mean(0) - states[1].mean(0)).detach())


def test_recomputing_every_k_steps_gives_the_exact_feature_of_that_step(
    workspace: Workspace, session: Session, spec: TeacherSpec, regularised: list[torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    exact: list[torch.Tensor] = []
    real = loop.exact

    def recorded(material: Material, layer: int, *, reading: Reading) -> RefusalFeature:
        with material.session.adapted.active(loop.ADAPTER) as backbone:
            means = [part[:, 0].double().mean(0) for part in material.features(backbone, material.training, [layer])]
        exact.append((means[0] - means[1]).float())
        return real(material, layer, reading=reading)

    monkeypatch.setattr(loop, "exact", recorded)
    trained(workspace, session, spec.model_copy(update={"recompute_every": 2}), 1.0)
    assert len(exact) == 2 and len(regularised) == 4
    for step, direction in enumerate(regularised):
        assert torch.equal(direction, exact[step // 2])
    assert not torch.equal(exact[0], exact[1])


# --- early stop and the sweep -------------------------------------------------------------------------------------------------------


def test_early_stop_keeps_the_best_weights_and_says_so(
    workspace: Workspace, session: Session, spec: TeacherSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_step: dict[int, list[torch.Tensor]] = {}
    quality = iter([(0.7, 9.0, 1.0), (0.9, 9.0, 2.0), (0.9, 9.0, 2.5), (0.9, 20.0, 1.0), (0.99, 0.0, 0.1)])

    def planned(*_given: Any, **_more: Any) -> dict[str, Any]:
        at_step[len(at_step) + 1] = [value.detach().clone() for value in session.adapted.parameters(loop.ADAPTER)]
        auroc, false, entropy = next(quality)
        return {"auroc": auroc, "false_positive_rate": false, "cross_entropy": entropy}

    monkeypatch.setattr(loop, "measure", planned)
    progress = Silent()
    wanted = spec.model_copy(update={"early_stop": 2, "evaluate_every": 1, "optim": QUICK.model_copy(update={"steps": 9})})
    found = loop.train(Material(workspace, wanted, session, progress), wanted, 2, 1.0, progress)
    assert len(found.log) == 4 and found.step == 2 and [line["step"] for line in found.trace] == [1, 2, 3, 4]
    assert all(torch.equal(one, best) for one, best in zip(session.adapted.parameters(loop.ADAPTER), at_step[2], strict=True))
    assert "stopped at step 4 of 9" in progress.warnings[0]


def test_auroc_decides_then_false_positives_then_cross_entropy() -> None:
    def found(auroc: float, false: float, entropy: float | None) -> dict[str, Any]:
        return {"auroc": auroc, "false_positive_rate": false, "cross_entropy": entropy}

    assert loop.better(found(0.9, 50.0, 9.0), found(0.8, 1.0, 0.1))
    assert loop.better(found(0.9994, 26.7, 9.0), found(0.9995, 88.3, 0.1)), "such a difference is noise"
    assert loop.better(found(0.9, 1.0, 1.0), found(0.9, 1.2, 2.0))
    assert not loop.better(found(0.9, 1.0, None), found(0.9, 1.0, None))


def test_a_sweep_keeps_the_best_weight_and_records_all(
    workspace: Workspace, session: Session, spec: TeacherSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reft_studio.teacher import training

    entropies = iter([2.0, 1.0, 3.0])
    weights: list[list[torch.Tensor]] = []

    def planned(*_given: Any, **_more: Any) -> dict[str, Any]:
        weights.append([value.detach().clone() for value in session.adapted.parameters(loop.ADAPTER)])
        return {"auroc": 1.0, "recall": 100.0, "false_positive_rate": 0.0, "cross_entropy": next(entropies)}

    monkeypatch.setattr(training, "measure", planned)
    info = prepare_teacher(workspace, spec.model_copy(update={"sweep": (0.0, 0.5, 5.0)}), session, Silent())
    assert [line["regularisation"] for line in info.record["sweep"]] == [0.0, 0.5, 5.0]
    assert info.record["regularisation"] == 0.5 and info.regularised and info.id.startswith("t")
    assert all(torch.equal(one, best) for one, best in zip(session.adapted.parameters(loop.ADAPTER), weights[1], strict=True))


# --- the finished folder ------------------------------------------------------------------------------------------------------------


def test_calibration_scores_are_kept_by_group_and_score_as_the_filter_does(
    workspace: Workspace, session: Session, spec: TeacherSpec, toy_data: dict[str, Dataset]
) -> None:
    info = prepare_teacher(workspace, spec, session, Silent())
    table = pq.read_table(info.folder / "calibration.parquet")
    assert table.column_names == ["kind", "score", "group"] and str(table.schema.field("score").type) == "float"
    assert table.column("kind").to_pylist() == ["harmful"] * 40 + ["harmless"] * 40
    prompts = [row["prompt"] for name in NAMES[2:] for row in toy_data[name].read(["prompt"])]
    assert table.column("group").to_pylist() == [group_key(prompt) for prompt in prompts]
    again = score_prompts(prompts, info, session)
    assert np.allclose(table.column("score").to_numpy(), again, atol=1e-5)
    assert info.adapter is not None and (info.adapter / "adapter_model.safetensors").is_file()


@pytest.mark.parametrize("reading", ["raw", "centred"])
def test_a_ready_teacher_has_no_adapter_and_scores_like_a_plain_probe(
    workspace: Workspace, session: Session, spec: TeacherSpec, toy_data: dict[str, Dataset], reading: str
) -> None:
    info = prepare_teacher(workspace, spec.model_copy(update={"kind": "ready", "reading": reading}), session, Silent())
    assert info.adapter is None and info.ready and not (info.folder / "adapter").exists() and info.id.startswith("r")

    def states(name: str) -> torch.Tensor:
        found = []
        for row in toy_data[name].read(["prompt"]):
            ids = torch.tensor([session.encoder.prompt_ids([{"role": "user", "content": row["prompt"]}])])
            with torch.no_grad(), session.adapted.active(None), loop.captured(session.model, [2]) as caught:
                session.model.base.base_model(input_ids=ids, use_cache=False)
            found.append(caught[2][0, -1])
        return torch.stack(found)

    harmful, harmless = states("harmful"), states("helpful")
    direction = harmful.mean(0) - harmless.mean(0)
    shift = 0.5 * (harmful.mean(0) + harmless.mean(0)) if reading == "centred" else torch.zeros(32)
    by_hand = torch.nn.functional.cosine_similarity(states("calibration_harmful") - shift, direction, dim=-1)
    kept = pq.read_table(info.folder / "calibration.parquet").column("score").to_numpy()[:40]
    assert np.allclose(kept, by_hand.numpy(), atol=1e-4)


def test_prompts_of_their_own_choose_the_layer_where_given(
    workspace: Workspace, session: Session, spec: TeacherSpec, toy_data: dict[str, Dataset]
) -> None:
    half = write_dataset(workspace, toy_rows("harmful", 240, answer="No.")[200:], name="h", role="harmful")
    other = write_dataset(workspace, toy_rows("harmless", 240, answer="Yes.")[200:], name="s", role="helpful")
    sets = {"selection_harmful": half.id, "selection_harmless": other.id, "layer": None, "kind": "ready"}
    info = prepare_teacher(workspace, spec.model_copy(update=sets), session, Silent())
    assert info.calibration["selected_on"] == "selection" and info.calibration["data"]["selection_harmful"] == half.fingerprint
    with pytest.raises(SpecError, match="both kinds"):
        Material(workspace, spec.model_copy(update={"selection_harmful": half.id}), session, Silent())


def test_too_few_held_out_prompts_of_either_kind_stop_before_any_training(
    workspace: Workspace, session: Session, spec: TeacherSpec
) -> None:
    few = write_dataset(workspace, toy_rows("harmless", 300, answer="Yes.")[280:], name="few", role="helpful")
    with pytest.raises(DataError, match=r"at least 30 .* there are 20"):
        prepare_teacher(workspace, spec.model_copy(update={"calibration_harmless": few.id}), session, Silent())
    assert not list(workspace.folder("teachers").glob("*"))


def test_a_setting_that_a_teacher_does_not_use_is_said(workspace: Workspace, session: Session, spec: TeacherSpec) -> None:
    heard = Silent()
    prepare_teacher(workspace, spec.model_copy(update={"optim": QUICK.model_copy(update={"micro_batch_size": 2})}), session, heard)
    assert any("micro_batch_size" in warning for warning in heard.warnings)


def test_a_prompt_without_a_token_is_refused_by_name_and_when_typed(
    workspace: Workspace, spec: TeacherSpec, toy_data: dict[str, Dataset], tiny_model: Path
) -> None:
    plain = Session.open(str(tiny_model), template="{prompt}")
    ready = spec.model_copy(update={"kind": "ready", "template": "{prompt}"})
    teacher = prepare_teacher(workspace, ready, plain, Silent())
    with pytest.raises(DataError, match="empty in this template"):
        score_prompts(["how do i bake bread", ""], teacher, plain)
    rows: list[Any] = [{"prompt": row["prompt"], "response": "Sure."} for row in toy_data["helpful"].read()]
    blank = write_dataset(workspace, [*rows, {"prompt": "", "response": "Sure."}], name="blank", role="helpful")
    for kind in ("ready", "trained"):
        with pytest.raises(DataError, match="1 of the 51 prompts of the set 'helpful' are empty"):
            prepare_teacher(workspace, ready.model_copy(update={"kind": kind, "helpful": blank.id}), plain, Silent())


def test_a_hidden_state_that_is_not_finite_is_named_and_refused() -> None:
    features = torch.zeros(5, 2, 3)
    check_finite(features, [4, 7], "harmful")
    features[3, 1, 0] = float("nan")
    features[1, 1, 2] = float("inf")
    with pytest.raises(TrainingError, match=r"2 of 5 harmful prompts .* after block 7"):
        check_finite(features, [4, 7], "harmful")


def test_weights_trained_before_are_calibrated_to_the_same_teacher(
    workspace: Workspace, session: Session, spec: TeacherSpec, tmp_path: Path
) -> None:
    first = prepare_teacher(workspace, spec, session, Silent())
    kept = tmp_path / "kept"
    shutil.copytree(first.folder, kept)
    shutil.rmtree(first.folder)
    again = prepare_teacher(workspace, spec, session, Silent(), adapter=kept / "adapter")
    assert (again.threshold, again.layer, again.id) == (first.threshold, first.layer, first.id)
    assert again.calibration["auroc"] == first.calibration["auroc"]
    for name in ("refusal_feature.safetensors", "calibration.parquet"):
        assert (again.folder / name).read_bytes() == (kept / name).read_bytes(), name
