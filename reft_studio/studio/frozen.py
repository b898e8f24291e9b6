"""What can be claimed of an audit: worked out when a dataset is frozen, and for those frozen before that was recorded."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

from reft_studio.audit.estimates import at_line, estimates, words
from reft_studio.audit.frozen_audit import NO_CLAIM, Claim, recorded_decisions
from reft_studio.audit.frozen_audit import FrozenAudit as FrozenAudit
from reft_studio.audit.opinion import agreement
from reft_studio.data.dataset import Dataset, open_dataset
from reft_studio.errors import StoreError
from reft_studio.scoring.scores import ScoreSet, grid, open_score_set
from reft_studio.store import settings
from reft_studio.store.decisions import DecisionLog
from reft_studio.studio import review
from reft_studio.studio.draws import Draws
from reft_studio.studio.estimates import evidence
from reft_studio.studio.scores import language_warning, scorer_of
from reft_studio.workspace import Workspace


def claim(log: DecisionLog, dataset: Dataset, score: ScoreSet | None, threshold: float | None) -> Claim:
    """What scores, decisions and draws allow to say of a dataset now, at this threshold."""
    agreed, done = agreement(log.opinions(dataset.id)), review.progress(log, dataset, score, threshold)
    people = Claim(
        conflicts=done.conflicts,
        agreement=agreed.sentence if agreed.alpha is not None else "",
    )
    if score is None or threshold is None:
        return people
    standing, known = Draws(log, score, threshold).standing(), evidence(log, dataset, score, threshold)
    found, prepared = estimates(known), scorer_of(log.workspace, score)
    return replace(
        people,
        teacher=score.teacher if prepared is None else prepared.title,
        rule=settings.get(log.workspace, f"threshold-rule:{dataset.id}:{score.key}") or "",
        warning=language_warning(dataset, score, prepared),
        flagged=done.flagged,
        flagged_open=done.flagged_open,
        assurance=asdict(standing.below),
        precision=standing.above.sentence if standing.above.share else "",
        estimates=words(found, at_line(found, known, int(grid(threshold))), threshold),
    )


def frozen_audit(log: DecisionLog, dataset: Dataset) -> FrozenAudit | None:
    """The audit behind a frozen dataset, None for any other.

    One frozen before claims were recorded gets the claim that log and scores allow now, marked so; without its scores it has none.
    """
    found = FrozenAudit.of(dataset)
    if found is None or found.claim is not None:
        return found
    try:
        source = open_dataset(log.workspace, found.source)
        score = open_score_set(log.workspace, source.id, found.score_key) if found.score_key else None
    except StoreError:
        return replace(found, recorded=False)
    told = claim(log, source, score, found.threshold)
    rule = found.policy.partition(" (")[2].removesuffix(")")  # that of the line in use now may be another one
    return replace(found, claim=replace(told, rule=rule), recorded=False)


def told_of_frozen(workspace: Workspace, frozen: FrozenAudit) -> dict[str, Any]:
    """The audit behind a frozen dataset by the names of a report's inputs: the scores, the line and the decisions that made it."""
    recorded = recorded_decisions(open_dataset(workspace, frozen.dataset))
    score = None
    with suppress(StoreError):  # the scores were deleted: the record still tells what was done
        score = open_score_set(workspace, frozen.source, frozen.score_key) if frozen.score_key else None
    return {
        "frozen": frozen,
        "score": score,
        "threshold": frozen.threshold,
        "claim": frozen.claim or NO_CLAIM,
        "decided": recorded.decided,
        "entries": recorded.entries,
        "by_person": recorded.by_person(),
    }
