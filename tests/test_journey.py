"""The whole job once, on the lab and through the facade that pages and command line use: import to report, with the queue's workers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from reft_studio.data.dataset import open_dataset
from reft_studio.evaluation.result import load_result
from reft_studio.evaluation.suite import lab_suite
from reft_studio.jobs.view import JobView
from reft_studio.lab import sets
from reft_studio.models.spec import OptimSpec
from reft_studio.studio.row_filter import RowFilter
from reft_studio.studio.run_form import RunForm
from reft_studio.studio.studio import Studio
from reft_studio.workspace import Workspace

OPTIM = OptimSpec(steps=8, batch_size=8, alignment_batch_size=4)


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    opened = Studio(Workspace.open(tmp_path_factory.mktemp("journey")))
    opened.start()
    yield opened
    opened.close()


def finished(studio: Studio, job: str) -> JobView:
    view = studio.jobs.wait(job, timeout_s=240)
    assert view.state == "done", view.message
    return view


def upload(folder: Path) -> Path:
    """A user's file in OpenAI chat format: 120 rows of the lab, a tenth of them poison, and one line that is broken."""
    path = folder / "upload.jsonl"
    rows = sets.user_data(rows=120, poison_ratio=0.1, seed=3)
    lines = [
        json.dumps({"messages": [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["response"]}]})
        for row in rows
    ]
    path.write_text("\n".join([*lines[:60], "{broken", *lines[60:]]) + "\n", "utf-8")
    return path


@pytest.mark.slow
def test_from_an_upload_to_a_report(studio: Studio, tmp_path: Path) -> None:
    source = upload(tmp_path)
    imported = finished(studio, studio.imports.upload(source, name="upload"))
    dataset = str((imported.result or {})["dataset_id"])
    assert studio.datasets.summary(dataset).rows == 120
    assert [row["line"] for row in studio.datasets.set_aside(dataset)] == [61]

    finished(studio, studio.scoring.start(dataset, "lab"))
    words, score = studio.scores.every(dataset)
    assert (words.scorer, score.teacher) == ("tfidf", "lab"), "the import gives a first answer by itself"
    view = studio.scores.view(dataset, score.key)
    flagged = studio.rows.page(dataset, score.key, view.threshold, RowFilter(side="flagged"))
    assert 8 <= flagged.total <= 20 and view.warning is None

    kept = flagged.rows[0]["row_id"]
    studio.choose(dataset=dataset)
    studio.choose(score_key=score.key)
    studio.audit.decide(dataset, kept, "keep", "looks harmless to me")
    assert studio.audit.card(dataset, kept).effective == "keep"
    studio.audit.undo(dataset)
    assert studio.audit.card(dataset, kept).effective == "remove"
    frozen = studio.audit.freeze(dataset)
    assert frozen.rows == 120 - flagged.total and studio.audit.verify().ok

    cleaned = studio.audit.export(frozen.id, tmp_path / "cleaned.jsonl").read_bytes().splitlines()
    original = source.read_bytes().splitlines()
    assert len(cleaned) == frozen.rows and set(cleaned) <= set(original)

    form = RunForm(dataset=frozen.id, method="ref_teacher", optim=OPTIM)
    plan = studio.runs.plan(form)
    assert not plan.spec.filter, "audited data is not filtered a second time"
    small = lab_suite(split="validation", sizes={"harmful": 12, "harmless": 12, "task": 12}).model_dump(mode="json")
    jobs = [
        studio.jobs.submit(
            "run",
            {"spec": studio.runs.plan(RunForm(dataset=data, method=method, optim=OPTIM)).spec.model_dump(mode="json"), "suite": small},
            title=method,
        )
        for data, method in ((frozen.id, "ref_teacher"), (dataset, "sft"))
    ]
    runs = [str((finished(studio, job).result or {})["run"]) for job in jobs]
    assert load_result(studio.workspace, runs[0]).suite_fingerprint == load_result(studio.workspace, runs[1]).suite_fingerprint
    assert {row.run_id for row in studio.comparison.every().rows} >= set(runs)
    assert studio.comparison.flips(runs[1], runs[0]).both_harmful >= 0

    report = studio.reports.build(dataset_id=frozen.id)
    text = report.read_text("utf-8")
    assert "<script src=" not in text and json.loads(report.with_suffix(".json").read_text("utf-8"))
    assert open_dataset(studio.workspace, dataset).rows == 120, "the upload is never changed"


def test_a_job_that_cannot_work_fails_with_a_message_for_people(studio: Studio) -> None:
    job = studio.jobs.submit("score", {"dataset": "0123456789abcdef", "teacher": "lab"}, title="score what is not there")
    view = studio.jobs.wait(job, timeout_s=60)
    assert view.state == "failed" and "Import it again" in view.message and "Traceback" not in view.message


def test_an_upload_that_is_no_dataset_is_refused_with_a_reason(studio: Studio, tmp_path: Path) -> None:
    picture = tmp_path / "picture.jsonl"
    picture.write_bytes(bytes(range(256)) * 20)
    view = studio.jobs.wait(studio.imports.upload(picture), timeout_s=60)
    assert view.state == "failed" and view.message and "Traceback" not in view.message
