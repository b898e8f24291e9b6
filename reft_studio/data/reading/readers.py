"""Look into an upload, and import it: streamed, every unusable row set aside with its reason, whole or not at all."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from reft_studio.data.columns import find_column
from reft_studio.data.dataset import Role, Row, write_batches
from reft_studio.data.formats.detect import detect
from reft_studio.data.formats.format import DataFile
from reft_studio.data.formats.layout import FileLayout
from reft_studio.data.formats.piece_reader import ReadingSpec
from reft_studio.data.reading.importing import ImportPass
from reft_studio.data.rows.interpret import MAIN, Interpreter, guess_file, objects_of, unknown_speakers
from reft_studio.data.rows.mapping import ROW_FORMATS, SURE, Guess, Mapping, name_list
from reft_studio.data.rows.quarantine import Problem, Quarantine
from reft_studio.data.rows.record import RawRecord
from reft_studio.data.rows.truth import NOT_UNDERSTOOD, LabelValues, count_labels, unclear
from reft_studio.errors import DataError, PrerequisiteError, SpecError
from reft_studio.workspace import Workspace, staging

__all__ = ["ROW_FORMATS", "ImportReport", "Mapping", "Preview", "Problem", "import_file", "preview"]

SAMPLE = 200
"""Records looked at to decide the mapping and to show problems."""
SAMPLE_BYTES = 16 << 20
SHOWN = 20
LABEL_ROWS = 20_000
"""Rows whose labels are counted to say which values there are."""


@dataclass(frozen=True)
class Preview:
    """What the app would make of a file, from its first records."""

    file: DataFile
    """As it was looked at; `import_file` takes it, so that it is not looked at again."""
    container: str
    encoding: str
    delimiter: str
    format: str | None
    confidence: float
    """0 to 1; below 0.5 the columns must be chosen before the file can be imported."""
    columns: list[str]
    mapping: Mapping
    rows: list[Row]
    """The first usable rows, at most 20."""
    problems: list[Problem]
    """Of the first 200 records; `line` 0 is the file as a whole."""
    labels: LabelValues | None = None
    """Values of a column of labels that a person chose, if one of them must be named as harmful."""
    speakers: list[str] = field(default_factory=list)
    """Who speaks in the first 200 records without anybody knowing who that is, and who was declared; at most 40."""

    @property
    def path(self) -> Path:
        return self.file.path

    @property
    def ready(self) -> bool:
        """Whether the file can be imported by this mapping."""
        return self.confidence >= SURE and bool(self.rows) and (self.labels is None or bool(self.mapping.labels))


@dataclass(frozen=True)
class ImportReport:
    """What became of every row of an upload."""

    dataset_id: str
    rows: int
    warnings: int
    quarantined: int
    duplicates: int
    """Rows that repeat an earlier one exactly; they are kept."""
    reasons: dict[str, int]
    """Rows in quarantine by reason."""
    format: str
    container: str
    encoding: str
    multi_turn: int
    empty_responses: int
    warning_reasons: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[int]] = field(default_factory=dict)
    """The first lines of each reason."""
    notes: list[str] = field(default_factory=list)
    """What is to be said of the file as a whole."""


def preview(path: Path, mapping: Mapping | None = None) -> Preview:
    """Look at the beginning of a file. Raises DataError if it is no dataset, SpecError if the mapping does not fit it."""
    path = Path(path)
    with _there(path):
        file = detect(path)
        records = sample(file, SAMPLE)
        columns = file.format.columns(file, records)
    found = _mapping(columns, records, mapping)
    problems = [*notes_on(file), *_file_problems(file, columns, records, found)]
    labels = _asked(file, found.mapping) if mapping is not None else None
    if labels is not None:
        # a value chosen for another column is no answer
        chosen = [value for value, harmful in found.mapping.labels.items() if harmful and value in labels.values]
        labels = None if labels.is_label and labels.clear and not chosen else labels
        explained = labels.chosen(chosen) if labels is not None and chosen else {}
        found = Guess(found.mapping.model_copy(update={"labels": explained}), found.confidence)
        problems += [_label_problem(labels)] if labels is not None and not explained else []
    rows: list[Row] = []
    if found.mapping.columns:
        # as user data is read: the rows shown are those that will be trained
        interpreter = Interpreter(found.mapping, "user", mapping is None or not mapping.columns, file.layout.encoding)
        for record in records:
            reading = interpreter.read(record)
            rows += [reading.row] if reading.row and len(rows) < SHOWN else []
            problems += reading.problems
        if labels is not None and not found.mapping.labels:  # one question instead of a remark for each row
            problems = [problem for problem in problems if problem.reason != NOT_UNDERSTOOD]
    else:
        problems += [Problem(record.line, "error", record.error, record.hint) for record in records if record.error]
    return Preview(
        file=file,
        container=file.layout.container,
        encoding=file.layout.label,
        delimiter=file.layout.delimiter,
        format=found.mapping.format,
        confidence=found.confidence,
        columns=columns,
        mapping=found.mapping,
        rows=rows,
        problems=problems,
        labels=labels,
        speakers=unknown_speakers((record.value for record in records), found.mapping),
    )


def notes_on(file: DataFile) -> list[Problem]:
    """Warnings about the whole file; `line` is 0."""
    return [Problem(0, "warning", reason, hint) for reason, hint in file.format.notes(file)]


def sample(file: DataFile, count: int) -> list[RawRecord]:
    """The first `count` records, fewer if they are very large."""
    records: list[RawRecord] = []
    size = 0
    for record in islice(file.format.records(file), count):
        records.append(record)
        size += record.size
        if size > SAMPLE_BYTES:
            break
    return records


def _asked(file: DataFile, mapping: Mapping) -> LabelValues | None:
    """Values of the column of labels that a person named, None if there is none or its values are clear."""
    column = mapping.columns.get("known_harmful")
    if column is None:
        return None
    records = file.format.records(file, columns=[column])
    cells = [record.value.get(column) for record in islice(records, LABEL_ROWS) if isinstance(record.value, dict)]
    found = count_labels(column, cells, whole=len(cells) < LABEL_ROWS)
    return None if found.is_label and found.clear and not mapping.labels else found


def _label_problem(found: LabelValues) -> Problem:
    if not found.is_label:
        return Problem(0, "error", "the column of labels holds no labels", str(unclear(found)))
    return Problem(0, "error", "which label means harmful is not said", f"'{found.column[:40]}' has: {found.described()}.")


def _with_labels(file: DataFile, mapping: Mapping) -> Mapping:
    """The mapping with a meaning for every label of the file. Raises SpecError if one is needed and not given."""
    if mapping.labels and "known_harmful" not in mapping.columns:
        raise SpecError("A value that means harmful was given, but no column of labels. Name it with --column label=COLUMN.")
    found = _asked(file, mapping)
    if found is None:
        return mapping
    if not found.is_label or not mapping.labels:
        raise unclear(found)
    if not all(mapping.labels.values()):
        return mapping  # both meanings were given
    return mapping.model_copy(update={"labels": found.chosen(list(mapping.labels))})


def _mapping(columns: list[str], records: list[RawRecord], chosen: Mapping | None) -> Guess:
    """The mapping a person chose, completed by what they left open, or a guess."""
    guessed = guess_file(objects_of(record.value for record in records)) if records else Guess(Mapping(), 0.0)
    if chosen is None:
        return guessed
    chosen = chosen.model_copy(update={"roles": chosen.checked_roles()})
    if not chosen.columns and chosen.format in (None, guessed.mapping.format):
        said = {"labels": chosen.labels, "roles": chosen.roles}
        return Guess(guessed.mapping.model_copy(update=said), guessed.confidence)
    if chosen.columns and not any(target in MAIN for target in chosen.columns) and guessed.confidence >= SURE:
        # only a label, a category or an origin was named: the others are as they would be without
        chosen = chosen.model_copy(update={"columns": guessed.mapping.columns | chosen.columns, "format": guessed.mapping.format})
    if not chosen.columns:
        targets = ("messages", "text", "prompt", "response", "input")
        named = {name: column for name in targets if (column := find_column(name, columns))}
        chosen = Mapping(format=chosen.format, roles=chosen.roles, columns=named)
    return Guess(chosen.checked(columns), 1.0)


def _file_problems(file: DataFile, columns: list[str], records: list[RawRecord], found: Guess) -> list[Problem]:
    problems = []
    if not records:
        problems.append(Problem(0, "error", "the file has no row", "It holds a header and nothing below, or an empty list."))
    elif found.confidence < SURE:
        reason = "the columns are not recognised" if not found.mapping.columns else "the columns are a guess"
        problems.append(Problem(0, "error", reason, f"Say which column is the prompt and which the response. Found: {name_list(columns)}."))
    if odd := file.format.odd_columns(columns):
        problems.append(Problem(0, "warning", *odd))
    return problems


def _nothing() -> None:
    return None


def _silent(_done: int, _total: int | None) -> None:
    return None


def import_file(
    workspace: Workspace,
    upload: Path | DataFile,
    *,
    name: str | None = None,
    mapping: Mapping | None = None,
    role: Role = "user",
    progress: Callable[[int, int | None], None] = _silent,
    check: Callable[[], None] = _nothing,
) -> ImportReport:
    """Import a file as a new dataset; the upload is kept untouched beside it. One that was looked at lately is not looked at again.

    `progress` gets bytes read and the file's size (Parquet: rows). `check` may raise to cancel. Raises DataError,
    with the commonest reasons, if no row is usable, and then, as on any error, leaves nothing behind.
    """
    path = upload.path if isinstance(upload, DataFile) else Path(upload)
    with _there(path):
        file = upload if isinstance(upload, DataFile) and upload.unchanged else detect(path)
        head = sample(file, SAMPLE)
        columns = file.format.columns(file, head)
        _check_room(workspace, path, file.format.unpacked(file))
    found = _mapping(columns, head, mapping)
    if not head:
        raise DataError(
            f"{path.name} has no row: it holds a header and nothing below, or an empty list. Choose a file with at least one row."
        )
    if found.confidence < SURE:
        file.format.size(file, ())  # that it is a bomb is the better reason
        raise DataError(_unclear(file, columns, head))
    if mapping is not None:
        with _there(path):
            found = Guess(_with_labels(file, found.mapping), found.confidence)
    with staging(workspace.folder("datasets")) as scratch:
        with _there(path):
            source = _copy_upload(file, scratch, check)
        stored = file.at(scratch / "original" / source["stored"])
        free = mapping is None or not mapping.columns
        with Quarantine(scratch / "quarantine.parquet") as quarantine:
            run = ImportPass(ReadingSpec(stored, found.mapping, role, free), path.name, quarantine, progress, check)
            facts = _reading_of(stored.layout, found.mapping) | {"chosen": not free, "cleaned": stored.format.cleaned(stored)}
            extra: dict[str, Any] = {"source": source | facts}

            def attach(folder: Path) -> None:
                quarantine.close()
                notes = [f"{note.reason}: {note.hint}" for note in notes_on(stored)]
                extra["report"] = asdict(replace(_report(run, ""), notes=notes))
                for made in (scratch / "original", scratch / "quarantine.parquet"):
                    shutil.move(made, folder / made.name)

            dataset = write_batches(
                workspace, run.batches(), name=name or path.stem, role=role, extra=extra, attach=attach, salt=source["sha256"]
            )
    return ImportReport(**{**extra["report"], "dataset_id": dataset.id})


def _unclear(file: DataFile, columns: list[str], head: list[RawRecord]) -> str:
    path = file.path
    broken = next((record for record in head if record.error), None)
    objects = objects_of(record.value for record in head)
    if broken is not None and not (columns and objects):
        return f"{path.name}, {file.format.unit} {broken.line}: {broken.error}. {broken.hint}"
    if not objects:
        return f"{path.name}: its rows are no objects with named parts. Each row needs prompt and response, or messages."
    return (
        f"{path.name}: no column is recognised as prompt and response. Columns found: {name_list(columns)}. "
        f"Choose the columns by hand, or name them prompt and response, instruction and output, or messages. {file.format.without_names()}"
    ).strip()


def _reading_of(layout: FileLayout, mapping: Mapping) -> dict[str, Any]:
    return {
        "container": layout.container,
        "encoding": layout.label,
        "delimiter": layout.delimiter,
        "format": mapping.format,
        "mapping": mapping.model_dump(),
        "layout": layout.to_json(),
    }


@contextmanager
def _there(path: Path) -> Iterator[None]:
    """Say it in words if the upload is deleted while it is read."""
    try:
        yield
    except FileNotFoundError as exc:
        if path.exists():
            raise
        raise DataError(f"{path.name} disappeared while it was read. Choose it again.") from exc


def _check_room(workspace: Workspace, path: Path, unpacked: int) -> None:
    """PrerequisiteError if the disk has no room for the copy of the upload, the rows packed and unpacked, and some air."""
    workspace.folder("datasets").mkdir(parents=True, exist_ok=True)
    needed, free = path.stat().st_size + 3 * unpacked + (64 << 20), shutil.disk_usage(workspace.root).free
    if free < needed:
        raise PrerequisiteError(
            f"Importing {path.name} needs about {needed / 1e6:.0f} MB on the disk of the workspace, but {free / 1e6:.0f} MB are free. "
            "Free some space, or open a workspace on another disk."
        )


def _copy_upload(file: DataFile, scratch: Path, check: Callable[[], None]) -> dict[str, Any]:
    """Copy the upload byte by byte into `scratch/original`, under a name that is safe everywhere."""
    path = file.path
    stored = re.sub(r"[^\w.\- ]", "_", path.name, flags=re.ASCII).lstrip(". ")[-120:] or "upload"
    (scratch / "original").mkdir()
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as source, (scratch / "original" / stored).open("wb") as target:
        before = os.fstat(source.fileno())
        while block := source.read(1 << 20):
            if size % (64 << 20) == 0:
                check()
            digest.update(block)
            size += len(block)
            target.write(block)
        after = os.fstat(source.fileno())
    stamps = {file.stamp, (before.st_size, before.st_mtime_ns), (after.st_size, after.st_mtime_ns)}
    if len(stamps) > 1 or size != after.st_size:
        raise DataError(f"{path.name} changed while it was read: it is still being written or copied. Import it when it is complete.")
    return {"file": path.name, "stored": stored, "sha256": digest.hexdigest(), "bytes": size}


def _report(run: ImportPass, dataset_id: str) -> ImportReport:
    errors, warnings = run.quarantine.errors, run.quarantine.warnings
    return ImportReport(
        dataset_id=dataset_id,
        rows=run.count,
        warnings=sum(warnings.values()),
        quarantined=sum(errors.values()),
        duplicates=run.duplicates,
        reasons=_by_count(errors),
        format=run.reading.mapping.format or "",
        container=run.reading.file.layout.container,
        encoding=run.reading.file.layout.label,
        multi_turn=run.multi_turn,
        empty_responses=run.empty_responses,
        warning_reasons=_by_count(warnings),
        examples=run.quarantine.examples,
    )


def _by_count(counter: Counter[str]) -> dict[str, int]:
    return dict(counter.most_common())
