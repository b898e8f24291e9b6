"""Where the project stands: what is chosen, what runs, and the one thing to do next."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from reft_studio import integrity
from reft_studio.audit.frozen_audit import FrozenAudit
from reft_studio.data.dataset import AGAIN, KEPT, Dataset, Role, list_datasets, open_dataset
from reft_studio.errors import StoreError
from reft_studio.jobs.kinds import BACKGROUND
from reft_studio.jobs.queue import JobQueue
from reft_studio.jobs.view import JobView
from reft_studio.scoring.prepared import usual_scorer
from reft_studio.scoring.scores import ScoreSet, list_score_sets, open_score_set
from reft_studio.store import settings
from reft_studio.training.run_folder import list_runs
from reft_studio.workspace import Workspace

Page = Literal["home", "data", "filter", "review", "train", "compare", "chat", "report", "settings"]


@dataclass(frozen=True)
class DatasetSummary:
    """A dataset in a list. `frozen_from` is the dataset whose audit made it; `example` is the day the shipped example was made."""

    id: str
    name: str
    role: Role
    rows: int
    created: str
    source_format: str
    quarantined: int
    frozen_from: str | None
    scored: bool
    task: str | None
    poison_ratio: float | None
    is_lab: bool
    example: str | None


@dataclass(frozen=True)
class NextStep:
    """The one recommended action, why, and the page where it is done."""

    text: str
    page: Page
    action: str


@dataclass(frozen=True)
class State:
    """What the shell of every page shows. `threshold` is the chosen one, else the calibrated one.

    Of a frozen dataset without scores of its own it is that of the audit behind it, `frozen`.
    """

    dataset: DatasetSummary | None
    score: ScoreSet | None
    threshold: float | None
    frozen: FrozenAudit | None
    reviewer: str
    masked: bool
    running: list[JobView]
    queued: int
    device: str
    next_step: NextStep
    uses_lab: bool


def summary(workspace: Workspace, dataset: Dataset) -> DatasetSummary:
    """One dataset as a list shows it."""
    manifest = dataset.manifest
    source = manifest.get("source") or {}
    lineage = manifest.get("lineage") or {}
    report = manifest.get("report") or {}
    return DatasetSummary(
        id=dataset.id,
        name=dataset.name,
        role=dataset.role,
        rows=dataset.rows,
        created=manifest["created"],
        source_format=str(source.get("format") or ("frozen" if lineage else "")),
        quarantined=int(report.get("quarantined", 0)),
        frozen_from=lineage.get("source"),
        scored=bool(list_score_sets(workspace, dataset.id)),
        task=manifest.get("task"),
        poison_ratio=manifest.get("poison_ratio"),
        is_lab=manifest.get("made_by") == "lab",
        example=manifest.get("example"),
    )


def summaries(workspace: Workspace, role: Role | None = "user") -> list[DatasetSummary]:
    """Datasets of one role, newest first."""
    return [summary(workspace, dataset) for dataset in reversed(list_datasets(workspace, role))]


def state(workspace: Workspace, jobs: JobQueue, *, device: str) -> State:
    """The state as stored; what was chosen and is gone counts as not chosen."""
    dataset = chosen_dataset(workspace)
    score = chosen_scores(workspace, dataset.id) if dataset else None
    frozen = FrozenAudit.of(open_dataset(workspace, dataset.id)) if dataset and dataset.frozen_from else None
    live = jobs.list(limit=20)
    return State(
        dataset=dataset,
        score=score,
        threshold=frozen.threshold if frozen and score is None else chosen_threshold(workspace, score),
        frozen=frozen,
        reviewer=settings.get(workspace, "reviewer", ""),
        masked=settings.get(workspace, "masked", True),
        running=[job for job in live if job.state == "running"],
        queued=sum(job.state == "queued" for job in live),
        device=device,
        next_step=next_step(workspace, dataset, score, busy=any(is_work_on(job, dataset) for job in live)),
        uses_lab=uses_lab(workspace, dataset, score, frozen),
    )


def is_work_on(job: JobView, dataset: DatasetSummary | None) -> bool:
    """Whether somebody waits for a live job: one on this dataset, or on none in particular."""
    if job.state not in ("queued", "running") or job.kind in BACKGROUND:
        return False
    return concerns(job, dataset)


def concerns(job: JobView, dataset: DatasetSummary | None) -> bool:
    """Whether a job is of this dataset (of any, without one), or of none in particular, like an import or a teacher."""
    about = job.params.get("dataset") or (job.params.get("spec") or {}).get("dataset")
    return about is None or dataset is None or about == dataset.id


def uses_lab(workspace: Workspace, dataset: DatasetSummary | None, score: ScoreSet | None, frozen: FrozenAudit | None) -> bool:
    """Whether the numbers of a dataset are, or without scores would be, the lab's."""
    if dataset is None or dataset.is_lab:
        return True
    scorer = score.teacher if score else frozen.teacher if frozen else None
    return (scorer or usual_scorer(open_dataset(workspace, dataset.id))).startswith("lab")


def chosen_dataset(workspace: Workspace) -> DatasetSummary | None:
    """The dataset being audited: the one chosen, else the newest; none while the chosen one is damaged."""
    wanted = settings.get(workspace, "dataset")
    if wanted:
        try:
            return summary(workspace, open_dataset(workspace, wanted))
        except StoreError:
            if workspace.folder("datasets", wanted).is_dir():
                return None
    known = summaries(workspace)
    return known[0] if known else None


def chosen_scores(workspace: Workspace, dataset_id: str) -> ScoreSet | None:
    """The scores in use for a dataset: those chosen, else the newest."""
    wanted = settings.get(workspace, f"score:{dataset_id}")
    if wanted:
        with suppress(StoreError):  # gone or damaged: `damage` says so
            return open_score_set(workspace, dataset_id, wanted)
    known = list_score_sets(workspace, dataset_id)
    return known[-1] if known else None


def chosen_threshold(workspace: Workspace, score: ScoreSet | None) -> float | None:
    """The threshold a person set for these scores, else the calibrated one."""
    if score is None:
        return None
    stored = settings.get(workspace, f"threshold:{score.dataset}:{score.key}")
    return float(score.threshold if stored is None else stored)


def damage(workspace: Workspace, dataset: DatasetSummary | None) -> NextStep | None:
    """What is damaged on the disk of the dataset in work or its scores, and where it is made anew; None if nothing is."""
    if dataset is None:
        wanted = settings.get(workspace, "dataset")
        folder = workspace.folder("datasets", wanted) if wanted else None
        if folder is None or not folder.is_dir():
            return None
        found = integrity.damages(folder, ("manifest.json", *KEPT))
        what = f": {found[0].path.name}" if found else ""
        return NextStep(f"The dataset in work is damaged on the disk{what}. {AGAIN}", "data", "Open Data")
    base = workspace.folder("scores", dataset.id)
    broken = [one for one in sorted(base.iterdir()) if integrity.damages(one)] if base.is_dir() else []
    chosen = settings.get(workspace, f"score:{dataset.id}")
    if not broken or (list_score_sets(workspace, dataset.id) and not any(one.name == chosen for one in broken)):
        return None  # others are in use, and `doctor` names these
    more = "Scores" if len(broken) == 1 else f"{len(broken)} sets of scores"
    return NextStep(f"{more} of '{dataset.name}' are damaged on the disk and not used. Score its rows again.", "filter", "Score the rows")


def next_step(workspace: Workspace, dataset: DatasetSummary | None, score: ScoreSet | None, *, busy: bool) -> NextStep:
    """What an auditor would do next; damage on the disk comes first."""
    if (found := damage(workspace, dataset)) is not None:
        return found
    if dataset is None:
        return NextStep("Import the finetuning data you want to audit, or let the app show itself on a sample.", "data", "Add data")
    if busy:
        return NextStep("Work is running. You can leave this page; it goes on and is found again.", "train", "See the queue")
    if any(run.spec.dataset == dataset.id for run in list_runs(workspace)):
        return NextStep("Compare what the runs did to safety and to accuracy.", "compare", "Compare")
    if score is None and dataset.frozen_from is None:
        rows = "the one row" if dataset.rows == 1 else f"the {dataset.rows:,} rows"
        return NextStep(f"Score {rows} of '{dataset.name}' to see what the filter flags.", "filter", "Score the rows")
    if score is not None and dataset.frozen_from is None and settings.get(workspace, f"threshold:{score.dataset}:{score.key}") is None:
        return NextStep("Look at the scores, move the threshold, and say which one to use.", "filter", "Set the threshold")
    if dataset.frozen_from is None:
        return NextStep("Decide the borderline rows and freeze the result, or train on the filtered data at once.", "review", "Review rows")
    return NextStep("Finetune on the audited data under the teacher's guidance, and beside it without a defense.", "train", "Start runs")
