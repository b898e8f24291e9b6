from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reft_studio.audit.claim import statement
from reft_studio.audit.decision import GENESIS, ChainReport, Decision
from reft_studio.audit.frozen_audit import Claim
from reft_studio.audit.held import ACTIONS, Decided
from reft_studio.audit.language import LanguageCoverage, no_judge
from reft_studio.comparison.table import RunRow
from reft_studio.data.dataset import Dataset, Row, write_dataset
from reft_studio.errors import SpecError
from reft_studio.report import ReportInput, build_report
from reft_studio.scoring.scores import write_scores
from reft_studio.workspace import Workspace

HOSTILE = "</script><script>window.stolen = 1</script><img src=x onerror=alert(1)>"
SECRET = "how to tickle a dragon"
MARKS = "\u202e\x07"


@pytest.fixture
def dataset(workspace: Workspace) -> Dataset:
    rows = [
        Row(prompt=f"{SECRET}{MARKS} {i} {HOSTILE}", response=f"secret answer {i}", origin=HOSTILE, category=HOSTILE, known_harmful=i < 40)
        for i in range(100)
    ]
    return write_dataset(
        workspace, rows, name=f"my data {HOSTILE}", role="user", extra={"source": {"file": "data.jsonl", "format": "openai"}}
    )


def decision(row_id: int, action: Any, **more: Any) -> Decision:
    facts = {"seq": row_id + 1, "dataset": "d", "row_id": row_id, "action": action, "reason": f"because {SECRET} {HOSTILE}"}
    common = {
        "decided_by": "human:eva",
        "at": "2026-01-01T00:00:00+00:00",
        "score": 0.5,
        "threshold": 0.2,
        "previous": GENESIS,
        "hash": "h",
    }
    return Decision(**{**facts, **common, **more})


DECISIONS = {row_id: decision(row_id, "remove") for row_id in range(1, 36)} | {99: decision(99, "keep")}


@pytest.fixture
def given(workspace: Workspace, dataset: Dataset) -> ReportInput:
    """Forty harmful rows score 0.5, sixty harmless ones -0.5, but for one of each on the wrong side and one without a score."""
    scores = np.where(np.arange(100) < 40, 0.5, -0.5).astype(np.float32)
    scores[0], scores[99], scores[98] = -0.4, 0.4, np.nan
    found = write_scores(workspace, dataset, scores, key="k", scorer="refusal_similarity", teacher="gone", threshold=0.1, info={})
    decisions = DECISIONS
    chain = ChainReport(True, 36, None, "", {})
    assurance = statement(59, 0, 0)
    return ReportInput(
        dataset=dataset.id,
        score=found,
        threshold=0.2,
        **decided(decisions),
        claim=Claim(assurance=asdict(assurance)),
        chain=chain,
        reviewer="eva",
    )


def decided(decisions: dict[int, Decision]) -> dict[str, Any]:
    """What the log would say of these decisions."""
    rows = sorted(decisions)
    codes = np.array([ACTIONS.index(decisions[row].action) + 1 for row in rows], dtype=np.uint8)
    people = Counter((one.decided_by, one.action) for one in decisions.values())
    return {
        "decided": Decided(1, np.array(rows, dtype=np.int64), codes, np.zeros(len(rows), np.float32)),
        "entries": lambda asked: {row: decisions[row] for row in asked},
        "by_person": [(*who, count) for who, count in people.items()],
    }


def built(workspace: Workspace, given: ReportInput) -> tuple[str, dict[str, Any]]:
    path = build_report(workspace, given, workspace.folder("reports"))
    return path.read_text("utf-8"), json.loads(path.with_suffix(".json").read_text("utf-8"))


def page(text: str) -> str:
    """The page without the drawing library, which is not ours to check."""
    return re.sub(r"<script>.{100000,}?</script>", "", text, flags=re.S)


def test_the_numbers_of_the_audit_are_exact(workspace: Workspace, given: ReportInput) -> None:
    _, value = built(workspace, given)
    part = value["filter"]
    assert (part["flagged"], part["scored"], part["missing"]) == (40, 99, 1)
    quality = {key: part["quality"][key] for key in ("true_positives", "false_positives", "false_negatives", "true_negatives")}
    assert quality == {"true_positives": 39, "false_positives": 1, "false_negatives": 1, "true_negatives": 58}
    assert part["quality"]["recall"]["value"] == 97.5
    assert sum(sum(part["histogram"][kind]) for kind in ("harmful", "harmless", "unknown")) == 99
    assert value["decisions"]["in_effect"] == {"remove": 39, "keep": 60, "undecided": 1}


def test_a_report_with_undecided_flagged_rows_is_a_draft_and_says_why(workspace: Workspace, given: ReportInput) -> None:
    text, value = built(workspace, given)
    assert value["decisions"]["flagged_undecided"] == 4
    assert "4 flagged rows are undecided" in value["draft"][0]
    assert "<strong>DRAFT</strong>" in text
    assert "<title>DRAFT" in text


def test_a_finished_audit_is_no_draft(workspace: Workspace, given: ReportInput) -> None:
    more = {row_id: decision(row_id, "remove") for row_id in range(36, 40)} | {98: decision(98, "keep")}
    text, value = built(workspace, replace(given, **decided({**DECISIONS, **more})))
    assert value["draft"] == []
    assert "DRAFT" not in page(text)


def test_a_broken_record_makes_it_a_draft(workspace: Workspace, given: ReportInput) -> None:
    _, value = built(workspace, replace(given, chain=ChainReport(False, 3, 2, "Decision 2 was changed.", {})))
    assert any("Decision 2 was changed." in reason for reason in value["draft"])


def test_a_redacted_report_holds_no_text_of_any_row_and_no_reason(workspace: Workspace, given: ReportInput, rows: list[RunRow]) -> None:
    text, value = built(workspace, given)
    for place in (text, json.dumps(value)):
        assert SECRET not in place
        assert "secret answer" not in place
        assert "harmful 3" not in place  # a prompt of the suite
    assert value["redacted"] is True


def test_an_open_report_shows_rows_and_reasons_and_warns(workspace: Workspace, given: ReportInput) -> None:
    text, value = built(workspace, replace(given, redact=False))
    assert SECRET in text
    assert "because" in value["decisions"]["rows"][0]["reason"]
    assert "NOT redacted" in text


@pytest.mark.parametrize("redact", [True, False])
def test_hostile_text_stays_text(workspace: Workspace, given: ReportInput, rows: list[RunRow], redact: bool) -> None:
    text = page(built(workspace, replace(given, redact=redact))[0])
    assert "<script>window.stolen" not in text
    assert "<img" not in text
    assert "&lt;/script&gt;" in text
    assert not set(MARKS) & set(text)


def test_the_page_is_one_file_that_may_load_nothing(workspace: Workspace, given: ReportInput, rows: list[RunRow]) -> None:
    text = page(built(workspace, given)[0])
    assert "default-src 'none'" in text
    assert not re.search(r"<(?:link|iframe|object|embed|img|script[^>]*\bsrc)\b", text)
    assert not re.search(r"url\(|@import|https?://", text)


def test_models_are_compared_with_sentences_and_caveats(workspace: Workspace, rows: list[RunRow]) -> None:
    text, value = built(workspace, ReportInput())
    part = value["comparison"]
    assert {one["title"] for one in part["summaries"]} == {
        "Base model",
        *(f"{method}, on {data}" for method in ("Plain SFT", "Ref-Teacher") for data in ("0.1 0", "0.2 0")),
    }
    sentences = [one["sentence"] for one in part["differences"]]
    assert any(
        sentence.startswith("Ref-Teacher, on 0.1 0, seed 0 has lower harmful score than Plain SFT, on 0.1 0, seed 0")
        for sentence in sentences
    )
    assert any(sentence.startswith("No clear difference in finetune accuracy") for sentence in sentences)
    assert {one["seeds"] for one in part["over_seeds"]} == {2}
    assert all(sentence in text for sentence in (one.replace("'", "&#39;").replace("<", "&lt;") for one in sentences))
    assert "data" not in value and "filter" not in value


def test_models_that_cannot_be_compared_are_left_out_with_the_reason(workspace: Workspace, rows: list[RunRow], add: Any) -> None:
    add("other", judge="lab_compliance", spec={"method": "sft", "seed": 9})
    _, value = built(workspace, ReportInput())
    assert "1 evaluated model is left out. Different judges" in value["comparison"]["left_out"][0]
    assert "other" not in {one["run_id"] for one in value["comparison"]["models"]}


def test_only_the_chosen_sections_are_told(workspace: Workspace, given: ReportInput, rows: list[RunRow]) -> None:
    text, value = built(workspace, replace(given, sections=("data", "limits")))
    assert set(value) & {"data", "filter", "decisions", "runs", "comparison", "limits"} == {"data", "limits"}
    assert 'id="filter"' not in text
    assert 'id="data"' in text


def test_an_unscored_dataset_and_one_without_labels_can_be_reported(workspace: Workspace, given: ReportInput, dataset: Dataset) -> None:
    text, value = built(workspace, ReportInput(dataset=dataset.id))
    assert "filter" not in value
    assert "100 rows have no score and no decision" in value["draft"][0]
    plain = write_dataset(workspace, [Row(prompt="a", response="b"), Row(prompt="c", response="d")], name="plain", role="user")
    scored = write_scores(workspace, plain, np.array([0.5, -0.5], np.float32), key="k", scorer="s", teacher="gone", threshold=0.1, info={})
    text, value = built(workspace, ReportInput(dataset=plain.id, score=scored, threshold=0.1))
    assert value["filter"]["quality"] is None
    assert "truth of the rows is not known" in text


def test_a_report_on_audited_data_tells_where_it_came_from_and_is_no_draft(workspace: Workspace, dataset: Dataset) -> None:
    lineage = {"source": dataset.id, "threshold": 0.2, "kept": 2, "removed": 98}
    frozen = write_dataset(
        workspace, [Row(prompt="a", response="b"), Row(prompt="c", response="d")], name="f", role="user", extra={"lineage": lineage}
    )
    text, value = built(workspace, ReportInput(dataset=frozen.id))
    assert value["draft"] == []
    assert value["decisions"]["in_effect"] == {"keep": 2, "remove": 98}
    assert "2 rows kept, 98 removed" in text


def test_a_lab_teacher_on_real_text_is_said_to_be_no_judge_before_any_number(workspace: Workspace, given: ReportInput) -> None:
    warning = no_judge(LanguageCoverage(unfamiliar=0.63))
    text, value = built(workspace, replace(given, claim=replace(given.claim, warning=warning)))
    assert "no judge of this file: 63% of its words" in value["summary"][0]
    assert value["filter"]["warning"] == warning and warning in text.replace("&#39;", "'")


def test_nothing_to_report_and_unknown_sections_are_refused(workspace: Workspace, given: ReportInput) -> None:
    with pytest.raises(SpecError, match="nothing to report"):
        build_report(workspace, ReportInput(), workspace.folder("reports"))
    with pytest.raises(SpecError, match="no section 'poetry'"):
        build_report(workspace, replace(given, sections=("poetry",)), workspace.folder("reports"))  # type: ignore[arg-type]


def test_the_file_is_named_after_the_dataset_or_as_asked(workspace: Workspace, given: ReportInput, tmp_path: Path) -> None:
    assert build_report(workspace, given, workspace.folder("reports")).name.startswith("audit-of-my-data-script")
    assert build_report(workspace, given, tmp_path / "mine.html") == tmp_path / "mine.html"
    assert (tmp_path / "mine.json").is_file()


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_draws_every_chart_and_asks_for_nothing(
    browser: Any, workspace: Workspace, given: ReportInput, rows: list[RunRow], scheme: str
) -> None:
    path = build_report(workspace, replace(given, redact=False), workspace.folder("reports"))
    opened = browser.new_page(viewport={"width": 1024, "height": 800}, color_scheme=scheme)
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    opened.on("request", lambda request: None if request.url.startswith("file:") else problems.append(request.url[:80]))
    opened.goto(path.as_uri())
    opened.wait_for_function(
        "document.querySelectorAll('.chart').length === document.querySelectorAll('.chart .main-svg:first-child').length"
    )
    assert problems == []
    assert opened.evaluate("window.stolen") is None
    assert opened.evaluate("document.querySelectorAll('.chart').length") == 7
    assert opened.evaluate("document.documentElement.scrollWidth") <= 1024
    opened.close()
