"""Why a row was flagged: what is stored of it, and what the teacher says when it is asked again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np

from reft_studio.chat.host import ModelHost
from reft_studio.data.dataset import Dataset, open_dataset
from reft_studio.data.grid import is_flagged
from reft_studio.data.index.rowstore import row_store
from reft_studio.errors import DataError, EvaluationError, SpecError, StoreError
from reft_studio.scoring import SCORERS
from reft_studio.scoring.explanation import MOST_TOKENS, Explanation, TokenCosine
from reft_studio.scoring.prepared import Prepared, open_prepared
from reft_studio.scoring.scorer import Reads, Scorer, ScorerInfo
from reft_studio.scoring.scores import ScoreSet, list_score_sets, open_score_set
from reft_studio.scoring.shards import user_turns
from reft_studio.studio import project
from reft_studio.teacher import details
from reft_studio.teacher.details import MISSING as MISSING
from reft_studio.teacher.details import Separation, separation_of
from reft_studio.teacher.teacher import TeacherInfo, open_teacher
from reft_studio.workspace import Workspace

UNEXPLAINED = "This scorer gives no explanation of single rows."
KEPT = 256
"""Explanations kept in memory."""
SAME_SCORE = 1e-5
"""Equal prompts differ by less than this in their scores: they are scored once, or read back from the same cache."""
LOOKED_AT, LISTED = 2000, 20
"""Rows of the same score whose prompts are compared, and duplicates that are named."""


@dataclass(frozen=True)
class Verdict:
    """What one set of scores says of the row; no score: `flagged` is None."""

    key: str
    title: str
    score: float | None
    threshold: float
    flagged: bool | None


@dataclass(frozen=True)
class RowFacts:
    """What is stored of a row and its score; no model is asked.

    `reason`: why there is no score. `duplicates`: ids of other rows with the same prompt, at most LISTED; `more` if there are or may
    be others; None: not known, since the row has no score to look them up by. `near`: rows that repeat this one, prompt and answer,
    almost word for word, at most LISTED; None before an inspection of the dataset. `lacks`: what the scorer cannot tell, in words.
    `measure` and `reads` are those of the scorer.
    """

    row_id: int
    prompt: str
    response: str
    known_harmful: bool | None
    key: str
    teacher: str
    layer: int | None
    score: float | None
    threshold: float
    reason: str | None
    verdicts: list[Verdict]
    duplicates: list[int] | None
    more: bool
    near: list[int] | None
    lacks: str
    measure: str
    reads: Reads | None
    ready: bool
    """Whether the teacher can be asked without loading a large model first."""


@dataclass(frozen=True)
class LayerScore:
    """The row's cosine after one block, beside the 5 %, 50 % and 95 % quantiles of both kinds of calibration prompts."""

    layer: int
    cosine: float
    harmful: list[float] | None
    harmless: list[float] | None


@dataclass(frozen=True)
class Asked:
    """What the scorer says of a row; `layer` is the block whose cosine is the score, None where words made it."""

    inside: Explanation
    layers: list[LayerScore]
    layer: int | None


class Explaining:
    """Explanations of one workspace; those given before are kept."""

    def __init__(self, workspace: Workspace, host: ModelHost) -> None:
        self.workspace, self.host = workspace, host
        self._given: OrderedDict[tuple[str, ...], Explanation] = OrderedDict()
        self._loaded: set[str] = set()
        self._lock = threading.Lock()

    def facts(self, dataset_id: str, row_id: int, key: str | None = None) -> RowFacts:
        """All but the model's own words. Raises StoreError without scores, DataError if there is no such row."""
        dataset, score, place = self._found(dataset_id, row_id, key)
        row = row_store(dataset).take([place], ("prompt", "response", "known_harmful"))[0]
        value = _value(score, place)
        prepared, lacks = self._prepared(score)
        teacher, info = prepared if isinstance(prepared, TeacherInfo) else None, _info(score)
        duplicates, more = (None, False) if value is None else _duplicates(dataset, score, place, value, row["prompt"])
        return RowFacts(
            row_id=row_id,
            **row,
            key=score.key,
            teacher=prepared.title if prepared else score.teacher,
            layer=teacher.layer if teacher else None,
            score=value,
            threshold=project.chosen_threshold(self.workspace, score) or 0.0,
            reason=score.reasons([place])[0] if value is None else None,
            verdicts=self._verdicts(dataset_id, score.key, place),
            duplicates=duplicates,
            more=more,
            near=_near(dataset, place, duplicates or []),
            lacks=lacks,
            measure=info.measure if info else "score",
            reads=info.reads if info else None,
            ready=self._ready(prepared),
        )

    def asked(self, dataset_id: str, row_id: int, key: str | None = None) -> Asked:
        """Ask the scorer again: words; of a teacher tokens, layers, neighbours, with the model host, which is started if need be.

        Raises DataError where nothing was said, EvaluationError or PrerequisiteError with what the host reports.
        """
        dataset, score, place = self._found(dataset_id, row_id, key)
        row = row_store(dataset).take([place], ("prompt", "response", "messages"))[0]
        turns, _ = user_turns(row)
        teacher = open_prepared(self.workspace, score.teacher)
        if not isinstance(teacher, TeacherInfo):
            return Asked(_by_words(teacher, row, _value(score, place)), [], None)
        inside = self._inside(teacher, turns)
        found = separation_of(teacher)
        if found is not None and len(found.layers) != len(inside.layers):
            found = None
        layers = [
            LayerScore(number, cosine, *(None if found is None else found.bands[kind][number - 1] for kind in ("harmful", "harmless")))
            for number, cosine in enumerate(inside.layers, 1)
        ]
        return Asked(inside, layers, teacher.layer)

    def separation(self, teacher_id: str) -> Separation | None:
        """The map of a teacher, None if it has none."""
        return separation_of(open_teacher(self.workspace, teacher_id))

    def _inside(self, teacher: TeacherInfo, turns: list[str]) -> Explanation:
        if not turns:
            raise DataError("This row has no user turn, so there is nothing that the teacher could explain.")
        complete = str(details.is_complete(teacher))
        name = (teacher.id, teacher.created, complete, *turns)
        with self._lock:
            if name in self._given:
                self._given.move_to_end(name)
                return self._given[name]
        event = next(self.host.request(op="explain", turns=turns, teacher=teacher.id), None)
        if event is None:
            raise EvaluationError("The model host gave no explanation. Try again.")
        found = Explanation.of(event["inside"])
        with self._lock:
            self._loaded.add(teacher.id)
            self._given[name] = found
            while len(self._given) > KEPT:
                self._given.popitem(last=False)
        return found

    def _found(self, dataset_id: str, row_id: int, key: str | None) -> tuple[Dataset, ScoreSet, int]:
        dataset = open_dataset(self.workspace, dataset_id)
        score = open_score_set(self.workspace, dataset_id, key) if key else project.chosen_scores(self.workspace, dataset_id)
        if score is None:
            raise SpecError("This dataset has no scores that could be explained. Score it on the Filter page.")
        place = int(row_store(dataset).positions([row_id])[0])
        if place < 0:
            raise DataError(f"'{dataset.name}' has no row {row_id}.")
        return dataset, score, place

    def _prepared(self, score: ScoreSet) -> tuple[Prepared | None, str]:
        """What made these scores, and what it cannot tell of a row."""
        try:
            prepared = open_prepared(self.workspace, score.teacher)
        except StoreError as exc:
            return None, str(exc)
        if isinstance(prepared, TeacherInfo):
            return prepared, "" if details.is_complete(prepared) else details.MISSING
        return prepared, "" if _explains(prepared) else UNEXPLAINED

    def _ready(self, prepared: Prepared | None) -> bool:
        if isinstance(prepared, TeacherInfo):
            return prepared.is_lab or (self.host.alive and prepared.id in self._loaded)
        return prepared is not None and _explains(prepared)

    def _verdicts(self, dataset_id: str, key: str, place: int) -> list[Verdict]:
        """Of every other set of scores, in the order in which they were made."""
        found = []
        for score in list_score_sets(self.workspace, dataset_id):
            if score.key == key:
                continue
            value = _value(score, place)
            threshold = project.chosen_threshold(self.workspace, score) or 0.0
            over = None if value is None else is_flagged(value, threshold)
            prepared, _ = self._prepared(score)
            found.append(Verdict(score.key, prepared.title if prepared else score.teacher, value, threshold, over))
        return found


def _info(score: ScoreSet) -> ScorerInfo | None:
    """What is known of the scorer; None for one of another version of the app."""
    return SCORERS.get(score.scorer).info if score.scorer in SCORERS else None


def _explains(prepared: Prepared) -> bool:
    """Whether a scorer that is no teacher tells which words made a score."""
    return SCORERS.get(prepared.scorer).explain is not Scorer.explain


def _by_words(prepared: Prepared, row: dict[str, Any], score: float | None) -> Explanation:
    """A row explained by its words; `effect` and `cosine` of each are its share of the log odds."""
    words = SCORERS.get(prepared.scorer)().explain(prepared, row)
    if not words:
        raise DataError(UNEXPLAINED)
    tokens = [TokenCosine(f"{word.text} ", word.share, True, word.share) for word in words]
    half, cut = MOST_TOKENS // 2, max(0, len(tokens) - MOST_TOKENS)
    return Explanation(0, 1, score or 0.0, tokens[:half] + tokens[-half:] if cut else tokens, cut, False, [], {})


def _value(score: ScoreSet, place: int) -> float | None:
    value = float(score.scores()[place])
    return None if np.isnan(value) else value


def _duplicates(dataset: Dataset, score: ScoreSet, place: int, value: float, prompt: str) -> tuple[list[int], bool]:
    """Other rows with the same prompt, and whether there may be more: only rows of the same score are looked at."""
    alike = np.flatnonzero(np.abs(score.scores() - np.float32(value)) <= SAME_SCORE)
    alike = alike[alike != place]
    rows = row_store(dataset).take(alike[:LOOKED_AT], ("row_id", "prompt"))
    same = [int(row["row_id"]) for row in rows if row["prompt"] == prompt]
    return same[:LISTED], len(same) > LISTED or len(alike) > LOOKED_AT


def _near(dataset: Dataset, place: int, known: list[int]) -> list[int] | None:
    """Ids of other rows that an inspection found to repeat this one, without those that are `known` already."""
    from reft_studio.data.index.inspect import repeats_of  # brings pandas, which would slow every start

    found = repeats_of(dataset, place, limit=LISTED + len(known))
    if found is None:
        return None
    ids = row_store(dataset).row_ids[found].tolist()
    return [row_id for row_id in ids if row_id not in known][:LISTED]
