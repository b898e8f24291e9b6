"""The frame around every page: navigation with state dots, chips of what is being worked on, next step, mask, theme, keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import gradio as gr

from reft_studio.studio.project import is_work_on
from ui.events import FAST, answer, on
from ui.text import count, number, show
from ui.theme import STYLESHEET
from ui.widgets import fixed, source, widget

if TYPE_CHECKING:
    from reft_studio.studio.project import State
    from reft_studio.studio.studio import Studio

Dot = Literal["none", "empty", "busy", "done"]


@dataclass(frozen=True)
class Page:
    """One page of the app: `name` is its folder in `ui`, `path` its route.

    `under` is the page that it belongs to in the navigation.
    """

    name: str
    title: str
    lead: str
    under: str = ""

    @property
    def module(self) -> str:
        """What draws it."""
        return f"ui.{self.name}.page"

    @property
    def path(self) -> str:
        return "/" if self.name == "home" else f"/{self.name}"


PAGES: tuple[Page, ...] = (
    Page("home", "Home", "Find harmful rows in a finetuning dataset, train without them under a safety teacher, and compare the models."),
    Page(
        "data",
        "Data",
        "Bring a finetuning file, or make a poisoned sample. Rows that cannot be read are set aside with their line numbers.",
    ),
    Page("filter", "Filter", "Score every row by how close it lies to refusal, and choose the threshold above which rows are removed."),
    Page("review", "Review", "Decide row by row where the filter is least sure. Every decision is recorded and can be undone."),
    Page("train", "Train", "Choose a method and a dataset, queue the run, watch it learn."),
    Page(
        "sweep",
        "Sweep",
        "Compare many settings by one recipe: every combination is trained and evaluated once, with seeds, intervals and costs.",
        under="train",
    ),
    Page("compare", "Compare", "Harmful score against finetune accuracy, with intervals, for every run on the same evaluation set."),
    Page("chat", "Chat", "Ask the models the same thing, side by side."),
    Page("report", "Report", "One self-contained file that says what was removed, why, and what it changed."),
    Page("settings", "Settings", "Who reviews, what is hidden, how the app behaves, and whether this installation is sound."),
)


def draw(studio: Studio, page: Page) -> None:
    """Draw the frame and the page's heading; the caller then builds the page inside `content()`."""
    shell = widget(
        "shell",
        {"page": page.name},
        template=_template(page),
        elem_id="rs-shell",
        server_functions=[_server_state(studio)],
    )

    def set_mask(event: gr.EventData) -> None:
        studio.settings.set("masked", bool(event.masked))

    on(shell.mask, set_mask, **FAST).then(
        None, None, None, js="() => { window.rs.emit('rs:mask', {masked: window.rs.masked}); window.rs.emit('rs:refresh'); }"
    )


def heading(page: Page) -> gr.HTML:
    """Title and one sentence, the same on every page."""
    return fixed(f'<header class="rs-head" id="rs-main" tabindex="-1"><h1>{page.title}</h1><p>{page.lead}</p></header>')


def content() -> gr.Column:
    """The column a page lives in, beside the navigation."""
    return gr.Column(elem_classes=["rs-page"])


def snapshot(studio: Studio, *, dots: bool) -> dict[str, Any]:
    """What the frame shows, as plain data. `dots` also asks for the state of every page, which reads more of the workspace."""
    state = studio.state()
    frozen = state.frozen if state.score is None else None
    scored_by = state.score.teacher if state.score else frozen.teacher if frozen else None
    key = state.score.key if state.score else frozen.score_key if frozen else None
    return {
        "dataset": _dataset_chip(state),
        "threshold": number(state.threshold),
        "teacher": show(scored_by, 60) if scored_by else None,
        "key": key,
        "frozen": state.frozen is not None and state.score is None,
        "lab": state.uses_lab,
        "example": state.dataset.example if state.dataset else None,
        "reviewer": show(state.reviewer, 60),
        "masked": state.masked,
        "keys": bool(studio.settings.get("keys", True)),
        "device": show(state.device, 80),
        "held": show(" ".join(one.sentence for one in studio.device.holders()), 200),
        "running": [
            {"title": show(job.title, 60), "stage": job.stage_index, "done": job.done, "total": job.total} for job in state.running
        ],
        "queued": state.queued,
        "next": _next(studio, state),
        "dots": page_states(studio, state) if dots else None,
    }


def _next(studio: Studio, state: State) -> dict[str, Any]:
    """What to do next; in an app that may only read, that it does."""
    owner = studio.workspace.ownership
    if owner is not None and not owner.mine():
        return {"title": "Read only", "text": f"{owner.other()[:1].upper()}{owner.other()[1:]}", "page": "", "action": ""}
    step = state.next_step
    return {"title": "Next", "text": show(step.text, 240), "page": step.page, "action": show(step.action, 40)}


def page_states(studio: Studio, state: State) -> dict[str, Dot]:
    """How far each page is with the dataset in work: empty, busy (something begun) or done; pages that have no end have no dot."""
    dataset = state.dataset
    runs = [run for run in studio.runs.finished() if dataset is not None and run.dataset == dataset.id]
    graded = [run for run in runs if run.hs is not None]
    working = {job.kind for job in state.running if is_work_on(job, dataset)}
    states: dict[str, Dot] = {page.name: "none" for page in PAGES}
    states["data"] = _dot(done=state.dataset is not None, busy=bool(working & {"import", "fetch", "sample"}))
    states["filter"] = _dot(done=state.score is not None or was_scored(state), busy=bool(working & {"teacher", "score"}))
    states["review"] = _review_dot(studio, state)
    states["train"] = _dot(done=bool(runs), busy=bool(working & {"run", "demo"}))
    states["compare"] = _dot(done=len(graded) > 1, busy=len(graded) == 1)
    states["report"] = _dot(done=dataset is not None and studio.reports.has(dataset.id), busy=False)
    return states


def was_scored(state: State) -> bool:
    """Whether the audit behind a frozen dataset had scores."""
    return state.frozen is not None and state.frozen.score_key is not None


def _review_dot(studio: Studio, state: State) -> Dot:
    if state.frozen is not None:
        return "done"  # whatever was open was settled when it was frozen
    if state.dataset is None or state.score is None:
        return "empty"
    progress = studio.audit.review_progress(state.dataset.id)
    return _dot(done=progress.decided > 0 and progress.undecided == 0, busy=progress.decided > 0)


def _dot(*, done: bool, busy: bool) -> Dot:
    return "busy" if busy else "done" if done else "empty"


def _dataset_chip(state: State) -> dict[str, str] | None:
    if state.dataset is None:
        return None
    return {"name": show(state.dataset.name, 60), "rows": count(state.dataset.rows), "id": state.dataset.id}


def _server_state(studio: Studio) -> Any:
    @answer
    def srv_state(request: dict[str, Any]) -> dict[str, Any]:
        return {"state": snapshot(studio, dots=bool(request.get("dots", True)))}

    return srv_state


def _template(page: Page) -> str:
    """The frame's markup: our own page names only."""
    links = "".join(_link(other, current=other is page) for other in PAGES)
    return source("shell.html").replace("<!--links-->", links)


def _link(page: Page, *, current: bool) -> str:
    here = ' aria-current="page"' if current else ""
    under = ' class="rs-nav-under"' if page.under else ""
    return (
        f'<li{under}><a class="rs-nav-link" href="{page.path}" data-page="{page.name}"{here}>{page.title}'
        f'<span class="rs-dot" data-state="none" data-dot="{page.name}"></span></a></li>'
    )


def style_and_script() -> str:
    """For `head=`: the stylesheet and the shared script, inline, so that no page is drawn without them."""
    return f"<style>{STYLESHEET.read_text('utf-8')}</style><script>{source('core.js')}</script>"
