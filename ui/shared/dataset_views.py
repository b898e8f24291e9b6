"""A dataset as the values of widgets: detected format, problems, rows as chats, profile. Pure functions; all text is cleaned here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reft_studio.data.formats import label_of
from reft_studio.data.rows.mapping import SURE
from reft_studio.studio.datasets import REPEATS
from reft_studio.studio.imports import ImportReport
from reft_studio.studio.rows import LABEL_CHARS, OTHER, TITLES
from ui.tables import table_value
from ui.text import ago, count, counted, show, size

if TYPE_CHECKING:
    from reft_studio.studio.datasets import Inspection, Lengths, Profile, TokenLengths
    from reft_studio.studio.imports import ImportReport, Preview, Problem
    from reft_studio.studio.project import DatasetSummary

SHOWN_ROWS = 6
FORMAT_NAMES = {
    "openai": "OpenAI chat",
    "alpaca": "Alpaca",
    "sharegpt": "ShareGPT",
    "chat": "Chat turns, other keys",
    "pairs": "Prompt and response columns",
    "text": "Plain text",
    "lab": "Lab sample",
    "frozen": "Audited here",
    "mixed": "Mixed here",
    "demo": "Made for a demonstration",
}
SYNTAX = ("not valid JSON", "JSON ", "not an object", "bytes ", "a quote ", "more cells", "a line ", "a row ")
"""Beginnings of reasons that no other choice of columns takes away: the file itself must be mended."""
LOOKED = "of the first 200 rows, which were looked at"


def detected(preview: Preview) -> dict[str, Any]:
    """What was recognised in a file, as facts."""
    encoding = preview.encoding or "binary"
    lines = {
        severity: len({found.line for found in preview.problems if found.line and found.severity == severity})
        for severity in ("error", "warning")
    }
    sure = "keep" if preview.confidence >= 0.8 else "warn"
    return {
        "kpis": [
            {"label": "format", "value": FORMAT_NAMES.get(preview.format or "", "not recognised"), "hint": "how rows are laid out"},
            {
                "label": "sure of it",
                "value": f"{100 * preview.confidence:.0f} %",
                "hint": "how sure the app is of format and columns",
                "kind": sure,
            },
            {
                "label": "file",
                "value": show(label_of(preview.container), 20),
                "hint": show(preview.path.name, 120),
            },
            {"label": "encoding", "value": show(encoding, 20), "hint": "how the bytes become text"},
            {"label": "set aside", "value": count(lines["error"]), "hint": LOOKED, "kind": "flag" if lines["error"] else "keep"},
            {"label": "with a remark", "value": count(lines["warning"]), "hint": LOOKED, "kind": "warn" if lines["warning"] else "keep"},
        ]
    }


def doubt(preview: Preview) -> dict[str, str] | None:
    """What to say while a person must confirm the columns; None if that is not needed."""
    if (asked := preview.labels) is not None and not preview.mapping.labels:
        if not asked.is_label:
            return {"text": f"'{show(asked.column, 40)}' holds no labels: it is empty, or its values are many or long.", "kind": "warn"}
        named = f"'{show(asked.column, 40)}' has the values {show(asked.described(), 300)}."
        return {"text": f"{named} Say below, under 'Which value means harmful', which of them does; then import.", "kind": "warn"}
    if preview.confidence >= SURE:
        return None
    if preview.mapping.columns:
        return {"text": "The columns are a guess. Check below which column is what before you import.", "kind": "warn"}
    whole = next((found for found in preview.problems if found.severity == "error" and not found.reason.startswith("the columns")), None)
    if whole is not None and (whole.line == 0 or not preview.columns):
        return {"text": f"There is nothing to import: {show(whole.reason, 120)}. {show(whole.hint, 200)}", "kind": "warn"}
    return {"text": "The columns are not recognised. Say below which column is what; then the rows can be imported.", "kind": "warn"}


def problems(found: Sequence[Problem]) -> dict[str, Any]:
    """Problems of the first rows of a file, worst first."""
    ordered = sorted(found, key=lambda problem: (problem.severity != "error", problem.line))
    return table_value(
        {
            "id": position,
            "line": count(problem.line) if problem.line else "file",
            "severity": _happens(problem),
            "reason": problem.reason,
            "hint": problem.hint,
        }
        for position, problem in enumerate(ordered)
    )


def _happens(problem: Problem) -> tuple[str, str]:
    """What becomes of a row with a problem; of a whole file nothing is set aside, there is something to check."""
    if problem.severity == "error":
        return ("set aside", "flag") if problem.line else ("to check", "warn")
    return ("warning", "warn")


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
    """Why rows were set aside or read with a remark, most frequent first; what another mapping may mend has the action `fix`."""
    if report is None:
        return table_value([])
    found = [(reason, n, ("set aside", "flag")) for reason, n in report.reasons.items()]
    found += [(reason, n, ("remark", "warn")) for reason, n in report.warning_reasons.items()]
    found.sort(key=lambda entry: -entry[1])
    shown = [(note, "file", ("remark", "warn"), "") for note in report.notes]
    shown += [(reason, count(n), kind, ", ".join(count(line) for line in report.examples.get(reason, ()))) for reason, n, kind in found]
    value = table_value(
        {"id": position, "reason": reason, "severity": severity, "rows": rows, "lines": lines}
        for position, (reason, rows, severity, lines) in enumerate(shown)
    )
    for row, (reason, _, severity, _) in zip(value["rows"], shown, strict=False):
        row["without"] = ["fix"] if severity[0] == "remark" or reason.startswith(SYNTAX) else []
    return value


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


def profiled(
    rows: int, profile: Profile | None, report: ImportReport | None, found: Inspection | None, chosen: Sequence[str] = ()
) -> dict[str, Any]:
    """Counts, health, lengths and origins of a dataset as facts; what is not counted yet is left out."""
    histograms, bars = [], []
    if found and found.tokens:
        histograms.append(_tokens(found.tokens))
    if profile:
        histograms += [_lengths("Prompt characters", profile.prompt_chars), _lengths("Response characters", profile.response_chars)]
        bars += [_bars("Origin", "origin", profile.origins), _bars("Category", "category", profile.categories)]
    if found:
        bars.insert(0, _bars("Language", "language", found.languages))
    return {
        "kpis": _numbers(rows, profile, report, found),
        "strips": _strips(rows, profile, report, found),
        "histograms": histograms,
        "bars": [group for group in bars if group["items"]],
        "chosen": list(chosen),
    }


def _numbers(rows: int, profile: Profile | None, report: ImportReport | None, found: Inspection | None) -> list[dict[str, Any]]:
    kpis: list[dict[str, Any]] = [{"label": "rows", "value": count(rows), "hint": "rows that can be used"}]
    multi_turn = profile.multi_turn if profile else report.multi_turn if report else None
    if found and found.tokens:
        kpis.append(
            {"label": "tokens", "value": short(found.tokens.total), "hint": f"{count(found.tokens.total)} tokens of prompts and responses"}
        )
        kpis.append({"label": "longest row", "value": count(found.tokens.quantiles["row"]["max"]), "hint": "tokens of prompt and response"})
        if found.tokens.limit:
            hint = f"rows of more than {count(found.tokens.limit)} tokens, which the model cuts off"
            kpis.append(
                {"label": "cut in training", "value": count(found.tokens.over), "hint": hint, "kind": "warn" if found.tokens.over else ""}
            )
    if found:
        spoken = sum(name != "unsure" and n > 0 for name, n in found.languages.items())
        kpis.append({"label": "languages" if spoken != 1 else "language", "value": count(spoken), "hint": "languages found in the prompts"})
    if multi_turn is not None:
        kpis.append({"label": "multi-turn", "value": count(multi_turn), "hint": "rows with more than one user turn"})
    if profile:
        empty = profile.empty_responses
        kpis.append(
            {"label": "empty responses", "value": count(empty), "hint": "rows with nothing to train", "kind": "warn" if empty else ""}
        )
    return kpis


def _strips(rows: int, profile: Profile | None, report: ImportReport | None, found: Inspection | None) -> list[dict[str, Any]]:
    """Bars of the whole: how rows were read, which repeat, and what the file says of them; the last two are filters of the rows."""
    strips = []
    if report is not None:
        remarks = min(report.warnings, rows)
        parts = [("read", rows - remarks, "keep"), ("read with a remark", remarks, "warn"), ("set aside", report.quarantined, "flag")]
        strips.append(_strip("Reading", parts))
    if found is not None:
        alone, exact, near = REPEATS
        parts = [(alone, rows - found.repeated - found.near, "keep"), (near, found.near, "warn"), (exact, found.repeated, "flag")]
        strips.append(_strip("Repeats", parts, facet="repeats", picks=(alone, near, exact)))
    elif profile is not None:
        parts = [("different", rows - profile.duplicates, "keep"), ("exact repeats", profile.duplicates, "flag")]
        strips.append(_strip("Repeats", parts))
    if profile is not None and (profile.known_harmful or profile.known_harmless):
        unknown = rows - profile.known_harmful - profile.known_harmless
        parts = [
            ("harmless", profile.known_harmless, "blue"),
            ("harmful", profile.known_harmful, "flag"),
            ("not labelled in the file", unknown, "quiet"),
        ]
        strips.append(_strip("Labels", parts, facet="truth", picks=("harmless", "harmful", "unknown")))
    return strips


def _strip(title: str, parts: Sequence[tuple[str, int, str]], *, facet: str = "", picks: Sequence[str] = ()) -> dict[str, Any]:
    """One bar; with `picks`, the label of each part in the facet, its legend narrows the rows."""
    shown: list[dict[str, Any]] = [{"label": label, "n": n, "kind": kind} for label, n, kind in parts]
    for part, label in zip(shown, picks, strict=False):
        part["pick"] = label
    return {"title": title, "facet": facet, "parts": shown}


def short(n: int) -> str:
    """A large number in few signs: `12,400`, `1.24 M`, `2.1 G`."""
    for unit, least in (("G", 1_000_000_000), ("M", 1_000_000)):
        if n >= least:
            return f"{n / least:.3g} {unit}"
    return count(n)


def passport(manifest: Mapping[str, Any], origin: Mapping[str, Any] | None) -> dict[str, Any]:
    """Where a dataset comes from and what proves that it is the same: for the record, to be copied."""
    source = manifest.get("source") or {}
    items: list[dict[str, Any]] = []
    if source.get("file"):
        items.append({"label": "File", "value": show(source["file"], 200), "note": size(source.get("bytes", 0))})
        items.append(
            {"label": "SHA-256 of the file", "value": source.get("sha256", ""), "copy": True, "note": "kept untouched beside the rows"}
        )
        reading = [show(label_of(str(source.get("container") or "")), 20), show(source.get("encoding") or "", 20)]
        reading.append(FORMAT_NAMES.get(str(source.get("format")), ""))
        items.append({"label": "Read as", "value": ", ".join(part for part in reading if part)})
        if source.get("cleaned"):
            items.append({"label": "Cleaned file", "value": show(source["cleaned"], 100), "note": "what an export writes"})
        columns = (source.get("mapping") or {}).get("columns") or {}
        items.append({"label": "Columns", "value": ", ".join(f"{target} = {show(column, 40)}" for target, column in columns.items())})
    if origin:
        items.append(
            {
                "label": "From the hub" if origin["place"] == "hub" else "From",
                "value": show(origin["text"], 300),
                "note": show(origin["part"], 80),
            }
        )
        if origin.get("revision"):
            items.append({"label": "Commit", "value": show(origin["revision"], 60), "copy": True})
        items += [
            {"label": show(file["name"], 80), "value": file["sha256"], "copy": True, "note": size(file["bytes"])}
            for file in origin["files"][:8]
        ]
    made = "these rows in this order; the same rows give the same fingerprint on every machine"
    items.append({"label": "Fingerprint", "value": manifest["fingerprint"], "copy": True, "note": made})
    items.append({"label": "Added", "value": str(manifest["created"]).replace("T", " ").replace("+00:00", " UTC")})
    return {"items": items}


def groups(found: Inspection | None, ids: Sequence[int]) -> dict[str, Any]:
    """The largest groups of rows that repeat each other; `ids` are those of their first rows."""
    listed = zip(found.groups, ids, strict=True) if found else ()
    return table_value({"id": str(place), "row": f"Row {count(row_id)}", "rows": count(n)} for (place, n), row_id in listed)


def chips(facets: Sequence[tuple[str, str]], group: int | None) -> list[dict[str, str]]:
    """Filters of the row list in force."""
    found = [{"id": f"{name}:{label}", "text": f"{TITLES.get(name, name)}: {show(label, 60)}"} for name, label in facets]
    return found + ([{"id": "group", "text": "rows that repeat each other"}] if group is not None else [])


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


def _tokens(found: TokenLengths) -> dict[str, Any]:
    """Tokens of a row, with the length at which training cuts."""
    marks, edges = found.quantiles["row"], found.edges
    value: dict[str, Any] = {
        "title": f"Tokens by {show(found.tokenizer, 30)}",
        "note": f"median {count(marks['median'])}, 95 % ≤ {count(marks['p95'])}",
        "counts": found.counts,
        "labels": [count(edge) for edge in edges],
    }
    if found.limit and len(edges) > 1:
        value["mark"] = {"at": found.limit / (edges[1] - edges[0]), "text": f"cut at {count(found.limit)}"}
    return value


def _bars(title: str, facet: str, groups: Mapping[str, int], most: int = 7) -> dict[str, Any]:
    """The largest groups, each a filter of the rows."""
    ordered = sorted(groups.items(), key=lambda pair: -pair[1])
    items: list[dict[str, Any]] = [
        {"label": show(name, 60) or "not given", "n": n} | ({} if name == OTHER else {"pick": name[:LABEL_CHARS]})
        for name, n in ordered[:most]
    ]
    if rest := sum(n for _, n in ordered[most:]):
        items.append({"label": f"{len(ordered) - most} others", "n": rest})
    return {"title": title, "facet": facet, "items": items if len(ordered) > 1 or facet == "language" else []}


def _state(dataset: DatasetSummary, current: str | None) -> tuple[str, str]:
    if dataset.id == current:
        return ("in use", "accent")
    if dataset.frozen_from:
        return ("frozen", "keep")
    return ("scored", "keep") if dataset.scored else ("not scored", "quiet")
