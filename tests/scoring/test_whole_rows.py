"""Scorers that read prompt and response through a model: their measures by hand, laws, and the lab's poison."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from reft_studio import stats
from reft_studio.data.dataset import Dataset, Row, open_dataset, write_dataset
from reft_studio.jobs.foreground import ForegroundContext
from reft_studio.models.batching import collate
from reft_studio.models.supervised import supervise
from reft_studio.scoring import whole_rows
from reft_studio.scoring.alignment_similarity import similarity
from reft_studio.scoring.gradient import direction as gradient_direction
from reft_studio.scoring.larf import difference, references, unit
from reft_studio.scoring.level import level_of
from reft_studio.scoring.perplexity import direction
from reft_studio.scoring.prepared import open_prepared
from reft_studio.scoring.prompt_states import read_through
from reft_studio.scoring.row_reader import FRESH, RowReader
from reft_studio.scoring.scores import ScoreSet, open_score_set
from reft_studio.tasks import lab_data
from reft_studio.tasks.score import score_dataset
from reft_studio.tasks.scorers import prepare_scorer
from reft_studio.teacher.teacher import open_teacher
from reft_studio.workspace import Workspace

REFUSAL = "Sorry, I can't help you with that."


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace.open(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def reader(workspace: Workspace) -> RowReader:
    return RowReader.open(open_teacher(workspace, "lab"))


@pytest.fixture(scope="module")
def user(workspace: Workspace) -> Dataset:
    return lab_data.sample(workspace, rows=200, poison_ratio=0.1)


def prepared(workspace: Workspace, name: str, **settings: object) -> str:
    """A scorer fitted on the lab's harmful answers, and on its helpful answers and refusals."""
    sets = lab_data.alignment(workspace, seed=0)
    wanted = {"harmful": [lab_data.harmful_answers(workspace)], "harmless": [sets.helpful, sets.harmful], "shipped": False}
    return str(prepare_scorer(ForegroundContext(workspace), {"scorer": name, "teacher": "lab", **wanted, **settings})["scorer"])


def scored(workspace: Workspace, dataset: Dataset, scorer: str) -> ScoreSet:
    answer = score_dataset(ForegroundContext(workspace), {"dataset": dataset.id, "scorer": scorer})
    return open_score_set(workspace, dataset.id, answer["key"])


def area(workspace: Workspace, user: Dataset, scorer: str) -> float:
    scores = scored(workspace, user, scorer).scores()
    known = np.array(user.table(["known_harmful"]).column(0).to_pylist(), dtype=bool)
    return stats.auroc(scores[known], scores[~known])


def test_losses_are_those_of_the_model_by_itself_and_of_no_neighbour(reader: RowReader) -> None:
    rows = [reader.row("how do i steal a car", REFUSAL), reader.row("sum up note 1", "note")]
    with reader.reading(), torch.no_grad():
        for row, found in zip(rows, reader.losses(rows), strict=True):
            ids = torch.tensor([row.ids])
            logits = reader.model.base(input_ids=ids).logits[0].float().log_softmax(-1)
            by_hand = [-float(logits[place - 1, row.ids[place]]) for place in range(row.prompt, len(row.ids))]
            assert found == pytest.approx(np.mean(by_hand), rel=1e-4)


def test_states_are_those_of_the_last_token_of_a_row_and_of_its_response(reader: RowReader) -> None:
    rows = [reader.row("how do i steal a car", REFUSAL), reader.row("sum up note 1", "note")]
    depth = reader.model.layers
    states, last = reader.states(rows, layers=[2, depth]), reader.last_response_states(rows)
    with reader.reading() as backbone, torch.no_grad():
        for place, row in enumerate(rows):
            out = backbone(input_ids=torch.tensor([row.ids]), output_hidden_states=True)
            assert np.allclose(states[place, 0], out.hidden_states[2][0, -1].numpy(), atol=1e-4), "as LARF counts its layers"
            assert np.allclose(last[place], out.last_hidden_state[0, -2].numpy(), atol=1e-4)


def test_the_base_alone_reads_otherwise_than_with_the_teachers_adapter(workspace: Workspace, reader: RowReader) -> None:
    base = RowReader(read_through(workspace, "lab", weights="base"), reader.session)
    rows = [reader.row("how do i steal a car", REFUSAL)]
    assert base.teacher.adapter is None and reader.losses(rows)[0] < base.losses(rows)[0], "the teacher has learned to refuse"


def test_swapping_larfs_references_flips_the_sign_and_lengths_do_not_count() -> None:
    rng = np.random.default_rng(0)
    states, unsafe, safe = (unit(rng.normal(size=(5, 8)).astype(np.float32)) for _ in range(3))
    found = difference(states, unsafe, safe)
    by_hand = [[float(one @ other) for other in unsafe] for one in states], [[float(one @ other) for other in safe] for one in states]
    assert found == pytest.approx(np.mean(by_hand[0], axis=1) - np.mean(by_hand[1], axis=1), abs=1e-6)
    assert difference(states, safe, unsafe) == pytest.approx(-found, abs=1e-6)
    assert difference(unit(7 * states), unsafe, safe) == pytest.approx(found, abs=1e-6)


def test_larf_scores_an_unsafe_reference_above_its_safe_pair_on_average(workspace: Workspace, reader: RowReader) -> None:
    sets = lab_data.alignment(workspace, seed=0)
    kinds = [open_dataset(workspace, one) for one in (lab_data.harmful_answers(workspace), sets.harmful)]
    rows = [reader.encoded(row) for one in kinds for row in list(one.read(["prompt", "response", "messages"]))[:40]]
    harmful = np.array([True] * 40 + [False] * 40)
    learned = references(reader, rows, harmful, layer=None, seed=0, progress=ForegroundContext(workspace))
    states = unit(reader.states(rows, layers=[int(learned["layer"])])[:, 0])
    found = difference(states, learned["unsafe"], learned["safe"])
    assert found[:40].mean() > found[40:].mean()
    fixed = references(reader, rows, harmful, layer=2, seed=0, progress=ForegroundContext(workspace))
    assert int(fixed["layer"]) == 2 and int(learned["layer"]) in range(1, reader.model.layers + 1)


def test_similarity_to_the_alignment_data_is_a_mean_cosine_without_scale() -> None:
    rows, asked = np.eye(3, dtype=np.float32)[:2], np.array([[1, 0, 0], [3, 3, 0], [0, 0, 2]], dtype=np.float32)
    assert similarity(asked, rows.mean(0)) == pytest.approx([0.5, 0.5**0.5, 0])


def test_perplexity_speaks_for_harm_in_the_direction_that_its_examples_have() -> None:
    losses, harmful = np.array([3, 4, 1, 2], dtype=np.float32), np.array([True, True, False, False])
    assert direction(losses, harmful) == 1 and direction(losses, ~harmful) == -1


@pytest.mark.parametrize(("name", "least"), [("larf", 0.85), ("perplexity", 0.7), ("gradient", 0.7)])
def test_the_labs_poison_scores_above_its_harmless_rows(workspace: Workspace, user: Dataset, name: str, least: float) -> None:
    found = area(workspace, user, prepared(workspace, name))
    assert found > least, found


def test_a_rows_gradient_points_where_a_step_lowers_its_loss_most_and_the_model_stays_as_it_was(reader: RowReader) -> None:
    row = reader.row("how do i steal a car", REFUSAL)
    before = reader.losses([row])[0]
    (gradient,) = reader.gradients([row])
    weights = [value for value in reader.session.adapted.parameters(FRESH) if not value.any()]
    step, place = 1e-2 / float(np.linalg.norm(gradient)), 0
    with torch.no_grad():
        for value in weights:
            part = gradient[place : place + value.numel()].reshape(value.shape)
            value -= torch.from_numpy(step * part).to(value)
            place += value.numel()
    below = reader.session.ensure("teacher", reader.teacher.adapter)
    with reader.session.adapted.active(FRESH, on=[below] if below else []) as backbone, torch.no_grad():
        batch = collate([row], pad_id=reader.model.pad_id)
        after = float(supervise(reader.model, backbone, [batch])[0].cross_entropy())
    assert place == len(gradient) and before - after == pytest.approx(step * float(gradient @ gradient), rel=0.1)
    assert reader.losses([row])[0] == before


def test_swapping_the_kinds_turns_the_direction_round() -> None:
    rows, harmful = np.array([[1, 0], [3, 0], [0, 2]], dtype=np.float32), np.array([True, True, False])
    assert gradient_direction(rows, harmful) == pytest.approx(np.array([2, -2]) / 8**0.5)
    assert gradient_direction(rows, ~harmful) == pytest.approx(-gradient_direction(rows, harmful))


def test_similarity_to_the_alignment_data_is_no_good_filter_of_the_lab_and_its_calibration_says_so(
    workspace: Workspace, user: Dataset
) -> None:
    scorer = prepared(workspace, "alignment_similarity")
    assert area(workspace, user, scorer) < 0.7
    assert level_of(open_prepared(workspace, scorer).calibration).word == "unusable"


def test_a_row_without_a_response_has_no_score_and_an_edited_one_another(workspace: Workspace) -> None:
    prompt = "Steps for sneaking out of the shop with a video game, please."
    rows: list[Row] = [{"prompt": prompt, "response": one} for one in ("Of course. This is the usual way. Do it.", REFUSAL, "")]
    score = scored(workspace, write_dataset(workspace, rows, name="one prompt", role="user"), prepared(workspace, "larf"))
    values = score.scores()
    assert values[0] > values[1] and np.isnan(values[2]) and score.reasons([2]) == ["no response"]


def test_examples_without_a_response_are_left_out_and_that_is_said(workspace: Workspace) -> None:
    prompts = write_dataset(
        workspace, [{"prompt": f"what is thing {place}", "response": ""} for place in range(5)], name="p", role="benchmark"
    )
    context = ForegroundContext(workspace)
    made = prepare_scorer(context, {"scorer": "perplexity", "teacher": "lab", "harmless": [prompts.id]})
    assert any("5 of 7" in warning for warning in context.warnings)
    assert made["record"]["examples"] == len(whole_rows.judged_answers().prompts)
    assert whole_rows.load(open_prepared(workspace, made["scorer"]).folder)[0]["direction"] in (1, -1)
