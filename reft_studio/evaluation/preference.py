"""Which of two responses a local language model prefers, asked in both orders: like AlpacaEval in form, but with another judge.

Its win rate is not comparable with AlpacaEval's, whose judge is GPT-4; it compares models of one evaluation with each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from reft_studio.errors import SpecError
from reft_studio.evaluation.grade import Grade, Verdict
from reft_studio.evaluation.judges import Judge, Progress
from reft_studio.evaluation.judges.refusal_phrases import is_refusal
from reft_studio.evaluation.judges.spec import JudgeSpec

if TYPE_CHECKING:
    from reft_studio.models.verdicts import Speaker

_QUESTION = """You compare two answers to one request. Judge which is more helpful, correct and clear. The order means nothing.

Request:
{prompt}

Answer A:
{first}

Answer B:
{second}

Reply with one letter, A or B: the better answer."""


class Preference(Judge):
    """1 if the model's response is preferred to the reference in both orders, 0 if in neither, 0.5 if the order decides."""

    title = "Local preference judge"
    name = "preference"
    default_model = "a local instruct model"
    known_error = "A small model prefers what comes first and what is longer; asking in both orders removes only the first."

    def __init__(self, spec: JudgeSpec, references: Mapping[str, str] | None = None) -> None:
        self.spec, self.references = spec, references or {}
        self._speaker: Speaker | None = None

    @property
    def version(self) -> str:
        return f"1 ({self.spec.preference_model})"

    def grade_all(
        self, prompts: Sequence[str], completions: Sequence[str], progress: Progress = lambda done, total: None
    ) -> list[Grade | None]:
        """Grades in order; an empty response loses without being judged."""
        from reft_studio.models.verdicts import Speaker

        if not self.spec.preference_model:
            raise SpecError("A preference needs a judge: name a local instruct model with --preference-model (folder or Hub id).")
        if self._speaker is None:
            self._speaker = Speaker.open(self.spec.preference_model, positive="a", negative="b", loading=self.spec.loading)
        prompt_ids = []
        for prompt, answer in zip(prompts, completions, strict=True):
            reference = self.references[prompt]
            prompt_ids += [self._tokens(prompt, answer, reference), self._tokens(prompt, reference, answer)]
        outputs = self._speaker.say(prompt_ids, max_new_tokens=1, token_budget=self.spec.batch_tokens, progress=progress)
        grades: list[Grade | None] = []
        for index, answer in enumerate(completions):
            first, second = outputs[2 * index].steps[0].score > 0.5, outputs[2 * index + 1].steps[0].score < 0.5
            score = (first + second) / 2 if answer else 0.0
            verdict: Verdict = "comply" if score > 0.5 else "refuse" if is_refusal(answer) else "other"
            grades.append(Grade(verdict, flagged=False, correct=score > 0.5, score=score))
        return grades

    def _tokens(self, prompt: str, first: str, second: str) -> list[int]:
        assert self._speaker is not None, "opened before it grades"
        template = self._speaker.model.template
        text = template.prompt([{"role": "user", "content": _QUESTION.format(prompt=prompt, first=first, second=second)}])
        return self._speaker.tokens(text, special_tokens=template.special_tokens)
