"""Deleting a run: what goes with it, and what keeps it from going."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reft_studio.chat.loaded import loaded
from reft_studio.jobs.run_jobs import run_of
from reft_studio.store import jobs as table
from reft_studio.store.jobs import JobRecord
from reft_studio.store.removals import remove_run
from reft_studio.studio.run_form import graded
from reft_studio.training.merged import merged_folder
from reft_studio.training.run_folder import checkpoint_folder, newest_checkpoint
from reft_studio.workspace import Workspace

_IN_CHAT = (
    "Chat has '{title}' in memory. Press “Give the device back” on the Chat page, or wait: ten minutes after the last prompt chat lets go "
    "of it by itself."
)


@dataclass(frozen=True)
class Deletion:
    """What would go with a run, in words; `held` says why it cannot go now, and is empty if it can."""

    run_id: str
    title: str
    parts: tuple[str, ...]
    held: str

    @property
    def sentence(self) -> str:
        """Like: Delete 'Ref-Teacher'? Its adapter and log (3.2 MB) and its evaluation (80 answers) go. This cannot be undone."""
        listed = " and ".join(filter(None, [", ".join(self.parts[:-1]), self.parts[-1]])) if self.parts else "its entry"
        return f"Delete '{self.title}'? {listed[:1].upper()}{listed[1:]} go for good."


def planned(workspace: Workspace, run_id: str, *, title: str, model: str, named: bool) -> Deletion:
    """What deleting a run means now; `named`: people said something of it."""
    parts = []
    if (folder := workspace.folder("runs", run_id)).is_dir():
        parts.append(f"its adapter and log ({_size(folder)})")
    if scores := graded(workspace, run_id):
        parts.append(f"its evaluation ({sum(sum(one.values()) for one in scores.verdicts.values()):,} graded answers)")
    if (merged := merged_folder(workspace, run_id)).is_dir():
        parts.append(f"its merged model ({_size(merged)})")
    if kept := newest_checkpoint(checkpoint_folder(workspace, run_id)):
        parts.append(f"what its training kept up to step {kept[0]:,} ({_size(checkpoint_folder(workspace, run_id))})")
    parts += ["its name, tags and note"] if named else []
    parts += ["what its job printed"] if _jobs(workspace, run_id) else []
    return Deletion(run_id, title, tuple(parts), _held(workspace, _live(workspace), run_id, title=title, model=model))


def delete(workspace: Workspace, run_id: str, *, title: str, model: str) -> None:
    """Delete a run with everything that only it has. Raises StoreError, and changes nothing, while something needs it."""
    ended = _jobs(workspace, run_id)
    own = [
        workspace.folder("runs", run_id),
        workspace.folder("evaluations", run_id),
        checkpoint_folder(workspace, run_id),
        merged_folder(workspace, run_id),
    ]
    remove_run(
        workspace,
        run_id,
        ended_jobs=ended,
        folders=[*own, *(workspace.folder("jobs", job) for job in ended)],
        blocked_by=lambda live: _held(workspace, live, run_id, title=title, model=model),
    )


def _jobs(workspace: Workspace, run_id: str) -> list[str]:
    """Jobs that made the run, or tried to, and are over."""
    return [job.id for job in table.ended(workspace, "run") if run_of(workspace, job) == run_id]


def _live(workspace: Workspace) -> list[JobRecord]:
    return table.listing(workspace, 0)


def _held(workspace: Workspace, live: Sequence[JobRecord], run_id: str, *, title: str, model: str) -> str:
    """Why a run cannot go: a job makes it or needs it, or chat has it."""
    for job in live:
        doing = {"running": "is on its way", "paused": "is paused"}.get(job.state, "waits in the queue")
        if run_of(workspace, job) == run_id:
            return f"'{title}' {doing}. Cancel its job in the queue first."
        if run_id in (job.params.get("subject"), job.params.get("run"), *job.params.get("subjects", ())):
            return f"The job '{job.title}' {doing} and needs '{title}'. Cancel that job, or wait for its end."
        if job.kind == "demo" and job.state == "running" and job.params.get("model", "lab") == model:
            return f"The job '{job.title}' {doing} and may need '{title}'. Cancel that job, or wait for its end."
    return _IN_CHAT.format(title=title) if run_id in loaded(workspace) else ""


def _size(folder: Path) -> str:
    """Bytes of all files in a folder: `3.2 MB`, `18 kB`."""
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.0f} kB"
