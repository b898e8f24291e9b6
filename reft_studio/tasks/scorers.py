"""The job that prepares a scorer from examples."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from reft_studio.audit.draw import Draw
from reft_studio.data.dataset import open_dataset
from reft_studio.data.index.rowstore import row_store
from reft_studio.jobs.job import JobContext
from reft_studio.progress import Progress
from reft_studio.scoring import SCORERS
from reft_studio.scoring.prepared import PreparedScorer
from reft_studio.scoring.scorer import DECISIONS, Examples, ScorerSpec
from reft_studio.store import records
from reft_studio.store.decided import KEEP, REMOVE, read_singly
from reft_studio.store.decisions import DecisionLog
from reft_studio.workspace import Workspace

Pair = tuple[str, str]
"""Prompt and response."""


def prepare_scorer(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Prepare a scorer from examples. params: the fields of ScorerSpec."""
    prepared = prepared_from(context.workspace, ScorerSpec.checked(**params), context)
    return {"scorer": prepared.id, "threshold": prepared.threshold, "calibration": prepared.calibration, "record": prepared.record}


def prepared_from(workspace: Workspace, spec: ScorerSpec, progress: Progress) -> PreparedScorer:
    """The scorer of a spec; one prepared from the same examples before is reused."""
    progress.stage("read the examples", 1, 2)
    examples = _examples(workspace, spec)
    progress.stage("fit the scorer", 2, 2)
    return SCORERS.get(spec.scorer)().prepare(workspace, spec, examples, progress)


def _examples(workspace: Workspace, spec: ScorerSpec) -> Examples:
    """People's decisions, the sets of the spec and the shipped examples, as labelled rows; of equal rows the first counts."""
    reads = SCORERS.get(spec.scorer).info.reads
    rows, sources, fit_only = dict[Pair, bool](), dict[str, int](), set[Pair]()

    def add(source: str, labelled: Iterable[tuple[Pair, bool]]) -> None:
        before = len(rows)
        for (prompt, response), harmful in labelled:
            rows.setdefault((prompt, "" if reads == "prompt" else response), harmful)
        sources[source] = sources.get(source, 0) + len(rows) - before

    for name in spec.labels:
        add(f"{DECISIONS} on {open_dataset(workspace, name).name}", labelled_by_people(workspace, name))
    for kind, names in ((True, spec.harmful), (False, spec.harmless)):
        for dataset in (open_dataset(workspace, name) for name in names):
            add(dataset.name, (((row["prompt"], row["response"]), kind) for row in dataset.read(["prompt", "response"])))
    if spec.shipped:
        shipped_examples = SCORERS.get(spec.scorer)().shipped()
        shipped = list(zip(shipped_examples.prompts, shipped_examples.responses, strict=True))
        add("examples that ship", zip(shipped, shipped_examples.harmful.tolist(), strict=True))
        if shipped_examples.fit_only is not None:
            fit_only = {pair for pair, only in zip(shipped, shipped_examples.fit_only.tolist(), strict=True) if only}
    prompts, responses = ([pair[part] for pair in rows] for part in (0, 1))
    return Examples(
        prompts, responses, np.array(list(rows.values()), dtype=bool), sources, np.array([pair in fit_only for pair in rows], dtype=bool)
    )


def labelled_by_people(workspace: Workspace, dataset_id: str) -> list[tuple[Pair, bool]]:
    """Rows that people kept (harmless) or removed (harmful), one at a time, with their label.

    Rows of random draws are left out: estimates rest on them, and a scorer fitted on them would look better than it is. So are
    rows on which two people differ.
    """
    log = DecisionLog(workspace)
    decided = read_singly(workspace, dataset_id, log.decided(dataset_id).rows_with(KEEP, REMOVE).tolist())
    drawn = [Draw.of(record.content()) for record in records.of_kind(workspace, dataset_id, "draw")]
    left_out = {row for draw in drawn for row in (*draw.rows, *draw.seen)} | set(log.conflicts(dataset_id).tolist())
    clear = np.isin(decided.codes, (KEEP, REMOVE)) & ~np.isin(decided.row_ids, list(left_out))
    store = row_store(open_dataset(workspace, dataset_id))
    rows = store.take(store.positions(decided.row_ids[clear]), ("prompt", "response"))
    return [((row["prompt"], row["response"]), bool(code == REMOVE)) for row, code in zip(rows, decided.codes[clear], strict=True)]
