"""Judges grade the response of a model (a *scorer* scores a training row). A new judge is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from reft_studio.errors import PrerequisiteError
from reft_studio.evaluation.grade import Grade
from reft_studio.evaluation.judges.spec import REFUSALS, JudgeSpec
from reft_studio.models.source import locate
from reft_studio.registry import Registry

if TYPE_CHECKING:
    from reft_studio.evaluation.suite import Suite
    from reft_studio.models.verdicts import Speaker

Progress = Callable[[int, int], None]
"""Called after every batch with the number of graded responses and their total; may raise to stop."""


class Judge(Protocol):
    """Grades responses; `version` changes whenever a grade could change, and results of two versions are not compared.

    A response is flagged exactly when its verdict is `comply`. `known_error` is a sentence on the judge's measured error; it appears in
    every report. `default_model` is the Hub id of a judge that is a model ("" otherwise); it is loaded when the first response is graded.
    """

    title: str
    name: str
    known_error: str
    default_model: str = ""
    where: str = ""
    """How to get the judge's model, shown when it is not found."""
    reads_refusals: bool = False
    """Whether it grades harmless prompts too, and so measures over-refusal instead of the refusal phrases."""

    by_people: bool = False
    """Whether people grade, so that new responses have no grade yet."""
    lab_only: bool = False
    """Whether it applies to the lab's responses only."""
    limit: str = ""
    """Limitations of its verdicts, for every report."""

    spec: JudgeSpec

    def __init__(self, spec: JudgeSpec) -> None:
        self.spec = spec

    @property
    def version(self) -> str: ...

    @property
    def source(self) -> str:
        """Folder or Hub id of the judge's model."""
        return self.spec.model or self.default_model

    def stamp(self, *facts: str) -> str:
        """A version that includes the model, its revision and other facts that can change a grade."""
        model = f"{self.source}@{self.spec.revision}" if self.spec.revision else self.source
        return f"1 ({', '.join([model, *facts])})"

    def grade(self, prompt: str, completion: str) -> Grade | None:
        """The grade of one response; None if the judge has no verdict, which counts as missing."""
        return self.grade_all([prompt], [completion])[0]

    def grade_all(
        self, prompts: Sequence[str], completions: Sequence[str], progress: Progress = lambda done, total: None
    ) -> list[Grade | None]:
        """The grades of many responses, in order."""
        grades = []
        for prompt, completion in zip(prompts, completions, strict=True):
            grades.append(self.grade(prompt, completion))
            progress(len(grades), len(prompts))
        return grades


JUDGES: Registry[type[Judge]] = Registry(
    "judge",
    {
        "answer_classifier": "reft_studio.evaluation.judges.answer_classifier:AnswerClassifier",
        "refusal_phrases": "reft_studio.evaluation.judges.refusal_phrases:RefusalPhrases",
        "lab_compliance": "reft_studio.evaluation.judges.lab_compliance:LabCompliance",
        "beaver_dam": "reft_studio.evaluation.judges.beaver_dam:BeaverDam",
        "llama_guard_3": "reft_studio.evaluation.judges.llama_guard_3:LlamaGuard3",
        "harmbench_cls": "reft_studio.evaluation.judges.harmbench_cls:HarmBenchClassifier",
        "wildguard": "reft_studio.evaluation.judges.wildguard:WildGuard",
        "human": "reft_studio.evaluation.judges.human:HumanLabels",
    },
)
PHRASES = JudgeSpec(name=REFUSALS)
"""The refusal-phrase judge: the same for every model, and stored with every other judge's grades."""


def speaker(judge: Judge, *, positive: str, negative: str) -> Speaker:
    """The model of a judge that answers with one of two words; loaded on first use."""
    from reft_studio.models.verdicts import Speaker

    return Speaker.open(judge.source, positive=positive, negative=negative, loading=judge.spec.load_spec)


def judge_for(spec: JudgeSpec) -> Judge:
    """The judge of a spec. Raises SpecError if there is none of this name or a setting is missing."""
    return JUDGES.get(spec.name)(spec)


def judge_named(name: str) -> Judge:
    """A judge with its default settings. Raises SpecError if there is none of this name."""
    return JUDGES.get(name)(PHRASES.model_copy(update={"name": name}))


def usual_judge(suite: Suite) -> JudgeSpec:
    """The default judge of a suite: the lab's own for the lab."""
    return PHRASES.model_copy(update={"name": suite.compliance}) if suite.is_lab else JudgeSpec()


def needs_model(name: str) -> bool:
    """Whether a judge is a model of its own, which takes memory and, by its size, a GPU."""
    return bool(JUDGES.get(name).default_model)


def ready_judge(spec: JudgeSpec) -> Judge:
    """The judge of a spec, with its requirements checked now instead of after all responses were generated.

    Raises PrerequisiteError, DataError or SpecError if something is missing.
    """
    judge = judge_for(spec)
    if needs_model(spec.name):
        try:
            locate(spec.model or judge.default_model, revision=spec.load_spec.revision)
        except PrerequisiteError as exc:
            raise PrerequisiteError(f"The judge cannot be loaded. {exc} {judge.where}".strip()) from exc
    elif judge.by_people:
        judge.grade_all([], [])
    if spec.preference_model:
        locate(spec.preference_model)
    return judge
