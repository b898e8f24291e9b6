"""What the verbs of the command line do: call the same Studio as the pages, and print."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from reft_studio.audit import bundle as bundles
from reft_studio.audit.estimates import Estimates, words
from reft_studio.audit.threshold_rule import ThresholdRule
from reft_studio.cli.console import Console, share, show, table, writable
from reft_studio.data.dataset import Role, open_dataset
from reft_studio.data.mixed import check_format, write_mixed
from reft_studio.data.origin import hub
from reft_studio.data.origin.sources import local
from reft_studio.data.rows.truth import label_text
from reft_studio.errors import DataError, SpecError, StoreError
from reft_studio.evaluation.result import SCORES
from reft_studio.fingerprint import canonical_json
from reft_studio.scoring.prepared import chosen, named, open_prepared
from reft_studio.scoring.scores import flagged, open_score_set
from reft_studio.studio import gate as gating
from reft_studio.studio.audit import Audit
from reft_studio.studio.project import chosen_scores
from reft_studio.studio.scores import language_warning
from reft_studio.studio.studio import Studio
from reft_studio.tasks import fetch
from reft_studio.tasks.import_data import import_file, mix_datasets
from reft_studio.tasks.score import score_dataset
from reft_studio.teacher.teacher import SHIPPED, adopt
from reft_studio.workspace import Workspace, write_atomic


def import_data(
    workspace: Workspace,
    file: Path,
    *,
    name: str | None,
    role: Role,
    columns: Sequence[str],
    harmful_values: Sequence[str] = (),
    roles: Sequence[str] = (),
) -> None:
    """Import and say what became of the rows. `columns` are part=column, `roles` speaker=role."""
    result = _imported(workspace, file, name=name, role=role, columns=columns, harmful_values=harmful_values, roles=roles)
    show(result, text=lambda: _imported_text(result))


def score(
    workspace: Workspace,
    data: str,
    *,
    role: Role,
    scorer: str | None,
    teacher: str | None,
    out: Path | None,
    threshold: float | None,
) -> None:
    """Score a file or a dataset; says loudly when a teacher does not know the language of the file."""
    if out is not None and out.suffix not in (".csv", ".jsonl", ".parquet"):
        raise SpecError(f"{out.name} has an ending that scores are not written in. Use .csv, .jsonl or .parquet.")
    writable(out)
    if teacher is not None and teacher not in SHIPPED and Path(teacher).is_dir():
        teacher = adopt(workspace, Path(teacher))
    if (name := named(scorer, teacher)) is not None:
        open_prepared(workspace, name)  # a wrong name is told before the file is read
    dataset = dataset_named(workspace, data, role=role)
    prepared = chosen(workspace, open_dataset(workspace, dataset), scorer, teacher)
    console = Console(workspace)
    answer = score_dataset(console, {"dataset": dataset, "scorer": scorer, "teacher": teacher})
    console.done()
    scores = open_score_set(workspace, dataset, answer["key"])
    at = scores.threshold if threshold is None else threshold
    dropped = flagged(scores.scores(), at)
    warning = language_warning(open_dataset(workspace, dataset), scores, prepared)
    told = {"threshold": at, "flagged": int(dropped.sum()), "warning": warning, "scorer": scores.scorer, "teacher": prepared.id}
    result = {**answer, **told}
    if out is not None:
        write_scores(out, scores.row_ids(), scores.scores(), dropped)
        result["out"] = str(out)
    lines = [f"{result['flagged']:,} of {scores.rows:,} rows are flagged at a score of {at:+.3f} or more; {scores.missing} have no score."]
    lines += [f"WARNING: {warning}"] if warning else []
    estimate, line = Studio(workspace).audit.estimates_at(dataset, answer["key"], at)
    result |= {"estimate": estimate_facts(estimate), "at_line": asdict(line)}
    lines += words(estimate, line, at)
    show(result, text=lambda: "\n".join(lines))


def estimate_facts(found: Estimates) -> dict[str, Any]:
    """What may be said of a file, for machines; `withheld` says why the calibration says nothing of it."""
    against = found.withheld and asdict(found.withheld)
    rate = found.rate and asdict(found.rate)
    return {"source": found.source, "rate": rate, "withheld": against, "sentence": found.sentence, "checked": found.checked}


def write_scores(out: Path, row_ids: Any, scores: Any, dropped: Any) -> None:
    """row_id, score (empty: not scored), flagged, in dataset order."""
    rounded = np.round(np.asarray(scores, dtype=np.float64), 6)
    if out.suffix == ".parquet":
        sink = pa.BufferOutputStream()
        columns = {"row_id": pa.array(row_ids, pa.int64()), "score": pa.array(rounded, from_pandas=True), "flagged": pa.array(dropped)}
        pq.write_table(pa.table(columns), sink)
        write_atomic(out, sink.getvalue().to_pybytes())
        return
    values = [None if np.isnan(value) else float(value) for value in rounded]
    rows = [{"row_id": int(row), "score": value, "flagged": bool(flag)} for row, value, flag in zip(row_ids, values, dropped, strict=True)]
    if out.suffix == ".csv":
        lines = [f"{row['row_id']},{'' if row['score'] is None else row['score']},{str(row['flagged']).lower()}\n" for row in rows]
        write_atomic(out, "".join(["row_id,score,flagged\n", *lines]))
    else:
        write_atomic(out, "".join(canonical_json(row) + "\n" for row in rows))


def threshold(workspace: Workspace, data: str, rule: dict[str, Any], *, use: bool) -> None:
    """Find the threshold by a rule; with `use`, work with it."""
    studio, checked = Studio(workspace), ThresholdRule.checked(**rule)
    scores = chosen_scores(workspace, open_dataset(workspace, data).id)
    if scores is None:
        raise SpecError("This dataset has no scores to set a threshold for. Score it first.")
    choice = studio.thresholds.by_rule(data, scores.key, checked)
    if use:
        studio.choose(dataset=data)
        studio.choose(threshold=choice.threshold, rule=choice.rule)
    held = "; ".join(f"{name} {share(one)}" for name, one in (("recall", choice.recall), ("FPR", choice.false_positive_rate)) if one)
    text = f"{choice.threshold:+.3f}: {choice.promise} {choice.assumption}\n"
    text += f"On held-out prompts: {held or ('withheld' if choice.withheld else 'too few to say')}. {choice.flagged:,} rows are flagged."
    text += f" {choice.excluded} calibration prompts that this file holds too were left out." if choice.excluded else ""
    show(asdict(choice), text=lambda: text)


def freeze(workspace: Workspace, data: str, *, reason: str) -> None:
    """Freeze, and say what was kept; undecided rows are left out if a reason is given."""
    frozen = Studio(workspace).audit.freeze(data, reason)
    lineage = frozen.manifest["lineage"]
    left = f", {lineage['undecided']:,} left out undecided" if lineage["undecided"] else ""
    show(
        {"dataset": frozen.id, "rows": frozen.rows, "lineage": lineage},
        text=lambda: f"Frozen as {frozen.id}: {frozen.rows:,} rows kept, {lineage['removed']:,} removed{left}.",
    )


def mix(workspace: Workspace, data: str, harmful: str, *, settings: dict[str, Any], out: Path | None) -> None:
    """Mix harmful rows into a file or dataset; write the result to `out` too, if wanted."""
    if out is not None:
        check_format(out)
        writable(out)
    ids = {"dataset": dataset_named(workspace, data), "harmful": dataset_named(workspace, harmful)}
    console = Console(workspace)
    made = mix_datasets(console, {**ids, **settings})
    console.done()
    if out is not None:
        write_mixed(open_dataset(workspace, made["dataset_id"]), out)
    text = f"{made['dataset_id']}: {made['rows']:,} rows, {made['added']:,} of them harmful rows mixed in."
    text += (
        f" {made['left_out']:,} harmful rows were no use: repeated, in the file already, or without an answer." if made["left_out"] else ""
    )
    text += f" {made['known_before']:,} rows of the file were labelled harmful before." if made["known_before"] else ""
    text += f"\nIn {out}." if out else ""
    show({**made, "out": out and str(out)}, text=lambda: text)


def compare(workspace: Workspace) -> None:
    """Every evaluated model, group by group."""
    found = Studio(workspace).comparison.every()
    blocks = []
    for group in found.groups:
        rows = [
            [
                row.title,
                *(share(getattr(row, name), interval=name != "not_refused") for name in SCORES),
                f"{row.poison_ratio:.0%}" if row.poison_ratio is not None else "-",
            ]
            for row in group
        ]
        blocks.append(table(rows, [group[0].suite, *SCORES.values(), "poison"]))
    text = (
        "\n\n".join(blocks) + "".join(f"\n{line}" for line in (*found.reasons, *found.caveats))
        if blocks
        else "No model has been evaluated yet."
    )
    show(
        [{**asdict(row), "not_refused": row.not_refused and vars(row.not_refused)} for row in found.rows],
        text=lambda: text,
    )


def report(workspace: Workspace, dataset: str | None, *, out: Path | None, redact: bool) -> None:
    """Build the report and say where it is."""
    writable(out)
    path = Studio(workspace).reports.build(dataset_id=dataset, redact=redact)
    if out is not None:
        write_atomic(out, path.read_bytes())
    show({"report": str(out or path), "redacted": redact}, text=lambda: str(out or path))


def export(workspace: Workspace, dataset: str, out: Path) -> None:
    """Write the cleaned file, and beside it the list of what is not in it."""
    if not out.is_dir():
        writable(out)
    path = Studio(workspace).audit.export(dataset, out)
    show({"cleaned": str(path)}, text=lambda: str(path))


def bundle(workspace: Workspace, dataset: str, *, out: Path | None, report: bool) -> None:
    """Pack the audit of a frozen dataset, with a redacted report if one is wanted."""
    writable(out)
    studio = Studio(workspace)
    told = studio.reports.build(dataset_id=dataset, redact=True) if report and studio.audit.frozen(dataset) else None
    path = studio.audit.bundle(dataset, report=told)
    if out is not None:
        write_atomic(out, path.read_bytes())
    seal = bundles.verify(path).seal
    show({"path": str(out or path), "seal": seal}, text=lambda: f"{out or path}\nseal {seal}: note it elsewhere")


def gate(workspace: Workspace, dataset: str, *, max_residual: float, override: str) -> int:
    """0 if a dataset may be used, or somebody says why it may all the same, else 1."""
    found = gating.gate(Studio(workspace).audit, dataset, max_residual=max_residual, override=override)
    why = "; ".join(found.reasons)
    text = (
        f"passed by override ({found.overridden}), recorded: {why}"
        if found.overridden
        else "passed"
        if found.passed
        else f"not passed: {why}"
    )
    text += f"\n{found.estimate}" if found.estimate else ""
    show(asdict(found), text=lambda: text)
    return 0 if found.passed else 1


def verify(workspace: Workspace, bundle: Path | None, *, data: Path | None, seal: str | None) -> int:
    """0 if the log, or the bundle, is what it was, else 1."""
    audit = Studio(workspace).audit
    if bundle is not None:
        checked = _checked(audit, bundle, data, seal)
        show(
            {"ok": checked.ok, "problems": checked.problems, "seal": checked.seal},
            text=lambda: f"intact, seal {checked.seal}" if checked.ok else "\n".join(checked.problems),
        )
        return 0 if checked.ok else 1
    chain = audit.verify()
    show(vars(chain), text=lambda: f"intact, {chain.entries} entries" if chain.ok else f"damaged: {chain.reason}")
    return 0 if chain.ok else 1


def _checked(audit: Audit, bundle: Path, data: Path | None, seal: str | None) -> bundles.BundleReport:
    """What is wrong with a bundle; one that cannot be read any more is a damaged one, not a wrong question."""
    try:
        return audit.verify_bundle(bundle, data=data, seal=seal)
    except StoreError as exc:
        if not bundle.is_file():
            raise
        return bundles.BundleReport(False, [str(exc)], "", 0, {})


def dataset_named(workspace: Workspace, data: str, *, role: Role = "user") -> str:
    """The id of a dataset named by id, or imported from a file."""
    path = Path(data)
    if path.is_file():
        return str(_imported(workspace, path, name=None, role=role)["dataset_id"])
    if "/" in data or "." in data:
        raise DataError(f"There is no file {data}.")
    return open_dataset(workspace, data).id


def _imported(
    workspace: Workspace,
    file: Path,
    *,
    name: str | None,
    role: Role,
    columns: Sequence[str] = (),
    harmful_values: Sequence[str] = (),
    roles: Sequence[str] = (),
) -> dict[str, Any]:
    pairs = dict(column.partition("=")[::2] for column in columns)
    if "label" in pairs:  # what people call it
        pairs["known_harmful"] = pairs.pop("label")
    labels = {label_text(value): True for value in harmful_values}
    speakers = dict(pair.rpartition("=")[::2] for pair in roles)  # a speaker may have a "=" in its name, a role has none
    mapping = {"columns": pairs, "labels": labels, "roles": speakers} if pairs or labels or speakers else None
    console = Console(workspace)
    wanted = {"name": name or file.name, "role": role, "mapping": mapping}
    result = import_file(console, {"path": str(file), **wanted}) if file.is_file() else _fetched(console, str(file), wanted)
    console.done()
    return result


def _fetched(console: Console, text: str, wanted: dict[str, Any]) -> dict[str, Any]:
    """Import the first table (train, if there is one) of a folder, or of a dataset of the hub."""
    source = hub.look(text) if hub.names_a_dataset(text) else local(text)
    part = source.parts[0].name
    if len(source.parts) > 1:
        console.warn(f"{source.title} holds {len(source.parts)} tables; '{part}' is imported. The others: give their file or folder.")
    return fetch.fetch(console, {**fetch.params_of(source, part), **wanted})


def _imported_text(result: dict[str, Any]) -> str:
    reasons = "".join(f"\n  {count:,} x {reason}" for reason, count in result["reasons"].items())
    reasons += "".join(f"\n  {count:,} x {reason} (imported)" for reason, count in result["warning_reasons"].items())
    reasons += "".join(f"\n  {note}" for note in result["notes"])
    counts = f"{result['rows']:,} rows, {result['quarantined']:,} set aside, {result['duplicates']:,} duplicates"
    return f"{result['dataset_id']}: {counts}{reasons}"
