"""What a finished run leaves: its adapter and card, a merged model on request, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from ui.downloads import LARGE, offer_folder
from ui.events import FAST, SLOW, on, on_change, said, status
from ui.shared import cost_view
from ui.text import show, size
from ui.widgets import fixed, widget

if TYPE_CHECKING:
    from reft_studio.studio.merged_models import MergeState
    from reft_studio.studio.studio import Studio

FORMATS = [("As the base has it", "auto"), ("bfloat16", "bfloat16"), ("float16", "float16"), ("float32", "float32")]
_LEAD = """<div class="rs-stack"><h2>What this run leaves</h2></div>"""
_FILES = "<h3>Files</h3>"
_COST = "<h3>What it cost</h3>"
_ADDRESS = "() => new URL(location.href).searchParams.get('run') || ''"


@dataclass(frozen=True)
class Leaves:
    """The card, and in it what a run that is picked fills."""

    run: gr.State
    card: gr.Column
    title: gr.HTML
    files: gr.HTML
    dtype: gr.Dropdown
    merge: gr.Button
    pack: gr.Button
    save: gr.DownloadButton
    need: gr.HTML
    figures: gr.HTML
    stages: gr.HTML
    notes: gr.HTML
    line: gr.HTML

    def outputs(self) -> list[Any]:
        """In the order of `values`."""
        merging = [self.files, self.merge, self.pack, self.save, self.need]
        return [self.run, self.card, self.title, *merging, self.figures, self.stages, self.notes]


def draw_leaves() -> Leaves:
    """The card, hidden until there is a finished run."""
    run = gr.State("")
    with gr.Column(elem_classes=["rs-card"], visible=False, elem_id="run-leaves") as card:
        fixed(_LEAD)
        title = status("leaves-run")
        with gr.Row(equal_height=False, elem_classes=["rs-tops"]):
            with gr.Column(scale=5, min_width=400):
                fixed(_FILES)
                files = widget("passport", {"items": []}, elem_id="leaves-files")
                with gr.Row(elem_classes=["rs-form", "rs-ends"]):
                    dtype = gr.Dropdown(FORMATS, value="auto", label="Number format when merged", elem_id="leaves-dtype")
                    merge = gr.Button("Merge into the base", elem_id="leaves-merge", scale=0, min_width=190)
                need = status("leaves-need")
                with gr.Row():
                    pack = gr.Button("Pack it for download", visible=False, elem_id="leaves-pack", scale=0, min_width=200)
                    save = gr.DownloadButton("Save", visible=False, elem_id="leaves-save", scale=0, min_width=200)
                line = status("leaves-status")
            with gr.Column(scale=6, min_width=400, elem_id="leaves-cost"):
                fixed(_COST)
                figures = widget("facts", {}, elem_id="leaves-figures")
                stages = cost_view.stage_table("leaves-stages")
                notes = widget("notes", [], scripts=("dom",), elem_id="leaves-notes")
    return Leaves(run, card, title, files, dtype, merge, pack, save, need, figures, stages, notes, line)


def wire_leaves(studio: Studio, parts: Leaves, runs: gr.HTML, jobs: gr.HTML) -> None:
    """Fill the card when a run is picked in the table, when a job has ended, and when the page opens."""

    def picked(event: gr.EventData, dtype: str) -> tuple[Any, ...]:
        run = str(event.run)
        return values(studio, run, dtype) if run in finished(studio) else nothing(run)

    def again(run: str, dtype: str) -> tuple[Any, ...]:
        return values(studio, run, dtype)

    def start(run: str, dtype: str) -> tuple[Any, ...]:
        studio.merged_models.start(run, dtype=dtype)
        return (*values(studio, run, dtype), said("Merging has begun: the queue shows how far it is. You can leave this page.", "note"))

    def pack(run: str) -> tuple[Any, ...]:
        return offer_folder(studio.merged_models.state(run).folder, f"{run}-merged", "Save the merged model"), said("", "quiet")

    page, asked = gr.context.Context.root_block, gr.Textbox(visible=False)
    if page is None:
        raise RuntimeError("the page is built inside of the app")
    now, hidden = [parts.run, parts.dtype], {**SLOW, "show_progress": "hidden"}
    on(page.load, again, inputs=[asked, parts.dtype], outputs=parts.outputs(), js=f"(_, dtype) => [({_ADDRESS})(), dtype]", **hidden)
    on(runs.pick, picked, inputs=[parts.dtype], outputs=parts.outputs(), line=parts.line, **{**FAST, "trigger_mode": "multiple"})
    for changed in (jobs.done, runs.remove):
        on(changed, again, inputs=now, outputs=parts.outputs(), **hidden)
    on_change(again, inputs=now, outputs=parts.outputs())
    on(parts.dtype.input, again, inputs=now, outputs=parts.outputs(), line=parts.line, **FAST)
    on(parts.merge.click, start, inputs=now, outputs=parts.outputs(), line=parts.line, refresh=True, **SLOW)
    on(parts.pack.click, pack, inputs=[parts.run], outputs=[parts.save], line=parts.line, **SLOW)


def values(studio: Studio, run: str, dtype: str) -> tuple[Any, ...]:
    """What the card shows of a run, or of the newest if that is gone; hidden where there is none."""
    known = finished(studio)
    run = run if run in known else next(iter(known), "")
    if not run:
        return nothing()
    state = studio.merged_models.state(run, dtype)
    (cost,) = studio.comparison.costs([run])
    return (
        run,
        gr.update(visible=True),
        said(show(cost.title, 160), "quiet"),
        {"items": files(studio, state)},
        *_merging(state),
        cost_view.figures(cost),
        cost_view.stages(cost.ledger),
        cost_view.sentences(cost),
    )


def finished(studio: Studio) -> list[str]:
    """Ids of runs that have an adapter, newest first."""
    return [one.run_id for one in studio.runs.finished()]


def nothing(run: str = "") -> tuple[Any, ...]:
    """The card hidden: there is no run, or the one that was picked is not finished."""
    return run, gr.update(visible=False), said("", "quiet"), {"items": []}, *_merging_hidden(), {}, cost_view.stages(None), []


def files(studio: Studio, state: MergeState) -> list[dict[str, Any]]:
    """Where the adapter and the merged model lie, each with what takes it."""
    adapter = studio.workspace.folder("runs", state.run) / "adapter"
    found = [{"label": "Adapter", "value": show(adapter, 400), "copy": True, "note": "Plain PEFT, with its model card (README.md)."}]
    if (made := state.made) is not None:
        told = f"{size(made.size)} of {made.dtype} weights; plain transformers loads it. {made.rounding_words}"
        found.append({"label": "Merged model", "value": show(state.folder, 400), "copy": True, "note": show(told, 300)})
    else:
        told = state.damaged or "The adapter folded into the base: a folder that needs neither PEFT nor this app."
        found.append({"label": "Merged model", "value": "not made", "note": show(told, 300)})
    return found


def _merging(state: MergeState) -> list[Any]:
    """Updates of the merge button, the buttons of the download, and the line on what it takes."""
    going = state.state == "going"
    same = state.made is not None and state.made.dtype == state.dtype
    label = "Merging…" if going else "Merged" if same else "Merge again" if state.made else "Merge into the base"
    may = not going and not same and not state.refused
    packable = state.made is not None and not going and state.made.size <= LARGE
    return [
        gr.update(value=label, interactive=may),
        gr.update(visible=packable),
        gr.update(visible=False),
        _need(state, same=same),
    ]


def _need(state: MergeState, *, same: bool) -> dict[str, str]:
    if state.refused and not same:
        return said(show(state.refused, 400), "error")
    if state.job is not None and state.job.state == "failed" and state.made is None:
        return said(show(f"The last attempt failed: {state.job.message}", 400), "error")
    if same and state.made is not None and state.made.size > LARGE:
        return said(f"At {size(state.made.size)} it is too large to be sent through the browser: copy the folder.", "quiet")
    if same or state.needed is None:
        return said("", "quiet")
    return said(f"Takes {size(state.needed)} in {state.dtype}; {size(state.free)} are free.", "quiet")


def _merging_hidden() -> list[Any]:
    return [gr.update(interactive=False), gr.update(visible=False), gr.update(visible=False), said("", "quiet")]
