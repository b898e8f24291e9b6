"""The end of a review: freeze, cleaned file, audit bundle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from reft_studio.errors import SpecError
from ui.downloads import offer
from ui.events import said, status
from ui.shared.frozen_view import frozen_facts, frozen_notes
from ui.text import count, counted, number, show
from ui.widgets import fixed, widget

if TYPE_CHECKING:
    from pathlib import Path

    from reft_studio.studio.audit import CleanedFiles
    from reft_studio.studio.project import State
    from reft_studio.studio.review import ReviewProgress
    from reft_studio.studio.studio import Studio

SAVE_FILE, SAVE_REMOVED, SAVE_BUNDLE = "Save the cleaned file", "Save the removal list", "Save the audit bundle"
SAVE_TABLE = "Removal list as CSV"
WRITING = "The file is made by a job. It is offered here when it has ended."
FREEZE_LEAD = (
    "<h2>Freeze</h2><p class='rs-lead'>Turns the decisions into a new dataset with its audit trail. The one you have stays as it is.</p>"
)
FROZEN_LEAD = (
    "<h2>This dataset is frozen</h2><p class='rs-lead'>It holds what an audit left, and every decision that led to it. "
    "Train on it, or hand it on.</p>"
)


@dataclass(frozen=True)
class Freeze:
    """What freezing would do, and the buttons that do it."""

    sheet: gr.Column
    facts: gr.HTML
    sentence: gr.HTML
    reason: gr.Textbox
    freeze: gr.Button
    export: gr.Button
    file: gr.DownloadButton
    removed: gr.DownloadButton
    table: gr.DownloadButton
    line: gr.HTML

    def files(self) -> list[Any]:
        """What `cleaned_files` are for."""
        return [self.file, self.removed, self.table]

    def plan(self) -> list[Any]:
        """What `plan_values` are for."""
        return [self.sheet, self.facts, self.sentence, self.reason, self.freeze]


@dataclass(frozen=True)
class Frozen:
    """The page of a dataset that an audit made."""

    sheet: gr.Column
    facts: gr.HTML
    notes: gr.HTML
    export: gr.Button
    bundle: gr.Button
    back: gr.Button
    file: gr.DownloadButton
    removed: gr.DownloadButton
    table: gr.DownloadButton
    archive: gr.DownloadButton
    line: gr.HTML

    def files(self) -> list[Any]:
        """What `cleaned_files` are for."""
        return [self.file, self.removed, self.table]

    def parts(self) -> list[Any]:
        """What `frozen_values` are for."""
        return [self.sheet, self.facts, self.notes, *self.files(), self.archive]


def draw_freeze() -> Freeze:
    """The plan, the reason for leaving undecided rows out, and what can be written."""
    with gr.Column(elem_classes=["rs-card"], visible=False, elem_id="freeze") as sheet:
        fixed(FREEZE_LEAD)
        facts = widget("facts", {}, elem_id="freeze-facts")
        sentence = status("freeze-plan")
        reason = gr.Textbox(label="Why undecided rows may be left out", max_lines=2, visible=False, elem_id="freeze-reason")
        line = status("freeze-status")
        with gr.Row():
            freeze = gr.Button("Freeze the dataset", variant="primary", elem_id="freeze-button", scale=0, min_width=260)
            export = gr.Button("Make the cleaned file", elem_id="export-button", scale=0, min_width=210)
        with gr.Row():
            file = gr.DownloadButton("Save", visible=False, elem_id="export-file", scale=0, min_width=270)
            removed = gr.DownloadButton("Save", visible=False, elem_id="export-removed", scale=0, min_width=270)
            table = gr.DownloadButton("Save", visible=False, elem_id="export-table", scale=0, min_width=270)
    return Freeze(sheet, facts, sentence, reason, freeze, export, file, removed, table, line)


def draw_frozen() -> Frozen:
    """Shown instead of the review when the dataset in work is the result of one."""
    with gr.Column(elem_classes=["rs-card"], visible=False, elem_id="frozen") as sheet:
        fixed(FROZEN_LEAD)
        facts = widget("facts", {}, elem_id="frozen-facts")
        notes = widget("notes", [], scripts=("dom",), elem_id="frozen-notes")
        line = status("frozen-status")
        with gr.Row():
            gr.Button("Train on it", variant="primary", link="/train", elem_id="frozen-train", scale=0, min_width=150)
            export = gr.Button("Make the cleaned file", elem_id="frozen-export", scale=0, min_width=210)
            bundle = gr.Button("Make the audit bundle", elem_id="frozen-bundle", scale=0, min_width=230)
            back = gr.Button("Back to the source", elem_id="frozen-back", scale=0, min_width=190)
        with gr.Row():
            file = gr.DownloadButton("Save", visible=False, elem_id="frozen-file", scale=0, min_width=270)
            removed = gr.DownloadButton("Save", visible=False, elem_id="frozen-removed", scale=0, min_width=270)
            table = gr.DownloadButton("Save", visible=False, elem_id="frozen-table", scale=0, min_width=270)
            archive = gr.DownloadButton("Save", visible=False, elem_id="frozen-archive", scale=0, min_width=270)
    return Frozen(sheet, facts, notes, export, bundle, back, file, removed, table, archive, line)


def freeze_values(studio: Studio, state: State) -> tuple[Any, ...]:
    """(sheet, facts, sentence, reason, button, file, removed, table) for the dataset in work; a job's files are offered again."""
    made = None if state.dataset is None or state.dataset.frozen_from is not None else studio.audit.exported(state.dataset.id)
    return (*plan_values(studio, state), *cleaned_files(made))


def cleaned_files(made: CleanedFiles | None) -> tuple[gr.DownloadButton, gr.DownloadButton, gr.DownloadButton]:
    """Buttons for the cleaned file, and for the list of what is not in it, which stands beside it, twice: JSON lines and CSV."""
    if made is None:
        return gr.DownloadButton(visible=False), gr.DownloadButton(visible=False), gr.DownloadButton(visible=False)
    return _offered(made.file, SAVE_FILE), _offered(made.removed, SAVE_REMOVED), _offered(made.table, SAVE_TABLE)


def _offered(path: Path, label: str) -> gr.DownloadButton:
    return offer(path, label) if path.is_file() else gr.DownloadButton(visible=False)


def plan_values(studio: Studio, state: State) -> tuple[Any, ...]:
    """(sheet, facts, sentence, reason, button) for the dataset in work."""
    if state.dataset is None or state.dataset.frozen_from is not None:
        return gr.Column(visible=False), {}, said("", "quiet"), gr.Textbox(visible=False), gr.Button()
    progress = studio.audit.review_progress(state.dataset.id)
    return (
        gr.Column(visible=True),
        plan_view(progress),
        said(plan_sentence(progress, state.threshold), "quiet"),
        gr.Textbox(visible=progress.undecided > 0),
        gr.Button("Leave them out and freeze" if progress.undecided else "Freeze the dataset"),
    )


def frozen_values(studio: Studio, state: State) -> tuple[Any, ...]:
    """(sheet, facts, notes, file, removed, table, archive) for the dataset in work."""
    audit = None if state.dataset is None else studio.audit.frozen(state.dataset.id)
    if state.dataset is None or audit is None:
        return gr.Column(visible=False), {}, [], *cleaned_files(None), gr.DownloadButton(visible=False)
    file, archive = studio.audit.exported(state.dataset.id), studio.audit.bundled(state.dataset.id)
    return (
        gr.Column(visible=True),
        frozen_facts(audit),
        frozen_notes(audit),
        *cleaned_files(file),
        offer(archive, SAVE_BUNDLE) if archive else gr.DownloadButton(visible=False),
    )


def plan_view(progress: ReviewProgress) -> dict[str, Any]:
    """What a freeze would do, as facts."""
    return {
        "kpis": [
            {"label": "rows stay", "value": count(progress.kept_in_effect), "hint": "kept by the threshold or by a person"},
            {"label": "rows are removed", "value": count(progress.removed_in_effect), "hint": "flagged, or removed by a person"},
            {"label": "of them by a person", "value": count(progress.remove), "hint": "decided Remove in the review"},
            {"label": "answers become a refusal", "value": count(progress.relabel), "hint": "decided Relabel in the review"},
            {
                "label": "against the threshold",
                "value": count(progress.overruled),
                "hint": "a person decided otherwise than the threshold",
            },
            {"label": "undecided", "value": count(progress.undecided), "hint": "no score and no decision, or marked Unsure"},
        ]
    }


def plan_sentence(progress: ReviewProgress, threshold: float | None) -> str:
    """The plan in words."""
    policy = f"The threshold {number(threshold)} decides every row that nobody decided."
    if threshold is None:
        policy = "No threshold is in use, so only what people decided counts."
    if not progress.undecided:
        return f"{policy} Nothing is undecided: the dataset can be frozen."
    rows = counted(progress.undecided, "row is", "rows are")
    return f"{policy} {rows} undecided. Decide above, or say why to leave out: the trail holds the reason, and tells left out from removed."


def freeze_now(studio: Studio, reason: str, by: str) -> str:
    """Freeze the dataset in work, leaving undecided rows out for the reason given. Returns what happened.

    A large dataset is frozen by a job; it becomes the dataset in use once that has ended.
    """
    state = studio.state()
    if state.dataset is None:
        raise SpecError("There is no dataset to freeze. Import one on the Data page.")
    frozen = studio.audit.freeze_or_queue(state.dataset.id, reason, by=by)
    if frozen is None:
        return "Freezing has begun as a job. You can leave this page; the frozen dataset comes into use when it has ended."
    left = frozen.manifest["lineage"]["undecided"]
    out = f" {counted(left, 'undecided row')} left out." if left else ""
    return f"Frozen: {counted(frozen.rows, 'row')} in '{show(frozen.name, 80)}'.{out} It is now the dataset in use."


def made_by_jobs(studio: Studio, state: State, freeze: Freeze, frozen: Frozen) -> dict[Any, Any]:
    """Buttons for the files that jobs have made since; nothing that is offered already is taken away."""
    if state.dataset is None:
        return {}
    dataset = state.dataset.id
    file, archive = studio.audit.exported(dataset), studio.audit.bundled(dataset)
    offered = {frozen.archive: offer(archive, SAVE_BUNDLE)} if archive else {}
    if file:
        shown = freeze.files() if state.dataset.frozen_from is None else frozen.files()
        offered |= dict(zip(shown, cleaned_files(file), strict=True))
    line = job_line(studio, dataset)
    return offered if line is None else {**offered, freeze.line: line, frozen.line: line}


def job_line(studio: Studio, dataset: str) -> dict[str, str] | None:
    """How the newest of the jobs of this page has ended; None while it goes on, or if there was none."""
    job = studio.audit.newest_job(dataset)
    if job is None or job.state in ("queued", "running"):
        return None
    if job.state == "done":
        return said("", "quiet")
    return said(f"{show(job.title, 80)}: {show(job.message or 'the job was stopped', 300)} Nothing was written.", "error")


def make_cleaned(studio: Studio, dataset: str) -> tuple[Any, ...]:
    """(file, removed, table, line): the cleaned file and what is not in it; of a large dataset a job makes them."""
    made = studio.audit.export_or_queue(dataset)
    return (*cleaned_files(made), said("", "quiet") if made else said(WRITING, "note"))


def make_bundle(studio: Studio, dataset: str, by: str) -> tuple[gr.DownloadButton, dict[str, str]]:
    """(button, line): the audit bundle with the redacted report of the audit inside; of a large dataset a job makes it."""
    made = studio.reports.bundle(dataset, by=by)
    return (offer(made, SAVE_BUNDLE), said("", "quiet")) if made else (gr.DownloadButton(visible=False), said(WRITING, "note"))
