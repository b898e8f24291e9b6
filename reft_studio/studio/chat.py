"""Chat: which models can answer, what they say, and what is known of a prompt before they do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from reft_studio.audit.language import READ, of_prompt, prompt_warning
from reft_studio.audit.policy import is_flagged
from reft_studio.chat.host import ModelHost
from reft_studio.errors import PrerequisiteError
from reft_studio.evaluation.judges import PHRASES, judge_for
from reft_studio.evaluation.subject import Kind, Subject, list_subjects
from reft_studio.jobs.queue import JobQueue
from reft_studio.studio import project
from reft_studio.studio.device import Way
from reft_studio.teacher.teacher import list_teachers
from reft_studio.workspace import Workspace

LAB = "lab"


@dataclass(frozen=True)
class ChatModel:
    """A model that can answer; models of one `base` can stand side by side."""

    id: str
    title: str
    kind: Kind
    base: str
    method: str | None


@dataclass(frozen=True)
class ChatEvent:
    """New text of one model; with `done` come why it stopped, whether it refused, and its speed.

    Or, with `waiting`, that no model answers yet: who has the device, and as which job.
    """

    model: str
    delta: str
    done: bool = False
    stop: Literal["end", "length"] | None = None
    refusal: bool | None = None
    tokens: int = 0
    seconds: float = 0.0
    waiting: str = ""
    job: str | None = None


@dataclass(frozen=True)
class PromptScore:
    """Where a filter puts a prompt."""

    cosine: float
    threshold: float
    flagged: bool


@dataclass
class Chat:
    """Chat with the models of one workspace. What a job holds the device for is not answered beside it unless that was asked for."""

    workspace: Workspace
    jobs: JobQueue
    host: ModelHost

    def models(self) -> list[ChatModel]:
        """Every model of the workspace: bases, aligned weights, teachers, runs from the newest."""
        return [_model(subject) for subject in list_subjects(self.workspace)]

    def answer(
        self,
        prompt: str,
        models: Sequence[str],
        *,
        max_new_tokens: int = 128,
        temperature: float = 0.0,
        seed: int = 0,
        way: Way = "beside",
    ) -> Iterator[ChatEvent]:
        """Stream the answers of several models of one base to the same prompt. Closing the iterator stops them.

        `way`: what is done while a job has the device; one that is to pause gives way to the answers, and is the next again.
        """
        asked: set[str] = set()
        how = "beside" if way == "beside" else "wait"
        for event in self._said(prompt, models, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed, device=how):
            if event.job and way == "pause" and event.job not in asked:
                asked.add(event.job)
                self.jobs.give_way(event.job)
            yield event

    def cosine(self, prompt: str, teacher: str = "lab") -> tuple[float, float] | None:
        """Cosine of a prompt to the teacher's refusal feature, and the threshold; None for an empty prompt."""
        if not prompt.strip():
            return None
        event = next(self.host.request(op="score", prompt=prompt, teacher=teacher), None)
        return (event["cosine"], event["threshold"]) if event else None

    def score(self, prompt: str, base: str) -> PromptScore | None:
        """Where the filter puts a prompt: the teacher in use, if it stands on this base, with the threshold in use, else the base's own.

        None for an empty prompt. Raises PrerequisiteError where no teacher stands on this base.
        """
        own = [teacher.id for teacher in list_teachers(self.workspace) if teacher.model == base and teacher.regularised]
        if not own:
            raise PrerequisiteError("no teacher for this base")
        dataset = project.chosen_dataset(self.workspace)
        used = project.chosen_scores(self.workspace, dataset.id) if dataset else None
        in_use = used if used is not None and used.teacher in own else None
        judged = self.cosine(prompt, in_use.teacher if in_use else own[0])
        if judged is None:
            return None
        chosen = project.chosen_threshold(self.workspace, in_use)
        threshold = judged[1] if chosen is None else chosen
        return PromptScore(judged[0], threshold, is_flagged(judged[0], threshold))

    def warning(self, prompt: str, base: str) -> str | None:
        """What must be said before models of this base answer: that they, or the filter, do not read the prompt. Asks no model."""
        if base == LAB:
            return prompt_warning(of_prompt(prompt, is_lab=True))
        teacher = next((one for one in list_teachers(self.workspace) if one.model == base and one.regularised), None)
        if teacher is None:
            return None  # nothing scores it, and what a real model reads is not known here
        return prompt_warning(of_prompt(prompt, is_lab=False, read=teacher.spec.get("languages", READ)))

    def _said(self, prompt: str, models: Sequence[str], **options: Any) -> Iterator[ChatEvent]:
        """Events of the host, with whether an answer refuses."""
        bases = [model for model in self.models() if model.id in models]
        base = next((model.base for model in bases), "lab")
        texts = dict.fromkeys(models, "")
        judge = judge_for(PHRASES)
        for event in self.host.request(op="chat", prompt=prompt, models=list(models), base=base, **options):
            if "waiting" in event:
                yield ChatEvent("", "", waiting=event["waiting"], job=event.get("job"))
                continue
            texts[event["model"]] += event["delta"]
            graded = judge.grade(prompt, texts[event["model"]]) if event.get("done") else None
            refusal = graded.verdict == "refuse" if graded else None
            yield ChatEvent(
                event["model"],
                event["delta"],
                done=bool(event.get("done")),
                stop=event.get("stop"),
                refusal=refusal,
                tokens=int(event.get("tokens", 0)),
                seconds=float(event.get("seconds", 0.0)),
            )


def _model(subject: Subject) -> ChatModel:
    return ChatModel(subject.id, subject.title, subject.kind, subject.model, subject.method)
