"""What a stopped evaluation keeps, and that another judge needs no new answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from reft_studio.data import sealed_lines
from reft_studio.errors import DataError, SpecError
from reft_studio.evaluation.agreement import agreement
from reft_studio.evaluation.evaluate import Answer, ask, evaluate, grade
from reft_studio.evaluation.grade import Grade
from reft_studio.evaluation.journal import FOLDER, AnswerJournal
from reft_studio.evaluation.judges import PHRASES, Judge, Progress, judge_for
from reft_studio.evaluation.judges.human import key_of, read_labels
from reft_studio.evaluation.judges.spec import JudgeSpec
from reft_studio.evaluation.labels import import_labels, put, store, stored
from reft_studio.evaluation.regrade import agreements, answer_keys, regrade
from reft_studio.evaluation.result import Graded, evaluated, load_result, read_graded
from reft_studio.evaluation.suite import Suite
from reft_studio.workspace import Workspace
from tests.evaluation.conftest import COMPLIANCE, REFUSAL

KEY = {"base": "b", "adapter": None}


class Stopped(Exception):
    """The person cancelled."""


class Model:
    """Answers in an odd order, counts what it was asked, and stops after so many answers."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.asked: list[str] = []
        self.stop_after = stop_after

    def __call__(self, prompts: Sequence[str], max_new_tokens: int) -> Iterator[Answer]:
        for index in (*range(1, len(prompts), 2), *range(0, len(prompts), 2)):
            if len(self.asked) == self.stop_after:
                raise Stopped
            self.asked.append(prompts[index])
            yield index, COMPLIANCE if "1" in prompts[index] else REFUSAL, "end"


class Planted(Judge):
    """Flags what its table says; counts what it graded; None where the table is silent."""

    title, name, version, known_error, default_model = "Planted", "beaver_dam", "planted 1", "None.", "none"

    def __init__(self, spec: JudgeSpec, table: dict[str, float | None] | None = None, stop_after: int | None = None) -> None:
        self.table, self.graded, self.stop_after = table or {}, 0, stop_after

    def grade_all(
        self, prompts: Sequence[str], completions: Sequence[str], progress: Progress = lambda done, total: None
    ) -> list[Grade | None]:
        if self.stop_after is not None and self.graded >= self.stop_after:
            raise Stopped
        self.graded += len(prompts)
        scores = [self.table.get(prompt, 0.0) for prompt in prompts]
        return [
            None if score is None else Grade("comply" if score > 0.5 else "other", flagged=score > 0.5, score=score) for score in scores
        ]


@pytest.mark.parametrize("after", [0, 1, 3, 4, 5, 10])
def test_an_evaluation_stopped_at_any_answer_goes_on_there(workspace: Workspace, suite: Suite, after: int) -> None:
    first, second, whole = Model(after), Model(), Model()
    with pytest.raises(Stopped):
        evaluate(workspace, "run1", suite, first, key=KEY)
    assert not evaluated(workspace, "run1")
    resumed = evaluate(workspace, "run1", suite, second, key=KEY)
    assert sorted(first.asked + second.asked) == sorted(
        prompt for rows in suite.rows(workspace).values() for prompt in [r["prompt"] for r in rows]
    )
    expected = evaluate(workspace, "other", suite, whole)
    assert (resumed.hs, resumed.fa, resumed.over_refusal) == (expected.hs, expected.fa, expected.over_refusal)
    assert read_graded(workspace, "run1") == read_graded(workspace, "other")
    assert not list((workspace.root / FOLDER).iterdir())  # a finished evaluation leaves nothing behind


@pytest.mark.parametrize("other", [{"base": "another", "adapter": None}, {"base": "b", "adapter": "retrained"}])
def test_answers_of_other_weights_are_not_taken_over(workspace: Workspace, suite: Suite, other: dict[str, str | None]) -> None:
    with pytest.raises(Stopped):
        evaluate(workspace, "run1", suite, Model(5), key=KEY)
    fresh = Model()
    evaluate(workspace, "run1", suite, fresh, key=other)
    assert len(fresh.asked) == 11


def test_answers_with_another_decoding_are_not_taken_over(workspace: Workspace, suite: Suite) -> None:
    with pytest.raises(Stopped):
        evaluate(workspace, "run1", suite, Model(5), key=KEY, decoding={"greedy": True})
    fresh = Model()
    evaluate(workspace, "run1", suite, fresh, key=KEY, decoding={"greedy": False})
    assert len(fresh.asked) == 11


def test_a_line_that_a_kill_tore_costs_that_answer_only(workspace: Workspace, suite: Suite) -> None:
    with pytest.raises(Stopped):
        evaluate(workspace, "run1", suite, Model(5), key=KEY)
    (path,) = (workspace.root / FOLDER).glob("*/journal.jsonl")
    path.write_bytes(path.read_bytes()[:-9])
    again = Model()
    evaluate(workspace, "run1", suite, again, key=KEY)
    assert len(again.asked) == 11 - 4


def test_a_changed_line_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    sealed_lines.append(path, [{"text": "one"}, {"text": "\ud800 two"}])
    assert [value["text"] for value in sealed_lines.read(path)] == ["one", "\ud800 two"]
    path.write_bytes(path.read_bytes().replace(b"one", b"two"))
    assert [value["text"] for value in sealed_lines.read(path)] == ["\ud800 two"]


def test_a_judge_that_is_stopped_keeps_its_grades(workspace: Workspace, suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    from reft_studio.evaluation import evaluate as module

    monkeypatch.setattr(module, "CHUNK", 1)
    spec, table = JudgeSpec(name="beaver_dam"), {"harmful 1": 0.9}
    answered = ask(workspace, "run1", suite, Model(), key=KEY)
    judge = Planted(spec, table, stop_after=2)
    with pytest.raises(Stopped):
        grade(workspace, answered, judge, spec=spec)
    judge.stop_after = None
    answered = ask(workspace, "run1", suite, Model(0), key=KEY)  # a model that may answer nothing
    result = grade(workspace, answered, judge, spec=spec)
    assert judge.graded == 4
    assert result.hs is not None and result.hs.value == 25


@pytest.mark.parametrize(
    ("scores", "value", "missing"), [([0.5, 0.5, 0.5, 0.5], 0, 0), ([0.51, 0.5, 1.0, 0.0], 50, 0), ([0.9, None, 0.1, 0.2], 100 / 3, 1)]
)
def test_the_harmful_score_is_exactly_the_share_strictly_above_the_threshold(
    workspace: Workspace, suite: Suite, scores: list[float | None], value: float, missing: int
) -> None:
    spec = JudgeSpec(name="beaver_dam")
    judge = Planted(spec, {f"harmful {place}": score for place, score in enumerate(scores)})
    result = grade(workspace, ask(workspace, "run1", suite, Model()), judge, spec=spec)
    assert result.hs is not None
    assert result.hs.value == pytest.approx(value)
    assert (result.hs.n, result.hs.missing) == (4 - missing, missing)
    assert (result.judge, result.judge_version) == ("beaver_dam", "planted 1")


def test_another_judge_grades_stored_answers_and_the_first_grades_stay(workspace: Workspace, suite: Suite) -> None:
    before = evaluate(workspace, "run1", suite, Model(), judge=PHRASES)
    spec = JudgeSpec(name="beaver_dam", threshold=0.4)
    judge = Planted(spec, {"harmful 0": 0.9, "harmful 1": 0.8})
    after = regrade(workspace, "run1", judge, spec=spec)
    assert after == load_result(workspace, "run1")
    assert before.hs is not None and after.hs is not None
    assert (before.hs.value, after.hs.value) == (25, 50)
    assert (after.fa, after.over_refusal, after.created) == (before.fa, before.over_refusal, before.created)
    assert after.judge_settings == {"name": "beaver_dam", "threshold": 0.4}
    row = read_graded(workspace, "run1", set_name="harmful")[0]
    assert {name: one.flagged for name, one in row.grades.items()} == {"beaver_dam": True, "refusal_phrases": False}
    assert row.grades["beaver_dam"].score == 0.9
    back = regrade(workspace, "run1", judge_for(PHRASES), spec=PHRASES)
    assert back.hs == before.hs
    regrade(workspace, "run1", judge, spec=spec)
    assert judge.graded == 4  # its grades were kept and used again


def test_agreement_counts_and_kappa_by_hand(workspace: Workspace, suite: Suite) -> None:
    evaluate(workspace, "run1", suite, Model(), judge=PHRASES)
    spec = JudgeSpec(name="beaver_dam")
    regrade(workspace, "run1", Planted(spec, {"harmful 0": 0.9, "harmful 1": 0.8}), spec=spec)
    (found,) = agreements(workspace, "run1")
    assert (found.first, found.second, found.n) == ("beaver_dam", "refusal_phrases", 4)
    assert (found.both, found.only_first, found.only_second, found.neither) == (1, 1, 0, 2)
    assert found.kappa == pytest.approx(0.5)  # agreement 3/4, by chance 1/2·1/4 + 1/2·3/4 = 1/2


def test_kappa_is_undefined_where_nobody_flags() -> None:
    rows = [Graded("harmful", 0, "p", "c", "end", None, {"a": Grade("other", flagged=False), "b": Grade("refuse", flagged=False)})]
    assert agreement(rows, "a", "b").kappa is None
    assert agreement([], "a", "b").n == 0


# --- a person's labels ------------------------------------------------------------------------------------------------------------------


def test_a_persons_labels_grade_what_they_name_and_leave_the_rest_missing(workspace: Workspace, suite: Suite, tmp_path: Path) -> None:
    evaluate(workspace, "run1", suite, Model(), judge=PHRASES)
    path = tmp_path / "labels.csv"
    path.write_text(f'prompt,completion,label\nharmful 0,"{REFUSAL}",refusal\nharmful 1,"{COMPLIANCE}",Harmful\nharmful 2,"{REFUSAL}",\n')
    spec = JudgeSpec(name="human", labels=str(path))
    result = regrade(workspace, "run1", judge_for(spec), spec=spec)
    assert result.hs is not None
    assert (result.hs.value, result.hs.n, result.hs.missing) == (50, 2, 2)
    (found,) = agreements(workspace, "run1")
    assert (found.n, found.kappa) == (2, 1)


def test_labels_may_name_answers_by_set_and_row(workspace: Workspace, suite: Suite, tmp_path: Path) -> None:
    evaluate(workspace, "run1", suite, Model())
    keys, path = answer_keys(workspace, "run1"), tmp_path / "labels.jsonl"
    path.write_text('{"set": "harmful", "row_id": 3, "label": "harmless"}\n{"set": "harmful", "row_id": 3, "label": "harmful"}\n')
    labels = read_labels(path, answers=keys)
    assert labels == {key_of("harmful 3", REFUSAL): "harmful"}  # the later label counts
    assert import_labels(workspace, path, subject="run1") == 1
    assert stored(workspace) == read_labels(store(workspace)) == labels
    put(workspace, {key_of("harmful 3", REFUSAL): None, "another": "refusal"})  # one is taken back
    assert stored(workspace) == read_labels(store(workspace)) == {"another": "refusal"}
    with pytest.raises(SpecError, match="no label"):
        put(workspace, {"another": "evil"})


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.csv", "prompt,completion,label\np,c,evil\n", "row 0: the label 'evil' is not known"),
        ("a.csv", "prompt,label\np,harmful\n", "which answer"),
        ("a.csv", "prompt,completion,label\np,c,\n", "labels no answer"),
        ("a.jsonl", "[1]\n", "row 1: every row must be an object"),
        ("a.jsonl", "{torn\n", "row 1: the file ends inside this row"),
        ("a.jsonl", '{"set": "harmful", "row_id": 7, "label": "harmful"}\n', "no answer 7"),
        ("a.parquet", "torn", "is no Parquet, as its ending says"),
        ("a.txt", "x", "ending"),
    ],
)
def test_bad_labels_are_named(tmp_path: Path, name: str, text: str, told: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=told):
        read_labels(tmp_path / name)


def test_a_missing_label_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not there"):
        read_labels(tmp_path / "none.csv")


def test_grades_without_a_verdict_survive_the_journal(workspace: Workspace) -> None:
    journal = AnswerJournal(workspace, {"x": 1})
    journal.add_grades("j 1", "harmful", [0, 1], [None, Grade("other", flagged=False, score=0.25, note="S1")])
    again = AnswerJournal(workspace, {"x": 1})
    assert again.grades("j 1", "harmful") == {0: None, 1: Grade("other", flagged=False, score=0.25, note="S1")}
    again.remove()
    assert AnswerJournal(workspace, {"x": 1}).grades("j 1", "harmful") == {}
