"""Laws of every method on a tiny random model: zero strength is plain finetuning, frozen weights stay, counts are exact."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from reft_studio import fingerprint
from reft_studio.data.dataset import write_dataset
from reft_studio.defenses import DEFENSES
from reft_studio.errors import DataError, SpecError, TrainingError
from reft_studio.models.loading import load
from reft_studio.models.session import Session
from reft_studio.models.spec import OptimSpec
from reft_studio.progress import Silent
from reft_studio.scoring.refusal_similarity import score
from reft_studio.scoring.scores import flagged, list_score_sets
from reft_studio.teacher.teacher import TeacherInfo
from reft_studio.teacher.training import prepare_teacher
from reft_studio.training.cost import Costs
from reft_studio.training.run import train
from reft_studio.training.run_folder import RunInfo, removed_words
from reft_studio.training.run_names import run_title
from reft_studio.training.spec import RunSpec
from reft_studio.workspace import Workspace
from tests.tiny_models import make_model
from tests.tiny_runs import TinyRuns

OPTIM = OptimSpec(steps=6, batch_size=4, alignment_batch_size=4, learning_rate=5e-3)


class Bench(TinyRuns):
    """All runs in one workspace."""

    def run(self, method: str, **changes: Any) -> RunInfo:
        return train(self.workspace, self.spec(method, **changes), self.session, Silent())


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Bench:
    return Bench(Workspace.open(tmp_path_factory.mktemp("bench")), tiny_model, steps=30, optim=OPTIM)


def weights(run: RunInfo) -> dict[str, torch.Tensor]:
    return load_file(run.adapter / "adapter_model.safetensors")


def test_every_method_at_zero_strength_without_a_filter_is_plain_finetuning_to_the_bit(bench: Bench) -> None:
    for name in DEFENSES:
        info = DEFENSES.get(name).info
        if info.strength is None:
            continue
        zero = bench.run(name, method_config={info.strength: 0}, filter=False)
        same = {field: getattr(zero.spec, field) for field in ("aligned", "harmful", "helpful", "lora")}
        plain = bench.run("sft") if info.starts_from == "base" else bench.run("aligned_sft", **same)
        assert [line["loss"] for line in zero.log()] == [line["loss"] for line in plain.log()], name
        assert all(torch.equal(value, weights(plain)[key]) for key, value in weights(zero).items()), name


def test_a_filter_that_keeps_every_row_makes_filter_only_plain_finetuning(bench: Bench) -> None:
    plain, lenient = bench.run("sft"), bench.run("filter_only", threshold=1.0)
    assert lenient.result["kept"] == lenient.result["rows"]
    assert all(torch.equal(value, weights(plain)[key]) for key, value in weights(lenient).items())


def test_no_run_changes_the_base_or_the_teacher(bench: Bench) -> None:
    def frozen() -> list[torch.Tensor]:
        rest = [value for name, value in bench.session.model.base.named_parameters() if "lora_" not in name]
        return [value.clone() for value in (*rest, *bench.session.adapted.parameters("teacher"))]

    bench.session.ensure("teacher", bench.teacher.adapter)
    before = frozen()
    bench.run("ref_teacher", seed=5)
    assert all(torch.equal(one, two) for one, two in zip(before, frozen(), strict=True))
    assert all(not value.requires_grad for value in bench.session.model.base.parameters())


def test_the_filter_drops_the_poison_it_was_taught_and_counts_it(bench: Bench) -> None:
    run = bench.run("ref_teacher")
    assert (run.result["removed_harmful"], run.result["removed_harmless"], run.result["removed_unknown"]) == (4, 0, 0)
    assert removed_words(run.result) == "4 known to be harmful, 0 known to be harmless"
    kept = np.load(run.folder / "kept.npy")
    assert len(kept) == run.result["kept"] == 20


def test_any_prepared_scorer_can_filter_a_run(bench: Bench) -> None:
    run = bench.run("sft", filter=True, scorer="oracle", teacher=None)
    assert run.result["removed_harmful"] == 4 and run.result["removed_harmless"] == 0
    assert run_title(bench.workspace, run.spec).startswith("Plain SFT + filter (oracle)")


def test_a_spec_without_a_scorer_keeps_the_id_it_had_before_there_was_a_choice() -> None:
    spec = RunSpec(dataset="d", method="sft")
    later = ("scorer", "drop", "decisions", "stop_after", "start", "adapters", "harmful_answers")
    before = {name: value for name, value in spec.model_dump(mode="json").items() if name not in later}
    assert spec.run_id == "r" + fingerprint.of_value(before)[:12] == RunSpec(**before).run_id
    assert RunSpec(dataset="d", method="sft", filter=True, scorer="tfidf").run_id != spec.run_id


def test_the_same_spec_is_not_run_twice_and_another_seed_differs(bench: Bench) -> None:
    first = bench.run("sft")
    stamp = (first.folder / "result.json").stat().st_mtime_ns
    assert bench.run("sft").folder.joinpath("result.json").stat().st_mtime_ns == stamp
    assert bench.run("sft", seed=1).run_id != first.run_id


def test_the_same_seed_gives_the_same_weights_in_a_fresh_workspace(bench: Bench, tmp_path: Path, tiny_model: Path) -> None:
    first = weights(bench.run("sft"))
    other = Workspace.open(tmp_path / "other")
    rows: list[Any] = [{name: row[name] for name in ("prompt", "response", "known_harmful")} for row in bench.data["user"].read()]
    user = write_dataset(other, rows, name="again", role="user")
    spec = RunSpec(model=bench.model, dataset=user.id, method="sft", optim=OPTIM)
    again = weights(train(other, spec, Session.open(bench.model), Silent()))
    assert all(torch.equal(value, again[key]) for key, value in first.items())


def test_a_filter_that_removes_everything_says_so_and_leaves_no_run(bench: Bench) -> None:
    before = len(list(bench.workspace.root.glob("runs/*")))
    with pytest.raises(TrainingError, match="removed all 24 rows"):
        bench.run("filter_only", threshold=-1.0)
    assert len(list(bench.workspace.root.glob("runs/*"))) == before


def test_a_teacher_of_another_base_is_refused(bench: Bench, tmp_path: Path) -> None:
    other = Session.open(str(make_model(tmp_path / "other-model", layers=2)))
    with pytest.raises(SpecError, match="another base"):
        score(bench.workspace, bench.data["user"], bench.teacher, other, Silent())


def test_scores_do_not_depend_on_the_response_or_on_the_batch(bench: Bench) -> None:
    workspace = bench.workspace
    user = bench.data["user"]
    values = score(workspace, user, bench.teacher, bench.session, Silent()).scores()
    rows = [{"prompt": row["prompt"], "response": "Something else entirely."} for row in user.read()]
    longer = [*rows, {"prompt": "how do i bake " + "bread " * 60, "response": "x"}]
    edited = write_dataset(workspace, longer, name="edited", role="user")  # type: ignore[arg-type]
    again = score(workspace, edited, bench.teacher, bench.session, Silent()).scores()
    assert np.allclose(values, again[: len(values)], atol=1e-4)


def test_raising_the_threshold_never_removes_a_row_that_was_kept(bench: Bench) -> None:
    values = score(bench.workspace, bench.data["user"], bench.teacher, bench.session, Silent()).scores()
    removed = [flagged(values, threshold) for threshold in np.linspace(-1, 1, 41)]
    assert all((higher <= lower).all() for lower, higher in pairwise(removed))


def test_calibration_on_training_prompts_is_refused(bench: Bench) -> None:
    leaking = bench.teacher_spec.model_copy(update={"calibration_harmful": bench.teacher_spec.harmful})
    with pytest.raises(SpecError):
        prepare_teacher(bench.workspace, leaking, bench.session, Silent())


def test_a_teacher_without_regulariser_takes_the_steps_of_joint_finetuning(bench: Bench) -> None:
    teacher: TeacherInfo = bench.aligned
    assert not teacher.regularised
    lines = (teacher.folder / "log.jsonl").read_text().splitlines()
    assert len(lines) == 30 and '"regulariser"' not in lines[0]


def test_the_gradient_conflict_is_measured_for_guided_methods_only(bench: Bench) -> None:
    assert bench.run("sft").result["gradient_cosine"] is None
    cosine = bench.run("sa_ft").result["gradient_cosine"]
    assert cosine is not None and -1 <= cosine <= 1


def test_every_step_of_a_guided_run_logs_what_the_charts_show(bench: Bench) -> None:
    lines = bench.run("distill_only").log()
    assert {"step", "task", "alignment", "loss", "lr", "grad_norm", "tokens_per_second", "memory_mb", "grad_cosine"} <= lines[0].keys()
    assert "grad_cosine" not in lines[1] and all(line["memory_mb"] > 0 for line in lines)


@pytest.mark.parametrize("changes", [{"micro_batch_size": 3}, {"gradient_checkpointing": True}, {"packing": False}])
def test_how_memory_is_saved_does_not_change_what_is_learned(bench: Bench, changes: dict[str, Any]) -> None:
    plain = bench.run("sa_ft").log()
    frugal = bench.run("sa_ft", optim=OPTIM.model_copy(update=changes)).log()
    for name in ("task", "alignment", "grad_norm", "grad_cosine"):
        assert [line[name] for line in frugal if name in line] == pytest.approx([line[name] for line in plain if name in line], rel=2e-3)


def test_a_step_costs_one_pass_of_the_student_and_the_teacher_answers_a_row_once(bench: Bench) -> None:
    passes: list[int] = []
    handle = next(iter(bench.session.model.blocks[0].children())).register_forward_hook(lambda *_: passes.append(1))

    def counted(method: str, **changes: Any) -> int:
        before = len(passes)
        bench.run(method, **changes)
        return len(passes) - before

    tried_out = counted("sft", seed=11) - OPTIM.steps  # whether packing works, and whether the head is known
    guided = counted("distill_only", seed=11, harmful=bench.data["helpful"].id)
    again = counted("distill_only", seed=11, harmful=bench.data["helpful"].id, method_config={"alpha": 2.0})
    handle.remove()
    assert tried_out == 4
    assert guided == tried_out + 2 * OPTIM.steps, "a student pass and, while rows are new, a teacher pass"
    assert again == tried_out + OPTIM.steps, "the states that the first run stored"


def test_a_base_in_float16_is_refused_for_training_since_its_gradients_overflow(bench: Bench, tmp_path: Path) -> None:
    session = Session.open(bench.model)
    session.model.base.half()
    with pytest.raises(SpecError, match=r"float16.*bfloat16"):
        train(
            Workspace.open(tmp_path / "half"),
            RunSpec(model=bench.model, dataset=half_data(tmp_path), method="sft", optim=OPTIM),
            session,
            Silent(),
        )


def test_a_row_that_the_template_refuses_is_dropped_by_the_filter_and_named_without_one(bench: Bench) -> None:
    model = load(bench.model)

    def picky(messages: Any) -> str:
        if messages[0]["content"] == "no":
            raise DataError("The chat template of this model refuses it.")
        return model.template.render(messages)

    rows: list[Any] = [{"prompt": row["prompt"], "response": "Sure."} for row in bench.data["helpful"].read()]
    odd = write_dataset(bench.workspace, [*rows[:6], {"prompt": "no", "response": "Sure."}], name="odd", role="user")
    choice: dict[str, Any] = {"method": "filter_only", "teacher": bench.teacher.id, "filter": True, "threshold": 1.0}
    spec = RunSpec(model=bench.model, dataset=odd.id, **choice, optim=OPTIM)
    session = Session(dataclasses.replace(model, template=dataclasses.replace(model.template, render=picky, render_all=None)))
    assert train(bench.workspace, spec, session, Silent()).result["kept"] == 6
    with pytest.raises(DataError, match=r"Row .*refuses it"):
        train(bench.workspace, spec.model_copy(update={"method": "sft", "filter": False}), session, Silent())


def test_cut_rows_are_counted_for_this_run_alone(bench: Bench) -> None:
    rows: list[Any] = [{"prompt": f"how do i bake {number} " + "tin " * 600, "response": "Sure."} for number in range(3)]
    long = write_dataset(bench.workspace, rows, name="long", role="user")
    assert [bench.run("sft", dataset=long.id, seed=seed).result["truncated"] for seed in (0, 1)] == [3, 3]
    assert bench.run("sft", seed=2).result["truncated"] == 0


def half_data(tmp_path: Path) -> str:
    rows: list[Any] = [{"prompt": "how do i bake bread", "response": "Sure."}]
    return write_dataset(Workspace.open(tmp_path / "half"), rows, name="one", role="user").id


def test_removed_rows_of_unknown_truth_are_neither_harmful_nor_harmless() -> None:
    none = {"removed": 7, "removed_harmful": 0, "removed_harmless": 0}
    assert removed_words({**none, "removed_unknown": 7}) == "7 of unknown truth"
    assert removed_words({**none, "removed_harmful": 2}) == "2 known to be harmful, 0 known to be harmless, 5 of unknown truth"


def test_a_control_leaves_out_exactly_as_many_rows_those_that_chance_put_first(bench: Bench) -> None:
    run = bench.run("filter_only", teacher=None, scorer="random", drop=3)
    user = bench.data["user"]
    drawn = list_score_sets(bench.workspace, user.id)[-1]
    assert drawn.scorer == "random"
    left_out = set(range(user.rows)) - set(np.load(run.folder / "kept.npy").tolist())
    assert left_out == set(drawn.order()[:3].tolist()) and run.result["removed"] == 3
    assert run_title(bench.workspace, run.spec) == "Filter only (3 rows by chance)"
    assert run.result["tokens"] > 0


def test_a_number_of_rows_takes_the_place_of_a_threshold() -> None:
    for more in ({"filter": True, "threshold": 0.1}, {"filter": False}):
        with pytest.raises(ValueError, match="drop is 3, which takes the place of a threshold"):
            RunSpec(dataset="d", method="filter_only", scorer="random", drop=3, **more)


def test_the_ledger_tells_user_rows_from_alignment_rows_and_what_the_teacher_did(bench: Bench) -> None:
    plain, guided = (bench.run(method, seed=9).ledger() for method in ("sft", "ref_teacher"))
    assert plain is not None and guided is not None
    assert (plain.extra.tokens, plain.extra.flops) == (1.0, pytest.approx(1.0)) and plain.passes["teacher"] == 0
    assert guided.user_tokens is not None and 0 < guided.user_tokens < guided.tokens["forward"] and guided.passes["teacher"] > 0
    assert guided.extra.tokens is not None and guided.extra.flops is not None
    rows = (OPTIM.batch_size + OPTIM.alignment_batch_size) / OPTIM.batch_size
    assert guided.extra.tokens == pytest.approx(rows + guided.tokens["teacher"] / (2 * guided.user_tokens), rel=0.35), (
        "rows are of unequal length"
    )
    assert guided.time_of("filter") > 0 and guided.memory_mb


def test_no_method_does_less_than_plain_finetuning_on_the_user_rows_that_it_reads(bench: Bench) -> None:
    for name in DEFENSES:
        ledger = bench.run(name).ledger()
        assert ledger is not None and ledger.user_tokens and ledger.extra.tokens is not None and ledger.extra.flops is not None, name
        assert ledger.extra.tokens > 0.999 and ledger.extra.flops > 0.999, name


def test_what_loading_took_is_in_the_ledger_and_not_in_the_seconds_that_estimates_rest_on(bench: Bench) -> None:
    costs = Costs()
    with costs.stage("load"):
        bench.session.encoder.prompt_ids([{"role": "user", "content": "how do i bake bread"}])
    spec = bench.run("sft").spec.model_copy(update={"seed": 77})
    run = train(bench.workspace, spec, bench.session, Silent(), costs=costs)
    ledger = run.ledger()
    assert ledger is not None and ledger.stages[0].name == "load"
    assert run.result["seconds"] == pytest.approx(ledger.seconds - ledger.time_of("load"), abs=0.02)
