"""What the page of a frozen dataset says of the audit behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ui.text import count, number, show

if TYPE_CHECKING:
    from reft_studio.studio.frozen import FrozenAudit

LATER = "What could be claimed was not recorded when this dataset was frozen; this is what the log and the scores allow to say now."


def frozen_facts(audit: FrozenAudit) -> dict[str, Any]:
    """Counts of a freeze, and the line that it was made with."""
    facts = [
        ("rows stay", audit.kept, "kept by the threshold or by a person"),
        ("rows removed", audit.removed, "flagged, or removed by a person"),
        ("of them by a person", audit.removed_by_human, "decided Remove in the review"),
        ("answers became a refusal", audit.relabelled, "decided Relabel in the review"),
        ("left out, undecided", audit.undecided, "no score and no decision, or marked Unsure"),
    ]
    kpis = [{"label": label, "value": count(rows), "hint": hint} for label, rows, hint in facts]
    line = "none" if audit.threshold is None else number(audit.threshold)
    return {"kpis": [*kpis, {"label": "threshold", "value": line, "hint": "score at or above which rows were flagged"}]}


def frozen_notes(audit: FrozenAudit) -> list[dict[str, str]]:
    """What may be said of the frozen rows, the warning first, as values of the notes widget."""
    notes = [{"text": show(audit.warning, 600), "kind": "flag"}] if audit.warning else []
    notes += [{"text": show(reason, 400), "kind": "warn"} for reason in audit.draft_reasons()]
    told = list(audit.claim.sentences()) if audit.claim else []
    told += [f"Threshold: {frozen_line(audit)}."] if audit.threshold is not None else []
    told += [f"{count(audit.undecided)} rows were left out undecided: {audit.reason}"] if audit.undecided and audit.reason else []
    told += [f"Frozen by {audit.frozen_by}."] if audit.frozen_by else []
    told += [] if audit.recorded else [LATER]
    return [*notes, *({"text": show(one, 600), "kind": "quiet"} for one in told)]


def frozen_line(audit: FrozenAudit) -> str:
    """The threshold, its scorer, and the rule that found it."""
    rule = f", found by the rule “{show(audit.rule, 120)}”" if audit.rule else ""
    return f"{number(audit.threshold)} on the scores of {show(audit.teacher_title, 80)}{rule}"
