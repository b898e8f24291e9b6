"""Sweeps: recipes to start from, what one of them would do, those of the workspace, and what they found."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from reft_studio.errors import SpecError, StoreError
from reft_studio.jobs.foreground import ProgressReceiver
from reft_studio.jobs.job import LIVE
from reft_studio.jobs.queue import JobQueue
from reft_studio.jobs.view import JobView
from reft_studio.studio.models import Models
from reft_studio.sweeps import page, recipe_text, record
from reft_studio.sweeps import table as sweep_table
from reft_studio.sweeps.job import KIND
from reft_studio.sweeps.spec import Cell, Share, SweepSpec
from reft_studio.sweeps.table import VariantResult
from reft_studio.workspace import ASSETS, Workspace

RECIPES = ASSETS.parent / "recipes"
OWN = """\
name: my comparison
poison_ratios: [0, 0.1]
seeds: [0]
variants:
  - {method: sft}
  - {method: ref_teacher}
"""
"""What a recipe of one's own begins with: plain finetuning beside Ref-Teacher, without and with poison."""
MOST_LISTED = 10_000
"""Numbers that a range such as 0-9 may stand for."""
_PART = re.compile(r"(\d+)(?:\s*-\s*(\d+))?")
Export = Literal["md", "tex", "csv"]


@dataclass(frozen=True)
class ShippedRecipe:
    """A recipe that ships."""

    file: str
    name: str
    note: str
    text: str


@dataclass(frozen=True)
class SweepPlan:
    """What a recipe would do. `runs` are all of it, `known` those on record; `seconds` is the time of the others, None if not known."""

    spec: SweepSpec
    runs: int
    known: int
    failed: int
    seconds: float | None
    job: JobView | None
    """The job that is at work on it, or waits."""

    @property
    def left(self) -> int:
        """Runs to do; those that failed are tried again."""
        return self.runs - self.known


@dataclass(frozen=True)
class Started:
    """A sweep that was asked for, and the job that does it; None where nothing was left to do."""

    sweep: str
    job: str | None


@dataclass(frozen=True)
class PastSweep:
    """A sweep of the workspace as a list shows it. `why` says why its recipe cannot be read, if so; then nothing is counted."""

    id: str
    name: str
    runs: int
    done: int
    failed: int
    changed: float
    why: str
    job: JobView | None


@dataclass(frozen=True)
class Result:
    """What a sweep found. `table` has the lines that were asked for, of `every`; `columns` those with a number in any of them."""

    spec: SweepSpec
    runs: int
    done: int
    failed: int
    table: list[VariantResult]
    every: int
    columns: list[str]
    withheld: str
    job: JobView | None
    lines: list[record.Line] = field(repr=False, default_factory=list)
    """The runs behind `table`."""


class Sweeps:
    """What the Sweep page asks for."""

    def __init__(self, workspace: Workspace, jobs: JobQueue, models: Models) -> None:
        self.workspace, self.jobs, self.models = workspace, jobs, models

    # define

    def templates(self) -> list[ShippedRecipe]:
        """The recipes that ship; one that cannot be read is a fault of the app and raises."""
        return [_template(path) for path in sorted(RECIPES.glob("*.yaml"))]

    def plan(self, text: str) -> SweepPlan:
        """What a recipe would do, which queues nothing. Raises RecipeError, with the line, for one that cannot be read."""
        spec = recipe_text.read(text).spec()
        lines = record.lines(self.workspace, spec)
        left = {cell.key: cell for cell in _open(spec, lines)}
        for key in record.lines_of_other_sweeps(self.workspace, spec, left.values()):
            del left[key]
        kinds = Counter(cell.kind for cell in left.values())
        seconds = record.Times.of(self.workspace).left(spec, kinds)
        failed = sum(record.failed(line) for line in lines)
        return SweepPlan(spec, len(lines), len(lines) - len(left), failed, seconds, self._job(spec.id))

    def start(self, text: str) -> Started:
        """Queue the runs of a recipe that are not on record; nothing is queued where all are, or a job is at work on them.

        Raises RecipeError, or MissingModel if a base has to be added first.
        """
        self.workspace.require_writable()
        planned = self.plan(text)
        spec = planned.spec
        if planned.job is not None:
            return Started(spec.id, planned.job.id)
        if planned.left:
            for model in spec.models:
                if model != "lab":
                    self.models.require(model)
        record.write_recipe(self.workspace, spec, text)
        record.adopt(self.workspace, spec, _open(spec, record.lines(self.workspace, spec)))
        if not planned.left:
            return Started(spec.id, None)
        title = f"Sweep: {spec.name}, {planned.left:,} of {planned.runs:,} runs to do"
        return Started(spec.id, self.jobs.submit(KIND, {"recipe": spec.model_dump(mode="json")}, title=title))

    def missing(self, spec: SweepSpec) -> list[str]:
        """Bases of a recipe that have to be added to this machine first."""
        return [model for model in spec.models if model != "lab" and self.models.missing(model) is not None]

    @property
    def own_recipe(self) -> str:
        """What a recipe of one's own begins with."""
        return OWN

    # read

    def past(self) -> list[PastSweep]:
        """The sweeps of the workspace, the one that was worked on last first."""
        jobs = self._live()
        return [_past(self.workspace, one, jobs.get(one.id)) for one in record.stored(self.workspace)]

    def text(self, sweep_id: str) -> str:
        """The recipe of a sweep, as it was written where it was started from a page. Raises StoreError if there is none."""
        spec, path = self._spec(sweep_id), self.workspace.folder(record.FOLDER, sweep_id) / record.TEXT
        return path.read_text("utf-8") if path.is_file() else recipe_text.of_spec(spec)

    def result(self, sweep_id: str, *, words: str = "") -> Result:
        """What a sweep found so far, of the variants that `words` name (see `wanted`). Raises StoreError if there is none."""
        spec = self._spec(sweep_id)
        lines = record.lines(self.workspace, spec)
        every = sweep_table.summarised(lines)
        asked = wanted(words)
        table = [line for line in every if asked(line)]
        shown = {line.key for line in table}
        return Result(
            spec,
            len(lines),
            sum(map(record.done, lines)),
            sum(map(record.failed, lines)),
            table,
            len(every),
            sweep_table.columns(table),
            sweep_table.withheld(table),
            self._job(sweep_id),
            [one for one in lines if sweep_table.key_of(one) in shown],
        )

    def export(self, sweep_id: str, kind: Export | str, *, words: str = "", columns: Sequence[str] | None = None) -> str:
        """The table as Markdown (with what the filters remove and the differences to plain SFT), LaTeX or CSV (a line for each run)."""
        found = self.result(sweep_id, words=words)
        return _written(self.workspace, kind, found.spec, found.lines, found.table, columns)

    # do now, in this process

    def run(self, spec: SweepSpec, told: ProgressReceiver, *, share: Share) -> None:
        """Do the runs of a recipe that are not on record yet, as far as they are of this share. A run that fails is noted."""
        from reft_studio.sweeps.run import sweep  # loads models

        sweep(self.workspace, spec, told, share=share, expect=told.expect)

    def lines(self, spec: SweepSpec) -> list[record.Line]:
        """What is known of every run of a recipe."""
        return record.lines(self.workspace, spec)

    def done(self, lines: Sequence[record.Line]) -> int:
        """How many of these have their numbers."""
        return sum(map(record.done, lines))

    def written(self, spec: SweepSpec, lines: Sequence[record.Line], kind: Export | str) -> str:
        """The table of these lines, as `export` has it."""
        return _written(self.workspace, kind, spec, lines, sweep_table.summarised(lines), None)

    def _spec(self, sweep_id: str) -> SweepSpec:
        found = record.find(self.workspace, sweep_id)
        if found is None:
            raise StoreError(f"There is no sweep '{sweep_id[:40]}' in the workspace.")
        if found.spec is None:
            raise StoreError(found.why)
        return found.spec

    def _live(self) -> dict[str, JobView]:
        live = [job for job in self.jobs.list(0) if job.kind == KIND and job.state in LIVE]
        return {SweepSpec.checked(**job.params["recipe"]).id: job for job in reversed(live)}

    def _job(self, sweep_id: str) -> JobView | None:
        return self._live().get(sweep_id)


def _written(
    workspace: Workspace,
    kind: str,
    spec: SweepSpec,
    lines: Sequence[record.Line],
    table: Sequence[VariantResult],
    columns: Sequence[str] | None,
) -> str:
    made: dict[str, Callable[[], str]] = {
        "md": partial(page.markdown, workspace, spec, lines, columns=columns),
        "tex": partial(sweep_table.as_latex, table, spec, columns=columns),
        "csv": partial(sweep_table.as_csv, lines),
    }
    if kind not in made:
        raise SpecError(f"A table is not written as '{str(kind)[:20]}'. Choose one of: {', '.join(made)}.")
    return made[str(kind)]()


def wanted(words: str) -> Callable[[VariantResult], bool]:
    """Whether a line has all words of one of the parts between commas, and none that has a minus before it, in any case.

    Looked for in its variant, method, base, task and attack, in `p=0.1` and in `n=1000`.
    """
    parts = [part.casefold().split() for part in words.split(",") if part.strip()]

    def asked(line: VariantResult) -> bool:
        text = line.words.casefold()
        return not parts or any(all(_holds(text, word) for word in part) for part in parts)

    return asked


def _holds(text: str, word: str) -> bool:
    return word[1:] not in text if len(word) > 1 and word.startswith("-") else word in text


def numbers(text: str, kind: type[int] | type[float], what: str) -> list[Any]:
    """`0, 2-4` as [0, 2, 3, 4]; of shares as they are written. Raises SpecError, which names `what`, for anything else."""
    found: list[Any] = []
    for part in (part.strip() for part in text.split(",") if part.strip()):
        if kind is int and (span := _PART.fullmatch(part)):
            first, last = int(span[1]), int(span[2] or span[1])
            if last - first >= MOST_LISTED:
                raise SpecError(f"{what} '{part[:40]}' stands for {last - first + 1:,} numbers; at most {MOST_LISTED:,} are allowed.")
            found += range(first, last + 1)
            continue
        try:
            found.append(int(part) if part.isdecimal() else kind(part))
        except ValueError as exc:
            like = "0, 1, 2 or 0-2" if kind is int else "0, 0.1, 0.3"
            raise SpecError(f"{what}: '{part[:40]}' is no number. Write numbers with commas between them, like {like}.") from exc
    return found


def _open(spec: SweepSpec, lines: Sequence[record.Line]) -> list[Cell]:
    """The cells that are not done."""
    return [cell for cell, line in zip(spec.cells, lines, strict=True) if not record.done(line)]


def _template(path: Path) -> ShippedRecipe:
    text = path.read_text("utf-8")
    spec = recipe_text.read(text).spec(name=path.stem)
    return ShippedRecipe(path.name, spec.name, spec.note.strip(), text)


def _past(workspace: Workspace, one: record.Stored, job: JobView | None) -> PastSweep:
    if one.spec is None:
        return PastSweep(one.id, one.name, 0, 0, 0, one.changed, one.why, None)
    lines = record.lines(workspace, one.spec)
    done, failed = sum(map(record.done, lines)), sum(map(record.failed, lines))
    return PastSweep(one.id, one.name, len(lines), done, failed, one.changed, "", job)
