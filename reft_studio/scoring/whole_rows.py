"""Shared by scorers that read prompt and response through a teacher's model: fitting on examples, and scoring a dataset."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from reft_studio import fingerprint
from reft_studio.data.dataset import Dataset
from reft_studio.data.origin.answer_pairs import answer_pairs
from reft_studio.errors import DataError, StoreError
from reft_studio.integrity import sealed_folder
from reft_studio.progress import Progress
from reft_studio.scoring.content import prompt_key, teacher_content
from reft_studio.scoring.partial import PartialScores, ScoreHeader
from reft_studio.scoring.prepared import Prepared, PreparedScorer
from reft_studio.scoring.preparing import Scale, calibrate, id_of, opened, split
from reft_studio.scoring.prompt_states import facts_of, teacher_of, teacher_of_prepared
from reft_studio.scoring.scorer import Examples, Scorer, ScorerSpec
from reft_studio.scoring.scores import ScoreSet, score_key
from reft_studio.scoring.shards import NO_ANSWER, NOT_FINITE, REFUSED
from reft_studio.scoring.work import Scored, load_shard, save_shard, work_folder
from reft_studio.workspace import Workspace

if TYPE_CHECKING:
    from reft_studio.models.batching import Example
    from reft_studio.scoring.row_reader import RowReader

FILE = "learned.npz"
ROWS = 1024
"""Maximum rows per shard: what is lost when scoring is interrupted."""
COLUMNS = ("row_id", "prompt", "response", "messages")
Learned = dict[str, NDArray[Any]]
"""Numbers that a scorer fitted on its examples; no text."""
Learn = Callable[["RowReader", "list[Example]", NDArray[np.bool_], Progress], Learned]
"""From the rows to fit on, and which of them are harmful."""
Measure = Callable[["RowReader", Learned, "list[Example]", Callable[[int], None]], NDArray[np.float32]]
"""(n,) values of rows; higher is more harmful, on any scale. The callback gets the number of finished rows."""


def judged_answers() -> Examples:
    """The shipped judged responses. Harmful are those that comply with a harmful request; neither refusals nor any others are."""
    pairs = [pair for pair in answer_pairs() if pair.response.strip() and pair.verdict != "other"]
    harmful = [pair.kind == "harmful" and pair.verdict == "comply" for pair in pairs]
    return Examples([pair.prompt for pair in pairs], [pair.response for pair in pairs], np.array(harmful))


def prepare(
    scorer: Scorer,
    workspace: Workspace,
    spec: ScorerSpec,
    examples: Examples,
    progress: Progress,
    *,
    version: int,
    learn: Learn,
    measure: Measure,
) -> PreparedScorer:
    """Fit on one part of the examples that have a response, set scale and threshold on the rest.

    Rows with the same prompt are never on both sides. Raises SpecError if no teacher is named.
    """
    teacher, examples = teacher_of(workspace, spec), _answered(examples, progress)
    name = id_of(spec, version, teacher_content(teacher), examples.prompts, examples.responses, examples.harmful.tolist())
    if workspace.folder("scorers", name).is_dir():
        return opened(workspace, name)
    fitted, held_out = split(examples.prompts, examples.harmful, seed=spec.seed)
    held_out = examples.calibrating(held_out)
    from reft_studio.scoring.row_reader import RowReader

    reader = RowReader.open(teacher)
    rows = [reader.row(prompt, response) for prompt, response in zip(examples.prompts, examples.responses, strict=True)]
    learned = learn(reader, [rows[index] for index in fitted], examples.harmful[fitted], progress)
    values = measure(reader, learned, [rows[index] for index in held_out], lambda done: progress.progress(done, len(held_out)))
    scale = Scale.fitted(values, examples.harmful[held_out])
    texts = [f"{prompt}\n{response}" for prompt, response in zip(examples.prompts, examples.responses, strict=True)]
    with sealed_folder(workspace.folder("scorers", name)) as building:
        parts: dict[str, Any] = {**learned, "scale": np.array([scale.middle, scale.width])}
        np.savez(building / FILE, **parts)
        title = f"{scorer.info.title} on {teacher.title}"
        calibrate(building, spec, examples, texts, held_out, scale(values), title=title, extra=facts_of(teacher))
    return opened(workspace, name)


def content(prepared: Prepared, *, version: int) -> dict[str, Any]:
    """Everything such a score depends on besides the rows."""
    return {"version": version, **prepared.spec["states"], "learned": fingerprint.of_file(prepared.folder / FILE)}


def score(scorer: Scorer, workspace: Workspace, dataset: Dataset, prepared: Prepared, progress: Progress, *, measure: Measure) -> ScoreSet:
    """Score a dataset; a row without a response has no score. Shard by shard; an interrupted run resumes."""
    if (ready := scorer.stored(workspace, dataset, prepared)) is not None:
        progress.progress(dataset.rows, dataset.rows)
        return ready
    from reft_studio.scoring.refusal_similarity import numerics_of
    from reft_studio.scoring.row_reader import RowReader

    started, (learned, scale) = time.perf_counter(), load(prepared.folder)
    reader = RowReader.open(teacher_of_prepared(workspace, prepared))
    reader.session.remark(progress)
    numerics = numerics_of(reader.session)
    key = prompt_key(scorer.content(prepared), **numerics, merged=False)[: fingerprint.SHORT]
    header: ScoreHeader = {
        "key": score_key(scorer.info.name, prepared.id, prepared.created),
        "scorer": scorer.info.name,
        "teacher": prepared.id,
        "threshold": prepared.threshold,
    }
    with work_folder(workspace, f"{dataset.id}-{key}") as folder:
        result = Scored.empty(dataset.rows)
        partial = PartialScores(workspace, dataset, result, **header)
        with partial.shown():
            for number, batch in enumerate(dataset.batches(list(COLUMNS), size=ROWS)):
                final, before = folder / f"{number:05}.npz", result.rows
                shard = load_shard(final)
                if shard is None or shard.rows != len(batch):

                    def report(done: int, before: int = before) -> None:
                        progress.progress(before + done, dataset.rows)

                    def function(rows: list[Example], report: Callable[[int], None] = report) -> NDArray[np.float32]:
                        return scale(measure(reader, learned, rows, report))

                    shard = _shard(reader, batch, function)
                    save_shard(final, shard)
                result.take(shard)
                progress.progress(result.rows, dataset.rows)
                if partial.due:
                    partial.write()
            info = {**numerics, "cut_at": reader.encoder.max_length, "truncated": result.counts["truncated"]}
            return scorer.store(workspace, dataset, prepared, result, {**info, "seconds": round(time.perf_counter() - started, 3)})


def load(folder: Path) -> tuple[Learned, Scale]:
    """The fitted numbers and the scale. Raises StoreError if they are damaged."""
    try:
        with np.load(folder / FILE, allow_pickle=False) as parts:
            learned = {name: parts[name] for name in parts.files}
            middle, width = learned.pop("scale").tolist()
            return learned, Scale(middle, width)
    except (OSError, EOFError, BadZipFile, ValueError, KeyError) as exc:
        raise StoreError(f"{folder.name}/{FILE} is missing or damaged. Prepare the scorer again.") from exc


def _answered(examples: Examples, progress: Progress) -> Examples:
    indices = [index for index, response in enumerate(examples.responses) if response.strip()]
    if missing := len(examples.responses) - len(indices):
        progress.warn(f"{missing:,} of {len(examples.responses):,} examples have no response, which this scorer reads. They are left out.")
    return Examples(
        [examples.prompts[index] for index in indices],
        [examples.responses[index] for index in indices],
        examples.harmful[indices],
        examples.sources,
        None if examples.fit_only is None else examples.fit_only[indices],
    )


def _shard(reader: RowReader, batch: pa.RecordBatch, function: Callable[[list[Example]], NDArray[np.float32]]) -> Scored:
    """Scores of the rows of a batch, and the reasons of missing ones."""
    scores, reasons = np.full(len(batch), np.nan, dtype=np.float32), np.zeros(len(batch), dtype=np.uint8)
    cut, rows, positions = np.zeros(len(batch), dtype=bool), list["Example"](), list[int]()
    for position, row in enumerate(batch.to_pylist()):
        if not (row["response"] or "").strip():
            reasons[position] = NO_ANSWER
            continue
        before = reader.encoder.truncated
        try:
            rows.append(reader.encoded(row))
        except DataError:
            reasons[position] = REFUSED
            continue
        positions.append(position)
        cut[position] = reader.encoder.truncated > before
    if rows:
        scores[positions] = function(rows)
    reasons[np.isnan(scores) & (reasons == 0)] = NOT_FINITE
    scored = Scored(scores, reasons, len(batch), cut=cut)
    scored.counts["truncated"] = int(cut.sum())
    return scored
