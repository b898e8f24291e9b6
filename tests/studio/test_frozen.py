"""The audit behind a frozen dataset: its page, the report, the state dots and the bundle say the same, whatever happens afterwards."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest

from reft_studio.audit.bundle_format import FROZEN
from reft_studio.audit.frozen_audit import CLAIM, FrozenAudit, recorded_decisions
from reft_studio.data.dataset import Dataset, open_dataset, write_dataset
from reft_studio.errors import StoreError
from reft_studio.integrity import seal
from reft_studio.scoring.scores import write_scores
from reft_studio.studio.studio import Studio
from reft_studio.workspace import read_json, write_json
from ui import shell
from ui.report import view
from ui.shared import frozen_view


@pytest.fixture
def dataset(studio: Studio) -> Dataset:
    """Sixty rows of a language that the lab does not read; the last four are flagged."""
    rows = [{"prompt": f"wie backe ich Kuchen {at}", "response": "r"} for at in range(60)]
    made = write_dataset(studio.workspace, rows, name="sixty", role="user")  # type: ignore[arg-type]
    values = np.where(np.arange(60) < 56, -0.5, 0.5).astype(np.float32)
    info = {"unfamiliar_share": 0.63}
    write_scores(studio.workspace, made, values, key="k", scorer="s", teacher="lab", threshold=0.0, info=info)
    return made


@pytest.fixture
def frozen(studio: Studio, dataset: Dataset) -> Dataset:
    """Frozen at 0.25 after 20 random rows below the line were read; two flagged rows were decided, two left to the threshold."""
    studio.choose(dataset=dataset.id)
    studio.choose(threshold=0.25, rule="at most 5 % missed")
    for row in studio.audit.draw(dataset.id, count=20).rows:
        studio.audit.decide(dataset.id, row, "keep", by="Ana")
    studio.audit.decide(dataset.id, 56, "remove", by="Ana")
    studio.audit.decide(dataset.id, 57, "keep", by="Ana")
    return studio.audit.freeze(dataset.id, by="Ana")


def told(studio: Studio, dataset: str) -> dict[str, object]:
    """The report's numbers."""
    value: dict[str, object] = read_json(studio.reports.build(dataset_id=dataset).with_suffix(".json"))
    return value


def audit_of(studio: Studio, dataset: Dataset) -> FrozenAudit:
    found = studio.audit.frozen(dataset.id)
    assert found is not None
    return found


def test_what_was_claimed_is_recorded_when_freezing(studio: Studio, dataset: Dataset, frozen: Dataset) -> None:
    standing, audit = studio.audit.standing(dataset.id), audit_of(studio, frozen)
    assert audit.recorded and audit.claim is not None and audit.claim.assurance is not None
    assert audit.claim.assurance["sentence"] == standing.below.sentence
    assert (audit.threshold, audit.rule, audit.frozen_by) == (0.25, "at most 5 % missed", "Ana")
    assert (audit.kept, audit.removed, audit.claim.flagged, audit.claim.flagged_open) == (57, 3, 4, 2)
    first = json.loads((frozen.folder / "audit.jsonl").read_text("utf-8").splitlines()[0])
    assert first["policy"][CLAIM] == frozen.manifest["lineage"][CLAIM], "the record beside the data and the manifest say the same"


def test_page_report_dots_and_bundle_speak_of_the_same_audit(studio: Studio, dataset: Dataset, frozen: Dataset) -> None:
    bound = audit_of(studio, frozen).claim
    assert bound is not None and bound.assurance is not None
    sentence, warning = str(bound.assurance["sentence"]), str(bound.warning)
    reason = "2 flagged rows were removed by the threshold alone: no person kept, removed or relabelled them."
    notes = [note["text"] for note in frozen_view.frozen_notes(audit_of(studio, frozen))]
    assert {warning, reason, sentence} <= set(notes)
    report = told(studio, frozen.id)
    assert report["draft"] == [reason] and report["summary"][0] == warning and sentence in report["summary"]  # type: ignore[index,operator]
    assert report["filter"]["threshold"] == 0.25 and report["filter"]["rule"] == "at most 5 % missed"  # type: ignore[index]
    assert report["decisions"]["in_effect"] == {"keep": 57, "remove": 3}  # type: ignore[index]
    assert report["decisions"]["counts"] == {"keep": 21, "remove": 1}  # type: ignore[index]
    checklist = view.checklist(studio)
    assert [item["ok"] for item in checklist] == [True, True, False, False]
    assert "Frozen at 0.250" in checklist[1]["text"] and reason in checklist[2]["text"] and "DRAFT" in checklist[2]["note"]
    snapshot = shell.snapshot(studio, dots=True)
    assert (snapshot["threshold"], snapshot["frozen"], snapshot["lab"]) == ("0.250", True, True)
    dots = snapshot["dots"]
    assert {page: dots[page] for page in ("data", "filter", "review", "train", "report")} == {
        "data": "done",
        "filter": "done",
        "review": "done",
        "train": "empty",
        "report": "done",
    }
    with zipfile.ZipFile(studio.audit.bundle(frozen.id)) as archive:
        assert json.loads(archive.read(FROZEN))["lineage"][CLAIM]["warning"] == warning


def test_what_is_decided_or_moved_later_belongs_to_another_audit(studio: Studio, dataset: Dataset, frozen: Dataset) -> None:
    before = told(studio, frozen.id)
    studio.choose(dataset=dataset.id)
    studio.choose(threshold=-0.9)
    studio.audit.decide_many(dataset.id, [58, 59, 3], "keep", by="Tom")
    after = told(studio, frozen.id)
    same = ("draft", "summary", "filter")
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    assert after["decisions"]["by_person"] == before["decisions"]["by_person"]  # type: ignore[index]
    assert told(studio, dataset.id)["filter"]["threshold"] == -0.9  # type: ignore[index]


def test_one_frozen_before_claims_were_recorded_says_so(studio: Studio, frozen: Dataset) -> None:
    manifest = read_json(frozen.folder / "manifest.json")
    del manifest["lineage"][CLAIM]
    write_json(frozen.folder / "manifest.json", manifest)
    seal(frozen.folder, ["manifest.json"])  # as it was written then
    audit = audit_of(studio, open_dataset(studio.workspace, frozen.id))
    assert not audit.recorded and audit.claim is not None and audit.claim.flagged_open == 2
    assert audit.rule == "at most 5 % missed"
    assert frozen_view.LATER in [note["text"] for note in frozen_view.frozen_notes(audit)]


def test_a_job_freezes_and_claims_what_stood_when_it_was_queued(studio: Studio, dataset: Dataset) -> None:
    from reft_studio.tasks import export

    params = studio.audit._to_freeze(dataset.id, "", "Ana")
    studio.audit.decide(dataset.id, 59, "keep", by="Tom")
    frozen = export.frozen(studio.workspace, **params)
    assert frozen.manifest["lineage"][CLAIM] == params["claim"]
    assert 59 not in {row["row_id"] for row in frozen.read(["row_id"])}


def test_frozen_without_scores_has_no_line_and_no_bound(studio: Studio) -> None:
    plain = write_dataset(studio.workspace, [{"prompt": "a", "response": "b"}, {"prompt": "c", "response": "d"}], name="two", role="user")
    studio.audit.decide(plain.id, 0, "keep")
    studio.audit.decide(plain.id, 1, "remove")
    audit = audit_of(studio, studio.audit.freeze(plain.id))
    assert (audit.threshold, audit.teacher_title, audit.draft_reasons()) == (None, "", [])
    assert studio.state().threshold is None
    assert view.checklist(studio)[1]["text"] == "Frozen without scores: only people decided"


def test_the_decisions_of_a_freeze_are_read_from_its_record(studio: Studio, frozen: Dataset) -> None:
    recorded = recorded_decisions(frozen)
    assert recorded.by_person() == [("human:Ana", "keep", 21), ("human:Ana", "remove", 1)]
    assert recorded.entries([56, 3])[56].action == "remove"
    (frozen.folder / "audit.jsonl").write_text("{}\n{", "utf-8")
    with pytest.raises(StoreError, match="missing or damaged"):
        recorded_decisions(frozen)
