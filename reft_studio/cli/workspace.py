"""The verbs that look into a workspace and put it in order: call the same Studio as the pages, and print."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from reft_studio.cli.console import Console, show, table
from reft_studio.errors import SpecError, StoreError
from reft_studio.studio.past_runs import STATES, PastRun
from reft_studio.studio.row_filter import RowFilter
from reft_studio.studio.studio import Studio

SHOWN = 70
"""Characters of a text that a line for people has."""


def list_all(studio: Studio, kind: str) -> None:
    """Ids and names of datasets, scorers, runs and models."""
    found: dict[str, list[dict[str, Any]]] = {}
    if kind in ("all", "datasets"):
        found["datasets"] = [asdict(one) for one in studio.datasets.every(role=None)]
    if kind in ("all", "scorers"):
        found["scorers"] = [
            {"id": one.id, "title": one.title, "scorer": one.scorer, "threshold": round(one.threshold, 3), "created": one.created}
            for one in studio.scorers.every()
        ]
    if kind in ("all", "runs"):
        found["runs"] = [asdict(one) for one in studio.runs.finished()]
    if kind in ("all", "models"):
        found["models"] = [asdict(one) for one in studio.chat.models()]
    show(found, text=lambda: "\n\n".join(_listed(name, rows) for name, rows in found.items()))


def _listed(name: str, rows: Sequence[dict[str, Any]]) -> str:
    if not rows:
        return f"{name}: none"
    columns = {
        "datasets": ("id", "name", "role", "rows"),
        "scorers": ("id", "title", "threshold"),
        "runs": ("run_id", "title", "dataset"),
        "models": ("id", "title", "base"),
    }[name]
    return table([[str(row[column])[:SHOWN] for column in columns] for row in rows], [f"{name}: {columns[0]}", *columns[1:]])


def sample(studio: Studio, params: dict[str, Any]) -> None:
    """Make a sample in this process."""
    console = Console()
    made = studio.foreground.do("sample", params, console)
    console.done()
    show(made, text=lambda: f"{made['dataset_id']}: {params['rows']:,} rows, {params['poison_ratio']:.0%} of them harmful.")


def inspect(studio: Studio, dataset_id: str) -> None:
    """Inspect in this process."""
    console = Console()
    studio.foreground.do("inspect", {"dataset": dataset_id}, console)
    console.done()
    found, profile = studio.datasets.inspection(dataset_id), studio.datasets.profile(dataset_id)
    assert found is not None and profile is not None, "both were just counted"
    spoken = ", ".join(f"{name} {count:,}" for name, count in sorted(found.languages.items(), key=lambda one: -one[1])[:5])
    text = f"{found.rows:,} rows; {found.repeated:,} repeat an earlier one, {found.near:,} nearly do. Languages: {spoken}."
    show({"inspection": asdict(found), "profile": asdict(profile)}, text=lambda: text)


def query(studio: Studio, dataset_id: str, *, sql: str | None, search: str, limit: int) -> None:
    """Rows of a dataset. Raises SpecError for both a question and words."""
    if sql is not None and search:
        raise SpecError("Give --sql or --search, not both: a question can look for words itself (WHERE prompt ILIKE '%word%').")
    _, score, threshold = studio.audit.audited(dataset_id)
    key = score.key if score else None
    if sql is not None:
        answer = studio.rows.ask(dataset_id, key, threshold, sql)
        more = "\n… and more; only the first 1,000 rows come back." if answer.cut else ""
        cells = [[_cell(value) for value in row] for row in answer.rows]
        show(asdict(answer), text=lambda: table(cells, answer.columns) + more)
        return
    page = studio.rows.page(dataset_id, key, threshold, RowFilter(search=search), limit=limit)
    columns = ("row_id", "score", "flagged", "decision", "prompt")
    cells = [[_cell(row.get(column)) for column in columns] for row in page.rows]
    show(asdict(page), text=lambda: f"{table(cells, list(columns))}\n{len(page.rows):,} of {page.total:,} rows")


def _cell(value: Any) -> str:
    text = "-" if value is None else f"{value:+.3f}" if isinstance(value, float) else str(value)
    return " ".join(text.split())[:SHOWN]


def chat(studio: Studio, prompt: str, models: Sequence[str], options: dict[str, Any]) -> None:
    """Answers of several models of one base to one prompt. Raises SpecError for a model that is not there, or of another base."""
    known = {one.id: one for one in studio.chat.models()}
    chosen = list(models) or [one.id for one in known.values() if one.base == "lab"]
    if unknown := [name for name in chosen if name not in known]:
        raise SpecError(f"There is no model '{unknown[0]}'. `list models` shows those of this workspace.")
    if len({known[name].base for name in chosen}) > 1:
        raise SpecError("These models are made on different bases. Ask models of one base at a time.")
    warning = studio.chat.warning(prompt, known[chosen[0]].base) or ""
    if warning:
        Console().warn(warning)
    answers: dict[str, dict[str, Any]] = {name: {"title": known[name].title, "text": "", "refusal": None} for name in chosen}
    try:
        for event in studio.chat.answer(prompt, chosen, **options):
            answers[event.model]["text"] += event.delta
            if event.done:
                answers[event.model] |= {"refusal": event.refusal, "stop": event.stop, "tokens": event.tokens}
    finally:
        studio.close()
    lines = [f"{one['title']}{' (refuses)' if one['refusal'] else ''}:\n{one['text'].strip()}" for one in answers.values()]
    show({"prompt": prompt, "warning": warning, "answers": answers}, text=lambda: "\n\n".join(lines))


def jobs(studio: Studio, steps: dict[str, str], *, anew: bool = False) -> None:
    """The jobs as they stand, after what is asked: each step names the job it is for. Raises SpecError for what cannot be."""
    queue = studio.jobs
    if anew and "retry_anew" not in steps:
        raise SpecError("--anew belongs to --retry: name the job that is to begin from its beginning with --retry.")
    actions: dict[str, Callable[[str], None]] = {
        "cancel": queue.cancel,
        "pause": queue.pause,
        "resume": queue.resume,
        "first": queue.first,
        "stop_and_save": queue.stop_and_save,
        "retry": queue.retry,
        "retry_anew": lambda job: queue.retry(job, anew=True),
        "after_failure": queue.set_after_failure,
    }
    for name, value in steps.items():
        actions[name](value)
    found = queue.list()
    rows = [[one.id, one.state, f"{one.done:,}/{one.total:,}" if one.total else "-", one.title[:SHOWN]] for one in found]
    lines = [holding.sentence for holding in studio.device.holders()] + [f"{one.id}: {one.message}" for one in found if one.message]
    show(
        [asdict(one) for one in found],
        text=lambda: "\n".join([table(rows, ["job", "state", "done", "title"]) if rows else "No jobs.", *lines]),
    )


def runs(studio: Studio, ids: Sequence[str], *, name: str | None, tags: Sequence[str] | None, note: str | None) -> None:
    """All runs; what is said of one; or the differences of several. Raises SpecError where words are given for no run or several."""
    history = studio.runs
    if len(ids) != 1 and (name, tags, note) != (None, None, None):
        raise SpecError(f"{len(ids)} runs are named. Name one to call, tag or annotate it, several to compare their settings, or none.")
    if len(ids) > 1:
        found = history.differences(*ids)
        rows = [[one.label, *(value[:SHOWN] for value in one.values)] for one in found]
        told = table(rows, ["setting", *ids]) if rows else "They have the same settings."
        show([asdict(one) for one in found], text=lambda: told)
        return
    if ids:
        history.say(ids[0], name=name, tags=tags, note=note)
    kept = [history.find(ids[0])] if ids else history.every()
    lines = [[one.run_id, one.title[:SHOWN], _standing(one), ", ".join(one.note.tags), _minutes(one.seconds)] for one in kept]
    notes = [f"{one.title}: {text}" for one in kept for text in (one.note.note, one.message) if text]
    costs = [one.cost for one in kept if ids and one.cost]
    text = table(lines, ["run", "name", "state", "tags", "time"]) if lines else "No runs."
    show([asdict(one) for one in kept], text=lambda: "\n".join([text, *notes, *costs]))


def _standing(run: PastRun) -> str:
    return ", ".join(filter(None, [STATES[run.state], run.progress]))


def _minutes(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds / 60:.1f} min"


def delete(studio: Studio, name: str, *, sure: Callable[[str], None]) -> None:
    """Delete a dataset, or a run. `sure` is asked with what goes, and raises if a person says no."""
    if name in {one.run_id for one in studio.runs.every()}:
        plan = studio.runs.deletion(name)
        if plan.held:
            raise StoreError(plan.held)
        sure(plan.sentence)
        studio.runs.delete(name)
        show({"deleted": plan.run_id, "name": plan.title, "parts": plan.parts}, text=lambda: f"'{plan.title}' is deleted.")
        return
    if not studio.datasets.has(name):
        raise StoreError(f"There is no dataset and no run '{name[:40]}' in the workspace. The verb list shows their ids.")
    title = studio.datasets.summary(name).name
    sure(f"Delete the dataset '{title}' and its scores? This cannot be undone.")
    studio.datasets.delete(name)
    show({"deleted": name, "name": title}, text=lambda: f"'{title}' and its scores are deleted.")
