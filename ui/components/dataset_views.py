"""A dataset as the values of widgets: detected format, problems, rows as chats, profile. Pure functions; all text is cleaned here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reft_studio.audit.policy import flagged as is_flagged
from reft_studio.data.readers import ImportReport
from ui.tables import table_value
from ui.text import ago, count, counted, mask, number, percent, show

if TYPE_CHECKING:
    from reft_studio.data.quarantine import Problem
    from reft_studio.data.query import Lengths, Profile
    from reft_studio.data.readers import ImportReport, Preview
    from reft_studio.views.project import DatasetSummary
    from reft_studio.views.reviewing import Card

TURN_LIMIT = 1200
"""Characters shown of one turn in a preview."""
SHOWN_ROWS = 6
FORMAT_NAMES = {
    "openai": "OpenAI chat",
    "alpaca": "Alpaca",
    "sharegpt": "ShareGPT",
    "pairs": "Prompt and response columns",
    "text": "Plain text",
    "lab": "Lab sample",
    "frozen": "Audited here",
}
CONTAINER_NAMES = {"jsonl": "JSON Lines", "json": "JSON", "csv": "CSV", "parquet": "Parquet"}


def detected(preview: Preview) -> dict[str, Any]:
    """What was recognised in a file, as facts."""
    encoding = preview.encoding if preview.container != "parquet" else "binary"
    return {
        "kpis": [
            {"label": "format", "value": FORMAT_NAMES.get(preview.format or "", "not recognised"), "hint": "how rows are laid out"},
            {"label": "confidence", "value": f"{100 * preview.confidence:.0f} %", "hint": "how sure the app is of the format and columns"},
            {
                "label": "file",
                "value": CONTAINER_NAMES.get(preview.container, show(preview.container, 20)),
                "hint": show(preview.path.name, 120),
            },
            {"label": "encoding", "value": show(encoding, 20), "hint": "how the bytes become text"},
        ]
    }


def problems(found: Sequence[Problem]) -> dict[str, Any]:
    """Problems of the first rows of a file, worst first."""
    ordered = sorted(found, key=lambda problem: (problem.severity != "error", problem.line))
    return table_value(
        {
            "id": position,
            "line": count(problem.line) if problem.line else "file",
            "severity": ("set aside", "flag") if problem.severity == "error" else ("warning", "warn"),
            "reason": problem.reason,
            "hint": problem.hint,
        }
        for position, problem in enumerate(ordered)
    )


def report_of(manifest: Mapping[str, Any]) -> ImportReport | None:
    """The import report kept in a dataset's manifest; None for data that was made here."""
    stored = manifest.get("report")
    return ImportReport(**stored) if stored else None


def quarantined(rows: Sequence[Mapping[str, Any]], total: int) -> dict[str, Any]:
    """Rows that were set aside at import: line, reason, what to do. The original text stays in the quarantine file."""
    return table_value(
        ({"id": position, "line": count(row["line"]), "reason": row["reason"], "hint": row["hint"]} for position, row in enumerate(rows)),
        total=total,
    )


def reasons(report: ImportReport | None) -> dict[str, Any]:
    """Why rows were set aside or read with a remark, most frequent first, with their first lines."""
    if report is None:
        return table_value([])
    found = [(reason, n, ("set aside", "flag")) for reason, n in report.reasons.items()]
    found += [(reason, n, ("remark", "warn")) for reason, n in report.warning_reasons.items()]
    found.sort(key=lambda entry: -entry[1])
    return table_value(
        {
            "id": position,
            "reason": reason,
            "severity": severity,
            "rows": count(n),
            "lines": ", ".join(count(line) for line in report.examples.get(reason, ())),
        }
        for position, (reason, n, severity) in enumerate(found)
    )


def chats(rows: Iterable[Mapping[str, Any]], *, hide_all: bool = False) -> dict[str, Any]:
    """Rows as rendered chats with the trained turn marked; rows known to be harmful, or flagged, are masked until revealed."""
    return {"rows": [_chat(row, position, hide_all=hide_all) for position, row in enumerate(rows)]}


def card_row(card: Card) -> dict[str, Any]:
    """A row of a dataset with what its score says, for `chats`."""
    over = card.threshold is not None and is_flagged(card.score, card.threshold)
    row = {key: getattr(card, key) for key in ("row_id", "prompt", "response", "messages", "origin", "category", "known_harmful")}
    return {**row, "flagged": over, "score": card.score}


def listed(datasets: Sequence[DatasetSummary], current: str | None) -> dict[str, Any]:
    """The datasets of the workspace, newest first."""
    newest = sorted(datasets, key=lambda dataset: dataset.created, reverse=True)
    return table_value(
        (
            {
                "id": dataset.id,
                "name": dataset.name,
                "rows": count(dataset.rows),
                "format": FORMAT_NAMES.get(dataset.source_format, dataset.source_format or "made here"),
                "aside": count(dataset.quarantined) if dataset.quarantined else "none",
                "state": _state(dataset, current),
                "created": ago(dataset.created),
            }
            for dataset in newest
        ),
        selected=current,
    )


def profiled(profile: Profile, report: ImportReport | None) -> dict[str, Any]:
    """Counts, lengths and origins of a dataset as facts."""
    share = percent(100 * profile.duplicates / profile.rows) if profile.rows else "–"
    kpis = [
        {"label": "rows", "value": count(profile.rows), "hint": "rows that can be used"},
        {"label": "set aside", "value": count(report.quarantined if report else 0), "hint": "rows that could not be read"},
        {"label": "remarks", "value": count(report.warnings if report else 0), "hint": "rows read with a remark"},
        {"label": "duplicates", "value": count(profile.duplicates), "hint": f"rows that repeat an earlier one exactly, {share}"},
        {"label": "multi-turn", "value": count(profile.multi_turn), "hint": "rows with more than one user turn"},
        {"label": "empty responses", "value": count(profile.empty_responses), "hint": "rows with nothing to train"},
    ]
    if profile.known_harmful or profile.known_harmless:
        kpis.append(
            {"label": "labelled harmful", "value": count(profile.known_harmful), "hint": "by the file itself; a scorer never sees it"}
        )
    groups = [
        {"title": "Rows by origin", "items": _largest(profile.origins)},
        {"title": "Rows by category", "items": _largest(profile.categories)},
    ]
    lengths = [_lengths("Prompt characters", profile.prompt_chars), _lengths("Response characters", profile.response_chars)]
    return {"kpis": kpis, "histograms": lengths, "bars": [group for group in groups if len(group["items"]) > 1]}


def sentence(report: ImportReport) -> str:
    """What an import did: `1,000 rows imported, 3 set aside, 2 warnings` and a full stop."""
    parts = [f"{counted(report.rows, 'row')} imported", f"{count(report.quarantined)} set aside", counted(report.warnings, "warning")]
    return ", ".join(parts) + "."


def _lengths(title: str, lengths: Lengths) -> dict[str, Any]:
    """Bins double in width, so every bar is labelled by where it begins."""
    median = f"median {count(lengths.quantiles['median'])}" if "median" in lengths.quantiles else ""
    first = next((place for place, n in enumerate(lengths.counts) if n), 0)
    edges, counts = lengths.edges[first:], lengths.counts[first:]
    return {"title": title, "note": median, "counts": counts, "labels": [count(edge) for edge in edges[: len(counts)]]}


def _largest(groups: Mapping[str, int], most: int = 8) -> list[dict[str, Any]]:
    ordered = sorted(groups.items(), key=lambda pair: -pair[1])
    shown = [{"label": show(name, 60) or "not given", "n": n} for name, n in ordered[:most]]
    rest = sum(n for _, n in ordered[most:])
    return [*shown, {"label": f"{len(ordered) - most} others", "n": rest}] if rest else shown


def _state(dataset: DatasetSummary, current: str | None) -> tuple[str, str]:
    if dataset.id == current:
        return ("in use", "accent")
    if dataset.frozen_from:
        return ("frozen", "keep")
    return ("scored", "keep") if dataset.scored else ("not scored", "quiet")


def _chat(row: Mapping[str, Any], position: int, *, hide_all: bool) -> dict[str, Any]:
    row_id = row.get("row_id", position)
    harmful = row.get("known_harmful")
    tags = [{"text": show(row[key], 40), "kind": "quiet"} for key in ("origin", "category") if row.get(key)]
    if row.get("score") is not None:
        tags.append({"text": f"score {number(row['score'])}", "kind": "flag" if row["flagged"] else "quiet"})
    if harmful:
        tags.append({"text": "known harmful", "kind": "flag"})
    turns = _turns(row)
    trained = max((place for place, turn in enumerate(turns) if turn["role"] == "assistant"), default=-1)
    return {
        "id": row_id,
        "name": f"Row {count(row_id)}",
        "tags": tags,
        "hide": bool(harmful or row.get("flagged")) or hide_all,
        "turns": [_turn(turn, trained=place == trained) for place, turn in enumerate(turns)],
    }


def _turns(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Messages of a row; from the file they are JSON text, from a preview a list."""
    messages = row.get("messages")
    if isinstance(messages, str):
        messages = json.loads(messages)
    if not messages:
        messages = [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["response"]}]
    return [dict(turn) for turn in messages if isinstance(turn, dict)]


def _turn(turn: Mapping[str, Any], *, trained: bool) -> dict[str, Any]:
    text = turn.get("content") or ""
    shown, short = (show(text, TURN_LIMIT), mask(text)) if text else ("(empty)", "(empty)")
    return {"role": show(turn.get("role", ""), 20), "text": shown, "short": short, "trained": trained}
