"""The Chat and Compare pages: which models can answer, what they say, how the evaluated ones stand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from reft_studio.audit.language import READ, of_prompt, prompt_warning
from reft_studio.chat.host import ModelHost
from reft_studio.comparison.table import RunRow, Summary, caveats, comparable, groups, load_rows, summaries
from reft_studio.evaluation.judges import judge_named
from reft_studio.evaluation.subject import Kind, Subject, list_subjects
from reft_studio.teacher.teacher import TeacherInfo
from reft_studio.workspace import Workspace

JUDGE = "refusal_phrases"
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
class Comparison:
    """Every evaluated model, in groups that may be compared, newest group first; `reasons` says what keeps the groups apart."""

    rows: list[RunRow]
    groups: list[list[RunRow]]
    summaries: list[Summary]
    reasons: list[str]
    caveats: list[str]


def chat_models(workspace: Workspace) -> list[ChatModel]:
    """Every model of the workspace: bases, aligned weights, teachers, runs from the newest."""
    return [_model(subject) for subject in list_subjects(workspace)]


def chat(workspace: Workspace, host: ModelHost, prompt: str, models: Sequence[str], **options: Any) -> Iterator[ChatEvent]:
    """Stream the answers of several models to one prompt."""
    bases = [model for model in chat_models(workspace) if model.id in models]
    base = next((model.base for model in bases), "lab")
    texts = dict.fromkeys(models, "")
    judge = judge_named(JUDGE)
    for event in host.request(op="chat", prompt=prompt, models=list(models), base=base, **options):
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


def unread_prompt(prompt: str, base: str, teacher: TeacherInfo | None) -> str | None:
    """Why a prompt is none that models of a base, or the teacher that scores it, were made for; None if nothing speaks against it."""
    if base == LAB:
        return prompt_warning(of_prompt(prompt, is_lab=True))
    if teacher is None:
        return None  # nothing scores it, and what a real model reads is not known here
    return prompt_warning(of_prompt(prompt, is_lab=False, read=teacher.spec.get("languages", READ)))


def comparison(workspace: Workspace) -> Comparison:
    """What the Compare page draws."""
    rows = load_rows(workspace)
    found = sorted(groups(rows), key=lambda group: max(row.created for row in group), reverse=True)
    first = found[0] if found else []
    return Comparison(rows, found, summaries(first), comparable(rows), caveats(first))


def _model(subject: Subject) -> ChatModel:
    return ChatModel(subject.id, subject.title, subject.kind, subject.model, subject.method)
