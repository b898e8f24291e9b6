"""Two answers compared in both orders, by a tiny local model."""

from __future__ import annotations

from pathlib import Path

import pytest

from reft_studio.data.dataset import Row, write_dataset
from reft_studio.errors import SpecError
from reft_studio.evaluation.evaluate import evaluate
from reft_studio.evaluation.grade import Grade
from reft_studio.evaluation.judges.spec import JudgeSpec
from reft_studio.evaluation.preference import Preference
from reft_studio.evaluation.result import EvaluationFacts, Graded, load_result, summarise
from reft_studio.evaluation.suite import PREFERENCE, dataset_suite
from reft_studio.models.verdicts import GeneratedToken, Speaker, Spoken
from reft_studio.workspace import Workspace
from tests.evaluation.tiny_judges import make_speaker


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JudgeSpec:
    """A judge that prefers, of the answers A and B: the longer one; the first if both are equally long."""
    folder = make_speaker(tmp_path / "judge", ("A", "B"))

    def say(self: Speaker, prompts: list[list[int]], **options: object) -> list[Spoken]:
        found = []
        for ids in prompts:
            text = self.model.tokenizer.decode(ids)
            first, second = text.split("Answer A:\n")[1].split("\n\nReply")[0].split("\n\nAnswer B:\n")
            found.append(Spoken("", (GeneratedToken("positive", 0.9 if len(first) >= len(second) else 0.1),)))
        return found

    monkeypatch.setattr(Speaker, "say", say)
    return JudgeSpec(preference_model=str(folder))


def test_a_win_needs_both_orders_and_a_tie_is_one_half(planted: JudgeSpec) -> None:
    judge = Preference(planted, {"long": "short", "short": "a long reference", "empty": "", "equal": "equals"})
    grades = judge.grade_all(["long", "short", "empty", "equal"], ["a longer answer", "no", "", "equal!"])
    assert [(one.score, one.correct) for one in grades if one] == [(1.0, True), (0.0, False), (0.0, False), (0.5, False)]


def test_the_rate_counts_ties_half_and_stands_as_accuracy(workspace: Workspace, planted: JudgeSpec) -> None:
    rows = [Row(prompt="long", response="short"), Row(prompt="equal", response="equals")]
    suite = dataset_suite("p", task=write_dataset(workspace, rows, name="p", role="benchmark").id, benchmark=PREFERENCE)
    answers = {"long": "a longer answer", "equal": "equal!"}
    result = evaluate(workspace, "r", suite, lambda prompts, tokens: [(i, answers[p], "end") for i, p in enumerate(prompts)], judge=planted)
    assert result.fa is not None
    assert (result.fa.value, result.fa.n, result.fa.method) == (75, 2, "Wilson, ties one half")
    assert load_result(workspace, "r").verdicts["task"] == {"refuse": 0, "comply": 1, "other": 1}


def test_without_a_model_to_compare_there_is_no_preference() -> None:
    with pytest.raises(SpecError, match="preference-model"):
        Preference(JudgeSpec(), {"q": "r"}).grade_all(["q"], ["a"])


def test_the_two_orders_reach_the_model_as_they_are_read(tmp_path: Path) -> None:
    """Parity with one row at a time: P(A) against P(B) at the first token, in either order."""
    import torch
    import transformers as hf

    folder = make_speaker(tmp_path / "judge", ("A", "B"), seed=3)
    judge = Preference(JudgeSpec(preference_model=str(folder)), {"q": "reference", "r": "other"})
    grades = judge.grade_all(["q", "r"], ["mine", "a rather long answer of mine"])
    model, tokenizer = hf.AutoModelForCausalLM.from_pretrained(folder).eval(), hf.AutoTokenizer.from_pretrained(folder)
    a, b = tokenizer.convert_tokens_to_ids("A"), tokenizer.convert_tokens_to_ids("B")
    for (prompt, mine), grade in zip([("q", "mine"), ("r", "a rather long answer of mine")], grades, strict=True):
        orders = [(mine, judge.references[prompt]), (judge.references[prompt], mine)]
        logits = [model(torch.tensor([judge._tokens(prompt, *order)])).logits[0, -1].detach() for order in orders]
        expected = (int(logits[0][a] > logits[0][b]) + int(logits[1][a] < logits[1][b])) / 2
        assert grade is not None and grade.score == expected


def test_a_share_of_ties_is_not_narrower_than_its_counts() -> None:
    facts = EvaluationFacts("s", "s", "f", {}, "refusal_phrases", "1", "refusal_phrases", {}, "now")
    rows = [
        Graded("task", n, "p", "c", "end", None, {"preference": Grade("other", flagged=False, correct=False, score=0.5)}) for n in range(20)
    ]
    found = summarise(facts, rows).fa
    assert found is not None and found.value == 50 and found.low < 30 and found.high > 70
