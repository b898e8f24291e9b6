"""Freezing, exporting and packing as jobs, in worker processes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reft_studio.audit.bundle import verify
from reft_studio.data.dataset import Row, open_dataset, write_dataset
from reft_studio.progress import Silent
from reft_studio.scoring.scores import write_scores
from reft_studio.store.decisions import DecisionLog
from reft_studio.studio.audit import Audit
from reft_studio.tasks import export
from reft_studio.workspace import Workspace


class Context(Silent):
    """A job's context, in the same process."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace, self.job_id = workspace, "j"


@pytest.fixture
def audit(tmp_path: Path) -> Audit:
    workspace = Workspace.open(tmp_path / "workspace")
    return Audit(workspace, DecisionLog(workspace))


def test_jobs_do_what_the_page_does_at_once(audit: Audit) -> None:
    rows: list[Row] = [{"prompt": f"p{at}", "response": "r"} for at in range(30)]
    dataset = write_dataset(audit.workspace, rows, name="thirty", role="user")
    values = np.linspace(-1, 1, 30).astype(np.float32)
    write_scores(audit.workspace, dataset, values, key="k", scorer="s", teacher="lab", threshold=0.5, info={})
    audit.decide(dataset.id, 0, "relabel")
    jobs = {job: audit._jobs().get(job) for job in (audit.start_freeze(dataset.id, by="Ana"), audit.start_export(dataset.id))}
    context = Context(audit.workspace)
    made = [{"freeze": export.freeze_dataset, "export": export.export_dataset}[job.kind](context, job.params) for job in jobs.values()]
    assert made[0]["dataset"] == audit.freeze(dataset.id, by="Ana").id
    assert (made[1]["kept_rows"], made[1]["removed_rows"]) == (22, 8)
    assert Path(made[1]["path"]).is_file() and Path(made[1]["removed"]).name.endswith(".removed.jsonl")
    job = audit._jobs().get(audit.start_bundle(made[0]["dataset"], by="Ana"))
    packed = Path(export.bundle_dataset(context, job.params)["path"])
    assert verify(packed, data=open_dataset(audit.workspace, made[0]["dataset"]).path).ok
    assert audit.verify_bundle(packed).ok and audit.verify().ok


def test_another_bundle_in_the_place_of_one_made_here_is_seen(audit: Audit) -> None:
    dataset = write_dataset(audit.workspace, [{"prompt": "p", "response": "r"}], name="one", role="user")
    audit.decide(dataset.id, 0, "keep")
    frozen = audit.freeze(dataset.id)
    first = audit.bundle(frozen.id)
    forged = first.with_name("forged.zip")
    from reft_studio.audit.bundle import write_bundle

    write_bundle(frozen, dataset, forged, decisions=audit.log.entries(dataset.id), scores={"teacher": "another"})
    assert verify(forged).ok and "seal is not this one" in audit.verify_bundle(forged).problems[0]
