"""What the filter of a planned run does: which decisions of people count, how many rows it removes, what must be said of that."""

from __future__ import annotations

from reft_studio.comparison.dose import CONTROL
from reft_studio.data.dataset import Dataset
from reft_studio.errors import SpecError
from reft_studio.scoring.scores import ScoreSet
from reft_studio.store.decisions import DecisionLog
from reft_studio.studio.assurance import require_approved
from reft_studio.studio.review import Effect, effect_of
from reft_studio.training.spec import RunSpec


def checked_drop(user: Dataset, drop: int | None) -> int | None:
    """A number of rows to drop. Raises SpecError if it leaves none to train on."""
    if drop is not None and drop >= user.rows:
        raise SpecError(f"drop is {drop:,}, but '{user.name}' has {user.rows:,} rows: leave some to train on.")
    return drop


def newest_decision(log: DecisionLog, user: Dataset, score: ScoreSet | None, threshold: float | None) -> str | None:
    """Hash of the newest decision on the rows, for a run that is planned now; None where no row is decided.

    `threshold` is that of the run, None: the scorer's own. Raises SpecError while a flagged row that is to stay waits for a second name.
    """
    held = log.decided(user.id)
    if not len(held.row_ids):
        return None
    require_approved(log, user.id, score, score.threshold if score is not None and threshold is None else threshold)
    return held.hash


def ignores_decisions(log: DecisionLog, spec: RunSpec) -> bool:
    """Whether people decided about rows of the run's data, and its filter goes by the scores alone."""
    return spec.filters_with is not None and spec.decisions is None and len(log.decided(spec.dataset).row_ids) > 0


def removed(log: DecisionLog, user: Dataset, spec: RunSpec, score: ScoreSet | None) -> int | None:
    """Rows that the run leaves out; None if they have not been scored yet."""
    if spec.filters_with is None:
        return 0
    if score is None:
        return spec.drop
    if spec.drop is not None:
        return min(user.rows, spec.drop + score.missing)
    if (effect := _effect(log, user, spec, score)) is not None:
        return effect.removed + effect.undecided
    return score.flagged_from(_threshold(spec, score)) + score.missing


def notes(log: DecisionLog, user: Dataset, spec: RunSpec, score: ScoreSet | None) -> list[str]:
    """What is to be known of the filter before the run: that the data was audited already, that decisions on the rows count or do not."""
    if spec.filters_with is None:
        return []
    if "lineage" in user.manifest:
        return ["This data was audited already; the filter will drop flagged rows that a reviewer kept."]
    if spec.filters_with == CONTROL:
        return []
    decided = len((log.decided(user.id) if spec.decisions is None else log.decided_by(user.id, spec.decisions)).row_ids)
    rows = "1 row of this data" if decided == 1 else f"{decided:,} rows of this data"
    if ignores_decisions(log, spec):
        return [f"People decided {rows}. That does not count in this run: rows are dropped by their scores alone."]
    if not decided:
        return []
    effect = None if score is None else _effect(log, user, spec, score)
    against = f", {effect.overruled:,} of them against the threshold" if effect is not None and effect.overruled else ""
    return [f"People decided {rows}{against}. What they decided counts first, as when the data is frozen."]


def _effect(log: DecisionLog, user: Dataset, spec: RunSpec, score: ScoreSet) -> Effect | None:
    """What threshold and decisions do to the rows; None without decisions."""
    if spec.decisions is None:
        return None
    return effect_of(user, score, _threshold(spec, score), log.decided_by(user.id, spec.decisions))


def _threshold(spec: RunSpec, score: ScoreSet) -> float:
    return score.threshold if spec.threshold is None else spec.threshold
