"""The inputs of a run: the rows its filter keeps, alignment data with the teacher's states, the adapter it starts from."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from reft_studio import seeding
from reft_studio.audit.freeze import refusing
from reft_studio.audit.held import RELABEL
from reft_studio.audit.policy import KEPT, REFUSAL, outcomes
from reft_studio.data.dataset import Dataset, open_dataset
from reft_studio.data.grid import NO_BIN
from reft_studio.data.index.rowstore import row_store
from reft_studio.defenses import DEFENSES
from reft_studio.defenses.defense import ALIGNED
from reft_studio.errors import DataError
from reft_studio.models.batching import Example
from reft_studio.models.session import Session
from reft_studio.progress import Progress
from reft_studio.scoring import SCORERS
from reft_studio.scoring.prepared import open_prepared
from reft_studio.scoring.refusal_similarity import check_match, score
from reft_studio.scoring.scores import ScoreSet, forget_partial, open_score_set, score_key
from reft_studio.store.decisions import DecisionLog
from reft_studio.teacher.teacher import TeacherInfo, open_teacher
from reft_studio.training import foreign
from reft_studio.training.context import STUDENT, AlignmentData
from reft_studio.training.cost import Costs
from reft_studio.training.spec import RunSpec
from reft_studio.training.teacher_states import CacheLocation
from reft_studio.workspace import Workspace


@dataclass(frozen=True)
class UserRows:
    """The rows that a run's filter keeps, by position, ascending; `relabelled` ones among them are answered with a refusal.

    `decided` counts the rows that people decided otherwise than the filter: kept, left out, relabelled, and changed in all; None without
    decisions.
    """

    positions: list[int]
    relabelled: frozenset[int] = frozenset()
    decided: Mapping[str, Any] | None = None


def user_rows(workspace: Workspace, spec: RunSpec, user: Dataset, session: Session, progress: Progress) -> UserRows:
    """What the run is trained on before its method selects from it: what freezing with the same threshold and decisions would write.

    Undecided rows (without a score and a decision, or marked unsure) are left out. With `drop` the scores alone decide.
    """
    if spec.filters_with is None:
        return UserRows(list(range(user.rows)))
    score_set = _scored(workspace, spec, user, session, progress)
    if spec.drop is not None:
        kept = score_set.bins() != NO_BIN
        kept[score_set.order()[: spec.drop]] = False
        return UserRows(np.flatnonzero(kept).tolist())
    threshold = score_set.threshold if spec.threshold is None else spec.threshold
    alone = outcomes(score_set.bins(), threshold, 0) == KEPT
    if spec.decisions is None:
        return UserRows(np.flatnonzero(alone).tolist())
    codes = DecisionLog(workspace).decided_by(user.id, spec.decisions).code_of(row_store(user).row_ids)
    kept, relabelled = outcomes(score_set.bins(), threshold, codes) == KEPT, codes == RELABEL
    counts = {"kept": kept & ~alone, "left_out": alone & ~kept, "relabelled": relabelled, "changed": (kept != alone) | relabelled}
    decided = {"hash": spec.decisions, **{name: int(rows.sum()) for name, rows in counts.items()}}
    return UserRows(np.flatnonzero(kept).tolist(), frozenset(np.flatnonzero(relabelled).tolist()), decided)


def _scored(workspace: Workspace, spec: RunSpec, user: Dataset, session: Session, progress: Progress) -> ScoreSet:
    """The scores that the run's filter goes by; made where they are not there."""
    assert spec.filters_with is not None, "asked for with a filter"
    prepared = open_prepared(workspace, spec.filters_with)
    key = score_key(prepared.scorer, prepared.id, prepared.created)
    if not (workspace.folder("scores", user.id, key) / "scorer.json").is_file():
        if isinstance(prepared, TeacherInfo) and prepared.model == spec.model:
            score(workspace, user, prepared, session, progress)
        else:
            SCORERS.get(prepared.scorer)().score(workspace, user, prepared, progress)
    score_set = open_score_set(workspace, user.id, key)
    forget_partial(workspace, user.id, key)  # of an attempt that died between writing the scores and removing these
    return score_set


def answered_rows(session: Session, user: Dataset, positions: list[int], relabelled: Set[int] = frozenset()) -> dict[int, Example]:
    """Tokenised rows at these positions that have a response, by position, in the order given; `relabelled` ones with a refusal for it.

    Other rows are not tokenised: a row that the filter dropped may be one that the template rejects.
    """
    selected = set(positions)
    rows = enumerate(user.read(["row_id", "prompt", "response", "messages"]))
    read = (refusing(row, REFUSAL) if position in relabelled else row for position, row in rows if position in selected)
    encoded = session.encoder.examples(read)
    examples = dict(zip(sorted(selected), encoded, strict=True))
    return {position: replace(examples[position], index=position) for position in positions if examples[position].answered}


def alignment_data(
    workspace: Workspace,
    spec: RunSpec,
    session: Session,
    cache: dict[str, AlignmentData],
    *,
    progress: Progress,
    costs: Costs,
) -> AlignmentData | None:
    """Tokenised guiding rows of a run, with its teacher's states; None for a run without. `cache` is read and filled.

    The states of a teacher that is another model are computed now.
    """
    if not (spec.harmful or spec.helpful or spec.harmful_answers):
        return None
    info = DEFENSES.get(spec.method).info
    key = f"{spec.model}:{spec.harmful}:{spec.helpful}:{spec.harmful_answers}:{spec.teacher if info.needs_teacher else ''}"
    if key not in cache:
        before = session.encoder.truncated
        kinds = [
            _answered(workspace, spec.harmful, session),
            _answered(workspace, spec.helpful, session, skip=True),
            _answered(workspace, spec.harmful_answers, session),
        ]
        cache[key] = AlignmentData(session, *kinds, truncated=session.encoder.truncated - before)
    if info.needs_teacher and spec.teacher:
        teacher: TeacherInfo = open_teacher(workspace, spec.teacher)
        if not foreign.is_foreign(teacher, session.model):
            check_match(session, teacher)
            location = CacheLocation.of(workspace, session.model, teacher.adapter, cache[key].examples)
            cache[key].cache_teacher(session.ensure("teacher", teacher.adapter), location=location)
        elif cache[key].cache is None:
            rows = [*_rows(workspace, spec.harmful), *_rows(workspace, spec.helpful, skip=True)]
            foreign.guide(workspace, teacher, session, cache[key], rows, progress, costs)
    return cache[key]


def _rows(workspace: Workspace, dataset_id: str | None, *, skip: bool = False) -> list[dict[str, Any]]:
    """Rows of an alignment set; with `skip`, without those that have no response."""
    if dataset_id is None:
        return []
    return [row for row in open_dataset(workspace, dataset_id).read() if row["response"].strip() or not skip]


def _answered(workspace: Workspace, dataset_id: str | None, session: Session, *, skip: bool = False) -> list[Example]:
    """Tokenised rows of an alignment set. Raises DataError if a row has no response or, with `skip`, if none has one."""
    if dataset_id is None:
        return []
    data = open_dataset(workspace, dataset_id)
    # harmless prompts pooled for a teacher may have no answer: there is nothing to learn from those here
    examples = session.encoder.answered(_rows(workspace, dataset_id, skip=skip), name=data.name)
    if not examples:
        raise DataError(f"No row of the alignment data '{data.name}' has a response, so it cannot guide. Give rows with answers.")
    return examples


def take_aligned(workspace: Workspace, spec: RunSpec, session: Session) -> None:
    """Load the aligned weights given for a run, if any. Raises SpecError for those of another base, template or number format."""
    if spec.aligned is not None:
        aligned = open_teacher(workspace, spec.aligned)
        check_match(session, aligned)
        session.ensure(ALIGNED, aligned.adapter)


def start_student(workspace: Workspace, spec: RunSpec, session: Session) -> str | None:
    """Create the adapter to be trained: a fresh one, or a copy of the aligned weights' adapter to be continued.

    Returns the name of the adapter that training starts from, None: the base. Aligned weights that were made for the run are in the
    session already.
    """
    take_aligned(workspace, spec, session)
    start = ALIGNED if spec.aligned is not None or spec.aligns else None
    if start is None or spec.adapters == "fresh":
        session.add(STUDENT, spec.lora, seed=seeding.derive(spec.seed, "student"))
    else:
        session.adapted.copy(ALIGNED, STUDENT, spec.lora)
    return start
