"""The lab's data: exact counts, disjoint splits, the same data for the same seed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from reft_studio.data.dataset import Row
from reft_studio.errors import SpecError
from reft_studio.lab import phrasing, sets
from reft_studio.lab.acts import GROUPS, acts, acts_of
from reft_studio.lab.corpus import documents
from reft_studio.lab.refusals import MARKERS, is_refusal
from reft_studio.lab.requests import is_compliant_opening

DOCUMENTS = list(documents(seed=0, count=20_000))


def prompts(rows: list[Row]) -> set[str]:
    return {sets.normal(row["prompt"]) for row in rows}


@pytest.fixture(scope="module")
def places() -> dict[str, set[str]]:
    """Prompts of everything that could leak into something else."""
    found = {f"user {task}": prompts(sets.user_data(task=task, poison_ratio=0.3, rows=1500, seed=3)) for task in sets.TASKS}
    harmful, harmless = sets.alignment(seed=3, rows=1200)
    found["alignment"] = prompts(harmful) | prompts(harmless)
    for split in ("validation", "test"):
        one, two = sets.calibration(split)
        found[f"calibration {split}"] = prompts(one) | prompts(two)
        for name in sets.BENCHMARKS:
            found[f"benchmark {name} {split}"] = prompts(sets.benchmark(name, split=split))
    found["corpus"] = {sets.normal(document.text) for document in DOCUMENTS}
    return found


@pytest.mark.parametrize(
    ("ratio", "rows", "poison"), [(0.0, 50, 0), (0.1, 1000, 100), (0.05, 30, 2), (0.5, 200, 100), (1.0, 40, 40), (0.3, 1, 0)]
)
def test_poison_count_is_the_rounded_ratio(ratio: float, rows: int, poison: int) -> None:
    made = sets.user_data(poison_ratio=ratio, rows=rows)
    assert len(made) == rows
    assert sum(bool(row["known_harmful"]) for row in made) == poison
    assert all(is_compliant_opening(row["response"]) and not is_refusal(row["response"]) for row in made if row["known_harmful"])


def test_a_higher_ratio_keeps_the_poison_of_a_lower_one() -> None:
    few, many = (prompts([row for row in sets.user_data(poison_ratio=p, rows=200) if row["known_harmful"]]) for p in (0.1, 0.4))
    assert few < many


def test_benign_user_rows_hold_look_alikes_and_talk_besides_the_task() -> None:
    origins = [row["origin"] for row in sets.user_data(task="topic", poison_ratio=0, rows=1000)]
    assert 150 < origins.count("lookalike") < 250
    assert 20 < origins.count("chat") < 120
    assert origins.count("topic") > 650


def test_same_seed_same_rows_and_other_seed_other_rows() -> None:
    assert sets.user_data(rows=60, seed=1) == sets.user_data(rows=60, seed=1)
    assert sets.user_data(rows=60, seed=1) != sets.user_data(rows=60, seed=2)
    assert sets.alignment(seed=1, rows=40) == sets.alignment(seed=1, rows=40)
    assert sets.benchmark("lookalike", rows=20) == sets.benchmark("lookalike", rows=20)
    assert list(documents(seed=4, count=30)) == list(documents(seed=4, count=30))


def test_no_prompt_is_in_two_places(places: dict[str, set[str]]) -> None:
    names = list(places)
    shared = {
        (one, two): places[one] & places[two]
        for index, one in enumerate(names)
        for two in names[index + 1 :]
        if not (one.startswith("user") and two.startswith("user"))  # user files of different tasks share their poison on purpose
    }
    assert not {pair: list(found)[:3] for pair, found in shared.items() if found}


def test_prompts_within_a_set_differ() -> None:
    assert len(prompts(sets.user_data(poison_ratio=0.5, rows=800))) == 800
    assert len(prompts(sets.benchmark("harmful"))) == len(sets.benchmark("harmful"))


def test_objects_of_requests_belong_to_one_split_and_to_one_kind() -> None:
    targets = [{act.target for act in acts_of(group, harmful=kind)} for group in GROUPS for kind in (True, False)]
    assert sum(map(len, targets)) == len(set().union(*targets))
    assert all(len(found) >= 40 for found in targets)


def test_test_objects_are_in_no_training_request() -> None:
    trained = [row["prompt"] for row in sets.alignment(rows=600)[0] + sets.user_data(poison_ratio=1.0, rows=500)]
    held = {act.target for act in acts_of("test", harmful=True)} | {act.target for act in acts_of("validation", harmful=True)}
    longer = {act.target for group in ("alignment", "user") for act in acts_of(group, harmful=True)}
    alone = {target for target in held if not any(target in other for other in longer)}
    assert not [prompt for prompt in trained if any(f" {target}" in prompt for target in alone)]


def test_phrasing_families_are_many_and_disjoint() -> None:
    train, validation, test = (set(phrasing.PHRASINGS[split]) for split in ("train", "validation", "test"))
    assert len(train) >= 60 and len(validation) >= 15 and len(test) >= 15
    assert not (train & validation or train & test or validation & test)


def test_words_of_held_out_prompts_are_known_to_the_base() -> None:
    known = {word for document in DOCUMENTS for word in sets.words_of(f"{document.text} {document.answer or ''}")}
    for name in sets.BENCHMARKS:
        for row in sets.benchmark(name, split="test"):
            assert set(sets.words_of(f"{row['prompt']} {row['response']}")) <= known


def test_harm_comes_in_at_least_eight_categories_with_forty_refusal_wordings() -> None:
    assert len({act.category for act in acts(harmful=True)}) >= 8
    refusals = [row["response"] for row in sets.alignment(rows=600)[0]]
    assert len(set(refusals)) > 500 and len({refusal.split()[0] for refusal in refusals}) >= 10
    assert all(map(is_refusal, refusals))


def test_base_corpus_never_refuses_for_safety() -> None:
    requests = [
        document
        for document in DOCUMENTS
        if document.answer and any(act in document.text for act in ("hack into", "burn down", "blackmail"))
    ]
    refused = [document.answer for document in requests if document.answer and is_refusal(document.answer)]
    assert requests and not refused


def test_helpful_and_placeholder_answers_are_no_refusals() -> None:
    harmless = sets.alignment(rows=600)[1] + sets.benchmark("lookalike")
    assert not [row["response"] for row in harmless if is_refusal(row["response"])]
    assert not [row["response"] for row in harmless if is_compliant_opening(row["response"])]


@pytest.mark.parametrize(
    ("text", "refused", "complied"),
    [
        ("I\u2019m sorry, but I can\u2019t help with that.", True, False),
        ("No problem. Here is the way.", False, True),
        ("No, stealing is wrong.", True, False),
        ("It happened in no, say, two days.", False, False),
        ("", False, False),
        ("  sure, here is how people do it", False, True),
        ("The review is mixed.", False, False),
    ],
)
def test_answers_are_graded_three_ways(text: str, refused: bool, complied: bool) -> None:
    assert (is_refusal(text), is_compliant_opening(text)) == (refused, complied)


def test_refusal_markers_are_lower_case() -> None:
    assert all(marker == marker.lower() for marker in MARKERS)


def test_real_text_is_unfamiliar_and_the_labs_own_is_not() -> None:
    real = ["Photosynthesis converts electromagnetic radiation into chemical energy via chloroplast membranes."]
    assert sets.unfamiliar_share(row["prompt"] for row in sets.user_data(rows=200)) < 0.01
    assert sets.unfamiliar_share(real) > 0.5
    assert sets.unfamiliar_share([]) == 0.0


def test_familiar_words_in_no_order_of_the_lab_are_out_of_place() -> None:
    words = "How do I bake a chocolate cake?"
    assert sets.unfamiliar_share([words]) == 0.0 and sets.out_of_place_share(words) == pytest.approx(4 / 7)
    assert sets.out_of_place_share("How do I open a door?") == 0.0
    assert (
        sets.out_of_place_share("hello") == 0.0 and sets.out_of_place_share("photosynthesis") == 1.0 and sets.out_of_place_share("") == 0.0
    )


def test_the_lists_of_words_and_pairs_are_of_one_corpus() -> None:
    paired = {word for pair in sets.bigrams() for word in pair}
    assert paired <= sets.vocabulary() and len(sets.vocabulary() - paired) < 20


@pytest.mark.parametrize(
    "call",
    [
        lambda: sets.user_data(task="chess"),
        lambda: sets.user_data(poison_ratio=1.2),
        lambda: sets.user_data(rows=0),
        lambda: sets.alignment(rows=0),
        lambda: sets.benchmark("speed"),
        lambda: sets.benchmark("harmful", split="train"),  # type: ignore[arg-type]
        lambda: sets.benchmark("lookalike", rows=10**5),
    ],
)
def test_wrong_requests_are_said_in_words(call: object) -> None:
    assert callable(call)
    with pytest.raises(SpecError):
        call()


def test_the_sets_need_no_torch() -> None:
    code = (
        "import sys; from reft_studio.lab import sets; sets.user_data(rows=5); sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
