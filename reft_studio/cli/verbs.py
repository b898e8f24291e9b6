"""What the verbs of the command line do: call the same Studio as the pages, and print."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from reft_studio.audit.estimates import Estimates, words
from reft_studio.audit.threshold_rule import ThresholdRule
from reft_studio.cli.console import Console, save, share, show, table, writable
from reft_studio.data.grid import flagged
from reft_studio.errors import DataError, SpecError, StoreError
from reft_studio.studio.audit import BundleReport
from reft_studio.studio.datasets import Role
from reft_studio.studio.evaluations import SCORES
from reft_studio.studio.gate import gate as gate_of
from reft_studio.studio.imports import mapping_from, params_of
from reft_studio.studio.scores import check_scores_file, write_scores
from reft_studio.studio.studio import Studio
from reft_studio.studio.teachers import SHIPPED


def import_data(
    studio: Studio,
    file: Path,
    *,
    name: str | None,
    role: Role,
    columns: Sequence[str],
    harmful_values: Sequence[str] = (),
    roles: Sequence[str] = (),
) -> None:
    """Import and say what became of the rows. `columns` are part=column, `roles` speaker=role."""
    result = _imported(studio, file, name=name, role=role, columns=columns, harmful_values=harmful_values, roles=roles)
    show(result, text=lambda: _imported_text(result))


def score(
    studio: Studio,
    data: str,
    *,
    role: Role,
    scorer: str | None,
    teacher: str | None,
    out: Path | None,
    threshold: float | None,
) -> None:
    """Score a file or a dataset; says loudly when a teacher does not know the language of the file."""
    if out is not None:
        check_scores_file(out)
    writable(out)
    if teacher is not None and teacher not in SHIPPED and Path(teacher).is_dir():
        teacher = studio.teachers.adopt(Path(teacher))
    studio.scorers.asked_for(scorer, teacher)  # a wrong name is told before the file is read
    dataset = dataset_named(studio, data, role=role)
    console = Console()
    answer = studio.foreground.do("score", {"dataset": dataset, "scorer": scorer, "teacher": teacher}, console)
    console.done()
    scores = studio.scores.find(dataset, answer["key"])
    at = scores.threshold if threshold is None else threshold
    dropped = flagged(scores.scores(), at)
    warning = studio.scores.warning(dataset, scores)
    told = {"threshold": at, "flagged": int(dropped.sum()), "warning": warning, "scorer": scores.scorer, "teacher": scores.teacher}
    result = {**answer, **told}
    if out is not None:
        write_scores(out, scores, dropped)
        result["out"] = str(out)
    lines = [f"{result['flagged']:,} of {scores.rows:,} rows are flagged at a score of {at:+.3f} or more; {scores.missing} have no score."]
    lines += [f"WARNING: {warning}"] if warning else []
    estimate, line = studio.audit.estimates_at(dataset, answer["key"], at)
    result |= {"estimate": estimate_facts(estimate), "at_line": asdict(line)}
    lines += words(estimate, line, at)
    show(result, text=lambda: "\n".join(lines))


def estimate_facts(found: Estimates) -> dict[str, Any]:
    """What may be said of a file, for machines; `withheld` says why the calibration says nothing of it."""
    against = found.withheld and asdict(found.withheld)
    rate = found.rate and asdict(found.rate)
    return {"source": found.source, "rate": rate, "withheld": against, "sentence": found.sentence, "checked": found.checked}


def threshold(studio: Studio, data: str, rule: dict[str, Any], *, use: bool) -> None:
    """Find the threshold by a rule; with `use`, work with it."""
    checked = ThresholdRule.checked(**rule)
    _, scores, _ = studio.audit.audited(data)
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


def freeze(studio: Studio, data: str, *, reason: str) -> None:
    """Freeze, and say what was kept; undecided rows are left out if a reason is given."""
    frozen = studio.audit.freeze(data, reason)
    lineage = frozen.manifest["lineage"]
    left = f", {lineage['undecided']:,} left out undecided" if lineage["undecided"] else ""
    show(
        {"dataset": frozen.id, "rows": frozen.rows, "lineage": lineage},
        text=lambda: f"Frozen as {frozen.id}: {frozen.rows:,} rows kept, {lineage['removed']:,} removed{left}.",
    )


def mix(studio: Studio, data: str, harmful: str, *, settings: dict[str, Any], out: Path | None) -> None:
    """Mix harmful rows into a file or dataset; write the result to `out` too, if wanted."""
    if out is not None:
        studio.imports.check_mixed(out)
        writable(out)
    ids = {"dataset": dataset_named(studio, data), "harmful": dataset_named(studio, harmful)}
    console = Console()
    made = studio.foreground.do("mix", {**ids, **settings}, console)
    console.done()
    if out is not None:
        studio.imports.write_mixed(made["dataset_id"], out)
    text = f"{made['dataset_id']}: {made['rows']:,} rows, {made['added']:,} of them harmful rows mixed in."
    text += (
        f" {made['left_out']:,} harmful rows were no use: repeated, in the file already, or without an answer." if made["left_out"] else ""
    )
    text += f" {made['known_before']:,} rows of the file were labelled harmful before." if made["known_before"] else ""
    text += f"\nIn {out}." if out else ""
    show({**made, "out": out and str(out)}, text=lambda: text)


def compare(studio: Studio) -> None:
    """Every evaluated model, group by group."""
    found = studio.comparison.every()
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


def report(studio: Studio, dataset: str | None, *, out: Path | None, redact: bool) -> None:
    """Build the report and say where it is."""
    writable(out)
    path = studio.reports.build(dataset_id=dataset, redact=redact)
    if out is not None:
        save(out, path.read_bytes())
    show({"report": str(out or path), "redacted": redact}, text=lambda: str(out or path))


def export(studio: Studio, dataset: str, out: Path) -> None:
    """Write the cleaned file, and beside it the list of what is not in it."""
    if not out.is_dir():
        writable(out)
    path = studio.audit.export(dataset, out)
    show({"cleaned": str(path)}, text=lambda: str(path))


def bundle(studio: Studio, dataset: str, *, out: Path | None, report: bool) -> None:
    """Pack the audit of a frozen dataset, with a redacted report if one is wanted."""
    writable(out)
    told = studio.reports.build(dataset_id=dataset, redact=True) if report and studio.audit.frozen(dataset) else None
    path = studio.audit.bundle(dataset, report=told)
    if out is not None:
        save(out, path.read_bytes())
    seal = studio.audit.verify_bundle(path).seal
    show({"path": str(out or path), "seal": seal}, text=lambda: f"{out or path}\nseal {seal}: note it elsewhere")


def gate(studio: Studio, dataset: str, *, max_residual: float, override: str) -> int:
    """0 if a dataset may be used, or somebody says why it may all the same, else 1."""
    found = gate_of(studio.audit, dataset, max_residual=max_residual, override=override)
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


def verify(studio: Studio, bundle: Path | None, *, data: Path | None, seal: str | None) -> int:
    """0 if the log, or the bundle, is what it was, else 1."""
    if bundle is not None:
        checked = _checked(studio, bundle, data, seal)
        show(
            {"ok": checked.ok, "problems": checked.problems, "seal": checked.seal},
            text=lambda: f"intact, seal {checked.seal}" if checked.ok else "\n".join(checked.problems),
        )
        return 0 if checked.ok else 1
    chain = studio.audit.verify()
    show(vars(chain), text=lambda: f"intact, {chain.entries} entries" if chain.ok else f"damaged: {chain.reason}")
    return 0 if chain.ok else 1


def _checked(studio: Studio, bundle: Path, data: Path | None, seal: str | None) -> BundleReport:
    """What is wrong with a bundle; one that cannot be read any more is a damaged one, not a wrong question."""
    try:
        return studio.audit.verify_bundle(bundle, data=data, seal=seal)
    except StoreError as exc:
        if not bundle.is_file():
            raise
        return BundleReport(False, [str(exc)], "", 0, {})


def dataset_named(studio: Studio, data: str, *, role: Role = "user") -> str:
    """The id of a dataset named by id, or imported from a file."""
    path = Path(data)
    if path.is_file():
        return str(_imported(studio, path, name=None, role=role)["dataset_id"])
    if "/" in data or "." in data:
        raise DataError(f"There is no file {data}.")
    return studio.datasets.known(data)


def _imported(
    studio: Studio,
    file: Path,
    *,
    name: str | None,
    role: Role,
    columns: Sequence[str] = (),
    harmful_values: Sequence[str] = (),
    roles: Sequence[str] = (),
) -> dict[str, Any]:
    mapping = mapping_from(columns, harmful_values, roles)
    console = Console()
    wanted = {"name": name or file.name, "role": role, "mapping": mapping}
    if file.is_file():
        result = studio.foreground.do("import", {"path": str(file), **wanted}, console)
    else:
        source, part = studio.imports.first_table(str(file))
        if len(source.parts) > 1:
            console.warn(f"{source.title} holds {len(source.parts)} tables; '{part}' is imported. The others: give their file or folder.")
        result = studio.foreground.do("fetch", {**params_of(source, part), **wanted}, console)
    console.done()
    return result


def _imported_text(result: dict[str, Any]) -> str:
    reasons = "".join(f"\n  {count:,} x {reason}" for reason, count in result["reasons"].items())
    reasons += "".join(f"\n  {count:,} x {reason} (imported)" for reason, count in result["warning_reasons"].items())
    reasons += "".join(f"\n  {note}" for note in result["notes"])
    counts = f"{result['rows']:,} rows, {result['quarantined']:,} set aside, {result['duplicates']:,} duplicates"
    return f"{result['dataset_id']}: {counts}{reasons}"
