"""What the chat says to the browser: an exchange so far, who answers, who holds the device."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import gradio as gr

from reft_studio.errors import SpecError, StudioError
from reft_studio.lab import sets
from reft_studio.studio.device import WAYS, Way
from ui.events import answer, message_for
from ui.shared.marks import mark_of
from ui.text import counted, number, show
from ui.widgets import widget

if TYPE_CHECKING:
    from reft_studio.studio.chat import ChatEvent, ChatModel
    from reft_studio.studio.studio import Studio

MOST_MODELS = 4
MOST_TOKENS = 512
DEFAULT_TOKENS = 96
PROMPT_LIMIT, ANSWER_LIMIT = 8000, 20_000
FRAME_S = 0.05
"""Seconds between two updates of the page: 20 a second reads as flowing text and leaves the browser idle."""
STOPS = {"end": "ended", "length": "cut at the limit", "stopped": "stopped"}


@dataclass(frozen=True)
class ChatRequest:
    """One prompt for several models, as the browser sent it and checked."""

    turn: int
    prompt: str
    models: list[str]
    max_new_tokens: int
    temperature: float
    seed: int
    way: Way = "beside"

    @classmethod
    def checked(cls, sent: Mapping[str, Any]) -> ChatRequest:
        """Raises SpecError if a value is out of range."""
        models = [str(name) for name in sent.get("models") or []]
        prompt = str(sent.get("prompt") or "").strip()
        way = next((one for one in WAYS if one == sent.get("way")), WAYS[0])
        tokens, temperature, seed = int(sent.get("max_new_tokens") or 0), float(sent.get("temperature") or 0), int(sent.get("seed") or 0)
        if not prompt or not 1 <= len(models) <= MOST_MODELS:
            raise SpecError(f"Write a prompt and choose 1 to {MOST_MODELS} models; {len(models)} are chosen.")
        if len(prompt) > PROMPT_LIMIT:
            raise SpecError(f"The prompt has {len(prompt):,} characters; at most {PROMPT_LIMIT:,} are allowed. Shorten it.")
        if not 1 <= tokens <= MOST_TOKENS or not 0 <= temperature <= 2 or seed < 0:
            raise SpecError(
                f"Longest answer is {tokens} (1 to {MOST_TOKENS}), temperature {temperature:g} (0 to 2), seed {seed} (0 or more)."
            )
        return cls(int(sent.get("turn") or 0), prompt, models, tokens, temperature, seed, way)


@dataclass
class ChatLane:
    """The answer of one model so far."""

    model: ChatModel
    title: str
    text: str = ""
    state: str = "waiting"
    message: str = ""
    refusal: bool | None = None
    stop: str | None = None
    tokens: int = 0
    seconds: float = 0.0
    waits: str = ""
    """What has the device, while the answer waits for it."""

    def take(self, event: ChatEvent) -> None:
        """Add what the model said."""
        self.waits = ""
        self.text += event.delta
        self.state = "done" if event.done else "writing"
        if event.done:
            self.refusal, self.stop, self.tokens, self.seconds = event.refusal, event.stop, event.tokens, event.seconds

    def view(self) -> dict[str, Any]:
        mark = mark_of(self.model.method or self.model.kind)
        return {
            "id": self.model.id,
            "title": self.title,
            "colour": mark.colour,
            "shape": mark.shape,
            "text": show(self.text, ANSWER_LIMIT),
            "state": self.state,
            "message": self.message,
            "badge": "" if self.refusal is None else "Refused" if self.refusal else "Answered",
            "badge_kind": "accent" if self.refusal else "",
            "foot": self.foot(),
        }

    def foot(self) -> str:
        """`42 tokens, ended, 61 tokens per second`; while nothing has come yet, that the model is being loaded."""
        if self.state != "done":
            waiting = f"Waits until “{show(self.waits, 80)}” gives the device back" if self.waits else "Waiting for the model"
            return waiting if self.state == "waiting" else ""
        parts = [counted(self.tokens, "token"), STOPS.get(self.stop or "", self.stop or "")]
        if self.seconds > 0:
            parts.append(f"{self.tokens / self.seconds:,.0f} tokens per second")
        return ", ".join(part for part in parts if part)


@dataclass
class ChatTurn:
    """A prompt and its answers so far."""

    ask: ChatRequest
    lanes: dict[str, ChatLane] = field(default_factory=dict)
    gauge: dict[str, Any] | None = None
    warning: str = ""
    """Why neither answers nor score mean anything; answers to such a prompt are masked as those to a flagged one."""
    problem: str = ""
    ended: bool = False

    def view(self) -> dict[str, Any]:
        lanes = [lane.view() for lane in self.lanes.values()]
        return {
            "turn": self.ask.turn,
            "prompt": show(self.ask.prompt, PROMPT_LIMIT),
            "gauge": self.gauge,
            "lanes": lanes,
            "warning": self.warning,
            "problem": self.problem,
            "ended": self.ended,
        }

    def fail(self, message: str) -> None:
        """Say in every unfinished lane why it stopped, or under the prompt if there is no lane yet."""
        self.problem = "" if self.lanes else message
        for lane in self.lanes.values():
            if lane.state != "done":
                lane.state, lane.message = "failed", message


def converse(studio: Studio, ask: ChatRequest) -> Iterator[dict[str, Any]]:
    """The exchange as it grows, at most one view per `FRAME_S`; an error ends in the lanes, never as an exception."""
    exchange = ChatTurn(ask)
    try:
        models = studio.chat.models()
        known = {model.id: model for model in models}
        missing = [name for name in ask.models if name not in known]
        if missing:
            raise SpecError(f"{counted(len(missing), 'chosen model')} cannot be found any more. Reload the page and choose again.")
        titles = {view["id"]: view["title"] for view in model_views(studio, models)}
        bases = dict.fromkeys(known[name].base for name in ask.models)
        warnings = [studio.chat.warning(ask.prompt, base) for base in bases]
        exchange.warning = show(" ".join(one for one in warnings if one), 400)
        exchange.lanes = {name: ChatLane(known[name], titles[name]) for name in ask.models}
        yield exchange.view()
        exchange.gauge = gauge(studio, ask.prompt, known[ask.models[0]].base)
        yield exchange.view()
        yield from _answers(studio, exchange)
    except Exception as exc:  # the edge of the app: a failed answer is told in its lane
        exchange.fail(message_for(exc))
    exchange.ended = True
    yield exchange.view()


def _answers(studio: Studio, exchange: ChatTurn) -> Iterator[dict[str, Any]]:
    ask, sent = exchange.ask, -math.inf
    options: dict[str, Any] = {"max_new_tokens": ask.max_new_tokens, "temperature": ask.temperature, "seed": ask.seed}
    for event in studio.chat.answer(ask.prompt, ask.models, way=ask.way, **options):
        now = time.monotonic()
        if event.waiting:
            for lane in exchange.lanes.values():
                lane.waits = event.waiting
            yield exchange.view()
            continue
        exchange.lanes[event.model].take(event)
        if event.done or now - sent >= FRAME_S:
            sent = now
            yield exchange.view()


def gauge(studio: Studio, prompt: str, base: str) -> dict[str, Any]:
    """Where the filter puts the prompt: by the teacher in use, if it stands on this base, else the base's own.

    `value` is None where the prompt cannot be scored; `text` says why, and the models answer all the same.
    """
    try:
        found = studio.chat.score(prompt, base)
    except StudioError as exc:
        return _unscored(f"Not scored: {show(exc, 200)}")
    if found is None:
        return _unscored("")
    text = f"Score {number(found.cosine)}, threshold {number(found.threshold)}: {'flagged' if found.flagged else 'not flagged'}"
    return {"value": found.cosine, "threshold": found.threshold, "flagged": found.flagged, "text": text}


def _unscored(text: str) -> dict[str, Any]:
    return {"value": None, "threshold": None, "flagged": False, "text": text}


def model_views(studio: Studio, models: Sequence[ChatModel]) -> list[dict[str, str]]:
    """Models as the chips that choose them; runs that would read the same get the name of their data."""
    titles = [model.title for model in models]
    twins = {model.id for model in models if titles.count(model.title) > 1}
    data = {run.run_id: run.dataset_name for run in studio.runs.finished()} if twins else {}
    return [model_view(model, data.get(model.id, model.id) if model.id in twins else "") for model in models]


def model_view(model: ChatModel, apart: str = "") -> dict[str, str]:
    """One model; `apart` tells it from others with the same title."""
    mark = mark_of(model.method or model.kind)
    title = show(f"{model.title}, {apart}" if apart else model.title, 100)
    detail = f"{title} ({show(model.id, 80)}, base: {show(model.base, 80)})"
    return {"id": model.id, "title": title, "detail": detail, "base": model.base, "colour": mark.colour, "shape": mark.shape}


def usual(models: Sequence[ChatModel]) -> list[str]:
    """What is asked when nobody chose: base, aligned weights, the newest plain and the newest Ref-Teacher run, of one base."""
    chosen: list[ChatModel] = []
    for kind in ("base", "aligned", "sft", "ref_teacher"):
        found = (model for model in models if (model.method or model.kind) == kind and (not chosen or model.base == chosen[0].base))
        chosen += [model for model in [next(found, None)] if model]
    return [model.id for model in chosen] or [model.id for model in models[:1]]


def device_notice(studio: Studio) -> dict[str, Any] | None:
    """Who holds the device that chat would use, and what can be done about it; None if there is nothing to say.

    `ways` are the ways to answer while a job has it; `give` that chat has it and can give it back.
    """
    holding = studio.device.of_chat()
    if holding is None:
        return {"key": "said", "kind": "note", "text": studio.device.given_back} if studio.device.given_back else None
    if holding.job is None:
        waiting = studio.device.waiting()
        wants = f" “{show(waiting[0].title, 80)}” waits for it." if waiting else ""
        when = "a minute" if waiting else "ten minutes"
        text = f"{show(holding.sentence, 200)}{wants} Chat gives it back {when} after the last prompt, or now, as you like."
        return {"key": "give", "kind": "warn" if waiting else "note", "text": text, "give": True}
    beside = "slower for both" if holding.is_processor else "if its memory is enough for both"
    ways = [
        ["beside", f"Answer beside it ({beside})"],
        ["wait", "Wait for its end"],
        ["pause", "Pause it, answer, and let it go on a minute after the last prompt"],
    ]
    text = f"{show(holding.sentence, 200)} When you send a prompt:"
    return {"key": holding.job.id, "kind": "warn", "text": text, "job": holding.job.id, "ways": ways}


def chat_lanes(setup: Callable[[], dict[str, Any]]) -> gr.HTML:
    """Its value is one exchange so far; its events are "send", "stop" and "free" (give the device back to the chat).

    `setup()` tells which models and example prompts there are and who holds the device; the widget asks every few seconds.
    """

    @answer
    def srv_setup(request: dict[str, Any]) -> dict[str, Any]:
        return setup()

    return widget("chat_lanes", scripts=("dom", "marks"), server_functions=[srv_setup], elem_id="chat-lanes")


KINDS = (
    ("sentiment", "benign", "Task"),
    ("topic", "benign", "Task"),
    ("lookalike", "lookalike", "Harmless look-alike"),
    ("lookalike", "lookalike", "Harmless look-alike"),
    ("harmful", "harmful", "Harmful, mild"),
    ("harmful", "harmful", "Harmful, mild"),
)


@cache
def chips() -> list[dict[str, str]]:
    """Text, kind (benign, lookalike or harmful) and label of each example; the browser masks the harmful ones."""
    taken: dict[str, int] = {}
    found = []
    for benchmark, kind, label in KINDS:
        at = taken[benchmark] = taken.get(benchmark, -1) + 1
        row = sets.benchmark(benchmark, split="validation", rows=8)[at * 3]
        found.append({"text": show(row["prompt"], 400), "kind": kind, "label": label})
    return found
