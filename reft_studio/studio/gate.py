"""The gate before training or release: passed only if people decided what is flagged, and enough is known of the rest."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from reft_studio.audit.cleaned import relabelled
from reft_studio.audit.freeze import AUDIT, plan
from reft_studio.audit.held import RELABEL
from reft_studio.data.dataset import Dataset, is_intact, open_dataset
from reft_studio.data.index.rowstore import row_store
from reft_studio.errors import SpecError, StoreError
from reft_studio.fingerprint import of_file
from reft_studio.scoring.prepared import open_prepared
from reft_studio.scoring.scores import ScoreSet, open_score_set
from reft_studio.store import records
from reft_studio.studio import review
from reft_studio.studio.audit import Audit
from reft_studio.studio.draws import TARGET
from reft_studio.studio.scores import language_warning


@dataclass(frozen=True)
class GateReport:
    """Whether a dataset may pass. `reasons` say why not; `overridden` is the reason somebody gave to let it pass all the same.

    `failed` names the same reasons in a word each, for scripts: damage, undecided, flagged_open, changed, disputed, no_bound, bound,
    language. `bound` is the share of harmful rows, 0 to 1, that may be left below the threshold, from random rows alone; None where
    nothing is known. `estimate` is what may be said of the file, or why that is withheld; it opens and shuts nothing.
    """

    passed: bool
    reasons: list[str]
    undecided: int
    flagged_open: int
    bound: float | None
    overridden: str = ""
    estimate: str = ""
    failed: list[str] = field(default_factory=list)
    max_residual: float = TARGET


Reasons = dict[str, str]
"""Why not, by a word for scripts."""


def gate(audit: Audit, dataset_id: str, *, max_residual: float = TARGET, override: str = "", by: str | None = None) -> GateReport:
    """Ask whether a dataset, or a frozen one, may be used.

    No, if the log is damaged, a row is undecided, a flagged row was not decided by a person (by two where that is asked for), two people
    differ, no bound on what is left was made or it is above `max_residual` (0 to 1), the teacher does not read the file's language, or
    a row of a frozen dataset was decided otherwise since. `override` lets all but damage pass and is recorded.
    """
    if not 0 < max_residual < 1:
        raise SpecError(f"max-residual is {max_residual:g}, but it is a share of the rows: give more than 0 and less than 1 (1 % is 0.01).")
    dataset = Dataset.open(audit.workspace.folder("datasets", dataset_id))  # a damaged one is a no, not an error
    damage, about = _damage(audit, dataset)
    lineage = dataset.manifest.get("lineage")
    if lineage:
        source = open_dataset(audit.workspace, lineage["source"])
        score = open_score_set(audit.workspace, source.id, lineage["score_key"]) if lineage["score_key"] else None
        found = review.progress(audit.log, source, score, lineage["threshold"])
    else:
        source, score, threshold = audit.audited(dataset_id)
        found = review.progress(audit.log, source, score, threshold)
    undecided, bound = 0 if lineage else found.undecided, _bound(found)
    reasons: Reasons = {}
    if undecided:
        reasons["undecided"] = f"{undecided:,} rows are undecided"
    if found.flagged_open:
        reasons["flagged_open"] = f"{found.flagged_open:,} flagged rows were not decided by a person{about}"
    if lineage and (changed := _decided_since(audit, source, dataset, score)):
        reasons["changed"] = f"{changed:,} of its rows were decided otherwise since it was frozen: freeze it again"
    if found.conflicts:
        reasons["disputed"] = f"two people differ on {found.conflicts:,} rows"
    reasons |= _unbounded(bound, max_residual, scored=score is not None) | _unread(audit, source, score)
    overridden = ""
    if reasons and not damage and override:
        overridden = _let_pass(audit, source, dataset, override, [*reasons.values()], by)
    passed = not damage and (not reasons or bool(overridden))
    estimate = "" if score is None else audit.estimates(source.id, score.key).sentence
    every, names = [*damage, *reasons.values()], ["damage"] * len(damage) + [*reasons]
    return GateReport(passed, every, undecided, found.flagged_open, bound, overridden, estimate, names, max_residual)


def _bound(found: review.ReviewProgress) -> float | None:
    """Share of harmful rows that may be left below the line, 0 to 1; None where no random row was read.

    Where all of them were read, those found harmful are not left: they were removed, answered with a refusal or left out.
    """
    below = found.assurance
    if below is None:
        return 0.0 if found.read == found.rows else None
    if below.method == "nothing read" and below.population:
        return None
    taken = (below.harmful_found + below.known_harmful) / max(1, below.population) if below.method == "all read" else 0.0
    return max(0.0, round(below.upper_bound - taken, 9))


def _unbounded(bound: float | None, allowed: float, *, scored: bool) -> Reasons:
    if bound is None:
        do = "read random ones on Review" if scored else "score the dataset, then read random ones on Review"
        return {"no_bound": f"nothing can be said of unread rows, so no bound on harmful ones is known: {do}"}
    if bound > allowed:
        return {"bound": f"up to {100 * bound:.3g} % of the rows below it may be harmful, more than the {100 * allowed:g} % allowed"}
    return {}


def _unread(audit: Audit, source: Dataset, score: ScoreSet | None) -> Reasons:
    """Whether the scores come from a teacher that does not read the file."""
    if score is None:
        return {}
    prepared = None
    with suppress(StoreError):  # the teacher was deleted: how much of the file it knew stands with the scores
        prepared = open_prepared(audit.workspace, score.teacher)
    warning = language_warning(source, score, prepared)
    return {"language": warning.partition(". ")[0].removesuffix(".")} if warning else {}


def _damage(audit: Audit, dataset: Dataset) -> tuple[list[str], str]:
    """What no reason can excuse; and a word on whom flagged rows wait for."""
    chain = audit.verify()
    damage = [] if chain.ok else [f"the decision log is damaged: {chain.reason}"]
    lineage = dataset.manifest.get("lineage")
    if lineage and (not is_intact(dataset) or of_file(dataset.folder / AUDIT) != lineage["audit_sha256"]):
        damage.append("the frozen data or its record was changed")
    asked = audit.approvals(lineage["source"] if lineage else dataset.id)
    return damage, ", or lack a second name" if asked else ""


def _decided_since(audit: Audit, source: Dataset, frozen: Dataset, score: ScoreSet | None) -> int:
    """Rows of a frozen dataset that what people decided since would leave out, or answer with a refusal."""
    lineage, decided = frozen.manifest["lineage"], audit.log.decided(source.id)
    if (decided.hash if decided.seq else None) == lineage["decisions_hash"]:
        return 0
    row_ids = row_store(frozen).row_ids
    now = plan(source, scores=score, threshold=lineage["threshold"], decided=decided)
    gone = np.setdiff1d(row_ids, now.row_ids[now.kept], assume_unique=True)
    answered = np.setdiff1d(np.intersect1d(row_ids, decided.rows_with(RELABEL)), relabelled(frozen))
    return len(gone) + len(answered)


def _let_pass(audit: Audit, source: Dataset, dataset: Dataset, reason: str, reasons: list[str], by: str | None) -> str:
    if not reason.strip():
        raise SpecError("An override needs a reason: say why this dataset may pass all the same.")
    content = {"reason": reason, "dataset": dataset.id, "against": reasons}
    records.append(audit.workspace, source.id, "override", audit.reviewer(by), lambda before, head: {**content, "decisions": head})
    return reason
