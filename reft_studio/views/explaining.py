"""Why a row was flagged: what is stored of it, and what the teacher says when it is asked again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from reft_studio.data.dataset import Dataset, open_dataset
from reft_studio.data.rowstore import row_store
from reft_studio.errors import DataError, EvaluationError, SpecError, StoreError
from reft_studio.jobs.host import ModelHost
from reft_studio.scoring.inside import Inside
from reft_studio.scoring.scores import ScoreSet, list_score_sets, open_score_set
from reft_studio.scoring.scores import grid as on_grid
from reft_studio.scoring.shards import user_turns
from reft_studio.teacher import details
from reft_studio.teacher.details import Separation, separation_of
from reft_studio.teacher.teacher import TeacherInfo, open_teacher
from reft_studio.views import project
from reft_studio.workspace import Workspace

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
class Facts:
    """What is stored of a row and its score; no model is asked.

    `reason`: why there is no score. `duplicates`: ids of other rows with the same prompt, at most LISTED; `more` if there are or may
    be others; None: not known, since the row has no score to look them up by. `near`: rows that repeat this one, prompt and answer,
    almost word for word, at most LISTED; None before an inspection of the dataset. `lacks`: what the teacher cannot tell, in words.
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
    """What the teacher says of a row; `layer` is the block whose cosine is the score."""

    inside: Inside
    layers: list[LayerScore]
    layer: int


class Explaining:
    """Explanations of one workspace; those given before are kept."""

    def __init__(self, workspace: Workspace, host: ModelHost) -> None:
        self.workspace, self.host = workspace, host
        self._given: OrderedDict[tuple[str, ...], Inside] = OrderedDict()
        self._loaded: set[str] = set()
        self._lock = threading.Lock()

    def facts(self, dataset_id: str, row_id: int, key: str | None = None) -> Facts:
        """All but the model's own words. Raises StoreError without scores, DataError if there is no such row."""
        dataset, score, place = self._found(dataset_id, row_id, key)
        row = row_store(dataset).take([place], ("prompt", "response", "known_harmful"))[0]
        value = _value(score, place)
        teacher, lacks = self._teacher(score)
        duplicates, more = (None, False) if value is None else _duplicates(dataset, score, place, value, row["prompt"])
        return Facts(
            row_id=row_id,
            **row,
            key=score.key,
            teacher=teacher.title if teacher else score.teacher,
            layer=teacher.layer if teacher else None,
            score=value,
            threshold=project.chosen_threshold(self.workspace, score) or 0.0,
            reason=score.reasons([place])[0] if value is None else None,
            verdicts=self._verdicts(dataset_id, score.key, place),
            duplicates=duplicates,
            more=more,
            near=_near(dataset, place, duplicates or []),
            lacks=lacks,
            ready=teacher is not None and (teacher.is_lab or (self.host.alive and teacher.id in self._loaded)),
        )

    def asked(self, dataset_id: str, row_id: int, key: str | None = None) -> Asked:
        """Ask the teacher again: tokens, layers, neighbours. Starts the model host if it is not running.

        Raises DataError where nothing was said, EvaluationError or PrerequisiteError with what the host reports.
        """
        dataset, score, place = self._found(dataset_id, row_id, key)
        turns, _ = user_turns(row_store(dataset).take([place], ("prompt", "messages"))[0])
        teacher = open_teacher(self.workspace, score.teacher)
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

    def _inside(self, teacher: TeacherInfo, turns: list[str]) -> Inside:
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
        found = Inside.of(event["inside"])
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

    def _teacher(self, score: ScoreSet) -> tuple[TeacherInfo | None, str]:
        try:
            teacher = open_teacher(self.workspace, score.teacher)
        except StoreError as exc:
            return None, str(exc)
        return teacher, "" if details.is_complete(teacher) else details.MISSING

    def _verdicts(self, dataset_id: str, key: str, place: int) -> list[Verdict]:
        """Of every other set of scores, in the order in which they were made."""
        found = []
        for score in list_score_sets(self.workspace, dataset_id):
            if score.key == key:
                continue
            value = _value(score, place)
            threshold = project.chosen_threshold(self.workspace, score) or 0.0
            over = None if value is None else bool(on_grid(value) >= on_grid(threshold))
            teacher, _ = self._teacher(score)
            found.append(Verdict(score.key, teacher.title if teacher else score.teacher, value, threshold, over))
        return found


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
    from reft_studio.data.inspect import repeats_of  # brings pandas, which would slow every start

    found = repeats_of(dataset, place, limit=LISTED + len(known))
    if found is None:
        return None
    ids = row_store(dataset).row_ids[found].tolist()
    return [row_id for row_id in ids if row_id not in known][:LISTED]
